"""Pictures of what edge length and elements do to the correlation."""

from __future__ import annotations

from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..style import INK, figure, grid, key_of, style
from . import plot_parts as parts
from .entry import Entries, Entry, block_label

SAMPLES_FOR_A_BIN: Final = 100
"""A bin with fewer edges is not drawn: chance alone correlates few samples."""
_SHARE_COLOURS: Final = ("#33658A", "#8C6BB1", "#D9DEE3")


def against_length(found: Entries) -> Figure:
    """Mean absolute correlation among edges of one length, over how many edges there are."""
    bins = [bin_ for e in found.entries for bin_ in e.by_length]
    low, high = min(b[0] for b in bins), max(b[1] for b in bins)
    with style():
        fig, axes = parts.panels(found)
        for ax, block in zip(axes, found.blocks, strict=True):
            for entry in (e for e in found.entries if block in e.blocks and e.by_length):
                b = entry.blocks.index(block)
                look = parts.looks_of(found)[entry.model, entry.dataset]
                ax.plot(*_length_curve(entry, b), **parts.line_look(look), markersize=3.5)
            ax.set(title=block_label(block), xlabel="edge length, Å", ylim=(0, 1.02))
            ax.set_xlim(low - 0.03 * (high - low), high + 0.03 * (high - low))
            ax.set_zorder(2)
            ax.patch.set_visible(False)
            _counts(ax, found.entries[0])
            grid(ax)
        axes[0].set_ylabel("mean |R| within the bin")
        parts.legend(fig, axes[0], len(found.entries))
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


def variance_shares(found: Entries) -> Figure | None:
    """What the variance of the features comes from: edge length, elements, the surroundings."""
    entries = [e for e in found.entries if e.given_length and e.given_length_and_kind]
    if not entries:
        return None
    looks, blocks = parts.looks_of(found), found.blocks
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
        key_of(fig, axes[0, 0].get_legend_handles_labels()[0][:3], "outside lower center")
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


def distance_split(found: Entries, model: str) -> Figure | None:
    """On the first data set: correlation = the part that edge length explains + the rest."""
    entry = found.first(model)
    if entry.given_length is None:
        return None
    rows = len(entry.blocks)
    with style():
        fig, axes = figure(8.6, 2.75 * rows + 0.4, rows, 3)
        for b, block in enumerate(entry.blocks):
            order = parts.channel_order(found, entry, b)
            index = np.ix_(order, order)
            whole = entry.matrices[b][index]
            rest = entry.given_length[b].matrix_left[index]
            diagonal = np.diag(np.diag(whole - np.eye(len(whole))))
            terms = (whole - diagonal, whole - diagonal - rest, rest)
            for ax, term in zip(axes[b], terms, strict=True):
                image = parts.draw_matrix(ax, term)
            axes[b, 0].set_ylabel(block_label(block), fontweight="bold")
            share = entry.given_length[b].variance
            axes[b, 1].set_xlabel(f"{share:.0%} of the variance", fontsize=9)
            axes[b, 2].set_xlabel(f"{1 - share:.0%} of the variance", fontsize=9)
        titles = ("Correlation, all edges", "= explained by edge length", "+ the rest")
        for ax, title in zip(axes[0], titles, strict=True):
            ax.set_title(title)
        parts.colour_bar(fig, image, axes, 0.5)
        return fig
