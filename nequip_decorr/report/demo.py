"""What a demo found: a table in the terminal, a picture and a page."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Column, Table

from .. import html
from ..campaign.store import read_runs
from ..style import figure, style

COLOURS: Final = {"stock": "#D55E00", "decorrelated": "#0072B2", "reference": "#555555"}
SETS: Final = {
    "test_id": "SiO2, 300 K (in distribution)",
    "test_hot": "SiO2, 2500 K",
    "test_siox1.55": "SiO1.55, 1000 K",
    "test_siox1.1": "SiO1.1, 1000 K",
}
BLOCKS: Final = {"two_body": "two-body", "layer_1": "layer 1", "layer_2": "layer 2"}
MODELS: Final = ("stock", "decorrelated")
CAUTION: Final = (
    "One training seed and one velocity seed are an anecdote: nequip-decorr stability compares "
    "models over many."
)


def write_report(out: Path, console: Console) -> None:
    """Write ``summary.csv``, ``demo.png`` and ``index.html`` in ``out``, and print the tables."""
    evaluation = json.loads((out / "evaluation.json").read_text())
    runs = read_runs(out / "md")
    rows = accuracy_rows(evaluation)
    cells = stability_rows(runs)
    with (out / "summary.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["quantity", *MODELS, "reference"])
        writer.writerows([*rows, *([name, *times] for name, times, _ in cells)])
    _print("accuracy and correlation", ["", *MODELS], [r[:3] for r in rows], console)
    shown = [[name, *texts] for name, _, texts in cells]
    _print("stable time in MD", ["start cell", *MODELS, "reference"], shown, console)
    png = html.png_bytes(picture(evaluation, runs))
    (out / "demo.png").write_bytes(png)
    page = html.render(
        "demo.html",
        title="nequip-decorr demo",
        reading=reading(runs),
        caution=CAUTION,
        png=png,
        header=["start cell", *MODELS, "reference"],
        cells=shown,
        models=["", *MODELS],
        rows=[r[:3] for r in rows],
    )
    (out / "index.html").write_text(page, encoding="utf-8")
    console.print(f"{reading(runs)} {CAUTION}", highlight=False)


def accuracy_rows(evaluation: dict[str, Any]) -> list[list[str]]:
    """Errors and correlation, a row per quantity, a column per model."""
    rows = []
    for key, unit in (("force_mae_eV_per_A", "meV/A"), ("energy_mae_eV_per_atom", "meV/atom")):
        for kind, label in SETS.items():
            values = [1e3 * evaluation[m][kind][key] for m in MODELS]
            name = f"{key.partition('_')[0]} MAE, {label}, {unit}"
            rows.append([name, *(f"{v:.1f}" for v in values), ""])
    for block in evaluation["stock"]["test_id"]["correlation"]:
        values = [evaluation[m]["test_id"]["correlation"][block] for m in MODELS]
        name = f"mean |correlation|, {BLOCKS.get(block, block)}"
        rows.append([name, *(f"{v:.3f}" for v in values), ""])
    return rows


def stability_rows(runs: list[dict[str, Any]]) -> list[tuple[str, list[str], list[str]]]:
    """Per cell: its name, stable times in ps, and the times with how each run ended."""
    by_key = {(r["model"], r["structure"]): r for r in runs}
    rows = []
    for structure in sorted({r["structure"] for r in runs}):
        found = [by_key.get((m, structure)) for m in (*MODELS, "reference")]
        times = ["" if r is None else f"{float(r['stable_time_ps']):.3f}" for r in found]
        rows.append((structure, times, [_ended(r) for r in found]))
    return rows


def _ended(run: dict[str, Any] | None) -> str:
    if run is None:
        return "not run"
    if run["status"] == "survived":
        return f"{float(run['stable_time_ps']):.2f} ps (end)"
    if run["status"] == "failed":
        return f"{float(run['stable_time_ps']):.2f} ps ({run['cause']})"
    return str(run["status"])


def reading(runs: list[dict[str, Any]]) -> str:
    """One sentence that claims no more than the runs show."""
    parts = []
    for model in (*MODELS, "reference"):
        mine = [r for r in runs if r["model"] == model and r["status"] in ("survived", "failed")]
        failed = [float(r["stable_time_ps"]) for r in mine if r["status"] == "failed"]
        text = f"{model}: {len(failed)} of {len(mine)} runs failed"
        if failed:
            text += f" (median {np.median(failed):.2f} ps)"
        parts.append(text)
    return "; ".join(parts) + "."


def picture(evaluation: dict[str, Any], runs: list[dict[str, Any]]) -> Figure:
    """Correlation, errors and stable times side by side."""
    blocks = list(evaluation["stock"]["test_id"]["correlation"])
    found = {m: [evaluation[m]["test_id"]["correlation"][b] for b in blocks] for m in MODELS}
    errors = {m: [evaluation[m][k]["force_mae_eV_per_A"] for k in SETS] for m in MODELS}
    short = ["SiO2\n300 K", "SiO2\n2500 K", "SiO1.55\n1000 K", "SiO1.1\n1000 K"]
    with style():
        fig, ((left, middle, right),) = figure(13, 4.2, 1, 3, width_ratios=(3, 4, 5))
        _bars(left, [BLOCKS.get(b, b) for b in blocks], found)
        left.set(title="Feature correlation", ylabel="mean |correlation|", ylim=(0, 1))
        left.legend()
        _bars(middle, short, errors)
        middle.set(title="Force error", ylabel="MAE, eV/Å", yscale="log")
        _stable_times(right, runs)
    return fig


def _bars(axis: Any, labels: list[str], values: dict[str, list[float]]) -> None:
    places = np.arange(len(labels))
    for k, (name, heights) in enumerate(values.items()):
        axis.bar(places + 0.4 * k - 0.2, heights, 0.36, label=name, color=COLOURS[name])
    axis.set_xticks(places, labels)


def _stable_times(axis: Any, runs: list[dict[str, Any]]) -> None:
    structures = sorted({r["structure"] for r in runs}, reverse=True)
    offsets = {"stock": 0.22, "decorrelated": 0.0, "reference": -0.22}
    for run in runs:
        if run["status"] not in ("survived", "failed"):
            continue
        y = structures.index(run["structure"]) + offsets[run["model"]]
        time = max(float(run["stable_time_ps"]), 1e-3)
        colour, survived = COLOURS[run["model"]], run["status"] == "survived"
        axis.plot([1e-3, time], [y, y], color=colour, lw=1.6, alpha=0.6)
        axis.plot(time, y, ">" if survived else "x", color=colour, ms=7, mew=2)
        if not survived:
            axis.annotate(run["cause"], (time, y), (6, -3), textcoords="offset points", fontsize=8)
    axis.set_xscale("log")
    axis.set_xlim(8e-3, 30)
    axis.set_yticks(range(len(structures)), structures)
    axis.set(title="Stable time in MD", xlabel="ps (x failed, ▸ reached the end)")


def _print(title: str, header: list[str], rows: list[list[str]], console: Console) -> None:
    numbers = (Column(name, justify="right") for name in header[1:])
    table = Table(header[0], *numbers, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
