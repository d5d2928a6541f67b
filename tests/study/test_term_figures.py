"""The term's figures on the pages, read from the raw rows with pandas alone."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

ROOT = Path(__file__).parents[2]
FILE = ROOT / "benchmarks" / "results" / "correlation_and_accuracy.csv"
ROWS = pd.read_csv(FILE).set_index(["model", "test_set", "seed"]).sort_index()
CORRELATION, FORCE = "mean_correlation", "force_mae_eV_per_A"


def ratio(model, base, test_set, column):
    """Mean and ends of the ratio over the seeds."""
    logs = np.log(ROWS.loc[model, test_set][column] / ROWS.loc[base, test_set][column])
    assert len(logs) == 8
    half = student.ppf(0.975, 7) * logs.std(ddof=1) / 8**0.5
    return np.exp([logs.mean(), logs.mean() - half, logs.mean() + half])


@pytest.mark.parametrize(
    ("words", "test_set", "column"),
    [
        ("mean absolute correlation, SiO2 300 K", "test_id", CORRELATION),
        ("force MAE, SiO2 300 K, in distribution", "test_id", FORCE),
        ("force MAE, SiO2 2500 K", "test_hot", FORCE),
        ("force MAE, SiO1.55 1000 K", "test_siox1.55", FORCE),
        ("force MAE, SiO1.1 1000 K", "test_siox1.1", FORCE),
    ],
)
def test_what_the_term_changes(words, test_set, column):
    text = (ROOT / "docs" / "demo.md").read_text()
    said = re.search(rf"{re.escape(words)} \| ([\d.]+) \[([\d.]+), ([\d.]+)\]", text)
    found = [float(x) for x in said.groups()]
    assert found == pytest.approx(ratio("decorrelated", "stock", test_set, column), abs=0.0051)


def test_every_second_step_trains_alike():
    text = " ".join((ROOT / "docs" / "training.md").read_text().split())
    said = re.search(
        r"correlation is ([\d.]+) \[([\d.]+), ([\d.]+)\] times and force errors are ([\d.]+) "
        r"\[([\d.]+), ([\d.]+)\] times on the test set in distribution, and no further off",
        text,
    )
    found = np.array([float(x) for x in said.groups()]).reshape(2, 3)
    second = ("every_second_step", "decorrelated")
    expected = [ratio(*second, "test_id", column) for column in (CORRELATION, FORCE)]
    np.testing.assert_allclose(found, expected, atol=0.00051)
    others = [
        ratio(*second, test_set, column)
        for test_set in ("test_hot", "test_siox1.55", "test_siox1.1")
        for column in (CORRELATION, FORCE)
    ]
    assert np.abs(np.array(others) - 1).max() < 0.0016
