""":class:`Entry`: one model on one data set, from moments to statistics on demand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from ..correlation import (
    Moments,
    correlation_matrix,
    spectrum,
)
from .accumulate import FeatureMoments
from .statistics import (
    BlockStatistics,
    Explained,
    block_statistics,
    explained,
    per_block,
)

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


def block_label(name: str) -> str:
    """A block's name for people."""
    return _LABELS.get(name, name.replace("_", " "))
