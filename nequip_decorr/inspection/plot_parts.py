"""What the pictures share: order of channels, panels, colours, legends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..style import figure, key_of, model_styles, shorts
from .entry import Entries, Entry
from .statistics import cluster_order

_MARKERS: Final = ("o", "s", "^", "D", "v")


def channel_order(found: Entries, entry: Entry, block: int) -> np.ndarray:
    """Order of an entry's channels: that of its model on the first data set."""
    first = found.first(entry.model)
    live = np.ones(first.widths[block], dtype=bool)
    live[list(first.statistics[block].dead)] = False
    return cluster_order(first.matrices[block], live)


def draw_matrix(ax: Axes, values: np.ndarray) -> Any:
    """A matrix of correlations as a picture without axes."""
    image = ax.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    return image


def colour_bar(fig: Figure, image: Any, axes: Any, shrink: float, label: str = "") -> None:
    """A colour bar beside all panels."""
    bar = fig.colorbar(image, ax=axes, shrink=shrink, aspect=22)
    bar.set_label(label)
    bar.outline.set_visible(False)


def panels(found: Entries) -> tuple[Figure, Sequence[Axes]]:
    """A figure with a panel per block."""
    columns = len(found.blocks)
    fig, axes = figure(max(3.3 * columns, 5.0), 3.3, 1, columns, sharey=True)
    return fig, axes[0]


def looks_of(found: Entries) -> dict[tuple[str, str], dict[str, Any]]:
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


def line_look(look: dict[str, Any]) -> dict[str, Any]:
    """What a line takes of a look."""
    return {k: look[k] for k in ("color", "linestyle", "marker", "label")} | {"linewidth": 1.4}


def legend(fig: Figure, ax: Axes, number: int) -> None:
    """One legend for the figure, where there is more than one entry."""
    if number > 1:
        key_of(fig, ax.get_legend_handles_labels()[0], "outside lower center")
