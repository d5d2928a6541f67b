from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from nequip_decorr import stability
from nequip_decorr.campaign.times import TIMES
from nequip_decorr.errors import UserError
from nequip_decorr.files import write_json
from nequip_decorr.md import structure
from nequip_decorr.md.dynamics import displacements, pooled
from nequip_decorr.md.times import ENERGY_BOUND, GRADE_BOUND
from nequip_decorr.report.analysis import analyse
from nequip_decorr.report.figures import pairs_figure, survival_figure
from nequip_decorr.report.figures_physics import trace_figure
from nequip_decorr.report.loading import load_runs, mean_displacements, structure_errors
from nequip_decorr.report.report import PICTURES, write_report
from nequip_decorr.report.right import wrong_sentences
from nequip_decorr.report.traces import trace_limits
from nequip_decorr.style import legend_names, model_styles, shorts
from tests.helpers.synthetic import LENGTH_PS, crystal, write_campaign

# A picture that can't be drawn as asked (a glyph, a layout) is a mistake of ours.
pytestmark = pytest.mark.filterwarnings("error::UserWarning", "error::RuntimeWarning")

TWO = {
    "stock": {"contact": 1.5, "temperature": 1.0, "energy": 0.3},
    "decorrelated": {"energy": 0.1},
}
SMALL = {"structures": ("quartz", "cristobalite"), "seeds": (1, 2), "trajectory": False}


class Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.headline, self.all, self._inside = "", "", False

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = dict(attrs).get("class") == "headline" or (
            self._inside and tag in ("b", "span")
        )

    def handle_endtag(self, tag):
        self._inside = self._inside and tag != "p"

    def handle_data(self, data):
        self.all += data
        self.headline += data if self._inside else ""


def read(page: Path) -> Text:
    parser = Text()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, Path]:
    """A campaign of everything, and its report."""
    folder = tmp_path_factory.mktemp("whole")
    campaign = write_campaign(
        folder / "campaign", {**TWO, "Tersoff": {}}, reference="Tersoff", errors=1, interrupted=1
    )
    return campaign, write_report([campaign], folder / "report")


def test_verdict_and_causes_come_first(whole):
    text = read(whole[1])
    assert re.search(r"decorrelated is stable [\d.]+ times longer than stock within", text.headline)
    top = text.all[: text.all.index("Stable time")]
    assert "permutation p = " in top and "95% interval" in top
    assert "overheated" in top and "atoms too close" in top
    assert "Tersoff (reference)" in top


def test_page_needs_nothing_from_outside(whole):
    text = read(whole[1])
    raw = whole[1].read_text(encoding="utf-8")
    assert "http://" not in raw and "https://" not in raw and "<script" not in raw
    assert all(a["src"].startswith("data:image/png;base64,") for t, a in text.tags if t == "img")
    assert not any(tag in ("link", "iframe", "object") for tag, _ in text.tags)
    assert str(whole[0].parent) not in raw


def test_every_part_is_there_and_what_was_left_out(whole):
    text = read(whole[1]).all
    for heading in (
        *("Stable time", "Causes of failure", "Runs by structure", "Time series", "All runs"),
        *("Structure while stable", "Dynamics while stable", "Excluded runs", "Limits"),
        *("Sensitivity to the thresholds", "Method and settings"),
    ):
        assert heading in text
    assert "1 run ended in an error" in text and "the engine crashed" in text
    assert "Cut short and counted up to that point: 1 of" in text
    assert "nose-hoover" in text and "timestep fs" in text and "numpy" in text
    assert "runs stop where they fail" in text


