"""The cure's figures on the front pages, read from the raw rows with pandas alone."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

ROOT = Path(__file__).parents[2]
RUNS = pd.read_csv(ROOT / "benchmarks" / "results" / "cure_runs.csv")
MODELS = pd.read_csv(ROOT / "benchmarks" / "results" / "cure_models.csv")
LONG = pd.read_csv(ROOT / "benchmarks" / "results" / "cure_long.csv")
LONGER = "near, 2 rounds, term, longer"
SEEDS = {"reference": 8, "rattled": 8}
ERROR = "force_mae_test_id_eV_per_A"


def text(name):
    return " ".join((ROOT / name).read_text().split())


def per_seed(arm):
    return RUNS[RUNS["arm"] == arm].groupby("seed")["right_ps"].mean()


def half(values):
    return student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5


@pytest.mark.parametrize("page", ["docs/cure.md", "docs/cure_measured.md"])
def test_right_time_of_three_rounds(page):
    right, first = per_seed("near, 3 rounds"), per_seed("baseline")
    said = re.search(r"right for ([\d.]+) \[([\d.]+), ([\d.]+)\] of 6 ps", text(page))
    expected = [right.mean(), right.mean() - half(right), right.mean() + half(right)]
    assert [float(x) for x in said.groups()] == pytest.approx(expected, abs=0.051)
    if page == "docs/cure.md":
        said = re.search(r"of 6 ps, instead of ([\d.]+) ps", text(page))
        assert float(said[1]) == pytest.approx(first.mean(), abs=0.006)


@pytest.mark.parametrize("page", ["docs/cure.md", "README.md"])
def test_two_rounds_and_a_longer_training(page):
    rows = LONG[LONG["horizon_ps"] == 10]
    ours, first = (rows[rows["arm"] == arm] for arm in (LONGER, "baseline"))
    right = ours.groupby("seed")["right_ps"].mean()
    assert len(right) == 8
    expected = [right.mean(), first["right_ps"].mean()]
    if page == "README.md":
        said = re.search(
            r"With 15 labels, MD is right for ([\d.]+) of 10 ps \(before: ([\d.]+)", text(page)
        )
    else:
        said = re.search(
            r"right for ([\d.]+) \[([\d.]+), ([\d.]+)\] of 10 ps\*\*, instead of ([\d.]+)",
            text(page),
        )
        expected[1:1] = [right.mean() - half(right), right.mean() + half(right)]
    assert [float(x) for x in said.groups()] == pytest.approx(expected, abs=0.051)
    alive = (ours["status"] == "survived").sum(), len(ours)
    assert f"{alive[0]} of {alive[1]} runs survive" in text(page)
    assert ours["labels"].mean() == pytest.approx(15, abs=0.5)
    errors = [rows.groupby("seed")[ERROR].mean() for rows in (ours, first)]
    logs = np.log(errors[0] / errors[1])
    assert np.exp(logs.mean()) == pytest.approx(1.2, abs=0.051)


def test_what_one_round_and_random_labels_reach():
    said = re.search(
        r"One round of 6 labels is not enough: ([\d.]+) ps. - As many frames at random reach "
        r"([\d.]+) ps in three rounds, and more than ours \(([\d.]+) ps\) in one",
        text("docs/cure.md"),
    )
    arms = ("near", "near, random, 3 rounds", "near, random")
    expected = [per_seed(arm).mean() for arm in arms]
    assert [float(x) for x in said.groups()] == pytest.approx(expected, abs=0.051)


def test_the_price_in_distribution():
    error = MODELS.set_index(["arm", "seed"])[ERROR]
    logs = np.log(error["near, 3 rounds"] / error["baseline"]).dropna()
    assert len(logs) == 4
    said = re.search(r"in distribution are ([\d.]+) \[([\d.]+), ([\d.]+)\]", text("docs/cure.md"))
    expected = np.exp([logs.mean(), logs.mean() - half(logs), logs.mean() + half(logs)])
    assert [float(x) for x in said.groups()] == pytest.approx(expected, abs=0.051)


def test_a_hundred_picoseconds():
    rows, page = LONG[LONG["horizon_ps"] == 100], text("docs/cure_measured.md")
    first = LONG[(LONG["horizon_ps"] == 10) & (LONG["arm"] == "baseline")]
    right = rows.groupby("seed")["right_ps"].mean()
    ratios = right / first.groupby("seed")["right_ps"].mean().loc[right.index]
    logs = np.log(ratios)
    ends = np.exp([logs.mean(), logs.mean() - half(logs), logs.mean() + half(logs)])
    words = r"right for (\d+) of 100 ps \((\d+), (\d+) and (\d+)\), (\d+) \[(\d+), (\d+)\] times"
    said = [float(x) for x in re.search(words, page).groups()]
    assert said == pytest.approx([right.mean(), *right, *ends], abs=0.51)
    assert (ratios > 333).all() and "more than 333 times in each of the three" in page
    alive, whole = (rows["status"] == "survived").sum(), (rows["right_ps"] >= 100).sum()
    assert f"{alive} of {len(rows)} runs survive; {whole} of {len(rows)} are right" in page
    late = rows["right_ps"][rows["right_ps"] < 100]
    assert f"({late.min():.0f} to {late.max():.0f} ps)" in page
    wrong = rows[(rows["right_ps"] < 100) & (rows["status"] == "survived")]
    assert len(wrong) == 7 and (wrong["trusted_ps"] == 100).all()
    assert "the seven of them that survive are trusted for all 100 ps" in page


def test_labels_as_careful_users_choose_them_today():
    rows, page = LONG[LONG["horizon_ps"] == 10], text("docs/cure_measured.md")
    ours = rows[rows["arm"] == LONGER]

    def ratio(column, arm):
        mine, base = (r.groupby("seed")[column].mean() for r in (rows[rows["arm"] == arm], ours))
        logs = np.log(mine / base).dropna()
        assert len(logs) == SEEDS[arm]
        return np.exp([logs.mean(), logs.mean() - half(logs), logs.mean() + half(logs)])

    for arm in SEEDS:
        mine = rows[rows["arm"] == arm]
        words = (
            rf"`{arm}` \(.*?\): right for ([\d.]+) of 10 ps, ([\d.]+) \[([\d.]+), ([\d.]+)\] times"
        )
        said = [float(x) for x in re.search(words, page).groups()]
        assert said == pytest.approx([mine["right_ps"].mean(), *ratio("right_ps", arm)], abs=0.051)
        alive = (mine["status"] == "survived").sum()
        assert f"{alive} of {len(mine)} runs survive" in page
    words = (
        r"its force errors are lower than with ours: ([\d.]+) \[([\d.]+), ([\d.]+)\] times in dist"
    )
    said = [float(x) for x in re.search(words, page).groups()]
    assert said == pytest.approx(ratio(ERROR, "reference"), abs=0.0051)
    poor = "force_mae_test_siox1.1_eV_per_A"
    words = r"and ([\d.]+) \[([\d.]+), ([\d.]+)\] times on SiO1.1"
    said = [float(x) for x in re.search(words, page).groups()]
    assert said == pytest.approx(ratio(poor, "reference"), abs=0.0051)
