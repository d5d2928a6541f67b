"""``labels:`` of a campaign, on copper: EMT is the truth, a Morse potential is soon wrong."""

import csv
import shutil

import ase.build
import ase.io
import pytest

from nequip_decorr import stability
from nequip_decorr.campaign import labels
from nequip_decorr.campaign.one_model import read_model
from nequip_decorr.campaign.times import LABELS, row_by_time, runs_by_time
from nequip_decorr.cli.main import main
from nequip_decorr.errors import UserError
from nequip_decorr.files import read_json, write_json

EMT = {"ase": {"calculator": "ase.calculators.emt.EMT"}}
SOFT = {
    "ase": {
        "calculator": "ase.calculators.morse.MorsePotential",
        "arguments": {"epsilon": 0.05, "r0": 2.6},
    }
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    copper = ase.build.bulk("Cu", cubic=True)
    copper.rattle(0.05, seed=0)
    ase.io.write(folder / "copper.xyz", copper)
    data = {
        "models": {"emt": EMT, "soft": SOFT},
        "structures": {"copper": str(folder / "copper.xyz")},
        "temperatures_K": [900],
        "replicas": 2,
        "length_ps": 0.06,
        "trajectory_every": 5,
        "out": str(folder / "md"),
    }
    stability.run(stability.load(data), workers=1)
    with pytest.raises(UserError, match="no run has a right time; it needs `labels:`"):
        runs_by_time(folder / "md", "right")
    campaign = stability.load(data | {"labels": "emt"})
    assert stability.run(campaign, workers=1).kept == 4
    return folder / "md", campaign


def test_the_truth_is_right_and_the_other_is_not(results):
    folder, _ = results
    rows = {(r["model"], r["seed"]): r for r in runs_by_time(folder, "right")}
    for seed in (1, 2):
        assert rows["emt", seed]["status"] == "survived"
        assert rows["emt", seed]["stable_time_ps"] == pytest.approx(0.06)
        assert (rows["soft", seed]["status"], rows["soft", seed]["cause"]) == (
            "failed",
            "not right",
        )
        assert rows["soft", seed]["stable_time_ps"] < 0.05
    stable = runs_by_time(folder)
    assert {r["status"] for r in stable} == {"survived"}


def test_times_are_stored_with_the_runs(results):
    folder, _ = results
    with (folder / "times.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert [r["trusted_time_ps"] for r in rows] == [""] * 4
    for row in rows:
        stored = read_json(folder / "runs" / row["run_id"] / LABELS)
        assert len(stored["frames"]["time_ps"]) == 13
        assert float(row["right_time_ps"]) == pytest.approx(stored["right_ps"] or 0.06)


def test_labels_are_made_once(results, monkeypatch):
    folder, campaign = results
    before = {p: p.stat().st_mtime_ns for p in folder.glob(f"runs/*/{LABELS}")}
    stability.run(campaign, workers=1)
    assert before == {p: p.stat().st_mtime_ns for p in folder.glob(f"runs/*/{LABELS}")}


def test_right_times_are_never_those_of_two_potentials(results, tmp_path, monkeypatch):
    folder, _ = results
    shutil.copytree(folder, tmp_path / "md")
    compare, seen = labels._compare, []

    def interrupted(atoms, model, truth):
        seen.append(model)
        if len(seen) > 20:
            raise KeyboardInterrupt
        return compare(atoms, model, truth)

    monkeypatch.setattr(labels, "_compare", interrupted)
    with pytest.raises(KeyboardInterrupt):
        labels.label_runs(tmp_path / "md", read_model(f"{SOFT}"))
    (row,) = runs_by_time(tmp_path / "md", "right")
    stored = read_json(tmp_path / "md" / "runs" / row["run_id"] / LABELS)
    (first,) = (r for r in runs_by_time(folder, "right") if r["run_id"] == row["run_id"])
    assert stored["identity"] != read_json(folder / "runs" / first["run_id"] / LABELS)["identity"]


def test_a_run_whose_labels_fail_is_counted_and_tried_again(results, tmp_path, monkeypatch):
    folder, campaign = results
    md = shutil.copytree(folder, tmp_path / "md")
    for path in md.glob(f"runs/*/{LABELS}"):
        path.unlink()
    compare, tried = labels._compare, []

    def fails(atoms, model, truth):
        tried.append(model)
        if model.model.name == "soft":
            raise RuntimeError("no convergence")
        return compare(atoms, model, truth)

    monkeypatch.setattr(labels, "_compare", fails)
    said = []
    assert labels.label_runs(md, campaign.labels, said.append) == 2
    assert [line.partition(": ")[2] for line in said] == [
        "no labels (RuntimeError: no convergence)"
    ] * 2
    assert {r["model"] for r in runs_by_time(md, "right")} == {"emt"}
    tried.clear()
    monkeypatch.setattr(labels, "_compare", compare)
    kept = {p: p.stat().st_mtime_ns for p in md.glob(f"runs/*/{LABELS}")}
    assert labels.label_runs(md, campaign.labels) == 0
    assert len(runs_by_time(md, "right")) == 4
    assert kept == {p: p.stat().st_mtime_ns for p in kept} and len(kept) == 2


def test_models_are_compared_by_their_right_time(results, capsys):
    folder, _ = results
    assert main(["stability", "compare", str(folder), "--time", "right"]) == 0
    assert "right time" in capsys.readouterr().out
    found = stability.compare(folder, "soft", "emt", time="right")
    assert found.difference_ps.value > 0 and found.time == "right"
    assert main(["stability", "compare", str(folder), "--time", "trusted"]) == 2
    assert "compiled with their extrapolation grade" in capsys.readouterr().err


def test_a_wrong_label_source_is_a_mistake_of_the_campaign(tmp_path):
    words = r"labels: got 'emmt'; allowed: one of emt \(did you mean 'emt'"
    with pytest.raises(UserError, match=words):
        stability.load({"models": {"emt": EMT}, "structures": "a.xyz", "temperatures_K": 1,
                        "labels": "emmt", "out": str(tmp_path)})  # fmt: skip


def test_the_report_shows_the_right_time_beside_the_stable_one(results, tmp_path):
    folder, _ = results
    page = stability.report(folder, out=tmp_path / "page")
    times = read_json(page.parent / "summary.json")["times"]
    assert set(times) == {"emt", "soft"} and set(times["soft"]) == {"right"}
    rows = [r["stable_time_ps"] for r in runs_by_time(folder, "right") if r["model"] == "soft"]
    assert times["soft"]["right"]["rmst_ps"] == pytest.approx(sum(rows) / len(rows))
    assert times["emt"]["right"]["rmst_ps"] == pytest.approx(0.06)
    assert "</b> right (" in page.read_text()


def test_a_run_that_is_wrong_at_its_last_frame_has_a_cause(tmp_path):
    write_json(tmp_path / LABELS, {"right_ps": 0.06})
    row = {"status": "survived", "cause": None, "stable_time_ps": 0.06}
    found = row_by_time(tmp_path, row, "right")
    assert (found["status"], found["cause"]) == ("failed", "not right")
    row = {"status": "failed", "cause": "contact", "stable_time_ps": 0.06}
    assert row_by_time(tmp_path, row, "right")["cause"] == "contact"
