"""``nequip-train ... +decorr=default``: the loss term in a stock config, without an edit.

A search-path plugin brings the config group ``decorr`` (``training/groups``), whose options set the
node ``decorr`` and Hydra's callback :class:`AddDecorrelation`. When the run starts, the callback
turns that node into an entry of the loss, so that the config that Hydra saves, and the checkpoint,
hold the explicit block.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.experimental.callback import Callback
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.utils import get_method
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from ..errors import UserError

LOSS: Final = "training_module.loss"
MODEL: Final = "training_module.model"
ALLEGRO: Final = ("allegro.model.AllegroModel", "allegro.model.allegro_models.AllegroModel",
                  "allegro.model.allegro_models.FullAllegroModel")  # fmt: skip
NEQUIP: Final = tuple(
    f"nequip.model.{module}{name}"
    for module in ("", "nequip_models.")
    for name in ("NequIPGNNModel", "PresetNequIPGNNModel", "FullNequIPGNNModel")
)
CHECKPOINT: Final = (
    "nequip.model.ModelFromCheckpoint",
    "nequip.model.saved_models.ModelFromCheckpoint",
)
MODIFY: Final = ("nequip.model.modify", "nequip.model.modify_utils.modify")
TAPS: Final = ("nequip_decorr.TapFeatures", "nequip_decorr.features.taps.TapFeatures")
DEFAULT_TAP: Final = "node_invariants"
OPEN_LOOP_DEFAULTS: Final = ("start", "shape")

logger = logging.getLogger(__name__)


class DecorrSearchPath(SearchPathPlugin):
    """Puts the config group ``decorr`` on Hydra's search path, after the user's own."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the package's groups."""
        search_path.append(provider="nequip-decorr", path="pkg://nequip_decorr.training.groups")


def register() -> None:
    """Make the config group known to Hydra. Idempotent."""
    Plugins.instance().register(DecorrSearchPath)


class AddDecorrelation(Callback):
    """Hydra callback that puts the term of the ``decorr`` node into the loss, or ends the process.

    Hydra swallows every ``Exception`` of a callback. So an error is kept until the job starts, when
    there is a log to write it to, and then raised as ``SystemExit``, which Hydra lets pass.
    """

    def __init__(self) -> None:
        self._messages: list[tuple[int, str]] = []
        self._failed: Exception | None = None

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Edit the composed config before anything is built from it."""
        try:
            self._messages = add_decorrelation(config, config.hydra.overrides.task)
        except Exception as error:
            self._failed = error

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Log what was done, or stop."""
        for level, message in self._messages:
            logger.log(level, message)
        if self._failed is not None:
            expected = isinstance(self._failed, UserError)
            logger.error(f"+decorr: {self._failed}", exc_info=None if expected else self._failed)
            raise SystemExit(f"+decorr: {self._failed}")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse a multirun before its first job; its folder has no log yet."""
        from .request import MULTIRUN

        log = Path(str(config.hydra.sweep.dir), f"{config.hydra.job.name}.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.write(f"+decorr: {MULTIRUN}\n")
        raise SystemExit(f"+decorr: {MULTIRUN}")


def add_decorrelation(config: DictConfig, overrides: Iterable[str] = ()) -> list[tuple[int, str]]:
    """Turn the node ``decorr`` of a training config into an entry of its loss, in place.

    Args:
        config: as ``nequip-train`` composes it, with ``decorr: {name, coeff, metric}``.
        overrides: those of the command line.

    Returns:
        What to log: levels and messages.

    Raises:
        UserError: the config has no loss, or its loss takes no further terms; it has a
            decorrelation term already; the model is of a kind whose features are not known; or
            training would go on from a checkpoint without the term. ``decorr`` stays in place.
    """
    from .loss_config import entries_of

    settings = _settings(config, overrides)
    for key in (LOSS, MODEL):
        if OmegaConf.select(config, key) is None:
            raise UserError(f"`+decorr` needs `{key}` in the config, which is missing or null")
    if config.get("ckpt_path") is not None:
        messages = _compare_with_checkpoint(config.ckpt_path, settings)
        with open_dict(config):
            config.pop("decorr")
        return messages
    have = [entry["name"] for entry in entries_of(OmegaConf.select(config, LOSS))]
    if have:
        raise UserError(
            f"the loss has the decorrelation term {have} already; take it out, or leave "
            "`+decorr` out"
        )
    with open_dict(config):
        features = _features_of(config.training_module.model, settings)
        settings.metric = OmegaConf.merge(features, settings.metric)
        _append(config, settings)
        config.pop("decorr")
    text = OmegaConf.to_yaml(settings, resolve=False)
    return [(logging.INFO, f"+decorr: added to the loss:\n{text}")]


def _settings(config: DictConfig, overrides: Iterable[str]) -> DictConfig:
    """The entry of the loss: the group's values but those left at null."""
    settings: Any = OmegaConf.to_container(config.decorr, resolve=False)
    missing = [key for key in ("name", "coeff", "metric") if key not in settings]
    if missing:
        raise UserError(
            f"the node `decorr` has no {missing}; choose a group with `+decorr=default`"
        )
    metric = settings["metric"]
    schedule = {k: v for k, v in (metric.pop("schedule", None) or {}).items() if v is not None}
    given = {override.lstrip("+").partition("=")[0] for override in overrides}
    if {"target_share", "share"} & set(schedule):
        for name in OPEN_LOOP_DEFAULTS:
            if f"decorr.metric.schedule.{name}" not in given:
                schedule.pop(name, None)
    keep = {k: v for k, v in metric.items() if v is not None or k == "max_samples"}
    settings["metric"] = {**keep, "schedule": schedule} if schedule else keep
    return DictConfig(settings)


