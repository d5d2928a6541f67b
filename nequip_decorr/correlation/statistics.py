"""What moments say: correlation matrix, penalties, statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from .moments import Moments

DEFAULT_SHRINKAGE: Final = 0.05
DEAD_BELOW: Final = 1e-6
"""A channel is dead below this ratio of its standard deviation to its root mean square."""


def live_channels(m: Moments) -> Tensor:
    """Which channels vary, ``[..., C]`` bool.

    A channel is dead when it is not finite, or when its standard deviation is below ``DEAD_BELOW``
    times its root mean square: in float32 that is rounding of a constant, not signal.
    """
    variance = m.comoment.detach().diagonal(dim1=-2, dim2=-1) / m.count.clamp(min=1)[..., None]
    mean_square = variance + m.mean.detach().square()
    signal = torch.gt(variance, DEAD_BELOW**2 * mean_square)
    normal = torch.gt(variance, torch.finfo(torch.float64).tiny ** 0.5)
    return signal & normal & torch.gt(m.count[..., None], 1)


def correlation_matrix(m: Moments) -> tuple[Tensor, Tensor]:
    """Pearson correlation between channels.

    Args:
        m: moments of shape ``[...]``.

    Returns:
        ``R [..., C, C]``, its diagonal one and its dead rows and columns otherwise zero, and
        ``live [..., C]``.
    """
    live = live_channels(m)
    square_sum = m.comoment.diagonal(dim1=-2, dim2=-1)
    scale = torch.where(live, torch.where(live, square_sum, 1.0).rsqrt(), 0.0)
    normalised = m.comoment * scale.unsqueeze(-1) * scale.unsqueeze(-2)
    eye = torch.eye(live.shape[-1], dtype=normalised.dtype, device=normalised.device)
    return normalised * (1 - eye) + eye, live


def _mean_over_pairs(values: Tensor, live: Tensor) -> Tensor:
    """Mean of ``values [..., C, C]`` over ordered pairs of different live channels."""
    pairs = (live.unsqueeze(-1) & live.unsqueeze(-2)) & ~torch.eye(
        live.shape[-1], dtype=torch.bool, device=live.device
    )
    total = torch.where(pairs, values, 0.0).sum((-1, -2))
    return total / pairs.sum((-1, -2)).clamp(min=1)


def pearson_squared(m: Moments) -> Tensor:
    """Mean squared off-diagonal Pearson correlation, ``[...]``, in [0, 1]."""
    matrix, live = correlation_matrix(m)
    return _mean_over_pairs(matrix.square(), live)


def pearson_abs(m: Moments) -> Tensor:
    """Mean absolute off-diagonal Pearson correlation, ``[...]``, in [0, 1]."""
    matrix, live = correlation_matrix(m)
    return _mean_over_pairs(matrix.abs(), live)


def frobenius(m: Moments) -> Tensor:
    """DeCorr: distance of the normalised covariance from the scaled identity, ``[...]``.

    In [0, sqrt(2)); not invariant under a rescaling of single channels. Source: Jin et al.,
    KDD 2022, doi:10.1145/3534678.3539445, equation 4.
    """
    norm = torch.linalg.matrix_norm(m.comoment, keepdim=True)
    alive = live_channels(m).any(-1)[..., None, None] & (norm > 0)
    num_channels = m.comoment.shape[-1]
    eye = torch.eye(num_channels, dtype=norm.dtype, device=norm.device)
    target = eye / num_channels**0.5
    distance = torch.where(alive, m.comoment / torch.where(alive, norm, 1.0) - target, 0.0)
    value: Tensor = torch.linalg.matrix_norm(distance)
    return value


def log_det(m: Moments, shrinkage: float = DEFAULT_SHRINKAGE) -> Tensor:
    """Negative log-determinant of the shrunk correlation matrix per channel, ``[...]``, >= 0.

    Args:
        m: moments.
        shrinkage: s in ``(1 - s) R + s I``, in (0, 1]; bounds the value and keeps two identical
            channels finite.
    """
    matrix, _ = correlation_matrix(m)
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    factor: Tensor = torch.linalg.cholesky((1 - shrinkage) * matrix + shrinkage * eye)
    log_diagonal = factor.diagonal(dim1=-2, dim2=-1).log()
    return -2 * log_diagonal.mean(-1)


def max_abs(m: Moments) -> Tensor:
    """Largest absolute off-diagonal correlation, ``[...]``."""
    matrix, _ = correlation_matrix(m)
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return (matrix * (1 - eye)).abs().amax((-1, -2))


def spectrum(m: Moments) -> Tensor:
    """Eigenvalues of the correlation matrix, ``[..., C]``, falling; a dead channel gives 0."""
    matrix, live = correlation_matrix(m)
    both = live.unsqueeze(-1) & live.unsqueeze(-2)
    values: Tensor = torch.linalg.eigvalsh(torch.where(both, matrix, 0.0))
    return values.clamp(min=0).flip(-1)


def effective_rank(m: Moments) -> Tensor:
    """Exponential of the entropy of the normalised spectrum, ``[...]``, in [0, C].

    The number of independent directions the channels span; 0 where no channel varies.
    Source: Roy and Vetterli, EUSIPCO 2007.
    """
    eigenvalues = spectrum(m)
    total = eigenvalues.sum(-1, keepdim=True)
    p = eigenvalues / total.clamp(min=torch.finfo(total.dtype).tiny)
    rank = torch.special.entr(p).sum(-1).exp()
    return torch.where(total.squeeze(-1) > 0, rank, torch.zeros_like(rank))


PENALTIES: Final[dict[str, Callable[[Moments], Tensor]]] = {
    "pearson_squared": pearson_squared,
    "pearson_abs": pearson_abs,
    "frobenius": frobenius,
    "log_det": log_det,
}


def _measured(function: Callable[[Moments], Tensor], least: int) -> Callable[[Moments], Tensor]:
    """``function``, NaN where fewer than ``least`` channels vary or samples are fewer than two."""

    def statistic(m: Moments) -> Tensor:
        there = (m.count > 1) & (live_channels(m).sum(-1) >= least)
        return torch.where(there, function(m), torch.nan)

    return statistic


STATISTICS: Final[dict[str, Callable[[Moments], Tensor]]] = {
    "mean_abs": _measured(pearson_abs, 2),
    "mean_squared": _measured(pearson_squared, 2),
    "max_abs": _measured(max_abs, 2),
    "effective_rank": _measured(effective_rank, 0),
}
"""What is reported, ``[...]``: NaN, never a value that reads as good, where nothing is measured."""


def average(values: Tensor, m: Moments, block_weights: Tensor | None = None) -> Tensor:
    """Penalty of a batch: weighted mean over blocks, then mean over the groups that are there.

    Args:
        values: one value per block, ``[B]`` or ``[G, B]``.
        m: the moments they came from, counts of the same shape.
        block_weights: ``[B]``; ``None`` weights all blocks alike.

    Returns:
        A scalar; 0 (with gradient 0) where no group has two samples.
    """
    weights = values.new_ones(values.shape[-1]) if block_weights is None else block_weights
    per_group = (values * weights).sum(-1) / weights.sum()
    if per_group.dim() == 0:
        return per_group
    present = m.count[..., 0] > 1
    return torch.where(present, per_group, 0.0).sum() / present.sum().clamp(min=1)


def average_measured(values: Tensor, block_weights: Tensor | None = None) -> Tensor:
    """Statistic of a data set: mean over what is measured, of blocks, then of groups.

    Args:
        values: of one of ``STATISTICS``, ``[B]`` or ``[G, B]``, NaN where nothing is measured.
        block_weights: ``[B]``; ``None`` weights all blocks alike.

    Returns:
        A scalar; NaN where no block of any group is measured.
    """
    weights = values.new_ones(values.shape[-1]) if block_weights is None else block_weights
    weights = torch.where(values.isnan(), 0.0, weights)
    return ((values.nan_to_num() * weights).sum(-1) / weights.sum(-1)).nanmean()
