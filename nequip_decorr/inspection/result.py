""":class:`Inspection`: every model on every data set, as numbers, tables, pictures and a page."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..errors import UserError
from ..extrapolation.report import tables as grade_tables
from ..files import csv_text
from ..html import png_bytes, write_pictures
from ..style import shorts
from .entry import Entries, Entry
from .pairs import table as pair_table
from .tables import channel_rows, spectrum_rows, statistics_rows, summary

PICTURES: Final = r"overview|(heat_map|distance)_\d+|spectrum|length|shares|kinds|grade|pairs"


class Inspection(Entries):
    """Feature correlation of one or more models on one or more data sets, side by side.

    Made by :func:`inspect_model`; in a notebook it shows itself as tables and pictures.

    >>> import torch
    >>> from nequip_decorr import Inspection, inspect_features
    >>> generator = torch.Generator().manual_seed(0)
    >>> a, b = (
    ...     inspect_features(torch.randn(100, 4, generator=generator), name=name) for name in "ab"
    ... )
    >>> both = a.beside(b)
    >>> isinstance(both, Inspection), both.models
    (True, ['a', 'b'])
    >>> [path.name for path in both.to_csv("inspection")]
    ['statistics.csv', 'spectrum.csv', 'channels.csv']

    Attributes:
        entries: one per model and data set; the first data set is the reference.
        grades: extrapolation grades, for models that have one fitted.
        pairs: energies of two atoms that approach, where they are asked for.
    """

    def entry(self, model: str, dataset: str) -> Entry:
        """The entry of a model on a data set.

        Raises:
            UserError: there is none, naming those there are.
        """
        for found in self.entries:
            if (found.model, found.dataset) == (model, dataset):
                return found
        raise UserError(
            f"no model {model!r} on {dataset!r}; models {self.models}, data sets {self.datasets}"
        )

    def beside(self, other: Inspection) -> Inspection:
        """Both side by side.

        Raises:
            UserError: a model's name occurs in both on the same data set.
        """
        seen = {(e.model, e.dataset) for e in self.entries}
        clash = [(e.model, e.dataset) for e in other.entries if (e.model, e.dataset) in seen]
        if clash:
            raise UserError(f"model and data set {clash[0]} occur in both; give one another name")
        return Inspection(
            (*self.entries, *other.entries),
            (*self.grades, *other.grades),
            (*self.pairs, *other.pairs),
        )

    def rows(self) -> list[dict[str, Any]]:
        """Plain rows: per entry and block over all samples, per kind, and per bin of length."""
        return [row for entry in self.entries for row in statistics_rows(entry)]

    def to_csv(self, folder: str | Path) -> list[Path]:
        """Write ``statistics.csv``, ``spectrum.csv`` and ``channels.csv``; returns their paths.

        With grades, also ``grades.csv`` and ``worst_atoms.csv``; with pair curves, ``pairs.csv``.
        Without them, those of an earlier inspection in the folder are removed.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tables = {
            "statistics.csv": self.rows(),
            "spectrum.csv": list(spectrum_rows(self.entries)),
            "channels.csv": list(channel_rows(self.entries)),
        }
        more = {
            "grades.csv": [row for s in self.grades for row in s.rows()],
            "worst_atoms.csv": [row for s in self.grades for row in s.worst()],
            "pairs.csv": [row for curve in self.pairs for row in curve.rows()],
        }
        tables |= {name: rows for name, rows in more.items() if rows}
        for name in more.keys() - tables.keys():
            (folder / name).unlink(missing_ok=True)
        columns = {"channels.csv": ["model", "dataset", "block", "finding", "channels"]}
        for name, rows in tables.items():
            (folder / name).write_text(csv_text(rows, columns.get(name, ())), encoding="utf-8")
        return [folder / name for name in tables]

    def to_html(self, path: str | Path) -> Path:
        """Write the self-contained page."""
        from .page import page

        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(self, self.figures), encoding="utf-8")
        return path

    @cached_property
    def figures(self) -> dict[str, Any]:
        """The pictures as matplotlib figures, by name."""
        from .plots import all_figures

        return all_figures(self)

    def to_png(self, folder: str | Path) -> list[Path]:
        """Write every picture as a PNG file; returns their paths."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        pictures = {name: png_bytes(figure) for name, figure in self.figures.items()}
        write_pictures(folder, pictures, PICTURES)
        return [folder / f"{name}.png" for name in self.figures]

    def tables(self) -> list[Table]:
        """The summary for the terminal, a table per data set."""
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
        shown += grade_tables(self.grades) if self.grades else []
        return [*shown, pair_table(self.pairs)] if self.pairs else shown

    def _sizes(self, dataset: str) -> str:
        mine = [e for e in self.entries if e.dataset == dataset]
        words = "edges" if mine[0].on_edges else "atoms"
        text = f"{mine[0].frames} frames"
        if mine[0].bare_frames:
            text += f" ({mine[0].bare_frames} without an edge)"
        text += f", {mine[0].statistics[0].samples} {words}"
        errors = [e for e in mine if e.force_mae_eV_per_A is not None]
        if errors:
            text += "; force MAE in eV/Å: "
            text += ", ".join(f"{e.model} {e.force_mae_eV_per_A:.3f}" for e in errors)
        return text

    def notes(self) -> list[str]:
        """Say what the tables do not: weights, labels, and what the check of structures found."""
        from .page import label_lines

        weights = {e.model: f"{e.model}: {e.weights}" for e in self.entries if e.weights}
        warnings = dict.fromkeys(text for e in self.entries for text in e.warnings)
        graded = [score.name for score in self.grades]
        missing = [
            f"{model}: no extrapolation grade (`nequip-decorr extrapolation fit`)"
            for model in self.models
            if graded and not any(name.startswith(f"{model}: ") for name in graded)
        ]
        notes = [*weights.values(), *label_lines(self), *missing]
        return [*notes, *(f"warning: {text}" for text in warnings)]

    def summary(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows of the summary: a row per data set, block and model."""
        return summary(self)

    def _repr_html_(self) -> str:
        from .page import fragment

        return fragment(self, self.figures)