def test_files_beside_the_page(whole):
    folder = whole[1].parent
    names = {path.stem for path in folder.glob("*.png")}
    assert names == {
        *("survival", "rmst", "causes", "pairs", "traces", "structure", "rdf", "adf"),
        *("displacement", "sweep"),
    }
    rows = list(csv.DictReader((folder / "runs.csv").open()))
    assert len(rows) == 36
    assert rows[0]["run_id"].startswith("run-")
    assert sum(row["status"] == "error" for row in rows) == 1
    data = json.loads((folder / "summary.json").read_text())
    assert data["survival"]["comparisons"][0]["model_b"] == "decorrelated"
    assert data["survival"]["horizon_ps"] == pytest.approx(LENGTH_PS)
    assert {entry["kind"] for entry in data["structure"]} == {"rdf", "adf"}
    assert {point["criterion"] for point in data["sweep"]} == {
        *("temperature", "contact", "energy", "force")
    }
    assert data["settings"]["criteria.temperature_factor"] == [3.0]


def test_same_runs_give_the_same_bytes(whole, tmp_path):
    again = write_report([whole[0]], tmp_path).parent
    for path in sorted(whole[1].parent.iterdir()):
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize(
    "name",
    ["<b>&bold</b>", "_hidden", "$x^2$ \\frac", "a" * 200, "two\nlines\x00\u202e", "Ünï ∂", "\"'>"],
)
def test_odd_model_names_show_as_they_are(tmp_path, name):
    campaign = write_campaign(tmp_path / "c", {"stock": TWO["stock"], name: {}}, **SMALL)
    text = read(write_report(campaign, tmp_path / "r"))
    shown = re.sub("\u202e", "", name.replace("\x00", "�"))
    assert shown in text.headline
    assert not any(tag == "b" and "bold" in attrs for tag, attrs in text.tags)


def test_one_model_alone_and_a_model_that_never_ran(tmp_path):
    alone = write_campaign(tmp_path / "a", {"stock": TWO["stock"]}, **SMALL)
    text = read(write_report(alone, tmp_path / "ra"))
    assert re.search(r"stock is stable for [\d.]+ ps on average within", text.headline)
    silent = write_campaign(tmp_path / "s", {"stock": TWO["stock"]}, **SMALL, errors=4)
    with pytest.raises(ValueError, match="none is evidence"):
        write_report(silent, tmp_path / "rs")


def test_all_stable_and_all_dead_at_once(tmp_path):
    extremes = {"rock": {}, "dust": {"nonfinite": 1e5}}
    campaign = write_campaign(tmp_path / "c", extremes, **SMALL)
    page = write_report(campaign, tmp_path / "r")
    assert "not a number" in read(page).all
    same = write_campaign(tmp_path / "s", {"rock": {}, "stone": {}}, **SMALL)
    text = read(write_report(same, tmp_path / "rs"))
    assert text.headline == "No difference shown between rock and stone." or (
        text.headline == "No difference shown between stone and rock."
    )
    assert "failed within 5 ps in 4 pairs over 2 structures." in text.all
    assert "p = 1" not in text.all and "smallest possible p" not in text.all


def test_where_no_run_failed_the_interval_is_a_bound(tmp_path):
    same = write_campaign(tmp_path / "s", {"rock": {}}, **SMALL)
    text = read(write_report(same, tmp_path / "rs"))
    assert re.fullmatch(
        r"No run of rock failed within [\d.]+ ps "
        r"\(on other structures like these at least [\d.]+ ps, 95% bound\)\.",
        text.headline,
    )
    assert "95% interval" not in text.all[: text.all.index("Stable time")]


def test_warnings_of_the_check_stand_beside_the_failures(tmp_path):
    campaign = write_campaign(tmp_path / "c", TWO, **SMALL)
    plan = json.loads((campaign / "campaign.json").read_text())
    warning = {"message": "a step of 5 fs with <hydrogen>", "severity": "warning"}
    plan["findings"] = [warning | {"remedy": "use 0.5 fs"}, warning | {"remedy": ""}]
    (campaign / "campaign.json").write_text(json.dumps(plan))
    page = write_report(campaign, tmp_path / "r")
    text = read(page).all
    causes = text[text.index("Causes of failure") : text.index("Runs by structure")]
    assert "a step of 5 fs with <hydrogen>; use 0.5 fs" in causes
    assert json.loads((page.parent / "summary.json").read_text())["findings"][1].endswith(">")


