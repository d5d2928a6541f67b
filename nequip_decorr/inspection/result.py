""":class:`Inspection`: what is kept of every model on every data set, as numbers and tables."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..correlation import Moments, correlation_matrix, spectrum
from .accumulate import FeatureMoments
from .statistics import BlockStatistics, Explained, block_statistics, explained, per_block

ALL: Final = "all"
_LABELS: Final = {"two_body": "two-body"}


@dataclass(frozen=True)
class Entry:
    """One model on one data set.

    Attributes:
        model: its name.
        dataset: name of the data set.
        field: output field, or pattern, that was read.
        blocks: names of the blocks.
        widths: channels of each block.
        kinds: names of the kinds of samples by number: ``Si-O`` (centre, neighbour) or ``Si``.
        moments: all that is kept of the features.
        frames: number of frames.
        force_mae_eV_per_A: where the frames have forces, else ``None``.
    """

    model: str
    dataset: str
    field: str
    blocks: tuple[str, ...]
    widths: tuple[int, ...]
    kinds: dict[int, str]
    moments: FeatureMoments
    frames: int = 1
    force_mae_eV_per_A: float | None = None

    @property
    def on_edges(self) -> bool:
        """Whether the samples are edges; else they are atoms."""
        return self.moments.by_bin is not None

    @cached_property
    def statistics(self) -> list[BlockStatistics]:
        """Per block, over all samples."""
        return self._statistics(self.moments.total)

    @cached_property
    def by_kind(self) -> dict[str, list[BlockStatistics]]:
        """Per kind of sample, then per block."""
        return {
            self.kinds.get(k, str(k)): self._statistics(m) for k, m in self.moments.by_kind.items()
        }

    @cached_property
    def by_length(self) -> list[tuple[float, float, list[BlockStatistics]]]:
        """Lower and upper bound in Å of each bin of edge length that has edges, and its blocks."""
        if self.moments.by_bin is None or self.moments.bin_edges is None:
            return []
        edges = self.moments.bin_edges.tolist()
        bins = (Moments(*(t[k] for t in self.moments.by_bin)) for k in range(len(edges) - 1))
        return [
            (low, high, self._statistics(m))
            for low, high, m in zip(edges[:-1], edges[1:], bins, strict=True)
            if m.count[0] > 0
        ]

    @cached_property
    def given_length(self) -> list[Explained] | None:
        """What edge length explains, per block; ``None`` without lengths or enough samples."""
        return self._explained(self.moments.left_given_length)

    @cached_property
    def given_length_and_kind(self) -> list[Explained] | None:
        """What edge length and pair of elements explain; of atoms, what the element explains."""
        return self._explained(self.moments.left_given_length_and_kind)

    @cached_property
    def spectra(self) -> list[np.ndarray]:
        """Eigenvalues of each block's correlation matrix, falling, ``[C]``."""
        return [spectrum(m).numpy() for m in per_block(self.moments.total, self.widths)]

    @cached_property
    def matrices(self) -> list[np.ndarray]:
        """Correlation matrix of each block, ``[C, C]``."""
        parts = per_block(self.moments.total, self.widths)
        return [correlation_matrix(m)[0].numpy() for m in parts]

    def _statistics(self, m: Moments) -> list[BlockStatistics]:
        return [block_statistics(part) for part in per_block(m, self.widths)]

    def _explained(self, left: Moments | None) -> list[Explained] | None:
        if left is None:
            return None
        parts = (per_block(m, self.widths) for m in (self.moments.total, left))
        return [explained(whole, rest) for whole, rest in zip(*parts, strict=True)]


