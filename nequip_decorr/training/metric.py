"""Base of loss term and monitor: from a model's output to the moments of its feature blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from ..correlation import Labelled, Moments, labelled_moments, merge_labelled, moments
from ..errors import UserError
from ..features.fields import ATOM_TYPE, EDGE_INDEX, edge_type_labels, match_fields, read_blocks


class FeatureMetric(Metric):
    """A ``torchmetrics`` metric of the correlation of feature blocks."""

    full_state_update = False
    irreps: Mapping[str, Any] | None = None
    """The model's ``irreps_out``, set when training starts: tells which channels are scalars."""

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
            raise UserError(f"`field` must be the name of an output field, got {field!r}")
        self.field = field
        self.block_size = positive_int("block_size", block_size)
        self.num_blocks = positive_int("num_blocks", num_blocks)
        self.block_weights = _block_weights(block_weights)
        if not isinstance(per_edge_type, bool):
            raise UserError(f"`per_edge_type` must be true or false, got {per_edge_type!r}")
        self.per_edge_type = per_edge_type
        self.max_samples = positive_int("max_samples", max_samples)

    def batch_samples(self, preds: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Read the samples of a batch.

        Args:
            preds: the model's output.

        Returns:
            Features ``[num_blocks, num_samples, num_channels]``, and with ``per_edge_type`` the
            label of each sample's ordered pair of types, ``[num_samples]``.

        Raises:
            UserError: a field that cannot be used, or blocks that allow no correlation.
        """
        values, rows, _, widths, _, on_edges = read_blocks(
            preds, self.field, self.block_size, self.num_blocks, self.max_samples, self.irreps
        )
        if self.block_weights is not None and len(self.block_weights) != len(widths):
            raise UserError(
                f"`block_weights` has {len(self.block_weights)} entries for {len(widths)} "
                f"blocks of {max(widths)} channels; give one weight per block"
            )
        if max(widths) < 2:
            raise UserError(
                f"field `{self.field}` has blocks of one scalar channel, and a correlation needs "
                "two; choose another field or a larger `block_size`"
            )
        if not self.per_edge_type:
            return values, None
        num_rows = values.shape[1]
        if rows is not None:
            num_rows = preds[EDGE_INDEX].shape[1] if on_edges else preds[ATOM_TYPE].numel()
        labels = edge_type_labels(preds, num_rows)
        return values, labels if rows is None else labels[rows]

    def batch_moments(self, preds: Mapping[str, Tensor], exact: bool = False) -> Labelled:
        """Take the moments of a batch: of label 0, or of each ordered pair of types that occurs.

        Args:
            preds: the model's output.
            exact: sum in float64, without gradient.
        """
        values, labels = self.batch_samples(preds)
        if exact:
            values = values.detach().double()
        if labels is None:
            return Labelled.whole(moments(values))
        return labelled_moments(values, labels)

    def dtype_of(self, preds: Mapping[str, Tensor]) -> torch.dtype:
        """Return the dtype of the features."""
        return preds[match_fields(preds, self.field)[0]].dtype

    def weights(self, values: Tensor) -> Tensor | None:
        """Return the weights of the blocks, in the dtype of ``values``."""
        return None if self.block_weights is None else values.new_tensor(self.block_weights)


def gather(found: Labelled) -> Labelled:
    """Merge the moments of all ranks; gradients flow to the samples of this rank."""
    if world_size() == 1:
        return found
    tensors = [gather_all_tensors(t.contiguous()) for t in (found.labels, *found.moments)]
    ranks = zip(*tensors, strict=True)
    return merge_labelled(Labelled(labels, Moments(*rest)) for labels, *rest in ranks)


def bind_irreps(pl_module: torch.nn.Module) -> None:
    """Tell every metric of a training module which channels of the model's output are scalars."""
    models = getattr(pl_module, "model", None)
    known = [m.irreps_out for m in models.values() if hasattr(m, "irreps_out")] if models else []
    for metric in pl_module.modules() if known else ():
        if isinstance(metric, FeatureMetric):
            metric.irreps = known[0]


def world_size() -> int:
    """Count the ranks of a distributed training; one without."""
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if ready else 1


def positive_int(name: str, value: int | None) -> int | None:
    """Check an option that is a positive integer or null."""
    if value is not None and (isinstance(value, bool) or int(value) != value or value < 1):
        raise UserError(f"`{name}` must be a positive integer or null, got {value!r}")
    return None if value is None else int(value)


def _block_weights(weights: Sequence[float] | None) -> list[float] | None:
    if weights is None:
        return None
    values = [float(w) for w in weights]
    if not values or any(not math.isfinite(w) or w < 0 for w in values) or sum(values) == 0:
        raise UserError(
            f"`block_weights` must be finite, not negative and not all zero, got {values}"
        )
    return values