def test_many_models_are_compared_two_by_two(tmp_path):
    hazards = {f"model {k}": {"contact": 0.2 * k} for k in range(5)}
    campaign = write_campaign(tmp_path / "c", hazards, **SMALL)
    page = write_report(campaign, tmp_path / "r")
    assert "All pairs of models" in read(page).all
    data = json.loads((page.parent / "summary.json").read_text())
    assert len(data["survival"]["comparisons"]) == 10


@pytest.mark.parametrize(("number", "bands", "bars"), [(1, 1, 0), (2, 0, 2), (3, 0, 3)])
def test_intervals_of_many_models_do_not_cover_each_other(tmp_path, number, bands, bars):
    models = dict.fromkeys("abc"[:number], TWO["stock"])
    campaign = write_campaign(tmp_path / "c", models, **SMALL)
    ax = survival_figure(analyse([campaign]).summary).axes[0]
    kinds = [type(one).__name__ for one in ax.collections]
    assert sum("Poly" in kind for kind in kinds) == bands
    assert kinds.count("LineCollection") == bars


def test_drift_is_reported_in_nve(tmp_path):
    campaign = write_campaign(tmp_path / "c", TWO, **SMALL, ensemble="nve")
    page = write_report(campaign, tmp_path / "r")
    assert "Energy drift" in read(page).all
    data = json.loads((page.parent / "summary.json").read_text())
    rates = [d["rate_eV_per_atom_ps"] for d in data["drift"]["decorrelated"]]
    assert np.median(rates) == pytest.approx(1e-4, rel=0.3)
    assert "drift" in {point["criterion"] for point in data["sweep"]}


def test_the_grade_is_a_cause_a_trace_and_a_column(tmp_path):
    hazards = {"stock": {"extrapolation": 0.6}, "decorrelated": {}}
    campaign = write_campaign(tmp_path / "c", hazards, **SMALL, graded=True)
    found = analyse([campaign])
    assert trace_limits(found.specs)["extrapolation"] == (3.0,)
    assert all(trace.values["extrapolation"].max() > 0.8 for trace in found.traces)
    points = {p.scale: p for p in found.sweep if p.criterion == "extrapolation"
              if p.model == "stock"}  # fmt: skip
    assert points[0.5].rmst_low_ps < points[1.0].rmst_low_ps == points[1.0].rmst_high_ps
    page = write_report(campaign, tmp_path / "r")
    text = read(page).all
    assert "beyond the training data" in text and "largest grade" in text
    with (page.parent / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["cause"] for row in rows} == {"extrapolation", ""}
    failed = [float(row["max_grade"]) for row in rows if row["cause"]]
    assert failed and min(failed) > 3.0
    trusted = [(float(row["trusted_ps"]), float(row["stable_time_ps"])) for row in rows]
    assert all(0 <= ours <= stable for ours, stable in trusted) and any(t for t, _ in trusted)


def test_the_edge_of_the_training_data_is_no_bound(tmp_path):
    campaign = write_campaign(tmp_path / "c", {"stock": {}}, **SMALL, graded=True)
    found = analyse([campaign])
    fig = trace_figure(found.traces, ["stock"], trace_limits(found.specs))
    names = {text.get_text() for text in fig.legends[0].get_texts()}
    assert {"bound", "edge of the training data"} <= names
    lines = {tuple(set(line.get_ydata())): line.get_linestyle() for line in fig.axes[-1].lines
             if len(set(line.get_ydata())) == 1}  # fmt: skip
    assert lines == {(1.0,): ":", (3.0,): "--"}
    fig = trace_figure([replace(trace, values={"energy": trace.values["energy"]})
                        for trace in found.traces], ["stock"], {})  # fmt: skip
    assert "edge of the training data" not in {t.get_text() for t in fig.legends[0].get_texts()}


def test_a_displacement_that_does_not_grow_is_flat():
    rng = np.random.default_rng(0)
    frames = [Atoms("Si2", positions=rng.normal(scale=0.1, size=(2, 3))) for _ in range(200)]
    (found,) = displacements(frames, 0.01)
    assert found.verdict == "no linear regime (MSD is flat)"


