"""Checks of a training module's loss, made before training starts."""

from __future__ import annotations

import copy
import math
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from .features import resolve_blocks
from .loss import FeatureDecorrelation


def loss_names(pl_module: LightningModule) -> list[str]:
    """Names of the terms in the loss."""
    loss = getattr(pl_module, "loss", None)
    return list(loss.entries) if loss is not None else []


def stock_coefficient_sum(pl_module: LightningModule, metric: str) -> float:
    """Sum of the coefficients of all loss terms but ``metric``, as the config wrote them.

    NequIP normalises coefficients on construction, so their scale is read off a second
    instance of the configured loss in which our term has coefficient one. 1.0 where the module
    was built without a config.
    """
    config = pl_module.hparams.get("loss")
    if config is None:
        return 1.0
    probe_config = copy.deepcopy(dict(config))
    if not _set_coeff(probe_config, metric, 1.0):
        return 1.0
    probe = instantiate(probe_config, type_names=_type_names(pl_module))
    ours = probe.entries[metric].coeff
    return (1.0 - ours) / ours


def _set_coeff(node: Any, metric: str, value: float) -> bool:
    if isinstance(node, dict):
        if node.get("name") == metric and "metric" in node:
            node["coeff"] = value
            return True
        return any(_set_coeff(child, metric, value) for child in node.values())
    if isinstance(node, list):
        return any(_set_coeff(child, metric, value) for child in node)
    return False


def _configured_coeff(node: Any, metric: str) -> Any:
    if isinstance(node, dict):
        if node.get("name") == metric and "metric" in node:
            return node.get("coeff")
        node = list(node.values())
    if isinstance(node, list):
        found = (_configured_coeff(child, metric) for child in node)
        return next((c for c in found if c is not None), None)
    return None


def _type_names(pl_module: LightningModule) -> list[str]:
    return list(next(iter(pl_module.model.values())).type_names)


class LossGuard(Callback):
    """Checks every :class:`FeatureDecorrelation` in a loss before the first step.

    Attached to every trainer through Lightning's ``callbacks_factory`` entry point; does nothing
    where the loss has no such term.

    Raises:
        ValueError: a negative or non-finite coefficient, a field that the model does not give, or
            a block size that does not divide its width.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check before anything long begins."""
        if stage != "fit" or not loss_names(pl_module):
            return
        for name, term in pl_module.loss.items():
            if isinstance(term, FeatureDecorrelation):
                _check_coefficient(pl_module, name)
                _check_field(pl_module, name, term)


def _check_coefficient(pl_module: LightningModule, name: str) -> None:
    config = pl_module.hparams.get("loss")
    coeff = pl_module.loss.entries[name].coeff if config is None else _plain(config, name)
    if coeff is not None and (not math.isfinite(coeff) or coeff < 0):
        raise ValueError(
            f"`coeff` of loss term `{name}` must be finite and not negative, got {coeff}"
        )


def _plain(config: Any, name: str) -> float | None:
    value = _configured_coeff(dict(config), name)
    return None if value is None else float(value)


def _check_field(pl_module: LightningModule, name: str, term: FeatureDecorrelation) -> None:
    for model in pl_module.model.values():
        irreps = getattr(model, "irreps_out", None)
        if not irreps:
            continue
        if term.field not in irreps:
            known = sorted(k for k, v in irreps.items() if v is not None)
            raise ValueError(
                f"`field` {term.field!r} of loss term `{name}` is not in the model's output; "
                f"fields there: {known}"
            )
        if irreps[term.field] is not None:
            width = irreps[term.field].dim
            blocks, size = resolve_blocks(width, term.block_size, term.num_blocks)
            if term.block_weights is not None and len(term.block_weights) != blocks:
                raise ValueError(
                    f"`block_weights` of loss term `{name}` has {len(term.block_weights)} entries "
                    f"for {blocks} blocks of {size} channels; give one weight per block"
                )


def default_callbacks() -> list[Callback]:
    """Entry point ``lightning.pytorch.callbacks_factory``."""
    return [LossGuard()]
