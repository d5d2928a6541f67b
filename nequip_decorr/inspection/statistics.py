"""From moments to what a row of the table says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

from ..correlation import (
    STATISTICS,
    Moments,
    correlation_matrix,
    live_channels,
    pearson_abs,
    spectrum,
)

DUPLICATE: Final = 0.99
"""Two channels with an absolute correlation above this carry the same thing."""
RANK_TOLERANCE: Final = 1e-6
"""Eigenvalues of the correlation matrix below this times the largest count as zero."""
VARIANCE_LEFT: Final = 0.01
"""A channel of which less variance is left has nothing left to correlate."""
_OPTIMAL_ORDER_UP_TO: Final = 128


@dataclass(frozen=True)
class BlockStatistics:
    """How correlated the channels of one block are over some samples.

    Attributes:
        samples: number of edges or atoms.
        channels: width of the block, C.
        mean_abs: mean absolute correlation over pairs of live channels.
        max_abs: largest absolute correlation.
        effective_rank: exponential of the entropy of the spectrum (Roy and Vetterli, 2007).
        rank: eigenvalues above ``RANK_TOLERANCE`` times the largest.
        directions_99: directions that carry 99 % of the variance of the standardised channels.
        dead: channels that do not vary.
        duplicates: groups of channels linked by an absolute correlation above ``DUPLICATE``.
    """

    samples: int
    channels: int
    mean_abs: float
    max_abs: float
    effective_rank: float
    rank: int
    directions_99: int
    dead: tuple[int, ...]
    duplicates: tuple[tuple[int, ...], ...]

    @property
    def redundant(self) -> int:
        """Channels that could go, because another of their group says the same."""
        return sum(len(group) - 1 for group in self.duplicates)


def per_block(m: Moments, widths: Sequence[int]) -> list[Moments]:
    """Moments of each block on its own, counts ``[]``, of moments with counts ``[B]``.

    Args:
        m: moments, blocks narrower than the widest filled up with channels.
        widths: channels of each block.
    """
    return [
        Moments(m.count[b], m.mean[b, :width], m.comoment[b, :width, :width])
        for b, width in enumerate(widths)
    ]


def block_statistics(m: Moments) -> BlockStatistics:
    """Statistics of one block, of moments with counts ``[]``."""
    eigenvalues = spectrum(m).numpy()
    matrix, live = (t.numpy() for t in correlation_matrix(m))
    return BlockStatistics(
        samples=int(m.count),
        channels=len(matrix),
        mean_abs=float(STATISTICS["mean_abs"](m)),
        max_abs=float(STATISTICS["max_abs"](m)),
        effective_rank=float(STATISTICS["effective_rank"](m)),
        rank=int((eigenvalues > RANK_TOLERANCE * max(eigenvalues[0], 1e-300)).sum()),
        directions_99=_directions(eigenvalues, 0.99),
        dead=tuple(int(c) for c in np.flatnonzero(~live)),
        duplicates=duplicate_groups(matrix, live),
    )


def _directions(eigenvalues: np.ndarray, share: float) -> int:
    total = eigenvalues.sum()
    if not total > 0:
        return 0
    # Rounding must not ask for one direction more.
    return int((np.cumsum(eigenvalues) / total < share - 1e-12).sum()) + 1


def duplicate_groups(
    matrix: np.ndarray, live: np.ndarray, threshold: float = DUPLICATE
) -> tuple[tuple[int, ...], ...]:
    """Groups of live channels linked by ``|R| > threshold``, each with two members or more.

    Args:
        matrix: correlation matrix, ``[C, C]``.
        live: channels that vary, ``[C]``.
        threshold: of the absolute correlation.
    """
    linked = (np.abs(matrix) > threshold) & live[:, None] & live[None, :]
    number, label = connected_components(linked, directed=False)
    groups = (np.flatnonzero(label == k) for k in range(number))
    return tuple(tuple(int(c) for c in group) for group in groups if len(group) > 1)


def cluster_order(matrix: np.ndarray, live: np.ndarray) -> np.ndarray:
    """Order of channels in which those that move together stand together, dead ones last.

    Average linkage on the distance ``1 - |R|``, leaves in the order that puts like beside like.

    Args:
        matrix: correlation matrix, ``[C, C]``.
        live: channels that vary, ``[C]``.
    """
    alive, dead = np.flatnonzero(live), np.flatnonzero(~live)
    if len(alive) < 3:
        return np.concatenate([alive, dead])
    distance = np.clip(1 - np.abs(matrix[np.ix_(alive, alive)]), 0, None)
    np.fill_diagonal(distance, 0)
    optimal = len(alive) <= _OPTIMAL_ORDER_UP_TO
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=optimal)
    return np.concatenate([alive[leaves_list(tree)], dead])


@dataclass(frozen=True)
class Explained:
    """What a block's correlation owes to something known, e.g. the edge length.

    Attributes:
        variance: share of the channels' variance that is explained, mean over live channels.
        mean_abs_left: mean absolute partial correlation of what is left, over channels with more
            than ``VARIANCE_LEFT`` of their variance left; NaN where fewer than two have.
        channels_left: number of those channels.
        matrix_left: what is left, on the scale of the total correlation, ``[C, C]``: this and the
            explained part sum to the correlation matrix.
    """

    variance: float
    mean_abs_left: float
    channels_left: int
    matrix_left: np.ndarray


def explained(total: Moments, left: Moments) -> Explained:
    """Split the correlation of one block.

    Args:
        total: moments of all samples, counts ``[]``.
        left: moments of what is not explained.
    """
    live = live_channels(total)
    variance = total.comoment.diagonal()
    share = left.comoment.diagonal() / torch.where(live, variance, 1.0)
    scale = torch.where(live, torch.where(live, variance, 1.0).rsqrt(), 0.0)
    keep = live & (share > VARIANCE_LEFT)
    part = Moments(left.count, left.mean[keep], left.comoment[keep][:, keep])
    return Explained(
        variance=float(1 - share[live].mean()) if live.any() else float("nan"),
        mean_abs_left=float(pearson_abs(part)) if keep.sum() > 1 else float("nan"),
        channels_left=int(keep.sum()),
        matrix_left=(left.comoment * scale[:, None] * scale).numpy(),
    )