def test_an_interval_does_not_break_across_lines(tmp_path):
    campaign = write_campaign(tmp_path / "c", {"stock": TWO["stock"]}, **SMALL)
    raw = write_report(campaign, tmp_path / "r").read_text()
    assert re.search(r'95% interval <span class="whole">(&lt; )?[\d.]+ to [\d.]+ ps</span>', raw)
    assert ".whole{white-space:nowrap}" in raw


def test_a_legend_marks_the_reference_once():
    for name, shown in (("Tersoff", "Tersoff (reference)"), ("reference", "reference")):
        looks = model_styles(["stock", name], name)
        assert list(legend_names(looks).values()) == ["stock", shown]


def write_labels(
    folder: Path, right_ps: float | None, error: float = 1.0, source: str = "dft"
) -> None:
    """Labels of a run, every 0.25 ps to 1 ps, with that force error (root mean square 2)."""
    time_ps = [0.0, 0.25, 0.5, 0.75, 1.0]
    frames = {
        "time_ps": time_ps,
        "force_mae_eV_per_A": [error for _ in time_ps],
        "force_rms_eV_per_A": [2.0 for _ in time_ps],
    }
    labels = {"identity": ["", source], "right_ps": right_ps, "frames": frames}
    write_json(folder / "labels.json", labels)


def of_model(campaign: Path, model: str) -> list[Path]:
    """Folders of the runs of a model."""
    plan = json.loads((campaign / "campaign.json").read_text())
    specs = (entry["spec"] for entry in plan["runs"])
    return [campaign / "runs" / s["run_id"] for s in specs if s["model"]["name"] == model]


def test_survivors_that_were_wrong_are_counted(tmp_path):
    campaign = write_campaign(tmp_path / "c", {"stock": {}}, **SMALL)
    right = dict(zip(sorted((campaign / "runs").iterdir()), (None, 0.25, None, 0.5), strict=True))
    for folder, right_ps in right.items():
        write_labels(folder, right_ps)
    page = write_report(campaign, tmp_path / "r")
    text = read(page).all
    assert "of 4 runs with labels that survived, 2 were wrong before the end" in text
    assert "Of 4 runs of stock with labels, 2 became wrong before their end, by 0.5 ps" in text
    with (page.parent / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {row["run_id"].split("/")[-1]: float(row["right_ps"]) for row in rows}
    assert found == {folder.name: right_ps or LENGTH_PS for folder, right_ps in right.items()}
    figure = pairs_figure((report := analyse([campaign])).summary, report.rows)
    bars = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "|"]
    assert sorted(bars) == [0.25, 0.5, LENGTH_PS, LENGTH_PS]


@pytest.mark.parametrize("reference", ["truth", None])
def test_the_model_that_gives_the_labels_is_not_judged_by_them(tmp_path, reference):
    models = {"stock": {}, "other": {}, "truth": {}}
    campaign = write_campaign(tmp_path / "c", models, **SMALL, reference=reference)
    for name in models:
        for folder in of_model(campaign, name):
            write_labels(folder, None if name == "truth" else 0.25, 1e-7 if name == "truth" else 1)
    text = read(write_report(campaign, tmp_path / "r")).all
    assert re.search(r"All 8 runs of \w+ and \w+ with labels were wrong by 0.25 ps\.", text)
    assert "of 8 runs with labels that survived, 8 were wrong" in text


def test_runs_that_were_right_to_their_end_need_no_warning():
    row = {"model": "a", "status": "survived", "stable_time_ps": 2.0, "right_ps": 2.0}
    assert wrong_sentences([row], []) == []
    text = " ".join(wrong_sentences([row | {"right_ps": 1.0}], []))
    assert "The only run of a with labels was wrong by 1 ps." in text
    assert "the only run with labels that survived was wrong" in text


