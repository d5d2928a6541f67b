"""Checks of a training module's loss, made before training starts."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from hydra.utils import instantiate
from omegaconf import OmegaConf

from ..features.fields import (
    match_fields,
    resolve_blocks,
    scalar_width,
)
from .term import FeatureDecorrelation

TARGETS: Final = (
    "nequip_decorr.FeatureDecorrelation",
    "nequip_decorr.training.term.FeatureDecorrelation",
)


def loss_names(pl_module: Any) -> list[str]:
    """Names of the terms in the loss."""
    loss = getattr(pl_module, "loss", None)
    return list(loss.entries) if loss is not None else []


def decorrelation_terms(pl_module: Any) -> dict[str, FeatureDecorrelation]:
    """The terms of the loss that are ours, by name."""
    loss = getattr(pl_module, "loss", None) or {}
    return {n: term for n, term in loss.items() if isinstance(term, FeatureDecorrelation)}


def type_names(pl_module: Any) -> list[str]:
    """Names of the model's atom types."""
    return list(next(iter(pl_module.model.values())).type_names)


def stock_coefficients(
    pl_module: Any, metric: str, scheduled: Iterable[str] = ()
) -> tuple[dict[str, float | None], float]:
    """Coefficients of the loss without its scheduled terms, and what they sum to in the config.

    NequIP normalises coefficients on construction, so both are read off further instances of
    the configured loss, in which our term has coefficient zero and one.

    Args:
        pl_module: the training module.
        metric: name of our term.
        scheduled: names of other terms with a schedule of their own.

    Returns:
        The coefficients as a loss without the scheduled terms has them (they sum to one), and
        their sum as the config wrote them; 1.0 where the module was built without a config.
    """
    without = {metric, *scheduled}
    config = copy.deepcopy(dict(pl_module.hparams.get("loss") or {}))
    if not any(entry["name"] == metric for entry in entries_of(config)):
        entries = {n: e.coeff for n, e in pl_module.loss.entries.items() if n not in without}
        total = sum(c or 0.0 for c in entries.values())
        return {n: None if c is None else c / total for n, c in entries.items()}, 1.0
    names = type_names(pl_module)
    for name in without:
        _set_coeff(config, name, float(name == metric))
    ours = instantiate(config, type_names=names).entries[metric].coeff
    _set_coeff(config, metric, 0.0)
    entries = instantiate(config, type_names=names).entries
    return {n: e.coeff for n, e in entries.items() if n not in without}, (1.0 - ours) / ours


def entries_of(node: Any) -> Iterator[Any]:
    """Every named entry of a loss config whose metric is a :class:`FeatureDecorrelation`.

    References stay as they are: what they point to may not be there yet, and is not our concern.
    """
    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=False)
    for entry in _named_entries(node):
        target = entry["metric"].get("_target_") if isinstance(entry["metric"], Mapping) else None
        if target in TARGETS:
            yield entry


def _named_entries(node: Any) -> Iterator[Any]:
    if isinstance(node, Mapping):
        if "name" in node and "metric" in node:
            yield node
        node = list(node.values())
    if isinstance(node, Sequence) and not isinstance(node, str):
        for child in node:
            yield from _named_entries(child)


def _set_coeff(config: Any, metric: str, value: float) -> None:
    for entry in _named_entries(config):
        if entry["name"] == metric:
            entry["coeff"] = value


def check_term(pl_module: Any, name: str, term: FeatureDecorrelation) -> None:
    """A term's coefficient, field and blocks, against the config and the model.

    Raises:
        ValueError: a negative or non-finite coefficient, a field that the model does not give, or
            a block size that does not divide its width.
    """
    _check_coefficient(pl_module, name)
    _check_field(pl_module, name, term)


def _check_coefficient(pl_module: Any, name: str) -> None:
    config = pl_module.hparams.get("loss")
    coeff = pl_module.loss.entries[name].coeff
    if config is not None:
        found = (e.get("coeff") for e in entries_of(dict(config)) if e["name"] == name)
        coeff = next((float(c) for c in found if c is not None), None)
    if coeff is not None and (not math.isfinite(coeff) or coeff < 0):
        raise ValueError(
            f"`coeff` of loss term `{name}` must be finite and not negative, got {coeff}"
        )


def _check_field(pl_module: Any, name: str, term: FeatureDecorrelation) -> None:
    for model in pl_module.model.values():
        irreps = getattr(model, "irreps_out", None)
        if not irreps:
            continue
        fields = match_fields(irreps, term.field)
        if not fields:
            known = sorted(k for k, v in irreps.items() if v is not None)
            raise ValueError(
                f"`field` {term.field!r} of loss term `{name}` is not in the model's output; "
                f"fields there: {known}"
            )
        widths = [scalar_width(irreps[field]) for field in fields if irreps[field] is not None]
        found = [resolve_blocks(width, term.block_size, term.num_blocks) for width in widths]
        if not found:
            continue
        blocks, sizes = sum(b for b, _ in found), sorted({size for _, size in found})
        if term.block_weights is not None and len(term.block_weights) != blocks:
            raise ValueError(
                f"`block_weights` of loss term `{name}` has {len(term.block_weights)} entries "
                f"for {blocks} blocks of {' and '.join(map(str, sizes))} channels; give one "
                "weight per block"
            )
        if len(sizes) > 1 and term.penalty in ("frobenius", "log_det"):
            raise ValueError(
                f"`penalty` {term.penalty!r} of loss term `{name}` needs blocks of equal width, "
                f"but `field` {term.field!r} gives {sizes}; take pearson_squared or pearson_abs, "
                "or fields of equal width"
            )


def default_callbacks() -> list[Any]:
    """Entry point ``lightning.pytorch.callbacks_factory``."""
    from .guard import LossGuard

    return [LossGuard()]
