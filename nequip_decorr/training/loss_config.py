"""Checks of a training module's loss, made before training starts."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hydra.utils import get_object, instantiate
from nequip.train import MetricsManager
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..errors import UserError
from ..features.fields import match_fields, resolve_blocks, scalar_width
from .term import FeatureDecorrelation


def loss_names(pl_module: Any) -> list[str]:
    """Return the names of the terms in the loss; none for a module that is not NequIP's."""
    loss = getattr(pl_module, "loss", None)
    return list(loss.entries) if isinstance(loss, MetricsManager) else []


def decorrelation_terms(pl_module: Any) -> dict[str, FeatureDecorrelation]:
    """Return the terms of the loss that are ours, by name."""
    terms = dict(pl_module.loss.items()) if loss_names(pl_module) else {}
    return {n: term for n, term in terms.items() if isinstance(term, FeatureDecorrelation)}


def type_names(pl_module: Any) -> list[str]:
    """Return the names of the model's atom types."""
    return list(next(iter(pl_module.model.values())).type_names)


def stock_coefficients(
    pl_module: Any, metric: str, scheduled: Iterable[str] = ()
) -> tuple[dict[str, float | None], float]:
    """Return the loss's coefficients without its scheduled terms, and their sum in the config.

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


def config_coefficient(pl_module: Any, name: str) -> float | None:
    """Return a term's coefficient as the config wrote it; ``None`` where it wrote none."""
    config = pl_module.hparams.get("loss")
    if config is None:
        return None
    found = (entry.get("coeff") for entry in _named_entries(dict(config)) if entry["name"] == name)
    return next((float(coeff) for coeff in found if coeff is not None), None)


def loss_share(pl_module: Any, name: str) -> float | None:
    """Return a term's share in the loss of the last epoch, or of the last step before its end.

    ``None`` where the loss was not worked out yet, or is not finite.
    """
    loss = pl_module.loss
    for values in (loss.metrics_values_epoch, loss.metrics_values_step):
        parts: dict[str, float] = {
            n: e.coeff * (values[n] or 0.0) for n, e in loss.entries.items() if e.coeff
        }
        whole = sum(parts.values())
        if whole > 0 and math.isfinite(whole):
            return parts.get(name, 0.0) / whole
    return None


def coefficient_in_loss(
    pl_module: Any, name: str, stock: Iterable[str], scale: float
) -> float | None:
    """Return the coefficient that is in the loss now, on the scale of the config.

    Args:
        pl_module: the training module.
        name: of the term.
        stock: terms whose coefficients ``scale`` is the sum of.
        scale: that sum in the config, from :func:`stock_coefficients`.
    """
    entries = pl_module.loss.entries
    total = sum(entries[n].coeff or 0.0 for n in stock) or 1.0
    coeff = entries[name].coeff
    return None if coeff is None else coeff / total * scale


def plain(node: Any) -> Any:
    """Return a config as plain data; a reference that can't be resolved stays as text."""
    if isinstance(node, DictConfig):
        return {key: plain(_value(node, key)) for key in node}
    if isinstance(node, ListConfig):
        return [plain(_value(node, index)) for index in range(len(node))]
    return node


def _value(node: Any, key: Any) -> Any:
    try:
        return node[key]
    except OmegaConfBaseException:
        return OmegaConf.to_container(node, resolve=False)[key]  # type: ignore[index]


def entries_of(node: Any) -> Iterator[Any]:
    """Yield every named entry of a loss config whose metric is a :class:`FeatureDecorrelation`."""
    for entry in _named_entries(plain(node)):
        metric = entry["metric"]
        if isinstance(metric, Mapping) and _is_ours(metric.get("_target_")):
            yield entry


def _is_ours(target: Any) -> bool:
    """Whether a target is our term or a class derived from it."""
    try:
        found = get_object(str(target))
    except Exception:
        return False
    return isinstance(found, type) and issubclass(found, FeatureDecorrelation)


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
    """Check a term's coefficient, field and blocks against the config and the model.

    Raises:
        UserError: a negative or non-finite coefficient, a field that the model does not give, or
            a block size that does not divide its width.
    """
    coeff = config_coefficient(pl_module, name)
    if coeff is None:
        coeff = pl_module.loss.entries[name].coeff
    if coeff is not None and (not math.isfinite(coeff) or coeff < 0):
        raise UserError(
            f"`coeff` of loss term `{name}` must be finite and not negative, got {coeff}"
        )
    for model in pl_module.model.values():
        irreps = getattr(model, "irreps_out", None)
        if not irreps:
            continue
        fields = match_fields(irreps, term.field)
        if not fields:
            known = sorted(k for k, v in irreps.items() if v is not None)
            raise UserError(
                f"`field` {term.field!r} of loss term `{name}` is not in the model's output; "
                f"fields there: {known}"
            )
        widths = [scalar_width(irreps[field]) for field in fields if irreps[field] is not None]
        found = [resolve_blocks(width, term.block_size, term.num_blocks) for width in widths]
        if not found:
            continue
        blocks, sizes = sum(b for b, _ in found), sorted({size for _, size in found})
        if term.block_weights is not None and len(term.block_weights) != blocks:
            raise UserError(
                f"`block_weights` of loss term `{name}` has {len(term.block_weights)} entries "
                f"for {blocks} blocks of {' and '.join(map(str, sizes))} channels; give one "
                "weight per block"
            )
        if len(sizes) > 1 and term.penalty in ("frobenius", "log_det"):
            raise UserError(
                f"`penalty` {term.penalty!r} of loss term `{name}` needs blocks of equal width, "
                f"but `field` {term.field!r} gives {sizes}; take pearson_squared or pearson_abs, "
                "or fields of equal width"
            )