def test_the_page_says_what_trusted_and_right_mean(tmp_path):
    campaign = write_campaign(tmp_path / "c", {"stock": {}, "truth": {}}, **SMALL, graded=True)
    for name in ("stock", "truth"):
        for folder in of_model(campaign, name):
            write_labels(folder, 0.5, 1e-7 if name == "truth" else 1.0)
    text = read(write_report(campaign, tmp_path / "r")).all
    assert f"an atom is above {GRADE_BOUND:g} or more than 50% of the atoms are above 1" in text
    assert f"off by more than {ENERGY_BOUND:g} eV/atom" in text
    assert "exceeds 50% of the root mean square force. The labels come from truth;" in text
    assert "the spacing of the labelled frames, 0.25 ps." in text
    plain = write_campaign(tmp_path / "p", {"stock": {}}, **SMALL)
    assert "neither trusted nor right" not in read(write_report(plain, tmp_path / "rp")).all


def test_two_models_are_compared_by_each_time_that_both_have(tmp_path):
    hazards = {"stock": {"contact": 0.6}, "decorrelated": {}, "truth": {}}
    made = SMALL | {"graded": True, "reference": "truth"}
    campaign = write_campaign(tmp_path / "c", hazards, **made)
    for number, folder in enumerate(of_model(campaign, "stock")):
        write_labels(folder, 0.25 * (number + 1))
    assert [c.time for c in analyse([campaign]).comparisons] == ["stable", "trusted"]
    for folder in of_model(campaign, "decorrelated"):
        write_labels(folder, 1.25)
    page = write_report(campaign, tmp_path / "r")
    found = json.loads((page.parent / "summary.json").read_text())
    assert [c["time"] for c in found["comparisons"]] == ["trusted", "right"]
    (ours,) = [c for c in found["comparisons"] if c["time"] == "right"]
    models = ours["model_a"], ours["model_b"]
    horizon_ps = found["survival"]["horizon_ps"]
    theirs = stability.compare(campaign, *models, horizon_ps=horizon_ps, time="right").to_dict()
    assert theirs["permutation"]["p_value"] == ours["permutation"]["p_value"] < 1
    assert theirs["ratio"] == ours["ratio"]
    table = page.read_text().partition("Comparison by time")[2].partition("</table>")[0]
    assert re.findall(r"<td>(stable|trusted|right)</td>", table) == list(TIMES)


def test_several_campaigns_and_a_horizon(tmp_path):
    one = write_campaign(tmp_path / "one", TWO, name="one", **SMALL)
    two = write_campaign(tmp_path / "two", TWO, name="two", **SMALL, check_every=10)
    page = write_report([one, two], tmp_path / "r", horizon_ps=2.0)
    text = read(page).all
    assert "one + two" in text and "stock (one)" in text and "decorrelated (two)" in text
    assert (
        "ran from the same starts with different settings in these campaigns: stock (one)" in text
    )
    assert "Runs differ in: check_every" in text
    assert "every 1, 10 steps" in text
    data = json.loads((page.parent / "summary.json").read_text())
    assert data["survival"]["horizon_ps"] == 2.0


def test_reference_tables_are_read_and_tilted_cells_are_said(tmp_path):
    tables = {}
    for name in ("quartz", "tilted"):
        path = tmp_path / f"{name}.csv"
        structure.radial_distribution([crystal(name)]).write_csv(path)
        tables[name] = {"rdf": str(path)}
    made = {"structures": ("quartz", "tilted"), "seeds": (1,), "reference": tables}
    campaign = write_campaign(tmp_path / "c", {"stock": {}}, **made)
    page = write_report(campaign, tmp_path / "r")
    data = json.loads((page.parent / "summary.json").read_text())
    images = {entry["structure"]: entry["images"] for entry in data["structure"]}
    assert images == {"quartz": "cell", "tilted": "box"}
    assert data["structure"][0]["window_ps"] == pytest.approx([2.5, 4.9])
    assert "in the benchmark's own way" in read(page).all


