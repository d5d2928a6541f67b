"""The loss term and the monitor, as ``torchmetrics`` metrics for NequIP's ``extra_metrics``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any, Final

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from .correlation import (
    DEFAULT_SHRINKAGE,
    PENALTIES,
    STATISTICS,
    Moments,
    average,
    grouped_moments,
    log_det,
    merge_moments,
    moments,
)
from .features import (
    ATOM_TYPE,
    EDGE_FEATURES,
    edge_type_groups,
    match_fields,
    read_blocks,
    read_field,
)

DEFAULT_MAX_SAMPLES: Final = 4096


class _FeatureMetric(Metric):
    """What loss term and monitor share: from output dictionary to moments of feature blocks."""

    full_state_update = False

    def __init__(
        self,
        field: str,
        block_size: int | None,
        num_blocks: int | None,
        block_weights: Sequence[float] | None,
        per_edge_type: bool,
        max_samples: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(field, str) or not field:
            raise ValueError(f"`field` must be the name of an output field, got {field!r}")
        self.field = field
        self.block_size = _positive_int("block_size", block_size)
        self.num_blocks = _positive_int("num_blocks", num_blocks)
        self.block_weights = _block_weights(block_weights)
        if not isinstance(per_edge_type, bool):
            raise ValueError(f"`per_edge_type` must be true or false, got {per_edge_type!r}")
        self.per_edge_type = per_edge_type
        self.max_samples = _positive_int("max_samples", max_samples)

    def batch_moments(self, preds: Mapping[str, Tensor], exact: bool = False) -> Moments:
        """Moments of the batch, counts ``[B]``, or ``[G, B]`` with ``per_edge_type``.

        Args:
            preds: the model's output.
            exact: sum in float64, without gradient.
        """
        blocks, rows = read_blocks(
            preds, self.field, self.block_size, self.num_blocks, self.max_samples
        )
        if self.block_weights is not None and len(self.block_weights) != blocks.shape[0]:
            raise ValueError(
                f"`block_weights` has {len(self.block_weights)} entries for {blocks.shape[0]} "
                f"blocks of {blocks.shape[2]} channels; give one weight per block"
            )
        if exact:
            blocks = blocks.detach().double()
        if not self.per_edge_type:
            return moments(blocks)
        num_types = self._num_types(preds)
        group = edge_type_groups(preds, self._table(preds).shape[0], num_types)
        return grouped_moments(blocks, group if rows is None else group[rows], num_types**2)

    def _table(self, preds: Mapping[str, Tensor]) -> Tensor:
        """The field, or the first of those that its pattern matches."""
        return read_field(preds, next(iter(match_fields(preds, self.field)), self.field))

    def _num_types(self, preds: Mapping[str, Tensor]) -> int:
        types = preds[ATOM_TYPE]
        largest = types.max() if types.numel() else types.new_zeros(())
        if _world_size() > 1:
            torch.distributed.all_reduce(largest, op=torch.distributed.ReduceOp.MAX)
        return int(largest) + 1

    def _average(self, values: Tensor, m: Moments) -> Tensor:
        weights = None if self.block_weights is None else values.new_tensor(self.block_weights)
        return average(values, m, weights)


class FeatureDecorrelation(_FeatureMetric):
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
                  schedule: {start: 0.0, end: 0.05}

    Args:
        penalty: ``pearson_squared`` (mean squared correlation), ``pearson_abs`` (mean absolute),
            ``frobenius`` (DeCorr, Jin et al. 2022) or ``log_det`` (Gaussian total correlation).
        field: output field, ``[num_samples, width]``; Allegro's is ``edge_features``.
        block_size: channels per block (Allegro: ``num_scalar_features``).
        num_blocks: number of blocks, as an alternative; neither given means one block.
        block_weights: a weight per block, not negative, 0 leaves a block out.
        per_edge_type: take the correlation within each ordered pair of atom types, then average.
        shrinkage: of ``log_det`` alone, in (0, 1].
        max_samples: take this many samples, spread evenly over the batch, where there are more
            (of each rank, in distributed training); ``null`` for all. The estimate of a squared
            correlation from n samples is off by about 1/n, and the cost of the term is bounded.
        schedule: arguments of a :class:`~nequip_decorr.DecorrelationScheduler` for this term, which
            is then attached by itself; ``null`` keeps ``coeff`` throughout.

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
        **kwargs: Any,
    ) -> None:
        super().__init__(
            field, block_size, num_blocks, block_weights, per_edge_type, max_samples, **kwargs
        )
        self.penalty = _choice("penalty", penalty, PENALTIES)
        if not 0 < shrinkage <= 1:
            raise ValueError(f"`shrinkage` must be in (0, 1], got {shrinkage}")
        self._penalty = (
            partial(log_det, shrinkage=shrinkage) if penalty == "log_det" else PENALTIES[penalty]
        )
        self.schedule = _schedule(schedule)
        self.add_state("penalty_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("num_batches", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def batch_penalty(self, preds: Mapping[str, Tensor]) -> Tensor:
        """The penalty of one batch, a differentiable scalar in the dtype of the features."""
        m = self.batch_moments(preds)
        if self.dist_sync_on_step and _world_size() > 1:
            m = _gather(m)
        return self._average(self._penalty(m), m).to(self._table(preds).dtype)

    def update(self, preds: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
        """Add a batch to the running mean."""
        self._accumulate(self.batch_penalty(preds))

    def compute(self) -> Tensor:
        """Mean of the batch penalties since the last reset."""
        return self.penalty_sum / self.num_batches.clamp(min=1)

    def forward(self, preds: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
        """The penalty of this batch, with gradient, and its share in the running mean.

        The stock ``forward`` would run ``update`` twice a step; the batch value serves both.
        """
        value = self.batch_penalty(preds)
        self._accumulate(value)
        self._update_count += 1
        self._computed = None
        return value

    def _accumulate(self, value: Tensor) -> None:
        self.penalty_sum = self.penalty_sum + value.detach().double()
        self.num_batches = self.num_batches + 1

    def __str__(self) -> str:
        return f"decorrelation_{self.penalty}"


class FeatureCorrelation(_FeatureMetric):
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
        self.statistic = _choice("statistic", statistic, STATISTICS)
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


def _world_size() -> int:
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if ready else 1


def _gather(m: Moments) -> Moments:
    """Moments of the global batch; gradients flow to the samples of this rank."""
    ranks = zip(*(gather_all_tensors(t.contiguous()) for t in m), strict=True)
    return merge_moments([Moments(*rank) for rank in ranks])


def _schedule(arguments: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The arguments, if a scheduler can be made of them."""
    if arguments is None:
        return None
    from .schedule import DecorrelationScheduler

    if not isinstance(arguments, Mapping) or "metric" in arguments:
        raise ValueError(
            "`schedule` takes the arguments of a DecorrelationScheduler but `metric`, such as "
            f"{{start: 0.0, end: 0.05}}, got {arguments!r}"
        )
    allowed = set(signature(DecorrelationScheduler).parameters) - {"metric"}
    if unknown := sorted(set(arguments) - allowed):
        raise ValueError(f"`schedule` has no {unknown}; allowed: {sorted(allowed)}")
    DecorrelationScheduler(**arguments)
    return dict(arguments)


def _choice(name: str, value: str, allowed: Mapping[str, object]) -> str:
    if value not in allowed:
        raise ValueError(f"`{name}` must be one of {sorted(allowed)}, got {value!r}")
    return value


def _positive_int(name: str, value: int | None) -> int | None:
    if value is not None and (isinstance(value, bool) or int(value) != value or value < 1):
        raise ValueError(f"`{name}` must be a positive integer or null, got {value!r}")
    return None if value is None else int(value)


def _block_weights(weights: Sequence[float] | None) -> list[float] | None:
    if weights is None:
        return None
    values = [float(w) for w in weights]
    if not values or any(not math.isfinite(w) or w < 0 for w in values) or sum(values) == 0:
        raise ValueError(
            f"`block_weights` must be finite, not negative and not all zero, got {values}"
        )
    return values
