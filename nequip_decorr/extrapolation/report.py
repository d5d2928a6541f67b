"""Tables, files and the figure of ``nequip-decorr extrapolation score``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from rich.table import Table

from ..errors import UserError
from ..files import csv_text
from .scoring import Reading, Scores


def parts(scores: Sequence[Scores]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, header and rows of the table per file and element, and of the worst atoms."""
    header = ["file", "element", "atoms", "median", "99 %", "largest", "share above 1"]
    rows = []
    for row in (row for s in scores for row in s.rows()):
        error = row["force_error_eV_per_A"]
        rows.append([
            row["file"], row["element"], str(row["atoms"]),
            *(f"{row[key]:.3g}" for key in ("median", "p99", "largest")),
            f"{row['share_above_1']:.2%}", "no label" if error is None else f"{error:.3g}",
        ])  # fmt: skip
    worst = [
        [row["file"], str(row["frame"]), str(row["atom"]), row["element"], f"{row['grade']:.3g}"]
        for s in scores for row in s.worst(5)
    ]  # fmt: skip
    edge = "extrapolation grade (gamma = 1: edge of the training data)"
    columns = ["file", "structure", "atom", "element", "grade"]
    return [
        (edge, [*header, "force error (eV/A)"], rows),
        ("atoms with the largest grades (counted from 0)", columns, worst),
    ]


def tables(scores: Sequence[Scores]) -> list[Table]:
    """The table per file and element, and the worst atoms, for a terminal."""
    found = []
    for title, header, rows in parts(scores):
        table = Table(title=title)
        for column in header:
            table.add_column(column, justify="left" if column in ("file", "element") else "right")
        for row in rows:
            table.add_row(*row)
        found.append(table)
    return found


def structure_files(names: Iterable[str], out: Path) -> list[Path]:
    """The file of each set of structures in a folder.

    Raises:
        UserError: two names give one file.
    """
    files: dict[Path, str] = {}
    for name in names:
        path = out / f"{name.replace('/', '_')}.xyz"
        if path in files:
            raise UserError(
                f"{files[path]!r} and {name!r} would both be written to {path}; name one of them: "
                "NAME=FILE"
            )
        files[path] = name
    return list(files)


def write(scores: Sequence[Scores], out: Path) -> list[Path]:
    """Write structures with grades, the two tables as CSV, and the figure.

    Returns:
        The files.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = structure_files([one.name for one in scores], out)
    for one, path in zip(scores, written, strict=True):
        ase.io.write(path, one.frames, format="extxyz")
    for name, rows in (("scores", Scores.rows), ("worst", Scores.worst)):
        text = csv_text([row for s in scores for row in rows(s)])
        (out / f"{name}.csv").write_text(text, encoding="utf-8", newline="")
    figure(scores).savefig(out / "grade.png", dpi=150)
    return [*written, out / "scores.csv", out / "worst.csv", out / "grade.png"]


def figure(scores: Sequence[Scores]) -> Any:
    """Histogram of the grade per file; with labels, the force error against the grade too."""
    from matplotlib.figure import Figure

    labelled = [s for s in scores if s.labelled.any()]
    fig = Figure(figsize=(5.0 * (1 + bool(labelled)), 3.6), layout="constrained")
    axes = fig.subplots(1, 1 + bool(labelled), squeeze=False)[0]
    finite = np.concatenate([s.grade[np.isfinite(s.grade)] for s in scores])
    low, high = max(finite.min(), 1e-3), max(finite.max(), 1.5)
    bins = np.geomspace(low * 0.99, high * 1.01, 41)
    for s in scores:
        share = np.full(len(s.grade), 1 / len(s.grade))
        axes[0].hist(s.grade, bins, weights=share, histtype="step", label=s.name)
    axes[0].set(xscale="log", xlabel="extrapolation grade", ylabel="share of atoms per bin")
    if labelled:
        for s in labelled:
            axes[1].plot(s.grade, s.force_error_eV_per_A, ".", markersize=2, alpha=0.3)
        reading = Reading.fit(
            np.concatenate([s.grade for s in labelled]),
            np.concatenate([s.force_error_eV_per_A for s in labelled]),
        )
        if reading is not None:
            axes[1].plot(reading.grade, reading.median_eV_per_A, "k-", label="median")
            axes[1].fill_between(
                reading.grade, reading.low_eV_per_A, reading.high_eV_per_A,
                color="k", alpha=0.15, lw=0, label="5 to 95 % of atoms",
            )  # fmt: skip
        axes[1].set(
            xscale="log", yscale="log", xlabel="extrapolation grade",
            ylabel="force error (eV/Å)",
        )  # fmt: skip
    for ax in axes:
        ax.axvline(1.0, color="0.4", ls="--", lw=1, label="edge of the training data")
        ax.legend(frameon=False, fontsize=8)
    return fig
