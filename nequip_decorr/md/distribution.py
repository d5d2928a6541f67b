"""A distribution function per pair or triplet of elements: what it is, its file and its error."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

FEW_FRAMES: Final = 20
AVERAGE: Final = "average"
_X_NAMES: Final = {"rdf": "r  /  Angstrom", "adf": "phi  /  Degrees"}


@dataclass(frozen=True)
class Distribution:
    """A distribution function per pair or triplet of elements.

    Attributes:
        kind: ``rdf`` or ``adf``.
        x: bins, ``[n_bins]``: distance in A, or angle in degrees.
        values: by label (``"Hf O"``, ``"O Hf O"``, the middle one is the vertex), ``[n_bins]``.
        frames: how many frames it is the mean of, ``None`` where the source doesn't say.
    """

    kind: Literal["rdf", "adf"]
    x: np.ndarray
    values: dict[str, np.ndarray]
    frames: int | None = None

    @property
    def too_few(self) -> bool:
        """Whether fewer than 20 frames went in, so that noise may outweigh the difference."""
        return self.frames is not None and self.frames < FEW_FRAMES

    def write_csv(self, path: str | Path) -> None:
        """Write in the format of the benchmark."""
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([_X_NAMES[self.kind], *self.values])
            x = (self.x.astype(int) if self.kind == "adf" else self.x).tolist()
            writer.writerows(zip(x, *map(np.ndarray.tolist, self.values.values()), strict=True))

    @classmethod
    def read_csv(cls, path: str | Path) -> Distribution:
        """Read the benchmark's format; the name of the first column says whether RDF or ADF.

        Raises:
            ValueError: for a file that is neither, or holds something else than numbers.
        """
        with open(path, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row]
        kinds = {name.split()[0]: kind for kind, name in _X_NAMES.items()}
        first = rows[0][0].split() if rows and rows[0][0].split() else [""]
        if first[0] not in kinds or len(rows) < 2 or len(rows[0]) < 2:
            raise ValueError(
                f"{path} is no RDF or ADF table: got a first column {first[0]!r}, "
                f"allowed are {' and '.join(map(repr, _X_NAMES.values()))}"
            )
        try:
            table = np.array(rows[1:], dtype=float)
        except ValueError as error:
            raise ValueError(f"{path} must hold one number per column: {error}") from None
        labels = [" ".join(label.split()) for label in rows[0][1:]]
        values = dict(zip(labels, table[:, 1:].T, strict=True))
        return cls(kinds[first[0]], table[:, 0], values)  # type: ignore[arg-type]


def mean_absolute_difference(got: Distribution, reference: Distribution) -> dict[str, float]:
    """Error per pair or triplet, and its ``average``: the benchmark's measure.

    Raises:
        ValueError: if the two differ in kind, bins or elements.
    """
    if got.kind != reference.kind or set(got.values) != set(reference.values):
        raise ValueError(
            f"distributions of different things: got {got.kind} of {sorted(got.values)}, "
            f"the reference has {reference.kind} of {sorted(reference.values)}"
        )
    if got.x.shape != reference.x.shape or not np.allclose(got.x, reference.x, atol=1e-6):
        raise ValueError(
            f"distributions in different bins: got {len(got.x)} from {got.x[0]:g} to "
            f"{got.x[-1]:g}, the reference has {len(reference.x)} from {reference.x[0]:g} to "
            f"{reference.x[-1]:g}"
        )
    errors = {
        label: float(np.mean(np.abs(got.values[label] - reference.values[label])))
        for label in reference.values
    }
    return {**errors, AVERAGE: float(np.mean(list(errors.values())))}


def average(parts: Sequence[Distribution]) -> Distribution:
    """Mean of the distributions of several runs, each by its number of frames."""
    weights = np.array([part.frames or 0 for part in parts], dtype=float)
    values = {
        label: np.average([part.values[label] for part in parts], axis=0, weights=weights)
        for label in parts[0].values
    }
    return Distribution(parts[0].kind, parts[0].x, values, int(weights.sum()))
