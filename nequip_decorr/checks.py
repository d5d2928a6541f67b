"""Checks of a training module's loss, made before training starts."""

from __future__ import annotations

import copy
import math
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from .features import resolve_blocks
from .loss import FeatureDecorrelation


def loss_names(pl_module: Any) -> list[str]:
    """Names of the terms in the loss."""
    loss = getattr(pl_module, "loss", None)
    return list(loss.entries) if loss is not None else []


def stock_coefficients(pl_module: Any, metric: str) -> tuple[dict[str, float | None], float]:
    """Coefficients of all loss terms but ``metric``, and what they sum to in the config.

    NequIP normalises coefficients on construction, so both are read off further instances of
    the configured loss, in which our term has coefficient zero and one.

    Returns:
        The coefficients as a loss without our term has them (they sum to one), and their sum as
        the config wrote them; 1.0 where the module was built without a config.
    """
    config = copy.deepcopy(dict(pl_module.hparams.get("loss") or {}))
    if not _set_coeff(config, metric, 1.0):
        entries = {n: e.coeff for n, e in pl_module.loss.entries.items() if n != metric}
        total = sum(c or 0.0 for c in entries.values())
        return {n: None if c is None else c / total for n, c in entries.items()}, 1.0
    type_names = _type_names(pl_module)
    ours = instantiate(config, type_names=type_names).entries[metric].coeff
    _set_coeff(config, metric, 0.0)
    entries = instantiate(config, type_names=type_names).entries
    return {n: e.coeff for n, e in entries.items() if n != metric}, (1.0 - ours) / ours


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


def _type_names(pl_module: Any) -> list[str]:
    return list(next(iter(pl_module.model.values())).type_names)


class LossGuard(Callback):
    """Checks every :class:`FeatureDecorrelation` in a loss before the first step.

    Attached to every trainer through Lightning's ``callbacks_factory`` entry point; does nothing
    where the loss has no such term.

    Raises:
        ValueError: a negative or non-finite coefficient, a field that the model does not give, or
            a block size that does not divide its width.
    """

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Check before anything long begins."""
        if stage != "fit" or not loss_names(pl_module):
            return
        for name, term in pl_module.loss.items():
            if isinstance(term, FeatureDecorrelation):
                _check_coefficient(pl_module, name)
                _check_field(pl_module, name, term)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """After a resume, the config's coefficients to the last bit.

        Loading a checkpoint normalises them once more, and what rounding that adds would tell a
        resumed training from one in one go.
        """
        config = pl_module.hparams.get("loss")
        terms = getattr(pl_module, "loss", None) or {}
        if config is None or not any(isinstance(t, FeatureDecorrelation) for t in terms.values()):
            return
        fresh = instantiate(config, type_names=_type_names(pl_module))
        pairs = [(e, fresh.entries[name].coeff) for name, e in pl_module.loss.entries.items()]
        if all(a.coeff is not None and b is not None for a, b in pairs) and all(
            math.isclose(a.coeff, b, rel_tol=1e-12) for a, b in pairs
        ):
            for entry, coeff in pairs:
                entry.coeff = coeff


def _check_coefficient(pl_module: Any, name: str) -> None:
    config = pl_module.hparams.get("loss")
    coeff = pl_module.loss.entries[name].coeff if config is None else _plain(config, name)
    if coeff is not None and (not math.isfinite(coeff) or coeff < 0):
        raise ValueError(
            f"`coeff` of loss term `{name}` must be finite and not negative, got {coeff}"
        )


def _plain(config: Any, name: str) -> float | None:
    value = _configured_coeff(dict(config), name)
    return None if value is None else float(value)


def _check_field(pl_module: Any, name: str, term: FeatureDecorrelation) -> None:
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