def test_labels_of_two_potentials_are_not_compared(tmp_path):
    folders = [write_campaign(tmp_path / name, {name: TWO["stock"]}, name=name, **SMALL)
               for name in ("one", "two", "three")]  # fmt: skip
    for folder, source in zip(folders, ("dft", "other", "dft"), strict=True):
        for run in (folder / "runs").iterdir():
            write_labels(run, 0.25, source=source)
    with pytest.raises(UserError, match="times of one and two come from labels of 2 potentials"):
        stability.compare(folders, "one", "two", time="right")
    assert stability.compare(folders, "one", "three", time="right").n_pairs == 4
    page = write_report(folders, tmp_path / "r")
    data = json.loads((page.parent / "summary.json").read_text())
    assert "come from several potentials" in data["renamed"][0]
    pairs = {(c["model_a"], c["model_b"]) for c in data["comparisons"] if c["time"] == "right"}
    assert pairs in ({("one", "three")}, {("three", "one")})


def test_runs_are_held_against_the_tables_of_their_own_campaign(tmp_path):
    """Of one structure, at two temperatures, with a table for each; and two for one condition."""
    folders = []
    for number, (name, temperature_K) in enumerate(
        (("cold", 300.0), ("hot", 900.0), ("clash", 900.0))
    ):
        table = tmp_path / f"{name}.csv"
        strained = crystal("quartz")
        strained.set_cell(strained.cell * (1 + 0.05 * number), scale_atoms=True)
        structure.radial_distribution([strained]).write_csv(table)
        made = {"structures": ("quartz",), "seeds": (number,), "temperatures_K": (temperature_K,)}
        reference = {"quartz": {"rdf": str(table)}}
        folders.append(
            write_campaign(tmp_path / name, {"m": {}}, name=name, reference=reference, **made)
        )

    def errors(*chosen):
        found = analyse(chosen)
        return {e.key[2]: e.errors["average"] for e in found.structure}, found.structure_missing

    alone = {**errors(folders[0])[0], **errors(folders[1])[0]}
    assert errors(*folders[:2]) == errors(*folders[1::-1]) == (alone, [])
    assert abs(alone[300.0] / alone[900.0] - 1) > 0.05
    found, missing = errors(*folders)
    assert found == {300.0: alone[300.0]}
    assert "RDF of m in quartz at 900 K: the campaigns name different tables" in missing[0]


def test_displacements_of_runs_with_other_distances_of_frames_are_not_pooled():
    def run(every, seed):
        rng = np.random.default_rng(seed)
        frames, atoms = [], crystal("quartz")
        for step in range(0, 400, every):
            atoms.positions += rng.normal(scale=0.05 * every**0.5, size=atoms.positions.shape)
            frames.append(atoms.copy())
            frames[-1].info["time_ps"] = step / 100
        return frames

    key = ("m", "quartz", 300.0)
    runs = [run(1, 1), run(1, 2), run(10, 3)]
    expected = mean_displacements({key: runs[:2]})[0][key]
    found, left_out = mean_displacements({key: runs})
    assert [d.msd_A2.tolist() for d in found[key]] == [d.msd_A2.tolist() for d in expected]
    assert left_out == [
        "MSD of m in quartz at 300 K: without 1 of 3 runs, whose frames are 0.1 and not 0.01 ps "
        "apart"
    ]
    with pytest.raises(ValueError, match="cannot be pooled"):
        pooled([displacements(runs[0], 0.01), displacements(runs[2], 0.1)])


def noisy_run(last_ps: float) -> list[Atoms]:
    """Frames every 0.1 ps."""
    rng = np.random.default_rng(0)
    frames = []
    for time_ps in np.arange(0, last_ps + 1e-9, 0.1):
        frame = crystal("quartz")
        frame.positions += rng.normal(scale=0.1, size=frame.positions.shape)
        frame.info["time_ps"] = float(time_ps)
        frames.append(frame)
    return frames


def test_structure_is_compared_over_what_was_stable():
    keys = [(model, "quartz", 300.0) for model in ("truth", "short", "none")]
    frames = dict(
        zip(
            keys,
            ([noisy_run(5.0)], [noisy_run(0.8), noisy_run(0.4)], [noisy_run(0.0)]),
            strict=True,
        )
    )
    errors, missing = structure_errors(frames, dict.fromkeys(keys, 5.0), "truth")
    assert [e.key[0] for e in errors] == ["short", "short"]
    assert errors[0].window_ps == pytest.approx((0.4, 0.8))
    assert errors[0].got.frames == 6 and errors[0].runs == 2 and errors[0].got.too_few
    assert errors[0].reference.frames == 5
    assert len(missing) == 2 and "RDF of none in quartz at 300 K: it has no" in missing[0]


