"""The published page is what the published tables say."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from benchmarks.study import summary, text, words
from benchmarks.study.analysis import Tables
from benchmarks.study.collect import RESULTS, read_table
from benchmarks.study.declared import read_study
from benchmarks.study.paired import Paired, pooled, spreads
from benchmarks.study.report import DOCS, write_report


def published(*folder: str) -> Tables:
    tables = [read_table(RESULTS.joinpath(*folder, f"{t}.csv")) for t in ("models", "runs")]
    return Tables.of("harsh", *tables)


@pytest.mark.slow
def test_the_page_is_made_from_the_tables(tmp_path: Path) -> None:
    shutil.copy(DOCS.parent / "README.md", tmp_path)
    page = write_report(Console(quiet=True), docs=tmp_path / "docs")
    assert (tmp_path / "README.md").read_text() == (DOCS.parent / "README.md").read_text()
    for name in ("results.md", "results_details.md"):
        assert page.with_name(name).read_text() == (DOCS / name).read_text()
    pictures = [{p.name for p in d.glob("results/*.png")} for d in (tmp_path / "docs", DOCS)]
    assert pictures[0] == pictures[1]


def test_a_rerun_counts_what_repeats() -> None:
    tables = published("rerun")
    stage = {"models": 24, "wall_s": 600.0, "workers": 2}
    said = text.rerun(tables, tables, [stage])
    assert "24 models in 10 min on 2 cores" in said
    assert "24 of 24 models" in said
    assert "288 of 288 runs" in said
    later = [{**r, "stable_time_ps": r["stable_time_ps"] / 2} for r in tables.runs[:3]]
    moved = replace(tables, runs=[*later, *tables.runs[3:]])
    assert "285 of 288 runs" in text.rerun(tables, moved, [stage])


def test_twins_are_told_only_of_models_that_agree() -> None:
    tables = published()
    assert "`ema` over `stock`" in text._twins(tables)
    worse = [
        {**m, "force_mae_test_id": 1.02 * m["force_mae_test_id"]} if m["condition"] == "ema" else m
        for m in tables.models
    ]
    assert text._twins(replace(tables, models=worse)) == ""


def test_survivors_are_held_against_the_reference() -> None:
    known = {"survived_force_mae_heldout": 1.25, "survived_energy_change_mae_heldout": 0.5}
    tables = published()
    models = [
        {**m, **(known if m["condition"] == "wall" else dict.fromkeys(known))}
        for m in tables.models
    ]
    said = text._survivors(replace(tables, models=models), "heldout", ["stock", "wall"])
    assert "`wall` (96 runs): force error 1.25 eV/A" in said and "0.5 eV/atom" in said
    assert "stock" not in said
    assert text._survivors(replace(tables, models=models), "heldout", ["stock"]) == ""


def test_a_second_round_is_held_against_the_first() -> None:
    study, tables = read_study(), published()
    shorter = [
        {**r, "regime": "again", "status": "failed", "cause": "contact"}
        | {"stable_time_ps": r["stable_time_ps"] / 4}
        for r in tables.runs
        if r["model"] in ("stock", "paper")
    ]
    models = [{**m, "force_mae_test_id": 2 * m["force_mae_test_id"]} for m in tables.models]
    again = Tables("again", models, shorter)
    said = text.second_round(tables, again, study)
    assert "RMST ratio 0.25 [" in said and "ID 2 [2, 2]" in said and "OOD 1 [1, 1]" in said
    assert "| `harsh` | `wall` | 8 | 10 | 96 of 96 |" in said
    assert said.index("`again` | `stock`") < said.index("`again` | `paper`")
    assert text.second_round(tables, Tables("again", [], []), study) == ""

    column = "survived_energy_change_mae_heldout"
    values = {"wall": 2.5, "stock": 0.25}
    first, second = (
        replace(t, models=[{**m, column: values.get(m["condition"])} for m in t.models])
        for t in (tables, again)
    )
    found = summary._second(study, [first, second])
    assert found is not None and found["ratio"].startswith("0.25 [")
    assert (found["alive"], found["runs"], found["off"]) == (0, 96, "0.25")
    assert found["force"] == "2 [2, 2]"
    assert summary._second(study, [first]) is None
    wall = summary._wall(first)
    assert wall is not None and (wall["alive"], wall["off"]) == (96, "2.5")


def test_a_second_reading_of_the_tables_finds_the_same_paired_ratios() -> None:
    """From the CSV alone, by pandas and SciPy."""
    runs = pd.read_csv(RESULTS / "runs.csv")
    runs = runs[(runs.half.str.endswith("heldout")) & (runs.status != "error")]
    logs = np.log(runs.stable_time_ps.clip(lower=1e-3))
    means = logs.groupby([runs.regime, runs.condition, runs.train_seed]).mean()
    tables = [read_table(RESULTS / f"{t}.csv") for t in ("models", "runs")]
    regimes = ("harsh", "mild", "nequip", "hfo2_many")
    readings = summary.readings([Tables.of(name, *tables) for name in regimes])
    assert list(readings) == list(regimes)
    differences = []
    for name, reading in [*readings.items(), ("all", pooled(list(readings.values())))]:
        if name != "all":
            differences.append((means[name, "paper"] - means[name, "stock"]).dropna())
        values = pd.concat(differences) if name == "all" else differences[-1]
        interval = stats.ttest_1samp(values, 0).confidence_interval()
        expected = np.exp([values.mean(), interval.low, interval.high])
        ratio = reading.ratio
        assert [ratio.value, ratio.low, ratio.high] == pytest.approx(expected)
    page = (DOCS / "results.md").read_text()
    assert f"**{words.interval(ratio)}** (32 pairs" in page


def test_paired_figures_of_known_differences() -> None:
    reading = Paired(np.log([2.0, 2.0, 2.0, 2.0, 2.5, 1.6]))
    assert reading.ratio.value == pytest.approx(2.0)
    assert reading.ratio.low > 1.7 and reading.detectable < 1.3
    assert reading.p_value == pytest.approx(2 / 2**6)  # all signs, or none
    assert Paired(np.log([2.0, 0.5, 1.5, 1 / 1.5])).p_value > 0.9


def test_spreads_are_found_again_in_drawn_times() -> None:
    rng = np.random.default_rng(0)
    seed, cell = rng.normal(0, np.log(3), 40), rng.normal(0, np.log(1.5), 30)
    runs = [
        {"model": "stock", "half": "heldout", "train_seed": s, "structure": str(c), "seed": v,
         "stable_time_ps": float(np.exp(seed[s] + cell[c] + rng.normal(0, np.log(2))))}
        for s in range(40) for c in range(30) for v in range(3)
    ]  # fmt: skip
    found = spreads(Tables("x", [], runs), "heldout", "stock")
    assert found["training seed"] == pytest.approx(np.exp(seed.std(ddof=1)), rel=0.05)
    assert found["cell"] == pytest.approx(np.exp(cell.std(ddof=1)), rel=0.05)
    assert found["velocities"] == pytest.approx(2, rel=0.05)
    assert found["both together"] < 1.15


@pytest.mark.parametrize("tie", [0.7165, 0.1175])
def test_the_last_bits_of_a_number_do_not_show(tie: float) -> None:
    near = [float(np.nextafter(tie, side)) for side in (0.0, 1.0)]
    assert len({words.number(value) for value in (tie, *near)}) == 1
