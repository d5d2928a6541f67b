"""The published page is what the published tables say."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.study import claims, text
from benchmarks.study.analysis import Tables
from benchmarks.study.collect import RESULTS, read_table
from benchmarks.study.declared import read_study
from benchmarks.study.report import DOCS, write_report


def published(*folder: str) -> Tables:
    tables = [read_table(RESULTS.joinpath(*folder, f"{t}.csv")) for t in ("models", "runs")]
    return Tables.of("harsh", *tables)


@pytest.mark.slow
def test_the_page_is_made_from_the_tables(tmp_path: Path) -> None:
    shutil.copy(DOCS.parent / "README.md", tmp_path)
    page = write_report(Console(quiet=True), docs=tmp_path / "docs")
    assert (tmp_path / "README.md").read_text() == (DOCS.parent / "README.md").read_text()
    assert page.read_text() == (DOCS / "results.md").read_text()
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
    line = claims._second_line(study, [first, second], second)
    assert "RMST ratio 0.25 [" in line and "0 of 96 runs survive" in line
    assert "seed, 0.25 (0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25);" in line
    assert "that of `wall` by 2.5 (2.5, " in line
    assert claims._second_line(study, [first, second], first) == ""
