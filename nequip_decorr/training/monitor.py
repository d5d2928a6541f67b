"""The monitor, as a ``torchmetrics`` metric for NequIP's ``extra_metrics``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..correlation import STATISTICS, Labelled, Moments, average_measured, merge_labelled
from ..errors import one_of
from ..features.fields import EDGE_FEATURES
from .metric import FeatureMetric, gather


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

    >>> import torch
    >>> from nequip_decorr import FeatureCorrelation
    >>> features = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
    >>> features[:, 5] = -3 * features[:, 2]
    >>> monitor = FeatureCorrelation("max_abs", block_size=8)
    >>> for batch in features.split(250):
    ...     monitor.update({"edge_features": batch}, {})
    >>> round(float(monitor.compute()), 3)
    1.0

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
    labels: Tensor
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
        self.statistic = one_of("statistic", statistic, STATISTICS)
        # Grow with the labels that occur: [G], [G, B], [G, B, C], [G, B, C, C].
        self.add_state("labels", torch.zeros(0, dtype=torch.long), dist_reduce_fx=None)
        for dim, name in enumerate(Moments._fields, 2):
            empty = torch.zeros([0] * dim, dtype=torch.float64)
            self.add_state(name, empty, dist_reduce_fx=None)

    def update(self, preds: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
        """Merge the moments of a batch into those of the data set."""
        self._merge(self.batch_moments(preds, exact=True))

    def compute(self) -> Tensor:
        """Return the statistic over all samples since the last reset; NaN without two samples."""
        return self._value(self._state())

    def per_block(self) -> Tensor:
        """Return the statistic per block, ``[B]`` (averaged over type pairs), NaN where unknown."""
        return STATISTICS[self.statistic](self._state().moments).nanmean(0)

    def forward(self, preds: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
        """Return the statistic of this batch alone; the batch joins the data set's moments."""
        batch = self.batch_moments(preds, exact=True)
        self._merge(batch)
        self._update_count += 1
        self._computed = None
        return self._value(batch)

    def _state(self) -> Labelled:
        return Labelled(self.labels, Moments(self.count, self.mean, self.comoment))

    def _set(self, found: Labelled) -> None:
        self.labels, (self.count, self.mean, self.comoment) = found

    def _merge(self, batch: Labelled) -> None:
        self._set(merge_labelled([self._state(), batch]))

    def _sync_dist(self, *arguments: Any, **options: Any) -> None:
        """Merge the ranks' moments; torchmetrics would stack them, but ranks differ in labels."""
        self._set(gather(self._state()))

    def _value(self, found: Labelled) -> Tensor:
        if not len(found.labels):
            return found.moments.count.new_tensor(torch.nan)
        values = STATISTICS[self.statistic](found.moments)
        return average_measured(values, self.weights(values))

    def __str__(self) -> str:
        return f"correlation_{self.statistic}"
