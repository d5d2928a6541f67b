"""Monitors without features, and learning curves: from rows and crystals with known answers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MONITORS = pd.read_csv(BENCHMARKS / "results" / "monitors.csv")
NEIGHBOURS = """
import json, monitors as m
from nequip_decorr.datasets import siox
quartz = siox.quartz()
known = m.known_range([quartz])
far = quartz.copy()
far.positions[0] += 1.2
table = {str(k): [low.tolist(), high.tolist()] for k, (low, high) in known.items()}
print(json.dumps([table, m.unknown_share(quartz, known), m.unknown_share(far, known)]))
"""
CURVES = """
import json, sys, learning_curves as c
rows = json.load(sys.stdin)
print(json.dumps(c.labels_needed(rows, c.OOD)))
"""


def printed(code, given=""):
    """What a program beside the benchmarks prints, as JSON."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=BENCHMARKS, input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_atoms_of_quartz_have_four_and_two_neighbours():
    known, same, far = printed(NEIGHBOURS)
    assert known == {"8": [[0, 2], [0, 2]], "14": [[4, 0], [4, 0]]}
    assert same == 0 and far > 0


def test_labels_needed_interpolate_the_logarithm_of_the_error():
    """The grade reaches after 8 labels what random labels reach after 16."""
    errors = {"grade": (1.0, 0.25, 0.125), "random": (1.0, 0.5, 0.25)}
    rows = [
        {"arm": arm if k else "first", "seed": seed, "rounds": k, "labels": 8 * k, "set": name,
         "labels_melt": 0, "force_error_eV_per_A": seed * error}
        for seed in (1, 2) for arm, each in errors.items() for k, error in enumerate(each)
        for name in ("ood_melt", "ood_vacancy") if k or arm == "grade"
    ]  # fmt: skip
    assert printed(CURVES, json.dumps(rows)) == pytest.approx([0.5, 0.5])


def test_the_figures_of_the_pages_are_those_of_the_rows():
    page = " ".join((BENCHMARKS.parent / "docs" / "cure_measured.md").read_text().split())
    means = MONITORS.groupby(["arm", "seed"])[["right_ps", "trusted_ps", "stable_ps"]].mean()
    wall, saturated = (means.loc[arm].mean() for arm in ("wall", "saturated"))
    assert (MONITORS[MONITORS["arm"] == "wall"]["status"] == "survived").sum() == 24
    said = re.search(r"all 24 runs survive 6 ps, right for ([\d.]+) ps", page)
    assert float(said[1]) == pytest.approx(wall["right_ps"], abs=0.006)
    said = re.search(
        r"the trusted time \(([\d.]+) ps\) ends before the right time \(([\d.]+)", page
    )
    assert [float(x) for x in said.groups()] == pytest.approx(
        [saturated["trusted_ps"], saturated["right_ps"]], abs=0.006
    )
    wrong = MONITORS[MONITORS["right_ps"] < MONITORS["stable_ps"]]
    assert len(wrong) == len(MONITORS) == 72
    assert (wrong["trusted_ps"] <= wrong["right_ps"]).all()
    np.testing.assert_array_equal(wrong["energy_ps"], wrong["stable_ps"])
    late = (wrong["coordination_ps"] > wrong["right_ps"]).groupby(wrong["arm"]).mean()
    said = re.search(r"quarter of the runs \(([\d.]+), ([\d.]+) and ([\d.]+)\)", page)
    assert [float(x) for x in said.groups()] == pytest.approx(
        [late["baseline"], late["wall"], late["saturated"]], abs=0.006
    )


def test_the_figures_of_the_pool_of_dft_frames_are_those_of_the_rows():
    rows = pd.read_csv(BENCHMARKS / "results" / "learning_curves.csv")
    page = " ".join((BENCHMARKS.parent / "docs" / "cure_measured.md").read_text().split())
    last = rows[rows["rounds"] == 3].set_index(["arm", "set", "seed"])
    force, energy = (last[c] for c in ("force_error_eV_per_A", "energy_mae_eV_per_atom"))
    outside = force[force.index.get_level_values("set").str.startswith("ood")]
    both = outside.groupby(["arm", "seed"]).mean()
    said = {
        r"force error out of distribution is ([\d.]+) \[([\d.]+), ([\d.]+)\] times": both["grade"]
        / both["random"],
        r"energy of vacancies is ([\d.]+) \[([\d.]+), ([\d.]+)\] times": energy["grade"][
            "ood_vacancy"
        ]
        / energy["random"]["ood_vacancy"],
    }
    for words, ratios in said.items():
        logs = np.log(ratios)
        assert len(logs) == 4
        half = student.ppf(0.975, 3) * logs.std(ddof=1) / 2
        ends = np.exp([logs.mean(), logs.mean() - half, logs.mean() + half])
        figures = re.search(words, page)
        assert figures, words
        rounding = 0.6 * 10.0 ** -len(figures[1].partition(".")[2])
        assert [float(x) for x in figures.groups()] == pytest.approx(list(ends), abs=rounding)
    melts = last.loc["grade"]["labels_melt"].xs("ood_melt").mean()
    labels = last.loc["grade"]["labels"].xs("ood_melt").mean()
    assert f"so {melts:.0f} of {labels:.0f} labels are melts" in page
    assert f"it takes {labels:.0f} of 32 frames allowed" in page
