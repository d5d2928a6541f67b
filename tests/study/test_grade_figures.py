"""The grade's figures on its page, read from the raw rows with pandas alone."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = " ".join((ROOT / "docs" / "extrapolation.md").read_text().split())
NUMBER = r"(-?[\d.]+) \[(-?[\d.]+), (-?[\d.]+)\]"
METHODS = ("grade", "committee", "nearest")


def interval(values):
    """Mean and Student's 95 % over the seeds."""
    half = student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return [np.mean(values), np.mean(values) - half, np.mean(values) + half]


@pytest.fixture(scope="module")
def rows():
    found = pd.read_csv(RESULTS / "grade_errors.csv")
    return found.set_index(["model", "set", "method", "seed"]).sort_index()


@pytest.mark.parametrize(
    ("words", "column"),
    [
        ("Spearman with the force error", "spearman"),
        ("AUROC, error above 0.25 eV/Å", "auroc_0.25"),
        ("AUROC, error above half the RMS force", "auroc_half_rms"),
    ],
)
def test_how_the_grade_orders_errors(rows, words, column):
    said = re.search(rf"\| {re.escape(words)} \| {NUMBER} \| {NUMBER} \| {NUMBER} \|", PAGE)
    found = np.array([float(x) for x in said.groups()]).reshape(3, 3)
    each = [rows.loc["stock", "all", method][column] for method in METHODS]
    assert {len(values) for values in each} == {8}
    np.testing.assert_allclose(found, [interval(values) for values in each], atol=0.00051)


def test_what_decorrelation_changes_in_it(rows):
    said = re.search(rf"Spearman {NUMBER}, AUROC at half the RMS force {NUMBER}\.", PAGE)
    found = np.array([float(x) for x in said.groups()]).reshape(2, 3)
    ours, stock = (rows.loc[model, "all", "grade"] for model in ("decorrelated", "stock"))
    expected = [interval(ours[c] - stock[c]) for c in ("spearman", "auroc_half_rms")]
    np.testing.assert_allclose(found, expected, atol=0.00051)


def test_halts_come_before_failure_and_before_the_energy_is_wrong():
    runs = pd.read_csv(RESULTS / "grade_early.csv")
    assert (runs["status"] == "failed").all() and len(runs) == 24
    assert (runs["grade_3_ps"] < runs["stable_ps"]).all()
    assert (runs["grade_3_ps"] < runs["energy_off_ps"]).all()
    assert "is wrong by 0.15 eV/atom in 24 of 24" in PAGE


def test_false_alarms():
    alarms = pd.read_csv(RESULTS / "grade_alarms.csv")
    said = re.search(
        rf"the share of atoms above 1 is {NUMBER} \(stated: 0.001\), the largest grade ([\d.]+)",
        PAGE,
    )
    found = [float(x) for x in said.groups()]
    assert found[:3] == pytest.approx(
        interval(alarms.groupby("seed")["share_above_1"].mean()), abs=6e-6
    )
    assert found[3] == pytest.approx(alarms["largest"].max(), abs=0.051)


def test_hafnium_oxide():
    found = pd.read_csv(RESULTS / "grade_hfo2.csv").query("set == 'all'").set_index("method")
    assert set(found["seed"]) == {1, 2, 3, 4}
    three = r"([\d.]+),? (?:AUROC )?([\d.]+) and ([\d.]+)"
    said = re.search(
        rf"vacancy sets\): Spearman {NUMBER}, AUROC ([\d.]+) and ([\d.]+); a committee {three}; "
        rf"the nearest training atom {three}, at (\w+) times the grade's cost",
        PAGE,
    )
    columns = ["spearman", "auroc_0.25", "auroc_half_rms"]
    each = {method: found.loc[method, columns].mean().tolist() for method in METHODS}
    grade = [*interval(found.loc["grade", "spearman"]), *each["grade"][1:]]
    expected = [*grade, *each["committee"], *each["nearest"]]
    assert [float(x) for x in said.groups()[:-1]] == pytest.approx(expected, abs=0.00051)
    cost = found.groupby("method")["extra_cost_of_forces"].first()
    assert said.groups()[-1] == "seven" and round(cost["nearest"] / cost["grade"]) == 7