def test_models_are_compared_with_the_reference_over_one_window():
    keys = [(model, "quartz", 300.0) for model in ("truth", "long", "short", "dead")]
    lasting = ([noisy_run(t)] for t in (5.0, 5.0, 1.0, 0.2))
    frames = dict(zip(keys, lasting, strict=True))
    errors, missing = structure_errors(frames, dict.fromkeys(keys, 5.0), "truth")
    assert {e.key[0] for e in errors} == {"long", "short"}
    for e in errors:
        assert e.window_ps == pytest.approx((0.5, 1.0))
    assert len(missing) == 2 and all("dead" in text for text in missing)
    del frames["long", "quartz", 300.0], frames["short", "quartz", 300.0]
    errors, _ = structure_errors(frames, dict.fromkeys(keys, 5.0), "truth")
    assert errors[0].window_ps == pytest.approx((0.1, 0.2))


def test_groups_compare_methods_trained_several_times(tmp_path):
    hazards = {f"{m}-{k}": TWO[m] for m in ("stock", "decorrelated") for k in (1, 2, 3)}
    campaign = write_campaign(tmp_path / "c", hazards, **SMALL)
    groups = {name: tuple(name.split("-")) for name in hazards}
    page = write_report(campaign, tmp_path / "r", groups=groups)
    data = json.loads((page.parent / "summary.json").read_text())
    (only,) = data["survival"]["comparisons"]
    assert only["clusters"] == {"structure": 2, "train_seed": 3}
    rows = list(csv.DictReader((page.parent / "runs.csv").open()))
    assert {row["train_seed"] for row in rows} == {"1", "2", "3"}
    with pytest.raises(ValueError, match="no model \\['x'\\]"):
        write_report(campaign, tmp_path / "r", groups={"x": ("y", "1")})


def test_lost_records_do_not_stop_a_report(tmp_path):
    campaign = write_campaign(tmp_path / "c", TWO, **SMALL)
    for thermo in campaign.glob("runs/*/thermo.csv"):
        thermo.write_text(thermo.read_text()[:0])
    rows = [run.row for run in load_runs([campaign])[0]]
    assert {row["status"] for row in rows} == {"error"}
    for path in campaign.glob("runs/*/manifest.json"):
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps({**manifest, "files": {}}))
    page = write_report(campaign, tmp_path / "r")
    assert "Time series" not in read(page).all


def test_pictures_of_an_earlier_report_go_and_other_files_stay(tmp_path):
    out = tmp_path / "r"
    write_report(write_campaign(tmp_path / "a", TWO, structures=("quartz",), seeds=(1, 2)), out)
    (out / "mine.png").write_bytes(b"")
    assert {"causes", "displacement", "mine"} < {path.stem for path in out.glob("*.png")}
    write_report(write_campaign(tmp_path / "b", {"stock": {}}, **SMALL), out)
    left = {path.stem for path in out.glob("*.png")}
    assert "mine" in left and not {"causes", "displacement"} & left


def test_every_picture_has_a_known_name(whole):
    names = {path.stem for path in whole[1].parent.glob("*.png")}
    assert names == set(PICTURES.split("|"))


def test_misuse_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one campaign folder"):
        write_report([], tmp_path)
    with pytest.raises(ValueError, match="no campaign here"):
        write_report(tmp_path, tmp_path / "r")
    campaign = write_campaign(tmp_path / "c", TWO, **SMALL)
    with pytest.raises(ValueError, match="given twice"):
        write_report([campaign, campaign], tmp_path / "r")


def test_short_names_stay_apart():
    long = ["x" * 50 + "a" + "y" * 50, "x" * 50 + "b" + "y" * 50]
    names = shorts(long, 20)
    assert len(set(names.values())) == 2
    assert all(len(name) <= 21 for name in names.values())
