"""The pictures: heat maps, spectra, correlation against edge length, maps of element pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..stability.style import INK, SOFT, figure, grid, model_styles, shorts, style
from .result import Entry, Inspection, block_label
from .statistics import cluster_order

SIGNED: Final = "RdBu_r"
PLAIN: Final = "YlOrRd"
SAMPLES_FOR_A_BIN: Final = 100
"""A bin with fewer edges is not drawn: chance alone correlates few samples."""
_SHARE_COLOURS: Final = ("#33658A", "#8C6BB1", "#D9DEE3")
_MARKERS: Final = ("o", "s", "^", "D", "v")


def all_figures(found: Inspection) -> dict[str, Figure]:
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
    return figures


def overview(found: Inspection) -> Figure:
    """Mean absolute correlation, what is left of it at given length, and the effective rank."""
    with style():
        on_edges = any(e.given_length for e in found.entries)
        columns = 3 if on_edges else 2
        fig, axes = figure(3.7 * columns, 3.1, 1, columns)
        _bars(axes[0, 0], found, lambda e, b: e.statistics[b].mean_abs)
        axes[0, 0].set(title="All samples", ylabel="mean |R|", ylim=(0, 1))
        if on_edges:
            _bars(axes[0, 1], found, _left_given_length)
            axes[0, 1].set(title="At given edge length", ylabel="mean |R| of what is left")
            axes[0, 1].set_ylim(0, 1)
        _bars(axes[0, -1], found, lambda e, b: _rank_share(e, b))
        axes[0, -1].set(title="Independent directions", ylabel="effective rank, % of channels")
        axes[0, -1].set_ylim(bottom=0)
        _legend(fig, axes[0, 0], len(found.entries))
        return fig


def _left_given_length(entry: Entry, block: int) -> float:
    given = entry.given_length
    return float("nan") if given is None else given[block].mean_abs_left


def _rank_share(entry: Entry, block: int) -> float:
    found = entry.statistics[block]
    return 100 * found.effective_rank / found.channels


def _bars(ax: Axes, found: Inspection, value: Any) -> None:
    looks = _looks(found)
    blocks = _blocks(found)
    width = 0.8 / len(found.entries)
    for k, entry in enumerate(found.entries):
        at = [blocks.index(b) + (k - (len(found.entries) - 1) / 2) * width for b in entry.blocks]
        heights = [value(entry, b) for b in range(len(entry.blocks))]
        look = looks[entry.model, entry.dataset]
        ax.bar(at, heights, 0.92 * width, color=look["color"], alpha=look["alpha"],
               label=look["label"], edgecolor=look["color"], linewidth=1)  # fmt: skip
    ax.set_xticks(range(len(blocks)), [block_label(b) for b in blocks])
    grid(ax, "y")


def heat_maps(found: Inspection, dataset: str) -> Figure:
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
            for ax in line[len(entry.blocks) :]:
                ax.set_visible(False)
            for b, block in enumerate(entry.blocks):
                ax = line[b]
                order = _order(found, entry, b)
                image = _matrix(ax, entry.matrices[b][np.ix_(order, order)], SIGNED, -1, 1)
                mean = entry.statistics[b].mean_abs
                ax.set_title(f"{block_label(block)}: mean |R| {mean:.2f}", fontsize=9.5)
            line[0].set_ylabel(names[entry.model], fontweight="bold")
        bar = fig.colorbar(image, ax=axes, shrink=min(1.0, 0.45 + 0.25 / rows), aspect=22)
        bar.set_label("correlation R")
        bar.outline.set_visible(False)
        return fig


def _order(found: Inspection, entry: Entry, block: int) -> np.ndarray:
    first = next(e for e in found.entries if e.model == entry.model)
    live = np.ones(first.widths[block], dtype=bool)
    live[list(first.statistics[block].dead)] = False
    return cluster_order(first.matrices[block], live)


def _matrix(ax: Axes, values: np.ndarray, colours: str, low: float, high: float) -> Any:
    image = ax.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    return image


def spectra(found: Inspection) -> Figure:
    """Eigenvalues of the correlation matrices against their index, a panel per block."""
    with style():
        fig, axes = _panels(found)
        for ax, block in zip(axes, _blocks(found), strict=True):
            channels = 1
            for entry in (e for e in found.entries if block in e.blocks):
                look = _looks(found)[entry.model, entry.dataset]
                values = entry.spectra[entry.blocks.index(block)]
                channels = max(channels, len(values))
                kept = np.where(values > 1e-12, values, np.nan)
                ax.plot(np.arange(1, len(values) + 1), kept, **_line(look), markersize=3)
            ax.axhline(1, color=SOFT, linewidth=0.9, linestyle=":", zorder=0)
            ax.set(title=block_label(block), xlabel="index of eigenvalue", yscale="log")
            ax.set_xlim(0, channels + 1)
            ax.set_ylim(bottom=max(ax.get_ylim()[0], 1e-8))
            grid(ax)
        axes[0].set_ylabel("eigenvalue")
        axes[0].annotate("all uncorrelated", (0.98, 1.12), xycoords=("axes fraction", "data"),
                         ha="right", fontsize=8, color=SOFT)  # fmt: skip
        _legend(fig, axes[0], len(found.entries))
        return fig


def against_length(found: Inspection) -> Figure:
    """Mean absolute correlation among edges of one length, over how many edges there are."""
    with style():
        fig, axes = _panels(found)
        for ax, block in zip(axes, _blocks(found), strict=True):
            for entry in (e for e in found.entries if block in e.blocks and e.by_length):
                b = entry.blocks.index(block)
                look = _looks(found)[entry.model, entry.dataset]
                ax.plot(*_length_curve(entry, b), **_line(look), markersize=3.5)
            ax.set(title=block_label(block), xlabel="edge length, Å", ylim=(0, 1.02))
            ax.set_xlim(_length_range(found))
            ax.set_zorder(2)
            ax.patch.set_visible(False)
            _counts(ax, found.entries[0])
            grid(ax)
        axes[0].set_ylabel("mean |R| within the bin")
        _legend(fig, axes[0], len(found.entries))
        return fig


def _length_curve(entry: Entry, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Middles of all bins and the mean |R| there, NaN (a gap) where there are too few edges."""
    assert entry.moments.bin_edges is not None
    edges = entry.moments.bin_edges.numpy()
    values = np.full(len(edges) - 1, np.nan)
    for low, _, found in entry.by_length:
        if found[block].samples >= SAMPLES_FOR_A_BIN:
            values[np.searchsorted(edges, low)] = found[block].mean_abs
    return 0.5 * (edges[1:] + edges[:-1]), values


