"""One model on one data set, from moments to statistics on demand; and several side by side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from ..correlation import Moments, correlation_matrix, spectrum
from ..extrapolation.scoring import Scores
from .accumulate import FeatureMoments
from .labels import Labels
from .pairs import PairCurve
from .statistics import BlockStatistics, Explained, block_statistics, explained, per_block

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
        bare_frames: those without a sample, because no two atoms are within the cutoff.
        forces: labels and errors of the forces; ``None`` where there is no model to compare.
        energies: the same of the energy.
        weights: which weights of the model, in words.
        warnings: what the check of the structures found.
    """

    model: str
    dataset: str
    field: str
    blocks: tuple[str, ...]
    widths: tuple[int, ...]
    kinds: dict[int, str]
    moments: FeatureMoments
    frames: int = 1
    bare_frames: int = 0
    forces: Labels | None = None
    energies: Labels | None = None
    weights: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def force_mae_eV_per_A(self) -> float | None:
        """Mean absolute error of force components, where the frames have labels."""
        return None if self.forces is None else self.forces.mae

    @property
    def energy_mae_eV_per_atom(self) -> float | None:
        """Mean absolute error of the energy per atom, where the frames have labels."""
        return None if self.energies is None else self.energies.mae

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
class Entries:
    """One or more models on one or more data sets, side by side.

    Attributes:
        entries: one per model and data set; the first data set is the reference.
        grades: extrapolation grades of the atoms, for models that have one fitted.
        pairs: energies of two atoms that approach, where they are asked for.
    """

    entries: tuple[Entry, ...]
    grades: tuple[Scores, ...] = ()
    pairs: tuple[PairCurve, ...] = ()

    @property
    def models(self) -> list[str]:
        """Names of the models, in order."""
        return list(dict.fromkeys(e.model for e in self.entries))

    @property
    def datasets(self) -> list[str]:
        """Names of the data sets, in order."""
        return list(dict.fromkeys(e.dataset for e in self.entries))

    @property
    def blocks(self) -> list[str]:
        """Names of the blocks of all entries, in order."""
        return list(dict.fromkeys(b for e in self.entries for b in e.blocks))

    def first(self, model: str) -> Entry:
        """Return the first entry of a model."""
        return next(e for e in self.entries if e.model == model)


def block_label(name: str) -> str:
    """A block's name for people."""
    return _LABELS.get(name, name.replace("_", " "))
