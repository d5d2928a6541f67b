"""Several campaigns read as one: names are shared by what is the same, and by nothing else."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import ase.io
import pytest

from nequip_decorr import stability
from nequip_decorr.campaign.several import join, planned, renamed
from nequip_decorr.cli.main import main
from nequip_decorr.errors import UserError
from nequip_decorr.files import sha256_file, write_json
from nequip_decorr.report.report import write_report
from tests.helpers.synthetic import write_campaign

BAD, GOOD = {"contact": 2.0}, {"contact": 0.05}
BOTH = {"quartz", "cristobalite"}


def campaign(folder: Path, models, **changes):
    small = {"structures": ("quartz", "cristobalite"), "trajectory": False, "name": folder.name}
    return write_campaign(folder, models, **{**small, **changes})


def names(parts):
    rows = [row for part in parts for row in part.rows()]
    return {row["model"] for row in rows}, {row["structure"] for row in rows}


@pytest.fixture
def before_and_after(tmp_path):
    """A model that was trained again under its old name."""
    rates = {"before": BAD, "after": GOOD}
    return [campaign(tmp_path / name, {"best": rates[name]}, content=name) for name in rates]


def test_one_name_for_two_models_gets_the_names_of_the_campaigns(before_and_after, capsys):
    assert names(join(before_and_after)) == ({"best (before)", "best (after)"}, BOTH)
    assert main(["stability", "compare", *map(str, before_and_after)]) == 0
    said = capsys.readouterr()
    assert "best (after) is stable" in said.out and "longer than best (before)" in said.out
    note = "Model `best` has different files in these campaigns: best (before), best (after)."
    assert f"\n  {note}\n" in said.out


def test_report_and_python_have_the_same_names(before_and_after, tmp_path):
    page = write_report(before_and_after, tmp_path / "r")
    data = json.loads((page.parent / "summary.json").read_text())
    (only,) = data["survival"]["comparisons"]
    assert (only["model_a"], only["model_b"]) == ("best (before)", "best (after)")
    assert only["n_pairs"] == 8
    assert data["renamed"] == renamed(join(before_and_after)) and data["findings"] == []
    assert "Model `best` has different files in these campaigns" in page.read_text()
    found = stability.compare(before_and_after, "best (before)", "best (after)")
    assert found.n_pairs == 8 and found.ratio.value > 3
    rows = stability.read(before_and_after)
    assert {row["model"] for row in rows} == {"best (before)", "best (after)"}
    with pytest.raises(UserError, match=r"got best; allowed: best \(before\), best \(after\)"):
        stability.compare(before_and_after, "best", "best (after)")


def test_runs_of_one_model_are_put_together(tmp_path):
    parts = join([campaign(tmp_path / str(seed), {"best": BAD}, seeds=(seed,)) for seed in (1, 2)])
    assert names(parts) == ({"best"}, BOTH)
    assert planned(parts) == {"best": 4} and renamed(parts) == []


def test_one_model_with_other_settings_is_compared_with_itself(tmp_path, capsys):
    folders = [
        campaign(tmp_path / name, {"best": BAD}, check_every=every)
        for name, every in (("one", 1), ("two", 10))
    ]
    assert names(join(folders)) == ({"best (one)", "best (two)"}, BOTH)
    assert main(["stability", "compare", *map(str, folders)]) == 0
    said = capsys.readouterr()
    assert "8 pairs over 2 structures" in said.out
    assert (
        "  Model `best` ran from the same starts with different settings in these campaigns: best "
        "(one), best (two).\n  The runs differ in criteria.check_every.\n"
    ) in said.out


def test_settings_of_models_that_are_not_compared_do_not_matter(tmp_path):
    folders = [
        campaign(tmp_path / name, {name: BAD}, check_every=every)
        for name, every in (("one", 1), ("two", 1), ("three", 10))
    ]
    assert stability.compare(folders, "one", "two").remarks == ()
    found = stability.compare(folders, "one", "three")
    assert found.notes[-1:] == found.remarks == ("The runs differ in criteria.check_every.",)
    assert found.to_dict()["notes"][-1] == found.remarks[0]


def test_a_model_of_both_campaigns_counts_once(tmp_path):
    """Such as a reference potential beside each of the compared models."""
    folders = [
        campaign(tmp_path / name, {"Tersoff": {}, "best": rate}, reference="Tersoff", content=name)
        for name, rate in (("one", BAD), ("two", GOOD))
    ]
    for folder in folders:
        plan = json.loads((folder / "campaign.json").read_text())
        for item in plan["runs"]:
            if item["spec"]["model"]["name"] == "Tersoff":
                item["inputs"]["model"] = "the same"
        write_json(folder / "campaign.json", plan)
    parts = join(folders)
    assert names(parts) == ({"Tersoff", "best (one)", "best (two)"}, BOTH)
    assert planned(parts) == {"Tersoff": 8, "best (one)": 8, "best (two)": 8}
    assert stability.compare(folders, "best (one)", "best (two)").n_pairs == 8
    assert renamed(parts)[-1] == "runs that stand in several of these folders, and count once: 8"
    page = write_report(folders, tmp_path / "r")
    (only,) = json.loads((page.parent / "summary.json").read_text())["survival"]["comparisons"]
    assert (only["n_pairs"], only["clusters"]) == (8, {"structure": 2})


def test_parts_of_one_campaign_are_that_campaign(tmp_path):
    """Runs that a copy has finished count there; those that both have, once."""
    whole = campaign(tmp_path / "whole", {"a": BAD, "b": GOOD})
    expected = stability.compare(whole, "a", "b")
    failed = campaign(tmp_path / "failed", {"a": BAD, "b": GOOD}, name="whole", errors=16)
    assert replace(stability.compare([failed, whole], "a", "b"), remarks=()) == expected
    copies = [shutil.copytree(whole, tmp_path / name) for name in ("p", "q")]
    for number, manifest in enumerate(sorted(whole.glob("runs/*/manifest.json"))):
        if number % 3:  # a third stands in both
            (copies[number % 2] / manifest.relative_to(whole)).unlink()
    found = stability.compare(copies, "a", "b")
    note = "Runs that stand in several of these folders, and count once: 16."
    assert found.remarks == (note,)
    assert replace(found, remarks=()) == expected
    assert len(stability.read(copies, unfinished=True)) == 16


def change_quartz(folder: Path, change) -> None:
    """Change each start of quartz, and let the plan know of the new files."""
    plan = json.loads((folder / "campaign.json").read_text())
    for item in plan["runs"]:
        if item["spec"]["structure"] == "quartz":
            path = item["spec"]["structure_file"]
            atoms = ase.io.read(path, format="extxyz")
            change(atoms)
            ase.io.write(path, atoms, format="extxyz")
            item["inputs"]["structure_file"] = sha256_file(path)
    write_json(folder / "campaign.json", plan)


CHANGES = {
    "nothing": lambda atoms: None,
    "last digits": lambda atoms: atoms.translate([1e-6, 0, 0]),
    "moved": lambda atoms: atoms.translate([0.1, 0, 0]),
    "element": lambda atoms: atoms.symbols.__setitem__(0, "Zr"),
    "isotope": lambda atoms: atoms.set_masses(2 * atoms.get_masses()),
    "slab": lambda atoms: atoms.set_pbc([True, True, False]),
    "velocities": lambda atoms: atoms.set_momenta(atoms.positions),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("seeds", [(1, 2), (3, 4)])
def test_pairs_start_from_the_same_atoms(tmp_path, what, seeds):
    one = campaign(tmp_path / "one", {"stock": BAD}, seeds=(1, 2))
    two = campaign(tmp_path / "two", {"other": GOOD}, seeds=seeds)
    change_quartz(two, CHANGES[what])
    parts = join([one, two])
    same = {"nothing", "last digits"} | ({"velocities"} if seeds != (1, 2) else set())
    apart = {"cristobalite", "one: quartz", "two: quartz"}
    assert names(parts)[1] == (BOTH if what in same else apart)
    said = "structure `quartz` is not the same in these campaigns, or cannot be read: one: quartz"
    assert [said in text for text in renamed(parts)] == ([] if what in same else [True])
    if seeds == (1, 2):
        found = stability.compare([one, two], "stock", "other")
        assert found.n_pairs == (4 if what in same else 2)


def test_campaigns_that_agree_stay_together_beside_another_one(tmp_path):
    folders = [campaign(tmp_path / name, {name: BAD}) for name in ("one", "two", "three")]
    change_quartz(folders[2], CHANGES["moved"])
    assert names(join(folders))[1] == {"cristobalite", "one: quartz", "three: quartz"}
    assert stability.compare(folders, "one", "two").n_pairs == 8
    assert stability.compare(folders, "one", "three").n_pairs == 4


def test_a_start_frame_that_cannot_be_read_is_no_known_one(tmp_path):
    one = campaign(tmp_path / "one", {"stock": BAD})
    two = campaign(tmp_path / "two", {"other": GOOD})
    change_quartz(two, CHANGES["last digits"])
    for path in (two / "inputs").iterdir():
        path.write_text(path.read_text().replace("Hf", "Qq"))
    assert "two: quartz" in names(join([one, two]))[1]


def test_a_reference_follows_the_names(tmp_path):
    folders = [
        campaign(tmp_path / name, {"Tersoff": {}, name: BAD}, reference="Tersoff", content=name)
        for name in ("one", "two")
    ]
    parts = join(folders)
    assert [part.reference for part in parts] == ["Tersoff (one)", "Tersoff (two)"]
    assert renamed(parts)[-1] == (
        "these campaigns have several references: Tersoff (one), Tersoff (two)"
    )
    page = write_report(folders, tmp_path / "r")
    data = json.loads((page.parent / "summary.json").read_text())
    assert data["survival"]["reference"] == "Tersoff (one)"


def test_a_name_that_would_stand_for_two_models_is_refused(tmp_path):
    one = campaign(tmp_path / "one", {"best": BAD}, content="x")
    two = campaign(tmp_path / "two", {"best": BAD, "best (one)": GOOD}, content="y")
    with pytest.raises(UserError, match=r"models: two are called 'best \(one\)', one of them"):
        join([one, two])


def test_labels_tell_folders_apart(tmp_path):
    for name in ("a/md", "b/md"):
        (tmp_path / name).parent.mkdir()
        campaign(tmp_path / name, {"best": BAD}, content=name)
    models = names(join([tmp_path / "a/md", tmp_path / "b/md"]))[0]
    assert models == {"best (a/md)", "best (b/md)"}
    (tmp_path / "b/md").rename(tmp_path / "b/again")
    models = names(join([tmp_path / "a/md", tmp_path / "b/again"]))[0]
    assert models == {"best (md)", "best (again)"}


def test_the_files_of_a_model_are_in_the_report_by_its_name(tmp_path):
    models = {f"{name}-{k}": BAD for name in ("stock", "new") for k in (1, 2)}
    groups = {name: tuple(name.split("-")) for name in models}
    page = write_report(campaign(tmp_path / "c", models), tmp_path / "r", groups=groups)
    hashes = page.read_text().partition("content hash")[2].partition("</table>")[0]
    assert all(f"<td>{name}</td>" in hashes for name in models)


def test_how_long_one_may_wait_does_not_change_a_run(tmp_path):
    whole = campaign(tmp_path / "whole", {"a": BAD, "b": GOOD})
    copy = shutil.copytree(whole, tmp_path / "copy")
    plan = json.loads((copy / "campaign.json").read_text())
    for item in plan["runs"]:
        item["spec"]["walltime_s"] = 60.0
        del item["spec"]["criteria"]["extrapolation_grade"]  # of an older version
    write_json(copy / "campaign.json", plan)
    assert names(join([whole, copy]))[0] == {"a", "b"}
    assert len(stability.read([whole, copy])) == 16