def _counts(ax: Axes, entry: Entry) -> None:
    """Edges per bin of the first data set, faint, as a background."""
    if not entry.by_length:
        return
    low, high, found = zip(*entry.by_length, strict=True)
    counts = np.array([s[0].samples for s in found], dtype=float)
    heights = 0.3 * counts / counts.max()
    ax.bar(low, heights, np.subtract(high, low), align="edge", color="#e9ecef", zorder=0)


def _length_range(found: Inspection) -> tuple[float, float]:
    bins = [bin_ for e in found.entries for bin_ in e.by_length]
    low, high = min(b[0] for b in bins), max(b[1] for b in bins)
    return low - 0.03 * (high - low), high + 0.03 * (high - low)


def variance_shares(found: Inspection) -> Figure | None:
    """What the variance of the features comes from: edge length, elements, the surroundings."""
    entries = [e for e in found.entries if e.given_length and e.given_length_and_kind]
    if not entries:
        return None
    looks, blocks = _looks(found), _blocks(found)
    with style():
        height = 0.9 + 0.3 * len(entries)
        fig, axes = figure(max(3.1 * len(blocks) + 1.2, 5.5), height, 1, len(blocks), sharey=True)
        for ax, block in zip(axes[0], blocks, strict=True):
            for k, entry in enumerate(entries):
                if block in entry.blocks:
                    _share_bar(ax, entry, entry.blocks.index(block), -k)
            ax.set(title=block_label(block), xlim=(0, 100), xlabel="% of the variance")
            ax.set_yticks(
                [-k for k in range(len(entries))],
                [looks[e.model, e.dataset]["label"] or "all edges" for e in entries],
            )
            ax.tick_params(length=0)
            ax.spines[:].set_visible(False)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        fig.legend(handles[:3], labels[:3], loc="outside lower center", ncols=3)
        return fig


def _share_bar(ax: Axes, entry: Entry, block: int, y: float) -> None:
    assert entry.given_length is not None and entry.given_length_and_kind is not None
    length = entry.given_length[block].variance
    both = max(entry.given_length_and_kind[block].variance, length)
    left = 0.0
    names = ("edge length", "elements as well", "the rest: surroundings")
    for name, share, colour in zip(
        names, (length, both - length, 1 - both), _SHARE_COLOURS, strict=True
    ):
        ax.barh(y, 100 * share, 0.72, left=100 * left, color=colour, label=name)
        if share > 0.08:
            ink = "white" if colour != _SHARE_COLOURS[2] else INK
            ax.text(100 * (left + share / 2), y, f"{100 * share:.0f}", ha="center", va="center",
                    color=ink, fontsize=8.5)  # fmt: skip
        left += share


