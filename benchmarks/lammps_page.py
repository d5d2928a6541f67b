"""Writes the tables of docs/lammps_measured.md and docs/lammps_scaling.png from the raw data.

    python benchmarks/lammps_page.py

reads what `lammps_agreement.py`, `grade_agreement.py` and `lammps_scaling.py` left in
`benchmarks/results`, and replaces what stands between `<!-- NAME -->` and `<!-- /NAME -->`.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from pages import fill, table

matplotlib.use("Agg")

import matplotlib.pyplot as plt

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "lammps_measured.md"
FIGURE = PAGE.with_name("lammps_scaling.png")
NUMBERS = (
    *("loop_s", "slowest_loop_s", "cpu_use", "ms_per_step", "cpu_ms_per_step"),
    *("atoms", "efficiency", "cpu_efficiency"),
)
COLOURS = {"small": "tab:blue", "large": "tab:orange"}

Row = dict[str, str]


def read(name: str) -> list[Row]:
    """Rows of a CSV in the results."""
    with (RESULTS / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def grouped(rows: list[Row], *keys: str) -> dict[tuple[str, ...], list[Row]]:
    """Rows by the values of some columns, in order."""
    found = defaultdict(list)
    for row in rows:
        found[tuple(row[key] for key in keys)].append(row)
    return dict(found)


def numbers(rows: list[Row], column: str) -> np.ndarray:
    """A column."""
    return np.array([float(row[column]) for row in rows])


def step0() -> str:
    """Largest difference over the structures."""
    head = ("model", "way", "structures", "energy (eV/atom)", "force (eV/A)", "virial (eV/atom)")
    columns = ("energy_eV_per_atom", "force_eV_per_A", "virial_eV_per_atom")
    return table(
        head,
        (
            [f"{model}, {dtype}", way, len(rows)]
            + [f"{numbers(rows, column).max():.1e}" for column in columns]
            for (model, dtype, way), rows in grouped(
                read("lammps_agreement_step0.csv"), "model", "dtype", "way"
            ).items()
        ),
    )


def stable_time() -> str:
    """How many of the failing runs agree."""
    head = ("model", "check stride", "runs", "both failed", "same cause", "same step",
            "within a stride", "control within a stride", "failed after (steps)",
            "largest difference (steps)")  # fmt: skip
    lines = []
    groups = grouped(read("lammps_agreement_stable_time.csv"), "model", "dtype", "check_every")
    for (model, dtype, every), rows in groups.items():
        both = [r for r in rows if r["pair_status"] == r["library_status"] == "failed"]
        cause = sum(r["pair_cause"] == r["library_cause"] for r in both)
        differences = numbers(both, "difference_steps")
        control = np.abs(numbers(both, "control_step") - numbers(both, "library_step"))
        steps = np.concatenate([numbers(both, "pair_step"), numbers(both, "library_step")])
        lines.append(
            (f"{model}, {dtype}", every, len(rows), len(both), cause,
             int((differences == 0).sum()), int((differences <= int(every)).sum()),
             int((control <= int(every)).sum()),
             f"{steps.min():.0f} to {steps.max():.0f}", f"{differences.max():.0f}")
        )  # fmt: skip
    return table(head, lines)


def ranks() -> str:
    """Largest relative difference over steps, structures, potential and total energy."""
    head = ("model", "ranks", "atoms", "steps", "largest relative difference")
    groups = grouped(read("lammps_agreement_ranks.csv"), "model", "dtype", "ranks")
    return table(
        head,
        (
            (f"{model}, {dtype}", number, " and ".join(r["atoms"] for r in rows), rows[0]["steps"],
             f"{numbers(rows, 'largest_relative_difference').max():.1e}")
            for (model, dtype, number), rows in groups.items() if number != "1"
        ),
    )  # fmt: skip


def grade() -> str:
    """Largest difference of a grade for each pair of ways."""
    head = ("compared", "of the grade", "of the grade, or 1 if that is larger")
    about: dict[str, Any] = json.loads((RESULTS / "grade_agreement.json").read_text())
    columns = ("relative_difference", "difference_over_max_of_grade_and_1")
    return table(
        head,
        (
            (pair, *(f"{found[column]:.1e}" for column in columns))
            for pair, found in about["largest"].items()
            if columns[0] in found and not pair.startswith("library")
        ),
    )


def scaling() -> str:
    """Strong and weak scaling."""
    head = ("model", "scaling", "ranks", "atoms", "ms per step", "atom-steps/s", "ns/day at 1 fs",
            "efficiency", "wall: ms per step", "wall: efficiency", "CPU use",
            "slowest / fastest")  # fmt: skip
    lines = []
    for row in read("lammps_scaling.csv"):
        if row["scaling"] == "size":
            continue
        value = {key: float(row[key]) for key in NUMBERS}
        own_ms = value["cpu_ms_per_step"]
        lines.append(
            (row["model"], row["scaling"], row["ranks"], row["atoms"], f"{own_ms:.0f}",
             f"{1e3 * value['atoms'] / own_ms:.0f}", f"{86.4 / own_ms:.2g}",
             f"{value['cpu_efficiency']:.2f}", f"{value['ms_per_step']:.0f}",
             f"{value['efficiency']:.2f}", f"{value['cpu_use']:.2f}",
             f"{value['slowest_loop_s'] / value['loop_s']:.1f}")
        )  # fmt: skip
    return table(head, lines)


def memory_fit(rows: list[Row]) -> tuple[float, float]:
    """Peak memory of one rank against atoms, a straight line: slope (MB), intercept (MB)."""
    slope, start = np.polyfit(numbers(rows, "atoms"), numbers(rows, "peak_rss_MB"), 1)
    return float(slope), float(start)


def memory() -> str:
    """Throughput and memory against size, on one rank."""
    head = ("model", "atoms", "atom-steps/s", "peak memory (MB)", "kB per atom (slope)")
    lines = []
    for (model,), rows in grouped(sizes(), "model").items():
        slope, _ = memory_fit(rows)
        for row in rows:
            rate = 1e3 * float(row["atoms"]) / float(row["cpu_ms_per_step"])
            lines.append(
                (model, row["atoms"], f"{rate:.0f}",
                 f"{float(row['peak_rss_MB']):.0f}", f"{slope * 1e3:.0f}")
            )  # fmt: skip
    return table(head, lines)


def sizes() -> list[Row]:
    """Rows of the size series."""
    return [row for row in read("lammps_scaling.csv") if row["scaling"] == "size"]


def hardware(name: str) -> str:
    """What a measurement was made on, in a line."""
    about: dict[str, Any] = json.loads((RESULTS / name).read_text())
    versions = ", ".join(f"{key} {value}" for key, value in about["versions"].items())
    return f"Measured on {about['date']}: {about['processor']}, {about['cores']} cores, {versions}."


def figure() -> None:
    """Speed and efficiency against ranks, by CPU time; memory against atoms."""
    rows = read("lammps_scaling.csv")
    fig, (speed, ratio, peak) = plt.subplots(1, 3, figsize=(10.5, 3.2), layout="constrained")
    most = 1
    for (model, kind), series in grouped(rows, "model", "scaling").items():
        colour = COLOURS.get(model)
        if kind == "size":
            slope, _ = memory_fit(series)
            label = f"{model}: {slope * 1e3:.0f} kB per atom"
            atoms, used = numbers(series, "atoms"), numbers(series, "peak_rss_MB")
            peak.loglog(atoms, used, "o-", color=colour, label=label)
            continue
        strong, number = kind == "strong", numbers(series, "ranks")
        most = max(most, int(number.max()))
        style: dict[str, Any] = {"color": colour, "label": f"{model}, {kind}"}
        style |= {"marker": "o" if strong else "s", "linestyle": "-" if strong else ":"}
        rate = numbers(series, "ranks") * numbers(series, "atoms_per_rank")
        speed.plot(number, 1e3 * rate / numbers(series, "cpu_ms_per_step"), **style)
        ratio.plot(number, numbers(series, "cpu_efficiency"), **style)
    speed.set(xlabel="MPI ranks", ylabel="atom-steps per second", yscale="log")
    ratio.set(xlabel="MPI ranks", ylabel="speed per rank over one rank's", ylim=(0, 1.2))
    ratio.axhline(1, color="0.7", lw=0.8)
    peak.set(xlabel="atoms on one rank", ylabel="peak memory (MB)")
    for axes in (speed, ratio):
        axes.set_xticks(range(1, most + 1))
        axes.set_xlim(0.8, most + 0.2)
    ratio.legend(fontsize=8, frameon=False)
    peak.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    fig.savefig(FIGURE, dpi=150, metadata={"Software": None})


def main() -> None:
    """Replace the blocks of the page and draw the figure."""
    blocks = {
        "step0": step0(),
        "stable_time": stable_time(),
        "ranks": ranks(),
        "grade": grade(),
        "agreement_hardware": hardware("lammps_agreement.json"),
        "scaling": scaling(),
        "memory": memory(),
        "scaling_hardware": hardware("lammps_scaling.json"),
    }
    fill(PAGE, {name: f"\n{block}" for name, block in blocks.items()})
    figure()
    print(f"Wrote {PAGE} and {FIGURE}")


if __name__ == "__main__":
    main()
