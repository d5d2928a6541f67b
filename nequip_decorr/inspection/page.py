"""The HTML page: the pictures with words on how to read them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

from .. import (
    __version__,
    html,
)
from .entry import (
    Entry,
    block_label,
)
from .result import Inspection

READ_HEAT_MAP: Final = (
    "Each square is a pair of channels: red moves together, blue moves oppositely, white has no "
    "linear relation. Channels are ordered by clustering, so a red or blue patch on the diagonal "
    "is a group of channels that say nearly the same. The order is each model's own, found on the "
    "first data set, and kept for the others: a channel of one model has no counterpart in another."
)
READ_SPECTRUM: Final = (
    "Eigenvalues of the correlation matrix; they sum to the number of channels. Uncorrelated "
    "channels would give a flat line at 1. A steep fall means that few directions carry all that "
    "the channels say; the rest of the width is unused on these structures."
)
READ_LENGTH: Final = (
    "Correlation among edges of nearly the same length; grey bars are the numbers of edges in the "
    "first data set. Every feature fades towards the cutoff, which alone makes channels move "
    "together over all edges; within a bin of length it can't. Two-body features of one pair of "
    "elements follow curves in the length, so in a bin with one pair they correlate whatever the "
    "model has learned. Bins with fewer than 100 edges are left out: chance alone correlates few "
    "samples."
)
READ_SHARES: Final = (
    "What the channels' variance comes from (mean over channels): what the edge length alone "
    "predicts, what the two elements add to that, and the rest, which only the surroundings can "
    "give. Two-body features know length and elements alone. Where the rest is small, the layers "
    "repeat what the two-body block says, and a high correlation says little about how a model "
    "sees its surroundings."
)
READ_SPLIT: Final = (
    "The two right matrices sum to the left one, which is the heat map above. The middle one is "
    "what the edge length alone predicts (a mean and a straight line in each bin of length), the "
    "right one is what remains: surroundings, angles, elements. On its diagonal stands the share "
    "of each channel's variance that remains."
)
READ_KINDS: Final = (
    "Mean absolute correlation over the edges from a centre (row) to a neighbour (column), or over "
    "the atoms of an element. A pair with high values is one that the model tells apart from its "
    "surroundings in few ways. The numbers of edges are in statistics.csv; few edges correlate by "
    "chance."
)
READ_NUMBERS: Final = (
    ("mean|R|", "mean absolute correlation over all pairs of channels of a block; 0 to 1."),
    ("max", "that of the most correlated pair."),
    (
        "eff. rank",
        "effective rank: how many independent directions the channels span (exponential of the "
        "entropy of the spectrum, Roy and Vetterli 2007), of how many channels.",
    ),
    ("dead", "channels that do not vary over these samples."),
    ("dup.", "duplicates: channels that could go: another one correlates with them above 0.99."),
    ("length", "share of the channels' variance that the edge length predicts."),
    ("left", "mean absolute correlation of what the length does not predict."),
)
CAUTION: Final = (
    "Correlation describes features; it does not by itself say that a model is accurate or stable "
    "in MD. For that, compare errors, and run nequip-decorr stability."
)


def write_page(found: Inspection, path: Path) -> Path:
    """Write the page; nothing in it is fetched from anywhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    title = "Feature correlation: " + ", ".join(found.models)
    body = html.join(
        html.tag("h1", title),
        html.tag("p", headline(found), class_="headline"),
        html.tag("p", CAUTION, class_="soft"),
        content(found),
        html.tag("footer", f"nequip-decorr {__version__}"),
    )
    path.write_text(html.page(title, body), encoding="utf-8")
    return path


def fragment(found: Inspection) -> str:
    """For a notebook: headline, table and the first pictures."""
    figures = found.figures
    return html.join(
        html.tag("p", html.tag("strong", headline(found))),
        html.table(*found.summary()),
        _picture(figures["overview"], "overview", None),
        _picture(figures["heat_map_0"], "heat maps", READ_HEAT_MAP),
    )


def headline(found: Inspection) -> str:
    """One sentence on the first data set, with no more in it than was measured."""
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


def _range(values: list[float], form: str) -> str:
    values = [v for v in values if not math.isnan(v)]
    if not values:
        return "–"
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"