@dataclass(frozen=True)
class Inspection:
    """Feature correlation of one or more models on one or more data sets, side by side.

    Made by :func:`inspect_model`; in a notebook it shows itself as tables and pictures.

    .. code-block:: python

        from nequip_decorr import inspect_model

        found = inspect_model("best.ckpt", {"in distribution": "test.xyz", "melt": "melt.xyz"})
        print(found.entries[0].statistics[0].mean_abs)
        found.to_csv("inspection")
        found.to_html("inspection/index.html")

    Attributes:
        entries: one per model and data set; the first data set is the reference.
    """

    entries: tuple[Entry, ...]

    @property
    def models(self) -> list[str]:
        """Names of the models, in order."""
        return list(dict.fromkeys(e.model for e in self.entries))

    @property
    def datasets(self) -> list[str]:
        """Names of the data sets, in order."""
        return list(dict.fromkeys(e.dataset for e in self.entries))

    def entry(self, model: str, dataset: str) -> Entry:
        """The entry of a model on a data set.

        Raises:
            ValueError: there is none, naming those there are.
        """
        for found in self.entries:
            if (found.model, found.dataset) == (model, dataset):
                return found
        raise ValueError(
            f"no model {model!r} on {dataset!r}; models {self.models}, data sets {self.datasets}"
        )

    def beside(self, other: Inspection) -> Inspection:
        """Both side by side.

        Raises:
            ValueError: a model's name occurs in both on the same data set.
        """
        seen = {(e.model, e.dataset) for e in self.entries}
        clash = [(e.model, e.dataset) for e in other.entries if (e.model, e.dataset) in seen]
        if clash:
            raise ValueError(f"model and data set {clash[0]} occur in both; give one another name")
        return Inspection((*self.entries, *other.entries))

    def rows(self) -> list[dict[str, Any]]:
        """Plain rows: per entry and block over all samples, per kind, and per bin of length."""
        return [row for entry in self.entries for row in _entry_rows(entry)]

    def to_csv(self, folder: str | Path) -> list[Path]:
        """Write ``statistics.csv``, ``spectrum.csv`` and ``channels.csv``; returns their paths."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tables = {
            "statistics.csv": self.rows(),
            "spectrum.csv": list(self._spectrum_rows()),
            "channels.csv": list(self._channel_rows()),
        }
        columns = {"channels.csv": ["model", "dataset", "block", "finding", "channels"]}
        for name, rows in tables.items():
            header = columns.get(name) or list(rows[0])
            with (folder / name).open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, header, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
        return [folder / name for name in tables]

    def to_html(self, path: str | Path) -> Path:
        """Write the self-contained page."""
        from .page import write_page

        return write_page(self, Path(path))

    @cached_property
    def figures(self) -> dict[str, Any]:
        """The pictures as matplotlib figures, by name."""
        from .plots import all_figures

        return all_figures(self)

    def to_png(self, folder: str | Path) -> list[Path]:
        """Write every picture as a PNG file; returns their paths."""
        from ..html import png_bytes

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in self.figures.items():
            (folder / f"{name}.png").write_bytes(png_bytes(figure))
        return [folder / f"{name}.png" for name in self.figures]

    def tables(self) -> list[Table]:
        """The summary for the terminal, a table per data set."""
        from ..stability.style import shorts

        header, rows = self.summary()
        names = shorts(self.models, 13)
        shown = []
        for dataset in self.datasets:
            title = f"{dataset}: {self._sizes(dataset)}"
            table = Table(
                title=title,
                title_justify="left",
                title_style="bold",
                box=SIMPLE_HEAD,
                padding=(0, 1, 0, 0),
            )
            for name in header[1:]:
                left = name in ("block", "model")
                table.add_column(name, justify="left" if left else "right", no_wrap=True)
            block = None
            for row in (r for r in rows if r[0] == dataset):
                if block not in (None, row[1]) and len(self.models) > 1:
                    table.add_section()
                block = row[1]
                table.add_row(row[1], names[row[2]], *row[3:])
            shown.append(table)
        return shown

    def _sizes(self, dataset: str) -> str:
        mine = [e for e in self.entries if e.dataset == dataset]
        words = "edges" if mine[0].on_edges else "atoms"
        text = f"{mine[0].frames} frames, {mine[0].statistics[0].samples} {words}"
        errors = [e for e in mine if e.force_mae_eV_per_A is not None]
        if errors:
            text += "; force MAE in eV/Å: "
            text += ", ".join(f"{e.model} {e.force_mae_eV_per_A:.3f}" for e in errors)
        return text

    def summary(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the summary: a row per data set, block and model."""
        header = ["data", "block", "model", "mean|R|", "max", "eff. rank", "dead", "dup."]
        on_edges = any(e.on_edges for e in self.entries)
        header += ["length", "left"] if on_edges else []
        rows = []
        for dataset in self.datasets:
            mine = [e for e in self.entries if e.dataset == dataset]
            for block in dict.fromkeys(b for e in mine for b in e.blocks):
                for entry in (e for e in mine if block in e.blocks):
                    rows.append(_summary_row(entry, block, on_edges))
        return header, rows

    def _repr_html_(self) -> str:
        from .page import fragment

        return fragment(self)

    def _spectrum_rows(self) -> Iterator[dict[str, Any]]:
        for e in self.entries:
            for block, values in zip(e.blocks, e.spectra, strict=True):
                for k, value in enumerate(values, 1):
                    yield {
                        "model": e.model,
                        "dataset": e.dataset,
                        "block": block,
                        "index": k,
                        "eigenvalue": f"{value:.9g}",
                    }

    def _channel_rows(self) -> Iterator[dict[str, Any]]:
        for e in self.entries:
            for block, found in zip(e.blocks, e.statistics, strict=True):
                key = {"model": e.model, "dataset": e.dataset, "block": block}
                if found.dead:
                    yield {**key, "finding": "dead", "channels": _words(found.dead)}
                for group in found.duplicates:
                    yield {**key, "finding": "duplicates", "channels": _words(group)}


