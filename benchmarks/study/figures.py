"""Pictures of the study, drawn from the two tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from nequip_decorr.style import INK, SOFT, figure, grid, model_styles, style

from .analysis import (
    COLUMNS,
    CORRELATION,
    TIME,
    Tables,
    causes,
    curve,
    horizon,
    log_stable_time,
    over,
)
from .declared import STOCK

DPI = 130
MARKERS = "osD^vP*X"
MIN_MODELS = 3
MAX_BANDS = 3
# Ticks of ratios by how far they reach.
RATIOS = {
    6: (0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.2, 1.5, 2, 3),
    60: (0.1, 0.2, 0.5, 1, 2, 5, 10, 20),
    float("inf"): (0.01, 0.1, 0.3, 1, 3, 10, 30, 100),
}


def survival(tables: Tables, half: str, conditions: Sequence[str], path: Path) -> None:
    """Kaplan-Meier curves, with 95 % bands where there are few enough to tell them apart."""
    styles = model_styles(conditions, None)
    with style():
        fig, axes = figure(6.4, 3.6)
        ax = axes[0, 0]
        for name in conditions:
            runs = tables.half(half, name)
            c = curve(runs)
            t, end = np.maximum(c.time_ps, 5e-3), horizon(runs)
            t, s = np.append(t, end), np.append(c.survival, c.survival[-1])
            label = f"{name}: {len(tables.seeds(half, name))} trainings, {len(runs)} runs"
            ax.step(t, s, where="post", label=label, **styles[name])
            if len(conditions) > MAX_BANDS:
                continue
            low, high = (np.append(x, x[-1]) for x in (c.low, c.high))
            colour = styles[name]["color"]
            ax.fill_between(t, low, high, step="post", color=colour, alpha=0.12, linewidth=0)
        ax.set(xscale="log", xlim=(0.02, horizon(runs)), ylim=(0, 1.02))
        ax.set(xlabel="time (ps, logarithmic)", ylabel="share of runs still stable")
        ax.set_title(f"{half} half, {tables.regime} regime")
        _plain_log(ax.xaxis)
        ax.legend(loc="lower left")
        grid(ax)
        fig.savefig(path, dpi=DPI)


def forest(tables: Tables, half: str, conditions: Sequence[str], path: Path) -> None:
    """RMST, ID and OOD force errors and correlation of every condition over stock's.

    A small dot is a training seed over stock's of the same seed, a large one all of them. Two seeds
    give no interval worth drawing.
    """
    found = {c: over(tables, half, STOCK, c) for c in conditions if c != STOCK}
    order = sorted(found, key=lambda c: np.nan_to_num(found[c][TIME][0]))
    titles = ("mean stable time", "ID force error", "OOD force error", "correlation")
    with style():
        fig, axes = figure(9.6, 1.3 + 0.27 * len(order), 1, 4, sharey=True)
        for row, name in enumerate(order):
            for ax, column in zip(axes[0], (TIME, *COLUMNS), strict=True):
                value, some = found[name][column]
                ax.plot(some, [row] * len(some), "o", color=SOFT, markersize=3)
                ax.plot(value, row, "o", color="#0072B2", markersize=5.5)
        for ax, title in zip(axes[0], titles, strict=True):
            ax.axvline(1, color=SOFT, linewidth=0.8)
            ax.set(xscale="log", title=title, xlabel="over stock (logarithmic)")
            _plain_log(ax.xaxis)
            low, high = ax.get_xlim()
            ticks = next(t for span, t in RATIOS.items() if high <= span * low)
            ax.set_xticks([t for t in ticks if low <= t <= high])
            ax.minorticks_off()
            grid(ax, "x")
        axes[0, 0].set_yticks(range(len(order)), order)
        axes[0, 0].set_ylim(-0.6, len(order) - 0.4)
        fig.savefig(path, dpi=DPI)


def _plain_log(axis: Any) -> None:
    """1, 2 and 5 of every decade, as plain numbers."""
    axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5), numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def relation(
    tables: Tables,
    halves: Sequence[str],
    path: Path,
    groups: Mapping[str, str],
    column: str = CORRELATION,
    label: str = "mean absolute correlation of edge features, ID frames",
    reference: float | None = None,
) -> None:
    """A column of the model table against stable time, a point per model.

    ``groups`` of conditions share a marker where there are too many to tell apart.
    """
    halves = [h for h in halves if _models_with(tables, h, column) >= MIN_MODELS]
    names = sorted({c for half in halves for c in tables.conditions(half)})
    if len(names) <= len(MARKERS):
        groups = {name: name for name in names}
    kinds = sorted({groups.get(name, name) for name in names}, key=lambda k: (k != STOCK, k))
    styles = model_styles(kinds, None)
    markers = dict(zip(kinds, MARKERS, strict=False))
    with style():
        fig, axes = figure(4.4 * len(halves) + 2.2, 4.0, 1, len(halves), sharex=True, sharey=True)
        for ax, half in zip(axes[0], halves, strict=True):
            for (name, seed), time in log_stable_time(tables, half).items():
                x = tables.by_seed(name, column).get(seed)
                if x is not None:
                    kind = groups.get(name, name)
                    colour = styles[kind]["color"]
                    ax.plot(x, 10**time, markers[kind], color=colour, markersize=5, alpha=0.85)
            ax.set(yscale="log", xlabel=label)
            if reference is not None:
                ax.set_xscale("log")
                _plain_log(ax.xaxis)
                ax.axvline(reference, color=SOFT, linestyle="--", linewidth=1)
                ax.annotate(
                    "reference", (reference, 0.02), (-3, 0), rotation=90, ha="right", fontsize=8,
                    xycoords=ax.get_xaxis_transform(), textcoords="offset points",
                )  # fmt: skip
            ax.set_title(f"{half} half")
            _plain_log(ax.yaxis)
            grid(ax)
        axes[0, 0].set_ylabel("stable time (ps), geometric mean of runs")
        # A decade at least, so that it has ticks.
        axes[0, 0].set_ylim(bottom=min(1.0, axes[0, 0].get_ylim()[0]))
        for kind in kinds:
            axes[0, -1].plot([], [], markers[kind], color=styles[kind]["color"], label=kind)
        fig.legend(*axes[0, -1].get_legend_handles_labels(), loc="outside right center", fontsize=8)
        fig.savefig(path, dpi=DPI)


def _models_with(tables: Tables, half: str, column: str) -> int:
    """Models that have both a stable time and a number in a column."""
    return sum(s in tables.by_seed(c, column) for c, s in log_stable_time(tables, half))


def regimes(found: Sequence[Tables], path: Path) -> None:
    """Stable times of the stock runs in each regime, a point per run."""
    with style():
        fig, axes = figure(6.4, 1.2 + 0.55 * len(found))
        ax = axes[0, 0]
        rng = np.random.default_rng(0)
        for row, tables in enumerate(found):
            runs = tables.half("tuning", STOCK)
            for r in runs:
                survived = r["status"] == "survived"
                y = row + rng.uniform(-0.18, 0.18)
                face = "none" if survived else "#0072B2"
                ax.plot(
                    max(r["stable_time_ps"], 1e-2), y, "o", color="#0072B2", markerfacecolor=face
                )
            text = causes(runs)
            ax.text(1.02, row, text, transform=ax.get_yaxis_transform(), va="center", color=INK)
        ax.set_yticks(range(len(found)), [t.regime for t in found])
        ax.set(xscale="log", xlabel="time to failure (ps, logarithmic); open: survived")
        ax.set_ylim(-0.5, len(found) - 0.5)
        _plain_log(ax.xaxis)
        grid(ax, "x")
        fig.savefig(path, dpi=DPI)
