"""Pictures of what happened in the runs: traces, structure, displacement, and the sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..md.criteria import CAUSES, CRITERIA, Criterion, criterion
from ..md.distribution import AVERAGE
from ..md.dynamics import Displacement
from ..style import (
    CUT,
    SOFT,
    condition_labels,
    figure,
    grid,
    hide,
    key_of,
    legend_names,
    shorts,
    style,
)
from ..survival.sensitivity import Point
from .loading import Key, StructureError
from .traces import Trace

Looks = Mapping[str, Mapping[str, Any]]
_MAX_COLUMNS: Final = 4
_MAX_OVERLAYS: Final = 4
_MAX_LINES: Final = 60
_BOUND: Final = (0, (4, 3))


def trace_figure(
    traces: Sequence[Trace],
    models: Sequence[str],
    limits: Mapping[str, tuple[float, ...]],
    end_ps: float | None = None,
) -> Figure:
    """Temperature, energy and closest contact of the runs, up to failure, a column per model.

    Args:
        traces: of all runs; at most 60 of a model are drawn, the failed ones first.
        models: which, at most 4 are drawn.
        limits: bounds by criterion where runs share them.
        end_ps: where the time axis ends.
    """
    models = list(models)[:_MAX_COLUMNS]
    names = shorts(models, 30 if len(models) < 3 else 22)
    rows = [c for c in CRITERIA if any(c.name in t.values for t in traces)]
    with style():
        fig, axes = figure(
            9.6, 0.6 + 1.75 * len(rows), len(rows), len(models), sharex=True, sharey="row"
        )
        for column, model in enumerate(models):
            mine = [t for t in traces if t.model == model]
            mine = sorted(mine, key=lambda t: t.cause is None)[:_MAX_LINES]
            for row, ax in zip(rows, axes[:, column], strict=True):
                for trace in reversed(mine):
                    _trace(ax, trace, trace.values.get(row.name))
                for limit in limits.get(row.name, ()):
                    ax.axhline(limit, color=SOFT, lw=1, ls=_BOUND, zorder=1)
                for mark in row.marks:
                    ax.axhline(mark, color=SOFT, lw=1, ls=":", zorder=1)
                grid(ax)
            axes[0, column].set_title(names[model])
            axes[-1, column].set_xlabel("time / ps")
            if end_ps is not None:
                axes[-1, column].set_xlim(-0.02 * end_ps, end_ps)
        for row, ax in zip(rows, axes[:, 0], strict=True):
            ax.set_ylabel(row.trace)
            _view(ax, row, traces, (*limits.get(row.name, ()), *row.marks))
        causes = [c for c in CAUSES if any(t.cause == c for t in traces)]
        keys = [
            Line2D([], [], color=criterion(c).colour, marker="X", label=criterion(c).label)
            for c in causes
        ]
        keys.append(Line2D([], [], color=CUT, label="did not fail"))
        keys.append(Line2D([], [], color=SOFT, ls=_BOUND, label="bound"))
        if any(row.marks for row in rows):
            keys.append(Line2D([], [], color=SOFT, ls=":", label="edge of the training data"))
        key_of(fig, keys, "outside lower center", 5)
    return fig


def structure_figure(errors: Sequence[StructureError], looks: Looks) -> Figure:
    """RDF and ADF error of every model by condition."""
    kinds = [kind for kind in ("rdf", "adf") if any(e.got.kind == kind for e in errors)]
    conditions = sorted({e.key[1:] for e in errors})
    with style():
        fig, axes = figure(9.6, 1.1 + 0.36 * len(conditions), 1, len(kinds), sharey=True)
        for kind, ax in zip(kinds, axes[0], strict=True):
            for e in (e for e in errors if e.got.kind == kind):
                look = looks[e.key[0]]
                fill = "white" if e.got.too_few else look["color"]
                row = conditions.index(e.key[1:])
                ax.plot(e.errors[AVERAGE], row, "o", ms=8, mfc=fill, mec=look["color"], mew=1.6)
            ax.set(
                xlim=(0, ax.get_xlim()[1] * 1.05),
                xlabel="mean absolute difference from the reference",
            )
            ax.set_title(kind.upper())
            grid(ax)
        axes[0, 0].set_yticks(range(len(conditions)), condition_labels(conditions, 34))
        axes[0, 0].set_ylim(len(conditions) - 0.5, -0.5)
        _model_key(fig, [e.key[0] for e in errors], looks)
    return fig


def distribution_figure(errors: Sequence[StructureError], looks: Looks, kind: str) -> Figure:
    """Distributions over their reference, for the conditions that differ most."""
    worst: dict[tuple[str, float], float] = {}
    for e in (e for e in errors if e.got.kind == kind):
        worst[e.key[1:]] = max(worst.get(e.key[1:], 0.0), e.errors[AVERAGE])
    chosen = sorted(worst, key=lambda condition: -worst[condition])[:_MAX_OVERLAYS]
    columns = max(len(e.got.values) for e in errors if e.got.kind == kind)
    with style():
        fig, axes = figure(9.6, 0.7 + 1.75 * len(chosen), len(chosen), columns, sharex=True)
        for row, condition in enumerate(chosen):
            here = [e for e in errors if e.got.kind == kind and e.key[1:] == condition]
            hide(axes[row, len(here[0].reference.values) :])
            for ax, label in zip(axes[row], here[0].reference.values, strict=False):
                reference = here[0].reference
                ax.fill_between(reference.x, reference.values[label], color="#c8ced5", lw=0)
                for e in here:
                    ax.plot(e.got.x, e.got.values[label], lw=1.4, **looks[e.key[0]])
                ax.set_title(label, fontsize=9)
                ax.set_ylim(bottom=0)
                grid(ax)
            axes[row, 0].set_ylabel(condition_labels([condition], 24)[0], fontsize=9)
        for ax in axes[-1]:
            ax.set_xlabel("distance / A" if kind == "rdf" else "angle / degrees")
        _model_key(fig, [e.key[0] for e in errors], looks, reference=True)
    return fig


def displacement_figure(found: Mapping[Key, Sequence[Displacement]], looks: Looks) -> Figure:
    """Mean square displacement, a panel per condition and element."""
    conditions = sorted({key[1:] for key in found})[:_MAX_OVERLAYS]
    elements = sorted({part.element for parts in found.values() for part in parts})
    with style():
        fig, axes = figure(9.6, 0.8 + 1.75 * len(conditions), len(conditions), len(elements))
        for (model, structure, temperature_K), parts in found.items():
            condition = structure, temperature_K
            for part in parts if condition in conditions else ():
                ax = axes[conditions.index(condition), elements.index(part.element)]
                ax.plot(part.lag_ps, part.msd_A2, lw=1.6, **looks[model])
        for row, condition in enumerate(conditions):
            for ax, element in zip(axes[row], elements, strict=True):
                ax.set_title(element, fontsize=9)
                ax.set(xlim=(0, None), ylim=(0, None))
                grid(ax)
            name = condition_labels([condition], 24)[0]
            axes[row, 0].set_ylabel(f"{name}\nMSD / A²", fontsize=9)
        for ax in axes[-1]:
            ax.set_xlabel("lag / ps")
        _model_key(fig, [key[0] for key in found], looks)
    return fig


def sweep_figure(
    points: Sequence[Point], models: Sequence[str], looks: Looks, log: bool = False
) -> Figure:
    """Mean stable time against the scale of each criterion; a band where only bounds are known."""
    criteria = list(dict.fromkeys(point.criterion for point in points))
    columns = min(3, len(criteria))
    rows = -(-len(criteria) // columns)
    with style():
        fig, axes = figure(9.6, 0.7 + 2.5 * rows, rows, columns, sharey=True)
        hide(axes.flat[len(criteria) :])
        for ax, name in zip(axes.flat, criteria, strict=False):
            mine = [p for p in points if p.criterion == name]
            for model in models:
                line = [p for p in mine if p.model == model and p.rmst_low_ps is not None]
                scale = [p.scale for p in line]
                low, high = [p.rmst_low_ps for p in line], [p.rmst_high_ps for p in line]
                known = sum(s <= 1 for s in scale)  # scales ascend
                color = looks[model]["color"]
                ax.fill_between(scale, low, high, color=color, alpha=0.2, lw=0)
                for end in (high, low):
                    ax.plot(scale, end, color=color, lw=1, ls=":")
                ax.plot(scale[:known], low[:known], "o-", ms=4, lw=1.8, color=color)
            ax.axvline(1, color=SOFT, lw=1)
            ax.axvspan(1, 1.03 * max(p.scale for p in mine), color="#f3f5f7", lw=0, zorder=0)
            _scale_axis(ax, name, mine)
            ax.set_title(criterion(name).label)
            if log:
                ax.set_yscale("log")
                ax.yaxis.set_major_formatter("{x:g}")
            else:
                ax.set_ylim(bottom=0)
            grid(ax, "y")
        for ax in axes[:, 0]:
            ax.set_ylabel("mean stable time / ps")
        _model_key(fig, models, looks)
    return fig


def _scale_axis(ax: Any, name: str, points: Sequence[Point]) -> None:
    ax.set_xscale("log")
    ax.minorticks_off()
    bounds = {p.scale: p.bound for p in points}
    ticks = [s for s in (0.5, 0.7, 1.0, 1.5, 2.0) if s in bounds]
    texts = [f"x {s:g}" if bounds[s] is None else f"{bounds[s]:.3g}" for s in ticks]
    ax.set_xticks(ticks, texts)
    ax.set_xlim(min(bounds) / 1.03, max(bounds) * 1.03)
    ax.set_xlabel(f"← stricter    bound ({criterion(name).axis})    looser →", fontsize=8.5)


def _trace(ax: Any, trace: Trace, values: np.ndarray | None) -> None:
    if values is None or not len(values):
        return
    color = criterion(trace.cause).colour if trace.cause else CUT
    finite = np.flatnonzero(np.isfinite(values))
    ax.plot(trace.time_ps[finite], values[finite], color=color, lw=0.9, alpha=0.85,
            zorder=3 if trace.cause else 2)  # fmt: skip
    if trace.cause and len(finite):
        last = finite[-1]
        ax.plot(trace.time_ps[last], values[last], "X", ms=6, color=color, mec="white", mew=0.6,
                zorder=4, clip_on=True)  # fmt: skip


def _view(ax: Any, row: Criterion, traces: Sequence[Trace], limits: Sequence[float]) -> None:
    """A range in which the bounds and most of what happened can be seen."""
    values = [t.values[row.name] for t in traces if row.name in t.values]
    joined = np.concatenate(values) if values else np.zeros(1)
    joined = joined[np.isfinite(joined)]
    if not len(joined):
        return
    low, high = float(np.min([joined.min(), *limits])), float(np.max([joined.max(), *limits]))
    if row.per_target:
        if limits and high > 4 * max(limits):
            ax.set_yscale("symlog", linthresh=max(limits))
        ax.set_ylim(bottom=0)
    elif row.marks:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")
    elif row.inverted:
        ax.set_ylim(max(0.0, low - 0.05), min(1.25, high + 0.05))
    elif limits and (high > 4 * max(limits) or low < 4 * min(limits)):
        ax.set_yscale("symlog", linthresh=max(map(abs, limits)))


def _model_key(fig: Figure, models: Sequence[str], looks: Looks, reference: bool = False) -> None:
    present = [name for name in looks if name in set(models)]
    names = legend_names(looks)
    keys = [Line2D([], [], lw=2.4, label=names[m], **looks[m]) for m in present]
    if reference:
        keys.append(Line2D([], [], lw=6, color="#c8ced5", label="reference"))
    key_of(fig, keys, "outside upper left")