def block_label(name: str) -> str:
    """A block's name for people."""
    return _LABELS.get(name, name.replace("_", " "))


def _words(channels: Sequence[int]) -> str:
    return " ".join(map(str, channels))


def _entry_rows(entry: Entry) -> Iterator[dict[str, Any]]:
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
                "rank": s.rank,
                "directions_99": s.directions_99,
                "dead": len(s.dead),
                "redundant": s.redundant,
                **(_explained_columns(entry, b) if group == ALL else dict.fromkeys(_EXPLAINED, "")),
                "frames": entry.frames,
                "force_mae_eV_per_A": _number(entry.force_mae_eV_per_A),
            }


_EXPLAINED = (
    "variance_explained_by_length",
    "mean_abs_given_length",
    "variance_explained_by_length_and_kind",
    "mean_abs_given_length_and_kind",
)


def _explained_columns(entry: Entry, block: int) -> dict[str, str]:
    values: list[float | None] = []
    for found in (entry.given_length, entry.given_length_and_kind):
        one = None if found is None else found[block]
        values += [None, None] if one is None else [one.variance, one.mean_abs_left]
    return {name: _number(v) for name, v in zip(_EXPLAINED, values, strict=True)}


def _number(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.6g}"


def _summary_row(entry: Entry, block: str, on_edges: bool) -> list[str]:
    b = entry.blocks.index(block)
    s = entry.statistics[b]
    row = [entry.dataset, block_label(block), entry.model, _shown(s.mean_abs), _shown(s.max_abs)]
    row += [f"{s.effective_rank:.1f}/{s.channels}", str(len(s.dead)), str(s.redundant)]
    if on_edges:
        given = entry.given_length[b] if entry.given_length else None
        row += ["–", "–"] if given is None else [_percent(given), _shown(given.mean_abs_left)]
    return row


def _percent(given: Explained) -> str:
    return "–" if np.isnan(given.variance) else f"{given.variance:.0%}"


def _shown(value: float | None) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.3f}"
