"""The HTML page: what the template ``inspection.html`` is filled with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .. import __version__
from ..extrapolation.report import parts
from ..html import png_bytes, render
from .entry import Entries, block_label
from .pairs import HEADER
from .statistics import Explained
from .tables import channel_rows, percent, summary


def page(found: Entries, figures: Mapping[str, Any]) -> str:
    """Build the page; nothing in it is fetched from anywhere.

    Args:
        found: the entries.
        figures: pictures by name, from :func:`.plots.all_figures`.
    """
    pictures = _pictures(figures)
    splits = [
        (name, found.first(name).dataset, pictures[f"distance_{k}"])
        for k, name in enumerate(found.models)
        if f"distance_{k}" in pictures
    ]
    return render(
        "inspection.html",
        title="Feature correlation: " + ", ".join(found.models),
        headline=headline(found),
        notes=list(dict.fromkeys(text for e in found.entries for text in e.warnings)),
        summary=summary(found),
        pictures={"length": None, "shares": None, "kinds": None, **pictures},
        datasets=found.datasets,
        channels=_channels(found),
        distance=_distance(found),
        splits=splits,
        provenance=[
            [e.model, e.weights, e.dataset, e.field, e.frames, e.bare_frames,
             e.statistics[0].samples]
            for e in found.entries
        ],
        grades=parts(found.grades) if found.grades else [],
        pairs=(HEADER, [curve.line() for curve in found.pairs]) if found.pairs else None,
        labels=label_lines(found),
        version=__version__,
    )  # fmt: skip


def fragment(found: Entries, figures: Mapping[str, Any]) -> str:
    """Build what a notebook shows: headline, table and the first pictures."""
    return render(
        "inspection_cell.html",
        headline=headline(found),
        summary=summary(found),
        pictures=_pictures({name: figures[name] for name in ("overview", "heat_map_0")}),
    )


def headline(found: Entries) -> str:
    """Write one sentence on the first data set, with no more in it than was measured."""
    first = found.datasets[0]
    parts = []
    for entry in (e for e in found.entries if e.dataset == first):
        means = [s.mean_abs for s in entry.statistics]
        ranks = [s.effective_rank / s.channels for s in entry.statistics]
        parts.append(
            f"{entry.model}: mean |R| {_range(means, '.2f')}, effective rank "
            f"{_range([100 * r for r in ranks], '.0f')} % of the channels"
        )
    return f"On {first}, " + "; ".join(parts) + "."


def label_lines(found: Entries) -> list[str]:
    """Say of each model and data set which labels were read."""
    return [
        f"{e.model} on {e.dataset}: {labels.sentence()}"
        for e in found.entries
        for labels in (e.forces, e.energies)
        if labels is not None
    ]


def _range(values: list[float], form: str) -> str:
    values = [v for v in values if not math.isnan(v)]
    if not values:
        return "–"
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"


def _pictures(figures: Mapping[str, Any]) -> dict[str, tuple[bytes, int]]:
    """PNG and width in CSS pixels of each figure."""
    return {n: (png_bytes(fig), round(96 * fig.get_figwidth())) for n, fig in figures.items()}


def _channels(found: Entries) -> list[list[str]]:
    return [
        [r["model"], r["dataset"], block_label(r["block"]), r["finding"],
         r["channels"].replace(" ", ", ")]
        for r in channel_rows(found.entries)
    ]  # fmt: skip


def _distance(found: Entries) -> list[list[str]]:
    rows = []
    for entry in (e for e in found.entries if e.given_length is not None):
        for b, block in enumerate(entry.blocks):
            mean = f"{entry.statistics[b].mean_abs:.3f}"
            row = [entry.dataset, block_label(block), entry.model, mean]
            for given in (entry.given_length, entry.given_length_and_kind):
                row += ["–", "–"] if given is None else [percent(given[b]), _left(given[b])]
            rows.append(row)
    return rows


def _left(given: Explained) -> str:
    return "nothing left" if math.isnan(given.mean_abs_left) else f"{given.mean_abs_left:.3f}"
