"""The monitor, as a ``torchmetrics`` metric for NequIP's ``extra_metrics``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..correlation import (
    STATISTICS,
    Moments,
    merge_moments,
)
from ..features.fields import EDGE_FEATURES
from .metric import (
    FeatureMetric,
    choice,
)


class FeatureCorrelation(FeatureMetric):
    """Monitor of feature correlation over a whole data set, for ``val_metrics``, ``test_metrics``.

    Streams exact moments in float64, so the value does not depend on the batch size.

    .. code-block:: yaml

        training_module:
          val_metrics:
            _target_: nequip.train.EnergyForceMetrics
            coeffs: {total_energy_mae: 1.0, forces_mae: 1.0}
            extra_metrics:
              - name: correlation
                metric:
                  _target_: nequip_decorr.FeatureCorrelation
                  block_size: ${training_module.model.num_scalar_features}

    Args:
        statistic: ``mean_abs``, ``mean_squared``, ``max_abs`` or ``effective_rank``.
        field: see :class:`FeatureDecorrelation`, as are all others.
        block_size: channels per block.
        num_blocks: number of blocks.
        block_weights: a weight per block.
        per_edge_type: within each ordered pair of atom types, then averaged.

    Raises:
        ValueError: on a wrong argument, a missing field, or a width that the blocks don't divide.
    """

    is_differentiable = False
    count: Tensor
    mean: Tensor
    comoment: Tensor

    def __init__(
        self,
        statistic: str = "mean_abs",
        field: str = EDGE_FEATURES,
        block_size: int | None = None,
        num_blocks: int | None = None,
        block_weights: Sequence[float] | None = None,
        per_edge_type: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(field, block_size, num_blocks, block_weights, per_edge_type, **kwargs)
        self.statistic = choice("statistic", statistic, STATISTICS)
        # Sized by the first batch; gathered as they are and merged in `compute`.
        for name in Moments._fields:
            self.add_state(name, torch.zeros(0, dtype=torch.float64), dist_reduce_fx=None)

    def update(self, preds: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
        """Merge the moments of a batch into those of the data set."""
        self._merge(self.batch_moments(preds, exact=True))

    def compute(self) -> Tensor:
        """The statistic over all samples since the last reset; NaN where there were none."""
        return self._value(self._moments())

    def per_block(self) -> Tensor:
        """The statistic per block, ``[B]`` (averaged over type pairs, if any)."""
        m = self._moments()
        values = STATISTICS[self.statistic](m)
        if values.dim() == 1:
            return values
        present = (m.count > 1).to(values.dtype)
        return (values * present).sum(0) / present.sum(0).clamp(min=1)

    def forward(self, preds: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
        """The statistic of this batch alone; the batch joins the data set's moments."""
        batch = self.batch_moments(preds, exact=True)
        self._merge(batch)
        self._update_count += 1
        self._computed = None
        return self._value(batch)

    def _merge(self, batch: Moments) -> None:
        if self.count.numel():
            batch = merge_moments(_pad_types([self._moments(), batch]))
        self.count, self.mean, self.comoment = batch

    def _moments(self) -> Moments:
        m = Moments(self.count, self.mean, self.comoment)
        gathered = m.count.dim() > (2 if self.per_edge_type else 1)
        if not gathered:
            return m
        return merge_moments([Moments(*rank) for rank in zip(*m, strict=True)])

    def _value(self, m: Moments) -> Tensor:
        if not m.count.numel():
            return torch.tensor(math.nan, dtype=torch.float64, device=m.count.device)
        return self._average(STATISTICS[self.statistic](m), m)

    def __str__(self) -> str:
        return f"correlation_{self.statistic}"


def _pad_types(parts: list[Moments]) -> list[Moments]:
    """Bring type-pair moments to the same number of types (a batch may lack the last types)."""
    if parts[0].count.dim() < 2:
        return parts
    types = max(math.isqrt(m.count.shape[0]) for m in parts)
    return [Moments(*(_pad_groups(t, types) for t in m)) for m in parts]


def _pad_groups(tensor: Tensor, types: int) -> Tensor:
    old = math.isqrt(tensor.shape[0])
    padded = tensor.new_zeros(types, types, *tensor.shape[1:])
    padded[:old, :old] = tensor.unflatten(0, (old, old))
    return padded.flatten(0, 1)