def _append(config: DictConfig, entry: DictConfig) -> None:
    """Add to the loss, and to nothing that shares its node by reference."""
    from .loss_config import plain

    module = config.training_module
    metrics = [key for key in module if str(key).endswith("_metrics")]
    before = {key: plain(module[key]) for key in metrics}
    shared = OmegaConf.is_interpolation(module, "loss")
    for key in ("extra_metrics", "metrics"):
        shared = shared or (key in module.loss and OmegaConf.is_interpolation(module.loss, key))
    if shared:
        module.loss = plain(module.loss)
    terms = _list_of_terms(module.loss)
    if entry.name in [term.get("name") for term in terms]:
        raise UserError(
            f"the loss has a term `{entry.name}` already; choose another name with "
            "`decorr.name=...`, e.g. `decorr.name=feature_decorrelation`"
        )
    terms.append(entry)
    for key in metrics:
        if plain(module[key]) != before[key]:
            module[key] = before[key]


def _list_of_terms(loss: DictConfig) -> ListConfig:
    """Where the loss lists its further terms; made if it has none."""
    target = str(loss.get("_target_"))
    if target.rsplit(".", 1)[-1] == "MetricsManager":
        metrics: ListConfig = loss.metrics
        return metrics
    try:
        takes = inspect.signature(get_method(target)).parameters
    except Exception as error:
        raise UserError(f"the loss `{target}` can't be found: {error}") from error
    if "extra_metrics" not in takes:
        raise UserError(
            f"the loss `{target}` takes no `extra_metrics`; allowed: nequip.train.EnergyForceLoss, "
            "EnergyForceStressLoss, EnergyOnlyLoss, MetricsManager, or any with that argument"
        )
    if loss.get("extra_metrics") is None:
        loss.extra_metrics = []
    terms: ListConfig = loss.extra_metrics
    return terms


def _features_of(model: DictConfig, settings: DictConfig) -> dict[str, Any]:
    """Field and blocks for a model; a NequIP model is wrapped so that its layers can be seen."""
    if "field" in settings.metric:
        return {}
    kind, inner = _kind(model)
    if kind in ALLEGRO:
        if inner is model and "num_scalar_features" in model:
            return {"block_size": f"${{{MODEL}.num_scalar_features}}"}
        takes = inspect.signature(get_method(ALLEGRO[-1])).parameters
        default = takes["num_scalar_features"].default
        return {"block_size": int(inner.get("num_scalar_features", default))}
    if kind in TAPS:
        tap = inner["taps"][0] if isinstance(inner["taps"], list | ListConfig) else None
        if tap is not None:
            return {"field": f"layer*_{tap}"}
    if kind in NEQUIP:
        model.builder, model["_target_"], model.taps = model["_target_"], TAPS[0], [DEFAULT_TAP]
        return {"field": f"layer*_{DEFAULT_TAP}"}
    raise UserError(
        f"`+decorr` does not know which features a model `{kind}` has; name them: "
        "`decorr.metric.field=FIELD` (and `decorr.metric.block_size=N`), a field of edges or nodes "
        "in the model's output, such as `edge_features` or `node_features` (for one that is not "
        "there, an error lists those that are). Known: Allegro, NequIP, and checkpoints of these"
    )


def _kind(model: Any) -> tuple[str, Any]:
    """Builder and config of a model, looked up inside modifiers and checkpoints."""
    target = str(model.get("_target_"))
    if target in MODIFY and isinstance(model.get("model"), dict | DictConfig):
        return _kind(model["model"])
    if target in CHECKPOINT:
        return _kind(_hyper_parameters(model["checkpoint_path"])["model"])
    return target, model


def _compare_with_checkpoint(path: str, settings: DictConfig) -> list[tuple[int, str]]:
    """A resumed training keeps the checkpoint's term, which may not be the one asked for."""
    from .loss_config import entries_of
    from .request import CHECKPOINT as INSTEAD
    from .request import differences

    terms = list(entries_of(_hyper_parameters(path, "ckpt_path").get("loss")))
    if not terms:
        raise UserError(
            f"training goes on with the loss of the checkpoint {path}, which has no decorrelation "
            f"term, so that `+decorr` would have no effect; {INSTEAD}"
        )
    messages = [
        (logging.INFO, "+decorr: the checkpoint brings its own term and schedule; nothing added")
    ]
    found = differences(OmegaConf.to_container(settings), terms[0])  # type: ignore[arg-type]
    if found:
        text = f"+decorr: the checkpoint's term is kept, which differs: {'; '.join(found)}"
        messages.append((logging.WARNING, text))
    return messages


def _hyper_parameters(path: str, key: str = f"{MODEL}.checkpoint_path") -> dict[str, Any]:
    """What a checkpoint was trained with (opening it runs code that it names)."""
    import torch

    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=False)
        parameters: dict[str, Any] = checkpoint["hyper_parameters"]
    except Exception as error:
        raise UserError(f"can't read the checkpoint `{key}`: {path}: {error!r}") from error
    return parameters
