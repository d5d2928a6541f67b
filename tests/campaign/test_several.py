"""Several campaigns read as one: names are shared by what is the same, and by nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nequip_decorr import stability
from nequip_decorr.campaign.several import join, planned, renamed
from nequip_decorr.cli.main import main
from nequip_decorr.report.report import write_report
from tests.helpers.synthetic import write_campaign

BAD, GOOD = {"contact": 2.0}, {"contact": 0.05}
SMALL = {"structures": ("quartz", "cristobalite"), "trajectory": False}


def names(parts):
    rows = [row for part in parts for row in part.rows()]
    return {row["model"] for row in rows}, {row["structure"] for row in rows}


@pytest.fixture
def before_and_after(tmp_path):
    """A model that was trained again under its old name."""
    return [
        write_campaign(tmp_path / name, {"best": rate}, name=name, content=name, **SMALL)
        for name, rate in (("before", BAD), ("after", GOOD))
    ]


def test_one_name_for_two_models_gets_the_names_of_the_campaigns(before_and_after, capsys):
    assert names(join(before_and_after)) == (
        {"best (before)", "best (after)"}, {"quartz", "cristobalite"},
    )  # fmt: skip
    assert main(["stability", "compare", *map(str, before_and_after)]) == 0
    said = capsys.readouterr()
    assert "best (after) is stable" in said.out and "longer than best (before)" in said.out
    assert said.err == (
        "note: model `best` is not the same in these campaigns: they have best (before), "
        "best (after)\n"
    )


def test_report_and_python_have_the_same_names(before_and_after, tmp_path):
    page = write_report(before_and_after, tmp_path / "r")
    data = json.loads((page.parent / "summary.json").read_text())
    (only,) = data["survival"]["comparisons"]
    assert (only["model_a"], only["model_b"]) == ("best (before)", "best (after)")
    assert only["n_pairs"] == 8
    assert data["renamed"] == renamed(join(before_and_after)) and data["findings"] == []
    assert "Model `best` is not the same in these campaigns" in page.read_text()
    found = stability.compare(before_and_after, "best (before)", "best (after)")
    assert found.n_pairs == 8 and found.ratio.value > 3
    rows = stability.read(before_and_after)
    assert {row["model"] for row in rows} == {"best (before)", "best (after)"}


def test_runs_of_one_model_are_put_together(tmp_path):
    folders = [
        write_campaign(tmp_path / str(seed), {"best": BAD}, seeds=(seed,), **SMALL)
        for seed in (1, 2)
    ]
    parts = join(folders)
    assert names(parts) == ({"best"}, {"quartz", "cristobalite"})
    assert planned(parts) == {"best": 4} and renamed(parts) == []


def test_the_same_runs_twice_are_kept_apart(tmp_path):
    folders = [
        write_campaign(tmp_path / name, {"best": BAD}, check_every=every, **SMALL)
        for name, every in (("one", 1), ("two", 10))
    ]
    models, structures = names(join(folders))
    assert models == {"best"}
    assert structures == {"one: quartz", "one: cristobalite", "two: quartz", "two: cristobalite"}
    assert "one name for different start frames: one: cristobalite" in renamed(join(folders))[0]


def test_a_setting_that_differs_is_said(tmp_path, capsys):
    folders = [
        str(write_campaign(tmp_path / name, {name: BAD}, check_every=every, **SMALL))
        for name, every in (("one", 1), ("two", 10))
    ]
    assert main(["stability", "compare", *folders]) == 0
    assert capsys.readouterr().err == "note: the runs differ in criteria.check_every\n"


def moved_atom(folder: Path, by_A: float) -> None:
    """Move an atom of each start of quartz, and let the plan know of the new files."""
    import ase.io

    from nequip_decorr.files import sha256_file, write_json

    plan = json.loads((folder / "campaign.json").read_text())
    for item in plan["runs"]:
        if item["spec"]["structure"] == "quartz":
            path = item["spec"]["structure_file"]
            atoms = ase.io.read(path, format="extxyz")
            atoms.positions[0, 0] += by_A
            ase.io.write(path, atoms, format="extxyz")
            item["inputs"]["structure_file"] = sha256_file(path)
    write_json(folder / "campaign.json", plan)


@pytest.mark.parametrize(("by_A", "apart"), [(0.0, False), (1e-5, False), (0.1, True)])
def test_pairs_start_from_the_same_atoms(tmp_path, capsys, by_A, apart):
    one = write_campaign(tmp_path / "one", {"stock": BAD}, name="one", **SMALL)
    two = write_campaign(tmp_path / "two", {"other": GOOD}, name="two", **SMALL)
    moved_atom(two, by_A)
    structures = names(join([one, two]))[1]
    assert structures == {"cristobalite", *(("one: quartz", "two: quartz") if apart else
                                            ("quartz",))}  # fmt: skip
    found = stability.compare([one, two], "stock", "other")
    assert found.n_pairs == (4 if apart else 8)


def test_a_start_frame_that_cannot_be_read_is_no_known_one(tmp_path):
    one = write_campaign(tmp_path / "one", {"stock": BAD}, name="one", **SMALL)
    two = write_campaign(tmp_path / "two", {"other": GOOD}, name="two", **SMALL)
    moved_atom(two, 1e-5)
    for path in (two / "inputs").iterdir():
        path.unlink()
    assert "two: quartz" in names(join([one, two]))[1]


def test_a_reference_follows_the_names(tmp_path):
    for name in ("one", "two"):
        write_campaign(
            tmp_path / name, {"Tersoff": {}, name: BAD}, reference="Tersoff", content=name, **SMALL
        )
    parts = join([tmp_path / "one", tmp_path / "two"])
    assert [part.reference for part in parts] == ["Tersoff (one)", "Tersoff (two)"]
    page = write_report([tmp_path / "one", tmp_path / "two"], tmp_path / "r")
    data = json.loads((page.parent / "summary.json").read_text())
    assert data["survival"]["reference"] == "Tersoff (one)"


def test_labels_tell_folders_apart(tmp_path):
    for name in ("a/md", "b/md"):
        (tmp_path / name).parent.mkdir()
        write_campaign(tmp_path / name, {"best": BAD}, content=name, **SMALL)
    models = names(join([tmp_path / "a/md", tmp_path / "b/md"]))[0]
    assert models == {"best (a/md)", "best (b/md)"}
    (tmp_path / "b/md").rename(tmp_path / "b/again")
    models = names(join([tmp_path / "a/md", tmp_path / "b/again"]))[0]
    assert models == {"best (md)", "best (again)"}
