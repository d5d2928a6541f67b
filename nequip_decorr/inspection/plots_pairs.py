"""The picture of the pair curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ..style import SOFT, figure, grid, model_styles, style
from .pairs import PairCurve

_COLUMNS = 3


def pair_figure(curves: Sequence[PairCurve]) -> Figure:
    """A panel per pair of elements: energy against distance, in the data's frame and alone."""
    pairs = list(dict.fromkeys(c.pair for c in curves))
    looks = model_styles(list(dict.fromkeys(c.model for c in curves)), None)
    columns = min(_COLUMNS, len(pairs))
    rows = -(-len(pairs) // columns)
    with style():
        fig, axes = figure(3.6 * columns, 2.9 * rows, rows, columns)
        for ax in axes.flat[len(pairs) :]:
            ax.set_visible(False)
        for ax, pair in zip(axes.flat, pairs, strict=False):
            ax.set(title=pair, xlabel="distance (Å)", ylabel="energy (eV)")
            mine = [c for c in curves if c.pair == pair]
            for c in mine:
                colour = looks[c.model]["color"]
                words = f"{c.model}, " if len(looks) > 1 else ""
                if c.cell is not None:
                    ax.plot(*c.cell, color=colour, label=f"{words}in a frame of the data")
                ax.plot(*c.vacuum, color=colour, ls=":", label=f"{words}two atoms alone")
            if np.isfinite(mine[0].shortest_A):
                ax.axvspan(mine[0].vacuum[0, 0], mine[0].shortest_A, color=SOFT, alpha=0.12, lw=0,
                           label="closer than in the data")  # fmt: skip
            ax.set_ylim(*_limits(mine))
            grid(ax, "y")
        axes.flat[0].legend(fontsize=7, frameon=False)
        return fig


def _limits(curves: Sequence[PairCurve]) -> tuple[float, float]:
    """Show wells as they are and walls up to 20 eV."""
    values = np.concatenate([x[1] for c in curves for x in (c.vacuum, c.cell) if x is not None])
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (-1.0, 1.0)
    return float(min(low, -0.5)) * 1.1, float(min(max(high, 2.0) * 1.1, 20.0))
