r"""One pass over batches of features, in memory that the number of frames does not change.

Samples (edges, or atoms) have a *kind* (the ordered pair of elements, or the element) and edges
have a *length* :math:`r`. Kept are the moments per kind, the moments per bin of length, and, per
kind and bin :math:`g`, sums that are linear in the features: counts :math:`n_g`, channel means
:math:`\mu_g`, and co-moments with the length :math:`c_g = \sum_{i \in g} (x_i - \mu_g)(r_i -
\bar r_g)`, :math:`s_g = \sum_{i \in g} (r_i - \bar r_g)^2`.

**The part that distance explains.** The law of total covariance splits the co-moment :math:`M` of
all samples into what the groups' means and a straight line in :math:`r` within each group predict,
and the rest:

.. math::

    M = \underbrace{\sum_g n_g (\mu_g - \mu)(\mu_g - \mu)^T + \sum_g c_g c_g^T / s_g}_{
        \text{explained}} + \underbrace{W}_{\text{left over}}

Groups are the bins of length alone (*given the length*), or bins within each pair of elements
(*given length and elements*). The correlation matrix of :math:`W` is the partial correlation
given a function of the length that is linear in each bin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from ..correlation import (
    Labelled,
    Moments,
    grouped_moments,
    labelled_moments,
    merge_labelled,
    merge_moments,
)

CHUNK: Final = 16384
"""Samples handled at a time."""
SAMPLES_PER_PARAMETER: Final = 10
"""What is left over needs this many samples for each fitted number, else it is not given."""


@dataclass(frozen=True)
class FeatureMoments:
    """All that is kept of the features of a data set.

    Attributes:
        total: moments of all samples, counts ``[B]`` for B blocks.
        by_kind: moments of each kind of sample that occurs, by its number.
        by_bin: moments per bin of length, counts ``[K, B]``; ``None`` for atoms.
        bin_edges: of the bins of length, ``[K + 1]``, in Å; ``None`` for atoms.
        left_given_length: moments of what the length does not explain, or ``None`` where there are
            too few samples to tell, or no lengths.
        left_given_length_and_kind: the same, given length and kind; for atoms given the kind.
    """

    total: Moments
    by_kind: dict[int, Moments]
    by_bin: Moments | None
    bin_edges: Tensor | None
    left_given_length: Moments | None
    left_given_length_and_kind: Moments | None


class Accumulator:
    """Streams batches of features into :class:`FeatureMoments`.

    Args:
        max_length_A: largest edge length, the model's cutoff; ``None`` for samples without length.
        num_bins: bins of equal width between 0 and ``max_length_A``.
    """

    def __init__(self, max_length_A: float | None = None, num_bins: int = 20) -> None:
        self.bin_edges = (
            None
            if max_length_A is None
            else torch.linspace(0.0, max_length_A, num_bins + 1, dtype=torch.float64)
        )
        self.num_bins = 1 if max_length_A is None else num_bins
        self._by_bin: Moments | None = None
        self._by_kind: Labelled | None = None
        self._sums: _CellSums | None = None

    def update(
        self, blocks: Tensor, kinds: Tensor | None = None, lengths_A: Tensor | None = None
    ) -> None:
        """Add a batch.

        Args:
            blocks: ``[B, num_samples, C]``.
            kinds: ``[num_samples]``, any integers; memory grows with those that occur.
            lengths_A: ``[num_samples]``, needed where the accumulator has bins of length.

        Raises:
            ValueError: lengths are missing, or not of finite value.
        """
        num_samples = blocks.shape[1]
        if kinds is None:
            kinds = torch.zeros(num_samples, dtype=torch.long)
        if self.bin_edges is None:
            lengths = torch.zeros(num_samples, dtype=torch.float64)
        elif lengths_A is None:
            raise ValueError("this accumulator has bins of length, but no `lengths_A` were given")
        else:
            lengths = lengths_A.detach().double().cpu()
            if not bool(torch.isfinite(lengths).all()):
                raise ValueError("edge lengths are not finite; look at the positions of the frames")
        for start in range(0, max(num_samples, 1), CHUNK):
            part = slice(start, start + CHUNK)
            chunk = blocks[:, part].detach().cpu().double()
            self._add(chunk, kinds[part].cpu(), lengths[part])

    @torch.no_grad()
    def _add(self, x: Tensor, kinds: Tensor, lengths: Tensor) -> None:
        bins = torch.zeros_like(kinds)
        if self.bin_edges is not None:
            bins = torch.bucketize(lengths, self.bin_edges[1:-1], right=True)
        by_bin = grouped_moments(x, bins, self.num_bins)
        self._by_bin = by_bin if self._by_bin is None else merge_moments([self._by_bin, by_bin])
        if x.shape[1]:
            by_kind = labelled_moments(x, kinds)
            self._by_kind = merge_labelled([self._by_kind, by_kind] if self._by_kind else [by_kind])
        if self._sums is None:
            shift = x.mean(1, keepdim=True) if x.shape[1] else torch.zeros_like(x.sum(1, True))
            self._sums = _CellSums.empty(self.num_bins, shift)
        self._sums.add(x, kinds, bins, lengths)

    def result(self) -> FeatureMoments:
        """Return what has been found so far.

        Raises:
            ValueError: nothing was added.
        """
        if self._by_bin is None or self._sums is None:
            raise ValueError("no features were added")
        total = merge_moments(
            [Moments(*(t[k] for t in self._by_bin)) for k in range(self.num_bins)]
        )
        given_length = self._sums.sum_kinds() if self.bin_edges is not None else None
        return FeatureMoments(
            total=total,
            by_kind=self._kinds() or {0: total},
            by_bin=None if self.bin_edges is None else self._by_bin,
            bin_edges=self.bin_edges,
            left_given_length=None if given_length is None else given_length.left_over(total),
            left_given_length_and_kind=self._sums.left_over(total),
        )

    def _kinds(self) -> dict[int, Moments]:
        if self._by_kind is None:
            return {}
        labels, m = self._by_kind
        return {kind: Moments(*(t[k] for t in m)) for k, kind in enumerate(labels.tolist())}


@dataclass
class _CellSums:
    """Sums over the samples of each kind K and bin N, of features less a constant ``shift``.

    Attributes:
        shift: subtracted from all features so that sums keep their digits, ``[B, 1, C]``.
        kinds: the kinds that occurred, in the order in which they did.
        linear: sums of 1, r, r^2, ``[K, N, 3]``.
        x: sums of the features, ``[B, K, N, C]``.
        xr: sums of features times length, ``[B, K, N, C]``.
    """

    shift: Tensor
    kinds: list[int]
    linear: Tensor
    x: Tensor
    xr: Tensor

    @classmethod
    def empty(cls, bins: int, shift: Tensor) -> _CellSums:
        blocks, _, channels = shift.shape
        x = torch.zeros(blocks, 0, bins, channels, dtype=torch.float64)
        return cls(shift, [], torch.zeros(0, bins, 3, dtype=torch.float64), x, x.clone())

    def add(self, x: Tensor, kinds: Tensor, bins: Tensor, r: Tensor) -> None:
        occurring, place = kinds.unique(return_inverse=True)
        new = [kind for kind in occurring.tolist() if kind not in self.kinds]
        if new:
            self.kinds += new
            grow = len(new)
            self.linear = torch.cat(
                [self.linear, self.linear.new_zeros(grow, *self.linear.shape[1:])]
            )
            more = self.x.new_zeros(len(self.x), grow, *self.x.shape[2:])
            self.x, self.xr = torch.cat([self.x, more], 1), torch.cat([self.xr, more], 1)
        slots = torch.tensor([self.kinds.index(kind) for kind in occurring.tolist()])
        cell = slots[place] * self.x.shape[2] + bins if len(slots) else bins
        shifted = x - self.shift
        self.linear.flatten(0, 1).index_add_(
            0, cell, torch.stack([torch.ones_like(r), r, r * r], -1)
        )
        self.x.flatten(1, 2).index_add_(1, cell, shifted)
        self.xr.flatten(1, 2).index_add_(1, cell, shifted * r[:, None])

    def sum_kinds(self) -> _CellSums:
        return replace(self, linear=self.linear.sum(0), x=self.x.sum(1), xr=self.xr.sum(1))

    def left_over(self, total: Moments) -> Moments | None:
        """Moments of what the cells and a line in r within each do not explain."""
        linear = self.linear.reshape(-1, 3)
        there = linear[:, 0] > 0
        n, r, rr = linear[there].unbind(-1)
        x, xr = (t.flatten(1, -2)[:, there] for t in (self.x, self.xr))
        spread = rr - r * r / n
        sloped = spread > 1e-9 * rr
        if n.sum() < SAMPLES_PER_PARAMETER * (len(n) + sloped.sum()):
            return None
        mean = x / n[:, None]
        offset = mean - (total.mean.unsqueeze(1) - self.shift)
        slope = (xr - mean * r[:, None]) * torch.where(sloped, spread, 1.0).rsqrt()[:, None]
        slope = torch.where(sloped[:, None], slope, 0.0)
        between = (offset * n[:, None]).transpose(1, 2) @ offset + slope.transpose(1, 2) @ slope
        return Moments(total.count, torch.zeros_like(total.mean), total.comoment - between)
