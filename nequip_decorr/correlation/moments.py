"""First two moments of features: exact, streaming, merging in any order."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """Sufficient statistics of correlation, accurate where the mean dwarfs the spread.

    Attributes:
        count: number of samples, ``[...]``.
        mean: channel means, ``[..., C]``.
        comoment: sum over samples of outer products of centred channels, ``[..., C, C]``.
    """

    count: Tensor  # type: ignore[assignment]  # hides tuple.count
    mean: Tensor
    comoment: Tensor


class Labelled(NamedTuple):
    """Moments within labels.

    Attributes:
        labels: those that occur, ascending, ``[G]``.
        moments: with a leading dimension G.
    """

    labels: Tensor
    moments: Moments

    @classmethod
    def whole(cls, m: Moments) -> Labelled:
        """Give all samples label 0."""
        label = torch.zeros(1, dtype=torch.long, device=m.count.device)
        return cls(label, Moments(*(t.unsqueeze(0) for t in m)))


class _Gram(torch.autograd.Function):
    """``(X - s)^T (X - s)`` and the column sums of ``X - s``, with ``s`` held constant.

    Autograd would keep the shifted copy of the features and multiply twice on the way back. This
    keeps the features alone, which the model holds anyway, and multiplies once, since the gradient
    of a Gram matrix enters as ``G + G^T``.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(features, shift)
        centred = features - shift
        return centred.transpose(-1, -2) @ centred, centred.sum(-2)

    @staticmethod
    def backward(ctx: Any, grad_gram: Tensor, grad_total: Tensor) -> tuple[Tensor, None]:
        features, shift = ctx.saved_tensors
        weight = grad_gram + grad_gram.transpose(-1, -2)
        return (features - shift) @ weight + grad_total.unsqueeze(-2), None


def moments(features: Tensor) -> Moments:
    """Moments of ``features`` over the samples, differentiable.

    Args:
        features: ``[..., num_samples, num_channels]``; no samples is allowed.

    Returns:
        Moments with shapes ``[...]``, ``[..., C]``, ``[..., C, C]``, in float64: the sums over
        samples run in the dtype of the features, all that follows is small and in float64.
    """
    num_samples = features.shape[-2]
    divisor = max(num_samples, 1)
    # Any constant shift gives the same co-moment; the mean makes it accurate, and what rounding
    # leaves of the mean is taken out exactly by the second term.
    shift = (features.detach().sum(-2, keepdim=True)) / divisor
    gram, total = _Gram.apply(features, shift)
    offset = total.double() / divisor
    comoment = gram.double() - divisor * offset.unsqueeze(-1) * offset.unsqueeze(-2)
    count = torch.full(
        features.shape[:-2], float(num_samples), dtype=torch.float64, device=features.device
    )
    return Moments(count, shift.squeeze(-2).double() + offset, comoment)


def grouped_moments(features: Tensor, group: Tensor, num_groups: int) -> Moments:
    """Moments within each group of samples.

    Args:
        features: ``[..., num_samples, C]``.
        group: group of each sample, ``[num_samples]``, integers in ``[0, num_groups)``.
        num_groups: number of groups G.

    Returns:
        Moments with a new leading dimension G; an absent group has count 0.
    """
    members = (torch.nonzero(group == g).squeeze(-1) for g in range(num_groups))
    parts = [moments(features.index_select(-2, index)) for index in members]
    return Moments(*(torch.stack(column) for column in zip(*parts, strict=True)))


def labelled_moments(features: Tensor, label: Tensor) -> Labelled:
    """Moments within each label that occurs; the cost does not depend on labels that could.

    Args:
        features: ``[..., num_samples, C]``.
        label: any integer of each sample, ``[num_samples]``. No samples give label 0, count 0.
    """
    labels, group = label.unique(return_inverse=True)
    labels = labels if len(labels) else label.new_zeros(1)
    return Labelled(labels, grouped_moments(features, group, len(labels)))


def merge_moments(parts: Iterable[Moments]) -> Moments:
    """Moments of all samples from the moments of disjoint parts, in any order."""
    return reduce(_merge_two, parts)


def merge_labelled(parts: Iterable[Labelled]) -> Labelled:
    """Merge parts that may hold different labels, in any order; differentiable."""
    parts = list(parts)
    parts = [part for part in parts if len(part.labels)] or parts[:1]
    labels = torch.cat([part.labels for part in parts]).unique()
    return Labelled(labels, merge_moments(_spread(part, labels) for part in parts))


def _spread(part: Labelled, labels: Tensor) -> Moments:
    """The same moments with a row for each of ``labels``; those without samples have count 0."""
    at = torch.searchsorted(labels, part.labels)
    rows = len(labels)
    return Moments(*(t.new_zeros(rows, *t.shape[1:]).index_copy(0, at, t) for t in part.moments))


def _merge_two(a: Moments, b: Moments) -> Moments:
    count = a.count + b.count
    fraction = b.count / count.clamp(min=1.0)
    delta = b.mean - a.mean
    between = delta.unsqueeze(-1) * delta.unsqueeze(-2)
    return Moments(
        count,
        a.mean + delta * fraction.unsqueeze(-1),
        a.comoment + b.comoment + between * (a.count * fraction)[..., None, None],
    )
