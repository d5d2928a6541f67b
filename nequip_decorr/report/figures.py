"""Pictures of survival: how long, how sure, and how each model died."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..md.criteria import CAUSES, criterion
from ..style import (
    CUT,
    INK,
    SOFT,
    STABLE,
    condition_labels,
    figure,
    grid,
    hide,
    key_of,
    legend_names,
    model_styles,
    shorts,
    style,
    text_colour,
)
from ..survival.summary import ModelSummary, SurvivalSummary, spans_decades, view_ps

Row = Mapping[str, Any]
_AT_RISK_TIMES: Final = 6
_MAX_PANELS: Final = 6


def survival_figure(summary: SurvivalSummary) -> Figure:
    """Kaplan-Meier curves with 95 % intervals, and the number at risk below.

    One model has a band. Those of more would cover each other, so they have bars beside the times
    of the table.
    """
    models = summary.models
    names, looks = _names(summary), _looks(summary)
    legend = legend_names(looks)
    with style():
        lines = 0.24 * len(models) + 0.45
        fig, axes = figure(
            9.6, 3.9 + lines, rows=2, sharex=True, gridspec_kw={"height_ratios": [3.6, lines]}
        )
        ax, below = axes[:, 0]
        end = view_ps(summary)
        ticks = np.linspace(0, end, _AT_RISK_TIMES)
        own = [m for m in models if m.name != summary.reference]
        for row, model in enumerate(models):
            curve, look = model.curve, looks[model.name]
            seen = curve.time_ps[-1] if curve.survival[-1] > 0 else end
            time = np.unique(np.append(curve.time_ps[curve.time_ps <= end], min(seen, end)))
            value, low, high = curve.evaluate(time)
            label = legend[model.name]
            ax.step(time, value, where="post", linewidth=2.2, label=label, **look)
            if own == [model]:
                ax.fill_between(time, low, high, step="post", color=look["color"], alpha=0.1, lw=0)
                for edge in (low, high):
                    ax.step(time, edge, where="post", color=look["color"], lw=0.8, alpha=0.5)
            elif model.name != summary.reference:
                beside = ticks[1:] - 0.008 * end * (len(models) - row)
                value, low, high = curve.evaluate(beside)
                ax.vlines(beside, low, high, color=look["color"], lw=1.6, alpha=0.7)
                ax.plot(beside, value, "o", color=look["color"], markersize=5)
            cut = curve.censored_ps()
            cut = cut[(cut > 0) & (cut < end * (1 - 1e-9))]
            ax.plot(cut, curve.evaluate(cut)[0], "|", color=look["color"], markersize=9)
        ax.set(ylim=(-0.02, 1.03), xlim=(0, end), ylabel="fraction still stable")
        ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
        key_of(fig, ax.get_legend_handles_labels()[0], "outside upper left")
        grid(ax)
        for row, model in enumerate(models):
            for k, tick in enumerate(ticks):
                count = model.curve.at_risk_at(tick)
                place = "left" if k == 0 else "right" if k == len(ticks) - 1 else "center"
                below.text(tick, row, str(count), ha=place, va="center", fontsize=9)
        below.set_yticks(range(len(models)), [names[m.name] for m in models], fontsize=9)
        below.set(ylim=(len(models) - 0.4, -0.6), xlabel=_time_label(summary))
        below.set_title("runs still under observation", fontsize=9, color=SOFT, fontweight="normal")
        below.spines[:].set_visible(False)
        below.tick_params(length=0)
    return fig


def rmst_figure(summary: SurvivalSummary) -> Figure:
    """Mean stable time of each model with its 95 % interval."""
    models, names, looks = summary.models, _names(summary), _looks(summary)
    with style():
        fig, axes = figure(9.6, 0.8 + 0.34 * len(models))
        ax = axes[0, 0]
        for row, model in enumerate(models):
            color, mean = looks[model.name]["color"], model.rmst
            ax.plot([mean.low_ps, mean.high_ps], [row, row], color=color, lw=3, alpha=0.45)
            ax.plot(mean.rmst_ps, row, "o", color=color, markersize=9, clip_on=False)
            text = f"{mean.rmst_ps:.3g}  ({mean.interval_text})"
            ax.text(1.01, row, text, va="center", fontsize=9.5, transform=ax.get_yaxis_transform())
        ax.axvline(summary.horizon_ps, color=SOFT, lw=1, ls=":")
        ax.set_yticks(range(len(models)), [names[m.name] for m in models])
        ax.set(ylim=(len(models) - 0.5, -0.5), xlim=(0, summary.horizon_ps * 1.005))
        if spans_decades(summary):
            shortest = min(m.rmst.rmst_ps for m in models if m.rmst.rmst_ps > 0)
            ax.set_xscale("log")
            ax.set_xlim(shortest / 5, summary.horizon_ps * 1.02)
            ax.xaxis.set_major_formatter("{x:g}")
        ax.set_xlabel(f"mean stable time within {summary.horizon_ps:g} ps, 95 % interval / ps")
        grid(ax, "x")
    return fig


def cause_figure(summary: SurvivalSummary) -> Figure:
    """What the runs died of and when: cumulative incidence, stacked, a panel per model."""
    models = summary.models[:_MAX_PANELS]
    names = _names(summary, 34)
    columns = min(len(models), 3)
    rows = -(-len(models) // columns)
    causes = [c for c in CAUSES if any(c in m.incidence for m in models)]
    with style():
        width = 9.6 if columns > 1 else 6.4
        fig, axes = figure(width, 0.5 + 2.7 * rows, rows, columns, sharex=True, sharey=True)
        hide(axes.flat[len(models) :])
        for ax, model in zip(axes.flat, models, strict=False):
            _stack(ax, model, view_ps(summary))
            ax.set_title(names[model.name])
            ax.set(xlim=(0, view_ps(summary)), ylim=(0, 1))
            ax.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
            ax.tick_params(length=0)
        for ax in axes[:, 0]:
            ax.set_ylabel("fraction of runs")
        for ax in axes[-1]:
            ax.set_xlabel(_time_label(summary))
        keys = [Patch(color=criterion(c).colour, label=criterion(c).label) for c in causes]
        keys.append(Patch(color=STABLE, label="still stable"))
        key_of(fig, keys, "outside lower center")
    return fig


def pairs_figure(summary: SurvivalSummary, rows: Sequence[Row]) -> Figure:
    """Every run, its stable time beside those of the other models from the same start.

    Where the right time is known, a bar.
    """
    looks = _looks(summary)
    order = [m.name for m in summary.models]
    conditions = sorted({(r["structure"], r["temperature_K"]) for r in rows})
    log = spans_decades(summary)
    known = [r[name] for r in rows for name in ("stable_time_ps", "right_ps") if r.get(name)]
    shortest = min(known, default=1.0)
    with style():
        fig, axes = figure(9.6, 1.0 + (0.3 + 0.17 * len(order)) * len(conditions))
        ax = axes[0, 0]
        offsets = np.linspace(-0.27, 0.27, len(order)) if len(order) > 1 else np.zeros(1)
        for row, (structure, temperature_K) in enumerate(conditions):
            here = [
                {**r, "stable_time_ps": max(r["stable_time_ps"], shortest)} if log else r
                for r in rows
                if (r["structure"], r["temperature_K"]) == (structure, temperature_K)
                and r["status"] != "error"
            ]
            pairs: dict[Any, dict[str, float]] = {}
            dots: dict[tuple[str, bool], list[float]] = {}
            alike = Counter((r["model"], r["stable_time_ps"], r["status"]) for r in here)
            for r in here:
                time_ps = r["stable_time_ps"]
                dots.setdefault((r["model"], r["status"] == "failed"), []).append(time_ps)
                start = r["seed"], r.get("train_seed")
                pairs.setdefault(start, {})[r["model"]] = time_ps
                if "right_ps" in r:
                    right_ps = max(r["right_ps"], shortest) if log else r["right_ps"]
                    color, y = looks[r["model"]]["color"], row + offsets[order.index(r["model"])]
                    ax.plot(
                        [right_ps, time_ps], [y, y], "-|", markevery=[0], color=color, lw=0.7,
                        ms=9, mew=1.8, zorder=4,
                    )  # fmt: skip
            for (model, failed), times_ps in dots.items():
                color = looks[model]["color"]
                y = np.full(len(times_ps), row + offsets[order.index(model)])
                fill = color if failed else "white"
                ax.plot(times_ps, y, "o", ms=6, mfc=fill, mec=color, mew=1.4, zorder=3)
            for (model, time_ps, _), count in alike.items():
                if count > 1:
                    at = time_ps, row + offsets[order.index(model)]
                    ax.annotate(
                        f"×{count}", at, (7, 0), textcoords="offset points", va="center",
                        fontsize=8, annotation_clip=False,
                    )  # fmt: skip
            lines: list[tuple[float, float]] = []
            for times in pairs.values():
                both = [m for m in order if m in times and m != summary.reference]
                lines += [(times[m], row + offsets[order.index(m)]) for m in both]
                lines.append((np.nan, np.nan))  # ends a line
            ax.plot(*np.transpose(lines), color="#c3cad2", lw=0.9, zorder=2)
            if row:
                ax.axhline(row - 0.5, color="#eef0f3", lw=1)
        ax.set_yticks(range(len(conditions)), condition_labels(conditions, 38))
        ax.set(ylim=(len(conditions) - 0.5, -0.5), xlabel="stable time / ps")
        if log:
            ax.set_xscale("log")
            ax.set_xlim(left=0.7 * shortest)
            ax.xaxis.set_major_formatter("{x:g}")
        else:
            ax.set_xlim(left=-0.01 * ax.get_xlim()[1])
        grid(ax, "x")
        dot = partial(Line2D, [], [], marker="o", ls="")
        legend = legend_names(looks)
        keys = [dot(color=looks[m]["color"], label=legend[m]) for m in order]
        key_of(fig, keys, "outside upper left")
        ends = (("failed", INK), ("survived or cut short", "white"))
        keys = [dot(mfc=fill, mec=INK, label=label) for label, fill in ends]
        if any("right_ps" in r for r in rows):
            keys.append(dot(marker="|", ms=9, mec=INK, mew=1.8, label="right until then"))
        ax.legend(handles=keys, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderpad=0)
    return fig


def _stack(ax: Any, model: ModelSummary, horizon_ps: float) -> None:
    """Cumulative incidence of each cause, one on the other, and what is left on top."""
    time = np.unique(
        np.concatenate([[0.0, horizon_ps], *(c.time_ps for c in model.incidence.values())])
    )
    time = time[time <= horizon_ps]
    observed = model.curve.time_ps[-1] if model.curve.survival[-1] > 0 else horizon_ps
    base = np.zeros(len(time))
    for cause in (c for c in CAUSES if c in model.incidence):
        part = model.incidence[cause]
        row = np.searchsorted(part.time_ps, time, side="right") - 1
        top = base + np.where(row >= 0, part.incidence[np.maximum(row, 0)], 0.0)
        ax.fill_between(time, base, top, step="post", color=criterion(cause).colour, lw=0)
        if top[-1] - base[-1] > 0.07:
            middle = (top[-1] + base[-1]) / 2
            ax.text(
                0.985 * horizon_ps, middle, f"{top[-1] - base[-1]:.0%}",
                ha="right", va="center", fontsize=8.5, fontweight="bold",
                color=text_colour(criterion(cause).colour),
            )  # fmt: skip
        base = top
    ax.fill_between(time, base, 1, step="post", color=STABLE, lw=0)
    if observed < horizon_ps:
        ax.axvspan(observed, horizon_ps, facecolor="none", edgecolor=CUT, hatch="//", lw=0)
    if base[-1] < 0.93:
        text = f"{1 - base[-1]:.0%}"
        ax.text(0.985 * horizon_ps, (1 + base[-1]) / 2, text, ha="right", va="center", fontsize=8.5)


def _time_label(summary: SurvivalSummary) -> str:
    cut = view_ps(summary) < summary.horizon_ps
    return f"time / ps (judged to {summary.horizon_ps:g})" if cut else "time / ps"


def _names(summary: SurvivalSummary, length: int = 30) -> dict[str, str]:
    return shorts([m.name for m in summary.models], length)


def _looks(summary: SurvivalSummary) -> dict[str, dict[str, Any]]:
    return model_styles([m.name for m in summary.models], summary.reference)