def content(found: Inspection) -> html.Html:
    """Table, pictures and how to read them."""
    figures = found.figures
    sections: list[Any] = [
        html.tag("h2", "In numbers"),
        html.table(*found.summary()),
        _glossary(),
        _picture(figures["overview"], "Correlation and effective rank by block", None),
        html.tag("h2", "Which channels move together"),
    ]
    for k, dataset in enumerate(found.datasets):
        sections += [
            html.tag("h3", f"On {dataset}"),
            _picture(
                figures[f"heat_map_{k}"],
                f"Correlation matrices on {dataset}",
                None if k else READ_HEAT_MAP,
            ),
        ]
    sections += [_channels(found), html.tag("h2", "How many directions they span")]
    sections.append(_picture(figures["spectrum"], "Spectra of the correlation", READ_SPECTRUM))
    if "length" in figures:
        sections.append(html.tag("h2", "How much of it is distance, and elements"))
        sections.append(_picture(figures["length"], "Correlation and length", READ_LENGTH))
        if "shares" in figures:
            alt = "Shares of variance by edge length, elements and surroundings"
            sections.append(_picture(figures["shares"], alt, READ_SHARES))
        sections.append(_distance(found))
        for k, name in enumerate(found.models):
            if f"distance_{k}" in figures:
                alt = f"What edge length explains, {name}"
                sections.append(html.tag("h3", f"{name}, on {_first(found, name).dataset}"))
                caption = READ_SPLIT if k == 0 else None
                sections.append(_picture(figures[f"distance_{k}"], alt, caption))
    if "kinds" in figures:
        sections.append(html.tag("h2", "By elements"))
        sections.append(_picture(figures["kinds"], "Correlation by elements", READ_KINDS))
    sections.append(_provenance(found))
    return html.join(sections)


def _first(found: Inspection, model: str) -> Entry:
    return next(e for e in found.entries if e.model == model)


def _glossary() -> html.Html:
    items = [html.tag("li", html.tag("strong", name), ": ", text) for name, text in READ_NUMBERS]
    return html.tag("details", html.tag("summary", "What the columns mean"), html.tag("ul", items))


def _channels(found: Inspection) -> html.Html | None:
    rows = []
    for entry in found.entries:
        for block, s in zip(entry.blocks, entry.statistics, strict=True):
            where = [entry.model, entry.dataset, block_label(block)]
            if s.dead:
                rows.append([*where, "dead", ", ".join(map(str, s.dead))])
            for group in s.duplicates:
                rows.append([*where, "duplicates", ", ".join(map(str, group))])
    if not rows:
        return html.tag("p", "No channel is dead, and no two correlate above 0.99.", class_="soft")
    header = ["model", "data", "block", "finding", "channels, from 0"]
    summary = html.tag("summary", f"Dead and duplicated channels ({len(rows)} findings)")
    return html.tag("details", summary, html.table(header, rows))


def _distance(found: Inspection) -> html.Html | None:
    rows = []
    for entry in found.entries:
        length, both = entry.given_length, entry.given_length_and_kind
        for b, block in enumerate(entry.blocks):
            if length is None:
                continue
            row = [
                entry.dataset,
                block_label(block),
                entry.model,
                f"{entry.statistics[b].mean_abs:.3f}",
            ]
            for given in (length, both):
                row += ["–", "–"] if given is None else [_share(given[b]), _left(given[b])]
            rows.append(row)
    if not rows:
        return html.tag("p", "Too few edges to tell what distance explains.", class_="soft")
    header = ["data", "block", "model", "mean |R|", "length explains", "|R| left"]
    header += ["length and elements explain", "|R| left then"]
    return html.table(header, rows)


def _share(given: Any) -> str:
    return "–" if given.variance != given.variance else f"{given.variance:.0%}"


def _left(given: Any) -> str:
    if given.mean_abs_left != given.mean_abs_left:
        return "nothing left"
    return f"{given.mean_abs_left:.3f}"


def _provenance(found: Inspection) -> html.Html:
    rows = [[e.model, e.dataset, e.field, e.frames, e.statistics[0].samples] for e in found.entries]
    header = ["model", "data", "field", "frames", "edges or atoms"]
    return html.join(html.tag("h2", "What was read"), html.table(header, rows))


def _error(entry: Entry) -> str:
    error = entry.force_mae_eV_per_A
    return "no labels" if error is None else f"{error:.4f}"


def _picture(fig: Any, alt: str, caption: str | None) -> html.Html:
    width = round(96 * fig.get_figwidth())
    return html.figure(html.png_bytes(fig), alt, caption, width)
