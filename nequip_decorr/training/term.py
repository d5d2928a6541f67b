"""The loss term, as a ``torchmetrics`` metric for NequIP's ``extra_metrics``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from ..correlation import DEFAULT_SHRINKAGE, PENALTIES, average, log_det, mean_pearson_squared
from ..errors import UserError, one_of
from ..features.fields import EDGE_FEATURES
from .metric import FeatureMetric, gather, positive_int, world_size
from .schedule import Schedule

DEFAULT_MAX_SAMPLES: Final = 2048


class FeatureDecorrelation(FeatureMetric):
    """Loss term that penalises correlation between feature channels over the edges of a batch.

    Channels of ``field`` are split into blocks, correlation is taken between the channels of one
    block over the samples of the batch (of all ranks, in distributed training), and the blocks
    are averaged. Any number of edges, dead and duplicated channels give finite values and
    gradients. Source: arXiv:2502.12548; the penalties: :mod:`nequip_decorr.correlation`.

    .. code-block:: yaml

        training_module:
          loss:
            _target_: nequip.train.EnergyForceLoss
            coeffs: {total_energy: 1.0, forces: 1.0}
            extra_metrics:
              - name: decorrelation
                coeff: 0.05
                metric:
                  _target_: nequip_decorr.FeatureDecorrelation
                  block_size: ${training_module.model.num_scalar_features}
                  schedule: {start: 0.0}

    From Python, on features of eight channels of which two are one:

    >>> import torch
    >>> from nequip_decorr import FeatureDecorrelation
    >>> features = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
    >>> features[:, 5] = -3 * features[:, 2]
    >>> term = FeatureDecorrelation(block_size=8)
    >>> round(float(term({"edge_features": features}, {})), 3)
    0.037

    Args:
        penalty: ``pearson_squared`` (mean squared correlation), ``pearson_abs`` (mean absolute),
            ``frobenius`` (DeCorr, Jin et al. 2022) or ``log_det`` (Gaussian total correlation).
        field: output field, ``[num_samples, width]``; Allegro's is ``edge_features``. A pattern
            such as ``layer*_node_invariants`` takes every field it matches, a block each.
        block_size: channels per block (Allegro: ``num_scalar_features``).
        num_blocks: number of blocks, as an alternative; neither given means one block.
        block_weights: a weight per block, not negative, 0 leaves a block out.
        per_edge_type: take the correlation within each ordered pair of atom types, then average.
        shrinkage: of ``log_det`` alone, in (0, 1].
        max_samples: take this many samples, spread evenly over the batch, where there are more
            (of each rank, in distributed training); ``null`` for all. The estimate of a squared
            correlation from n samples is off by about 1/n, and the cost of the term is bounded.
        every_n_steps: take the correlation in every n-th batch of an epoch, the first one included,
            with n times the gradient: the mean gradient over an epoch keeps its size, in fewer and
            larger kicks. Between them the last value is reported, without gradient.
        schedule: arguments of a :class:`~nequip_decorr.DecorrelationScheduler` for this term, which
            is then attached by itself and ends at ``coeff``; ``null`` keeps ``coeff`` throughout.

    Raises:
        ValueError: on a wrong argument, a missing field, or a width that the blocks don't divide.
    """

    is_differentiable = True
    higher_is_better = False
    penalty_sum: Tensor
    num_batches: Tensor

    def __init__(
        self,
        penalty: str = "pearson_squared",
        field: str = EDGE_FEATURES,
        block_size: int | None = None,
        num_blocks: int | None = None,
        block_weights: Sequence[float] | None = None,
        per_edge_type: bool = False,
        shrinkage: float = DEFAULT_SHRINKAGE,
        max_samples: int | None = DEFAULT_MAX_SAMPLES,
        schedule: Mapping[str, Any] | None = None,
        every_n_steps: int | None = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            field, block_size, num_blocks, block_weights, per_edge_type, max_samples, **kwargs
        )
        self.penalty = one_of("penalty", penalty, PENALTIES)
        if not 0 < shrinkage <= 1:
            raise ValueError(f"`shrinkage` must be in (0, 1], got {shrinkage}")
        self._penalty = (
            partial(log_det, shrinkage=shrinkage) if penalty == "log_det" else PENALTIES[penalty]
        )
        self.schedule = None if schedule is None else Schedule.read(schedule)
        self.is_scheduled = False
        self.every_n_steps = positive_int("every_n_steps", every_n_steps) or 1
        self._last: Tensor | None = None
        self.add_state("penalty_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("num_batches", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def batch_penalty(self, preds: Mapping[str, Tensor]) -> Tensor:
        """The penalty of one batch, a differentiable scalar in the dtype of the features."""
        alone = not self.dist_sync_on_step or world_size() == 1
        if alone and self.penalty == "pearson_squared" and not self.per_edge_type:
            samples, _ = self.batch_samples(preds)
            return mean_pearson_squared(samples, self.weights(samples)).to(samples.dtype)
        found = self.batch_moments(preds)
        m = (found if alone else gather(found)).moments
        values = self._penalty(m)
        return average(values, m, self.weights(values)).to(self.dtype_of(preds))

    def update(self, preds: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
        """Add a batch to the running mean."""
        self._accumulate(self.batch_penalty(preds))

    def compute(self) -> Tensor:
        """Mean of the batch penalties since the last reset."""
        return self.penalty_sum / self.num_batches.clamp(min=1)

    def forward(self, preds: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
        """The penalty of this batch, with gradient, and its share in the running mean.

        The stock ``forward`` would run ``update`` twice a step; the batch value serves both. In
        batches that ``every_n_steps`` leaves out, the last value without gradient.
        """
        if self.schedule is not None and self.dist_sync_on_step and not self.is_scheduled:
            raise UserError(
                "nothing follows the `schedule` of this loss term: its Trainer was made before "
                "NequIP was imported; import `nequip.train` first"
            )
        value = self._last
        # `reset` puts the count to 0 at the end of an epoch, so a resumed training has the same.
        if value is None or self._update_count % self.every_n_steps == 0:
            value = self.batch_penalty(preds)
            self._accumulate(value)
            self._last = value.detach()
            if self.every_n_steps > 1:
                value = self._last + self.every_n_steps * (value - self._last)
        self._update_count += 1
        self._computed = None
        return value

    def _accumulate(self, value: Tensor) -> None:
        self.penalty_sum += value.detach()
        self.num_batches += 1

    def __str__(self) -> str:
        return f"decorrelation_{self.penalty}"
