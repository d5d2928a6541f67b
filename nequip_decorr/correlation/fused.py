"""Mean squared correlation of a batch with its gradient by hand: few operations on small models.

The same value as ``average(pearson_squared(moments(features)))``, which a step of a small model
spends more time on than on its matrix products. All of it is in the dtype of the features: they
are centred first, so that nothing cancels in their Gram matrix, and correlations are below one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .statistics import DEAD_BELOW


def mean_pearson_squared(features: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared correlation between channels, averaged over blocks; differentiable once.

    Args:
        features: ``[num_blocks, num_samples, num_channels]``; no samples is allowed.
        weights: of the blocks, ``[num_blocks]``; ``None`` weights all alike.

    Returns:
        A scalar in the dtype of the features (float32 for narrower ones).
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    share = 1 / len(features) if weights is None else (weights / weights.sum()).to(features.dtype)
    value: Tensor = _MeanPearsonSquared.apply(features, share)
    return value


class _MeanPearsonSquared(torch.autograd.Function):
    r"""``V = sum_b w_b mean_{i != j} R_ij^2``, with ``R_ij = G_ij s_i s_j``, ``s_i = G_ii^(-1/2)``.

    Of the centred samples ``X`` the Gram matrix is ``G = X^T X``, so ``dV/dX = 2 X (dV/dG)`` with
    ``dV/dG_ij`` in proportion to ``R_ij s_i s_j``, and on the diagonal to ``-s_i^2 sum_j R_ij^2``.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, share: Tensor | float) -> Tensor:
        mean = features.mean(-2)
        centred = features - mean.unsqueeze(-2)
        gram = torch.bmm(centred.transpose(-1, -2), centred).nan_to_num_(0.0, 0.0, 0.0)
        square = gram.diagonal(dim1=-2, dim2=-1)
        least = mean.square_().mul_(features.shape[-2] * DEAD_BELOW**2)
        live = torch.gt(square, least.clamp_(min=torch.finfo(square.dtype).tiny))
        inverse = square.where(live, torch.inf).rsqrt_()
        scale = inverse.unsqueeze(-1) * inverse.unsqueeze(-2)
        matrix = gram.mul_(scale)
        diagonal = matrix.diagonal(dim1=-2, dim2=-1)
        diagonal.zero_()
        squared = matrix.square().sum(-1)
        number = live.sum(-1, dtype=square.dtype)
        share = share / (number * (number - 1)).clamp_(min=1)
        slope = matrix.mul_(scale)
        torch.mul(squared, inverse.square_(), out=diagonal)
        diagonal.neg_()
        ctx.save_for_backward(centred, slope, share)
        return squared.sum(-1).dot(share)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        centred, slope, share = ctx.saved_tensors
        slope = slope * (4 * grad * share)[:, None, None]
        # In the order of memory that the features have: a row per sample with all its blocks.
        found = torch.empty_like(centred.transpose(0, 1), memory_format=torch.contiguous_format)
        return torch.bmm(centred, slope, out=found.transpose(0, 1)), None
