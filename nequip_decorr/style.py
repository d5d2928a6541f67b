"""How the pictures of a report look: colours for the colour-blind, names that can't break out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend import Legend

INK: Final = "#1b1f24"
SOFT: Final = "#6b7480"
LINE: Final = "#dfe3e8"
STABLE: Final = "#dfe5ea"
CUT: Final = "#aab3bd"
REFERENCE: Final = "#7a828c"
# Okabe & Ito, ordered so that the first ones differ most, in lightness too.
_MODELS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#8A6D00", "#000000")
_DASHES: Final = ("-", "--", ":")


def style() -> AbstractContextManager[None]:
    """Settings to draw with; text is never read as mathematics."""
    return matplotlib.rc_context(
        {
            "font.family": "DejaVu Sans",
            "font.size": 10,
            "text.parse_math": False,
            "text.usetex": False,
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": "#b7bec7",
            "axes.titlesize": 10.5,
            "axes.titlelocation": "left",
            "axes.titleweight": "bold",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "axes.formatter.use_mathtext": False,
            "xtick.color": SOFT,
            "ytick.color": SOFT,
            "xtick.labelcolor": INK,
            "ytick.labelcolor": INK,
            "legend.frameon": False,
            "legend.fontsize": 9,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
        }
    )


def figure(
    width_in: float, height_in: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, Any]:
    """A figure without global state, and its axes ``[rows, columns]``."""
    fig = Figure(figsize=(width_in, height_in), layout="constrained")
    return fig, fig.subplots(rows, columns, squeeze=False, **options)


def model_styles(models: Sequence[str], reference: str | None) -> dict[str, dict[str, Any]]:
    """``color`` and ``linestyle`` by model; grey and dashed for the reference."""
    judged = [name for name in models if name != reference]
    styles: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(judged):
        dash = _DASHES[min(k // len(_MODELS), len(_DASHES) - 1)]
        styles[name] = {"color": _MODELS[k % len(_MODELS)], "linestyle": dash}
    if reference is not None:
        styles[reference] = {"color": REFERENCE, "linestyle": "--"}
    return styles


def short(name: str, length: int = 30) -> str:
    """A name that fits: its middle left out, on one line, and shown by a legend."""
    text = " ".join("".join(c if c.isprintable() else "�" for c in name).split()) or "(no name)"
    if len(text) > length:
        half = (length - 1) // 2
        text = f"{text[: length - 1 - half]}…{text[-half:]}"
    # matplotlib leaves labels out that begin with an underscore.
    return f"\u2009{text}" if text.startswith("_") else text


def shorts(names: Sequence[str], length: int = 30) -> dict[str, str]:
    """:func:`short` for each, numbered where two names come out alike."""
    found: dict[str, str] = {}
    for name in names:
        text = short(name, length)
        if text in found.values():
            text = f"{short(name, length - 4)} #{len(found) + 1}"
        found[name] = text
    return found


def legend_names(looks: Mapping[str, Mapping[str, Any]], length: int = 30) -> dict[str, str]:
    """:func:`shorts` of the models of :func:`model_styles`, the reference marked as such."""
    names = shorts(list(looks), length)
    others = (model for model in looks if model != "reference")  # that name says it already
    marks = {m: " (reference)" for m in others if looks[m]["color"] == REFERENCE}
    return {model: f"{name}{marks.get(model, '')}" for model, name in names.items()}


def text_colour(background: str) -> str:
    """Black or white, whichever is read better on a colour (WCAG 2.1 relative luminance)."""
    parts = np.array(to_rgb(background))
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else "white"


def condition_labels(conditions: Sequence[tuple[str, float]], length: int) -> list[str]:
    """Short names of (structure, temperature in K)."""
    names = [f"{structure}  {temperature_K:g} K" for structure, temperature_K in conditions]
    short_names = shorts(names, length)
    return [short_names[name] for name in names]


def key_of(
    fig: Figure,
    handles: Sequence[Any],
    place: Literal["outside lower center", "outside upper left"],
    columns: int = 4,
) -> Legend:
    """A legend outside the axes, in as many columns as the figure is wide for, up to a number.

    Args:
        fig: the figure.
        handles: artists with labels.
        place: as matplotlib names it.
        columns: at most.
    """
    for number in range(max(1, min(columns, len(handles))), 0, -1):
        found: Legend = fig.legend(handles=handles, loc=place, ncols=number)
        if number == 1 or found.get_window_extent().width <= fig.bbox.width:
            break
        found.remove()
    return found


def hide(axes: Iterable[Axes]) -> None:
    """Leave panels empty."""
    for ax in axes:
        ax.set_visible(False)


def grid(ax: Axes, axis: Any = "both") -> None:
    """Faint lines behind the data."""
    ax.grid(True, axis=axis, color=LINE, linewidth=0.7)
    ax.tick_params(length=0)
