"""The numbers of the cure's page, from the raw rows alone, without the study's code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RESULTS = BENCHMARKS / "results"
LONG = pd.read_csv(RESULTS / "cure_long.csv")
RUNS, MODELS = (pd.read_csv(RESULTS / f"cure_{name}.csv") for name in ("runs", "models"))
RANDOM = "near, random"
READ = """
import json, cure_summary as c, pages
text = c.PAGE.read_text(encoding="utf-8")
print(json.dumps([pages.filled(text, c.blocks()) == text, c.blocks()]))
"""
NEEDED = """
import json, cure_summary as c
runs, models = (c.read(c.RESULTS / f"cure_{k}.csv") for k in ("runs", "models"))
print(json.dumps(c.labels_needed(runs, models, "near", "near, random")))
"""


def printed(code):
    """What a program beside the benchmarks prints, as JSON."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def made():
    """Whether the page is made from the rows, and the rows of its tables by arm."""
    same, blocks = printed(READ)
    longer = cells_of(blocks.pop("longer"))
    arms = [row for block in blocks.values() for row in cells_of(block)]
    return same, {row[0]: row for row in arms}, {(row[0], row[1]): row for row in longer}


def cells_of(block):
    """Cells of a Markdown table, without its head."""
    lines = block.splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_page_is_made_from_the_rows(made):
    assert made[0], "run `python benchmarks/cure.py page`"


def test_means_survivors_and_ratios_are_those_of_the_rows(made):
    by_seed = RUNS.groupby(["arm", "seed"])["right_ps"].mean()
    alive = RUNS.assign(alive=RUNS["status"] == "survived").groupby("arm")["alive"].mean()
    checked = 0
    for arm, cells in made[1].items():
        assert float(cells[5].split()[0]) == pytest.approx(by_seed[arm].mean(), abs=0.006)
        assert cells[8] == f"{100 * alive[arm]:.0f} %"
        seeds = by_seed[arm].index.intersection(by_seed["baseline"].index)
        logs = np.log(by_seed[arm][seeds] / by_seed["baseline"][seeds])
        if arm == "baseline" or len(logs) < 3:
            continue
        checked += 1
        half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / len(logs) ** 0.5
        expected = np.exp([logs.mean(), logs.mean() - half, logs.mean() + half])
        found = [float(x) for x in re.findall(r"[\d.]+", cells[9])[:3]]
        np.testing.assert_allclose(found, expected, atol=0.006)
    assert checked


def test_longer_md_is_that_of_the_rows(made):
    arms = LONG.groupby(["horizon_ps", "arm"])
    assert {(f"{h:g} ps", arm) for h, arm in arms.groups} == set(made[2])
    columns = {7: "right_ps", 8: "force_mae_test_id_eV_per_A"}
    by_seed = LONG.groupby(["arm", "horizon_ps", "seed"])[list(columns.values())].mean()
    base = by_seed.loc["baseline", 10]
    assert (LONG[LONG["arm"] == "baseline"]["right_ps"] < 10).all()
    for (horizon, arm), rows in arms:
        cells, each = made[2][f"{horizon:g} ps", arm], by_seed.loc[arm, horizon]
        assert int(cells[2]) == len(each) and len(rows) == 6 * len(each)
        assert float(cells[5].split()[0]) == pytest.approx(each["right_ps"].mean(), abs=0.006)
        assert cells[6] == f"{100 * (rows['status'] == 'survived').mean():.0f} %"
        for place, column in columns.items():
            if arm == "baseline" or len(each) < 3:
                continue
            logs = np.log(each[column] / base[column]).dropna()
            half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / len(logs) ** 0.5
            expected = np.exp([logs.mean(), logs.mean() - half, logs.mean() + half])
            found = [float(x) for x in re.findall(r"[\d.]+", cells[place])[:3]]
            np.testing.assert_allclose(found, expected, atol=0.006)


def test_labels_and_errors_are_those_of_the_models(made):
    labels = MODELS.groupby("arm")["labels"].mean()
    for arm, cells in made[1].items():
        assert float(cells[2]) == pytest.approx(labels[arm], abs=0.06)


def test_labels_needed_are_those_of_the_rows():
    right = RUNS.groupby(["arm", "seed"])["right_ps"].mean()
    labels = MODELS.set_index(["arm", "seed"])["labels"]
    seeds = sorted(right[f"{RANDOM}, 3 rounds"].index)
    found = printed(NEEDED)
    assert len(found) == len(seeds) >= 3
    for seed, ratio in zip(seeds, found, strict=True):
        curves = []
        for arm in ("near", RANDOM):
            rounds = ["baseline", arm, f"{arm}, 2 rounds", f"{arm}, 3 rounds"]
            times = np.maximum.accumulate([right[name, seed] for name in rounds])
            fine = np.linspace(0, labels[rounds[-1], seed], 200_001)
            curves.append((fine, np.interp(fine, [labels[r, seed] for r in rounds], times)))
        target = min(times[-1] for _, times in curves)
        ours, theirs = (fine[np.argmax(times >= target * (1 - 1e-12))] for fine, times in curves)
        assert ratio == pytest.approx(ours / theirs, rel=1e-3)
