"""Rows of the CSV files and of the summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from .entry import Entries, Entry, block_label
from .statistics import BlockStatistics, Explained

ALL: Final = "all"


def statistics_rows(entry: Entry) -> Iterator[dict[str, Any]]:
    """A row per block over all samples, per kind, and per bin of length."""
    groups: list[tuple[str, Any, Any, list[BlockStatistics]]] = [(ALL, "", "", entry.statistics)]
    groups += [(kind, "", "", found) for kind, found in entry.by_kind.items()]
    groups += [
        ("length", f"{low:.4g}", f"{high:.4g}", found) for low, high, found in entry.by_length
    ]
    for group, low, high, found in groups:
        for b, (block, s) in enumerate(zip(entry.blocks, found, strict=True)):
            yield {
                "model": entry.model,
                "dataset": entry.dataset,
                "block": block,
                "group": group,
                "length_from_A": low,
                "length_to_A": high,
                "samples": s.samples,
                "channels": s.channels,
                "mean_abs": _number(s.mean_abs),
                "max_abs": _number(s.max_abs),
                "effective_rank": _number(s.effective_rank),
                "rank": s.rank if s.samples > 1 else "",
                "directions_99": s.directions_99 if s.samples > 1 else "",
                "dead": len(s.dead) if s.samples > 1 else "",
                "redundant": s.redundant if s.samples > 1 else "",
                **(_explained_columns(entry, b) if group == ALL else dict.fromkeys(_EXPLAINED, "")),
                "frames": entry.frames,
                "force_mae_eV_per_A": _number(entry.force_mae_eV_per_A),
                "energy_mae_eV_per_atom": _number(entry.energy_mae_eV_per_atom),
            }


_EXPLAINED: Final = (
    *("variance_explained_by_length", "mean_abs_given_length"),
    *("variance_explained_by_length_and_kind", "mean_abs_given_length_and_kind"),
)


def _explained_columns(entry: Entry, block: int) -> dict[str, str]:
    values: list[float | None] = []
    for found in (entry.given_length, entry.given_length_and_kind):
        one = None if found is None else found[block]
        values += [None, None] if one is None else [one.variance, one.mean_abs_left]
    return {name: _number(v) for name, v in zip(_EXPLAINED, values, strict=True)}


def _number(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.6g}"


def spectrum_rows(entries: Sequence[Entry]) -> Iterator[dict[str, Any]]:
    """A row per eigenvalue."""
    for e in entries:
        for block, values in zip(e.blocks, e.spectra, strict=True):
            for k, value in enumerate(values, 1):
                key = {"model": e.model, "dataset": e.dataset, "block": block}
                yield {**key, "index": k, "eigenvalue": f"{value:.9g}"}


def channel_rows(entries: Sequence[Entry]) -> Iterator[dict[str, Any]]:
    """A row per dead set and per group of duplicates."""
    for e in entries:
        for block, s in zip(e.blocks, e.statistics, strict=True):
            key = {"model": e.model, "dataset": e.dataset, "block": block}
            groups = [("dead", s.dead)] if s.dead else []
            for finding, group in [*groups, *(("duplicates", group) for group in s.duplicates)]:
                yield {**key, "finding": finding, "channels": " ".join(map(str, group))}


def summary(found: Entries) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the summary: a row per data set, block and model."""
    header = ["data", "block", "model", "mean|R|", "max", "eff. rank", "dead", "dup."]
    on_edges = any(e.on_edges for e in found.entries)
    header += ["length", "left"] if on_edges else []
    rows = []
    for dataset in found.datasets:
        mine = [e for e in found.entries if e.dataset == dataset]
        for block in dict.fromkeys(b for e in mine for b in e.blocks):
            rows += [_summary_row(e, block, on_edges) for e in mine if block in e.blocks]
    return header, rows


def _summary_row(entry: Entry, block: str, on_edges: bool) -> list[str]:
    b = entry.blocks.index(block)
    s = entry.statistics[b]
    row = [entry.dataset, block_label(block), entry.model, _shown(s.mean_abs), _shown(s.max_abs)]
    row += [f"{s.effective_rank:.1f}/{s.channels}", str(len(s.dead)), str(s.redundant)]
    if on_edges:
        given = entry.given_length[b] if entry.given_length else None
        row += ["–", "–"] if given is None else [percent(given), _shown(given.mean_abs_left)]
    return row


def percent(given: Explained) -> str:
    """Write the share of variance that is explained."""
    return "–" if np.isnan(given.variance) else f"{given.variance:.0%}"


def _shown(value: float | None) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.3f}"
