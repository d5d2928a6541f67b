"""The pictures: bars, heat maps, spectra, maps of element pairs."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..extrapolation.report import figure as grade_figure
from ..style import INK, SOFT, figure, grid, hide, shorts, style
from . import plot_parts as parts
from .entry import Entries, Entry, block_label
from .plots_distance import against_length, distance_split, variance_shares
from .plots_pairs import pair_figure

PLAIN: Final = "YlOrRd"
NUMBERS_UP_TO: Final = 14
"""A map of more elements is no larger and shows colours alone."""


def all_figures(found: Entries) -> dict[str, Figure]:
    """Every picture that the data allow, by name, in the order of the page."""
    figures = {"overview": overview(found)}
    for k, dataset in enumerate(found.datasets):
        figures[f"heat_map_{k}"] = heat_maps(found, dataset)
    figures["spectrum"] = spectra(found)
    if any(e.by_length for e in found.entries):
        figures["length"] = against_length(found)
        shares = variance_shares(found)
        if shares is not None:
            figures["shares"] = shares
        for k, name in enumerate(found.models):
            split = distance_split(found, name)
            if split is not None:
                figures[f"distance_{k}"] = split
    if any(len(e.by_kind) > 1 for e in found.entries):
        figures["kinds"] = kind_maps(found)
    if found.grades:
        figures["grade"] = grade_figure(found.grades)
    if found.pairs:
        figures["pairs"] = pair_figure(found.pairs)
    return figures


def overview(found: Entries) -> Figure:
    """Mean absolute correlation, what is left of it at given length, and the effective rank."""
    with style():
        on_edges = any(e.given_length for e in found.entries)
        columns = 3 if on_edges else 2
        fig, axes = figure(3.7 * columns, 3.1, 1, columns)
        _bars(axes[0, 0], found, lambda e, b: e.statistics[b].mean_abs)
        axes[0, 0].set(title="All samples", ylabel="mean |R|", ylim=(0, 1))
        if on_edges:
            _bars(
                axes[0, 1], found,
                lambda e, b: e.given_length[b].mean_abs_left if e.given_length else np.nan,
            )  # fmt: skip
            axes[0, 1].set(title="At given edge length", ylabel="mean |R| of what is left")
            axes[0, 1].set_ylim(0, 1)
        _bars(
            axes[0, -1], found,
            lambda e, b: 100 * e.statistics[b].effective_rank / e.statistics[b].channels,
        )  # fmt: skip
        axes[0, -1].set(title="Independent directions", ylabel="effective rank, % of channels")
        axes[0, -1].set_ylim(bottom=0)
        parts.legend(fig, axes[0, 0], len(found.entries))
        return fig


def _bars(ax: Axes, found: Entries, value: Any) -> None:
    looks = parts.looks_of(found)
    blocks = found.blocks
    width = 0.8 / len(found.entries)
    for k, entry in enumerate(found.entries):
        at = [blocks.index(b) + (k - (len(found.entries) - 1) / 2) * width for b in entry.blocks]
        heights = [value(entry, b) for b in range(len(entry.blocks))]
        look = looks[entry.model, entry.dataset]
        ax.bar(at, heights, 0.92 * width, color=look["color"], alpha=look["alpha"],
               label=look["label"], edgecolor=look["color"], linewidth=1)  # fmt: skip
    ax.set_xticks(range(len(blocks)), [block_label(b) for b in blocks])
    grid(ax, "y")


def heat_maps(found: Entries, dataset: str) -> Figure:
    """Correlation matrices on one data set, a row per model and a column per block.

    The channels of each model and block are ordered by clustering on the first data set: those of
    different models have no common identity, those of one model keep their order across data sets.
    """
    entries = [e for e in found.entries if e.dataset == dataset]
    rows, columns = len(entries), max(len(e.blocks) for e in entries)
    names = shorts(found.models, 24)
    with style():
        fig, axes = figure(2.6 * columns + 1.1, 2.6 * rows + 0.35, rows, columns)
        for line, entry in zip(axes, entries, strict=True):
            hide(line[len(entry.blocks) :])
            for b, block in enumerate(entry.blocks):
                ax = line[b]
                order = parts.channel_order(found, entry, b)
                image = parts.draw_matrix(ax, entry.matrices[b][np.ix_(order, order)])
                mean = entry.statistics[b].mean_abs
                ax.set_title(f"{block_label(block)}: mean |R| {mean:.2f}", fontsize=9.5)
            line[0].set_ylabel(names[entry.model], fontweight="bold")
        parts.colour_bar(fig, image, axes, min(1.0, 0.45 + 0.25 / rows), "correlation R")
        return fig


def spectra(found: Entries) -> Figure:
    """Eigenvalues of the correlation matrices against their index, a panel per block."""
    with style():
        fig, axes = parts.panels(found)
        for ax, block in zip(axes, found.blocks, strict=True):
            channels = 1
            for entry in (e for e in found.entries if block in e.blocks):
                look = parts.looks_of(found)[entry.model, entry.dataset]
                values = entry.spectra[entry.blocks.index(block)]
                channels = max(channels, len(values))
                kept = np.where(values > 1e-12, values, np.nan)
                ax.plot(np.arange(1, len(values) + 1), kept, **parts.line_look(look), markersize=3)
            ax.axhline(1, color=SOFT, linewidth=0.9, linestyle=":", zorder=0)
            ax.set(title=block_label(block), xlabel="index of eigenvalue", yscale="log")
            ax.set_xlim(0, channels + 1)
            ax.set_ylim(bottom=max(ax.get_ylim()[0], 1e-8))
            grid(ax)
        axes[0].set_ylabel("eigenvalue")
        axes[0].annotate("all uncorrelated", (0.98, 1.12), xycoords=("axes fraction", "data"),
                         ha="right", fontsize=8, color=SOFT)  # fmt: skip
        parts.legend(fig, axes[0], len(found.entries))
        return fig


def kind_maps(found: Entries) -> Figure:
    """Mean absolute correlation by elements: a row per entry, a column per block."""
    entries = [e for e in found.entries if len(e.by_kind) > 1]
    columns = max(len(e.blocks) for e in entries)
    rows, elements = (max(len(_elements(e)[k]) for e in entries) for k in (0, 1))
    side = max(1.3, 0.5 * min(elements, NUMBERS_UP_TO))
    looks = parts.looks_of(found)
    with style():
        height = (side if rows > 1 else 0.55) + 0.3
        fig, axes = figure(
            (side + 0.35) * columns + 1.9, height * len(entries) + 0.5, len(entries), columns
        )
        for row, (line, entry) in enumerate(zip(axes, entries, strict=True)):
            hide(line[len(entry.blocks) :])
            for b, block in enumerate(entry.blocks):
                image = _kind_map(line[b], entry, b)
                if row == 0:
                    line[b].set_title(block_label(block))
            label = looks[entry.model, entry.dataset]["label"].replace(", ", "\n")
            line[0].set_ylabel(label, fontsize=8.5)
        parts.colour_bar(fig, image, axes, min(1.0, 1.6 / len(entries) + 0.2), "mean |R|")
        return fig


def _elements(entry: Entry) -> tuple[list[str], list[str]]:
    """Row and column labels of a map: centres and neighbours, or one row of kinds."""
    pairs = [name.split("-") for name in entry.by_kind]
    if any(len(pair) != 2 for pair in pairs):
        return [""], list(entry.by_kind)
    names = dict.fromkeys(name.split("-")[0] for name in entry.kinds.values())
    present = [n for n in names if any(n in pair for pair in pairs)]
    return present, present


def _kind_map(ax: Axes, entry: Entry, block: int) -> Any:
    rows, columns = _elements(entry)
    values = np.full((len(rows), len(columns)), np.nan)
    for name, found in entry.by_kind.items():
        centre, other = name.split("-") if len(rows) > 1 else ("", name)
        if found[block].samples > 1:
            values[rows.index(centre), columns.index(other)] = found[block].mean_abs
    image = ax.imshow(values, cmap=PLAIN, vmin=0, vmax=1)
    for (i, j), value in np.ndenumerate(values) if max(values.shape) <= NUMBERS_UP_TO else ():
        text = "–" if np.isnan(value) else f"{value:.2f}"
        colour = "white" if value > 0.6 else INK
        ax.text(j, i, text, ha="center", va="center", color=colour, fontsize=8.5)
    size = 8.5 * min(1.0, 1.5 * NUMBERS_UP_TO / max(values.shape))
    ax.set_xticks(range(len(columns)), columns, fontsize=size, rotation=0 if size > 8 else 90)
    ax.set_yticks(range(len(rows)), rows, fontsize=size)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return image
