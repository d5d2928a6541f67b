"""What loss term and monitor share: from a model's output to the moments of its feature blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from ..correlation import (
    Moments,
    average,
    grouped_moments,
    moments,
)
from ..features.fields import (
    ATOM_TYPE,
    edge_type_groups,
    match_fields,
    read_blocks,
    read_field,
)


class FeatureMetric(Metric):
    """A ``torchmetrics`` metric of the correlation of feature blocks."""

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
        if world_size() > 1:
            torch.distributed.all_reduce(largest, op=torch.distributed.ReduceOp.MAX)
        return int(largest) + 1

    def _average(self, values: Tensor, m: Moments) -> Tensor:
        weights = None if self.block_weights is None else values.new_tensor(self.block_weights)
        return average(values, m, weights)


def world_size() -> int:
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if ready else 1


def choice(name: str, value: str, allowed: Mapping[str, object]) -> str:
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