def distance_split(found: Inspection, model: str) -> Figure | None:
    """On the first data set: correlation = the part that edge length explains + the rest."""
    entry = next(e for e in found.entries if e.model == model)
    if entry.given_length is None:
        return None
    rows = len(entry.blocks)
    with style():
        fig, axes = figure(8.6, 2.75 * rows + 0.4, rows, 3)
        for b, block in enumerate(entry.blocks):
            order = _order(found, entry, b)
            index = np.ix_(order, order)
            whole = entry.matrices[b][index]
            rest = entry.given_length[b].matrix_left[index]
            diagonal = np.diag(np.diag(whole - np.eye(len(whole))))
            parts = (whole - diagonal, whole - diagonal - rest, rest)
            for ax, part in zip(axes[b], parts, strict=True):
                image = _matrix(ax, part, SIGNED, -1, 1)
            axes[b, 0].set_ylabel(block_label(block), fontweight="bold")
            share = entry.given_length[b].variance
            axes[b, 1].set_xlabel(f"{share:.0%} of the variance", fontsize=9)
            axes[b, 2].set_xlabel(f"{1 - share:.0%} of the variance", fontsize=9)
        titles = ("Correlation, all edges", "= explained by edge length", "+ the rest")
        for ax, title in zip(axes[0], titles, strict=True):
            ax.set_title(title)
        bar = fig.colorbar(image, ax=axes, shrink=0.5, aspect=22)
        bar.outline.set_visible(False)
        return fig


def kind_maps(found: Inspection) -> Figure:
    """Mean absolute correlation by elements: a row per entry, a column per block."""
    entries = [e for e in found.entries if len(e.by_kind) > 1]
    columns = max(len(e.blocks) for e in entries)
    rows, elements = (max(len(_elements(e)[k]) for e in entries) for k in (0, 1))
    side = max(1.3, 0.5 * elements)
    looks = _looks(found)
    with style():
        height = (side if rows > 1 else 0.55) + 0.3
        fig, axes = figure(
            (side + 0.35) * columns + 1.9, height * len(entries) + 0.5, len(entries), columns
        )
        for row, (line, entry) in enumerate(zip(axes, entries, strict=True)):
            for ax in line[len(entry.blocks) :]:
                ax.set_visible(False)
            for b, block in enumerate(entry.blocks):
                image = _kind_map(line[b], entry, b)
                if row == 0:
                    line[b].set_title(block_label(block))
            label = looks[entry.model, entry.dataset]["label"].replace(", ", "\n")
            line[0].set_ylabel(label, fontsize=8.5)
        bar = fig.colorbar(image, ax=axes, shrink=min(1.0, 1.6 / len(entries) + 0.2), aspect=22)
        bar.set_label("mean |R|")
        bar.outline.set_visible(False)
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
    for (i, j), value in np.ndenumerate(values):
        text = "–" if np.isnan(value) else f"{value:.2f}"
        colour = "white" if value > 0.6 else INK
        ax.text(j, i, text, ha="center", va="center", color=colour, fontsize=8.5)
    ax.set_xticks(range(len(columns)), columns, fontsize=8.5)
    ax.set_yticks(range(len(rows)), rows, fontsize=8.5)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return image


def _blocks(found: Inspection) -> list[str]:
    return list(dict.fromkeys(b for e in found.entries for b in e.blocks))


def _panels(found: Inspection) -> tuple[Figure, Sequence[Axes]]:
    columns = len(_blocks(found))
    fig, axes = figure(max(3.3 * columns, 5.0), 3.3, 1, columns, sharey=True)
    return fig, axes[0]


def _looks(found: Inspection) -> dict[tuple[str, str], dict[str, Any]]:
    """A colour per model, a shade, dash and marker per data set."""
    models = model_styles(found.models, None)
    names, sets = shorts(found.models, 24), shorts(found.datasets, 24)
    dashes, alphas = ("-", "--", ":", "-."), (1.0, 0.55, 0.3, 0.15)
    looks = {}
    for e in found.entries:
        k = found.datasets.index(e.dataset)
        words = [names[e.model]] if len(found.models) > 1 or len(found.datasets) == 1 else []
        words += [sets[e.dataset]] if len(found.datasets) > 1 else []
        looks[e.model, e.dataset] = {
            "color": models[e.model]["color"],
            "linestyle": dashes[min(k, 3)],
            "alpha": alphas[min(k, 3)],
            "marker": _MARKERS[min(k, 4)],
            "label": ", ".join(words),
        }
    return looks


def _line(look: dict[str, Any]) -> dict[str, Any]:
    return {k: look[k] for k in ("color", "linestyle", "marker", "label")} | {"linewidth": 1.4}


def _legend(fig: Figure, ax: Axes, number: int) -> None:
    handles, labels = ax.get_legend_handles_labels()
    if number > 1:
        fig.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4))
