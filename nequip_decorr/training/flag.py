"""``nequip-train ... +decorr=default``: the loss term in a stock config, without an edit.

A search-path plugin brings the config group ``decorr`` (``nequip_decorr/groups``), whose options
set the node ``decorr`` and Hydra's callback :class:`AddDecorrelation`. When the run starts, the
callback turns that node into an entry of the loss, so that the config that Hydra saves, and the
checkpoint, hold the explicit block.
"""

from __future__ import annotations

import inspect
from typing import Any, Final

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.experimental.callback import Callback
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.utils import get_method
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

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


class DecorrSearchPath(SearchPathPlugin):
    """Puts the config group ``decorr`` on Hydra's search path, after the user's own."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the package's groups."""
        search_path.append(provider="nequip-decorr", path="pkg://nequip_decorr.training.groups")


def register() -> None:
    """Make the config group known to Hydra; twice does no harm."""
    Plugins.instance().register(DecorrSearchPath)


class AddDecorrelation(Callback):
    """Hydra callback that puts the term of the ``decorr`` node into the loss."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Edit the composed config before anything is built from it."""
        add_decorrelation(config)


def add_decorrelation(config: DictConfig) -> None:
    """Turn the node ``decorr`` of a training config into an entry of its loss, in place.

    Args:
        config: as ``nequip-train`` composes it, with ``decorr: {name, coeff, metric}``.

    Raises:
        ValueError: the config has no loss, or its loss takes no further terms; it has a
            decorrelation term already; the model is of a kind whose features are not known; or
            training would go on from a checkpoint that has no such term.
    """
    from nequip.utils import RankedLogger

    from .loss_config import entries_of

    logger = RankedLogger(__name__, rank_zero_only=True)
    with open_dict(config):
        settings = config.pop("decorr")
        loss = OmegaConf.select(config, LOSS)
        if loss is None or OmegaConf.select(config, MODEL) is None:
            raise ValueError(f"`+decorr` needs `{LOSS}` and `{MODEL}` in the config")
        if config.get("ckpt_path") is not None:
            _check_checkpoint(config.ckpt_path)
            logger.info("+decorr: the checkpoint brings its own term and schedule; nothing added")
            return
        have = [entry["name"] for entry in entries_of(loss)]
        if have:
            raise ValueError(
                f"the loss has the decorrelation term {have} already; take it out, or leave "
                "`+decorr` out"
            )
        terms = _list_of_terms(loss)
        if settings.name in [term.get("name") for term in terms]:
            raise ValueError(
                f"the loss has a term `{settings.name}` already; choose another name with "
                "`decorr.name=...`"
            )
        features = _features_of(config.training_module.model, settings)
        settings.metric = OmegaConf.merge(features, settings.metric)
        terms.append(settings)
    logger.info(f"+decorr: added to the loss:\n{OmegaConf.to_yaml(terms[-1], resolve=False)}")


def _list_of_terms(loss: DictConfig) -> ListConfig:
    """Where the loss lists its further terms; made if it has none."""
    target = str(loss.get("_target_"))
    if target.rsplit(".", 1)[-1] == "MetricsManager":
        return loss.metrics
    try:
        takes = inspect.signature(get_method(target)).parameters
    except Exception as error:
        raise ValueError(f"the loss `{target}` can't be found: {error}") from error
    if "extra_metrics" not in takes:
        raise ValueError(
            f"the loss `{target}` takes no `extra_metrics`; allowed: nequip.train.EnergyForceLoss, "
            "EnergyForceStressLoss, EnergyOnlyLoss, MetricsManager, or any with that argument"
        )
    if loss.get("extra_metrics") is None:
        loss.extra_metrics = []
    return loss.extra_metrics


def _features_of(model: DictConfig, settings: DictConfig) -> dict[str, Any]:
    """Field and blocks for a model; a NequIP model is wrapped so that its layers can be seen."""
    if settings.metric.get("field") is not None:
        return {}
    kind, inner = _kind(model)
    if kind in ALLEGRO:
        if inner is model and "num_scalar_features" in model:
            return {"block_size": f"${{{MODEL}.num_scalar_features}}"}
        return {"block_size": int(inner.get("num_scalar_features", _default_width()))}
    if kind in TAPS:
        tap = inner["taps"][0] if isinstance(inner["taps"], list | ListConfig) else None
        if tap is not None:
            return {"field": f"layer*_{tap}"}
    if kind in NEQUIP:
        model.builder, model["_target_"], model.taps = model["_target_"], TAPS[0], [DEFAULT_TAP]
        return {"field": f"layer*_{DEFAULT_TAP}"}
    raise ValueError(
        f"`+decorr` does not know which features a model `{kind}` has; name them: "
        "`decorr.metric.field=FIELD` (and `decorr.metric.block_size=N`), a field of edges or nodes "
        "in the model's output. Known: Allegro, NequIP, and checkpoints of these"
    )


def _default_width() -> int:
    """Allegro's own default for a config that names no width."""
    signature = inspect.signature(get_method(ALLEGRO[-1]))
    return signature.parameters["num_scalar_features"].default


def _kind(model: Any) -> tuple[str, Any]:
    """Builder and config of a model, looked up inside modifiers and checkpoints."""
    target = str(model.get("_target_"))
    if target in MODIFY and isinstance(model.get("model"), dict | DictConfig):
        return _kind(model["model"])
    if target in CHECKPOINT:
        return _kind(_hyper_parameters(model["checkpoint_path"])["model"])
    return target, model


def _check_checkpoint(path: str) -> None:
    from .loss_config import entries_of

    if not list(entries_of(_hyper_parameters(path).get("loss"))):
        raise ValueError(
            f"training goes on with the loss of the checkpoint {path}, which has no decorrelation "
            "term, so that `+decorr` would have no effect; start a new training from its weights "
            "with `nequip.model.ModelFromCheckpoint`, or leave `+decorr` out"
        )


def _hyper_parameters(path: str) -> dict[str, Any]:
    """What a checkpoint was trained with (opening it runs code that it names)."""
    import torch

    return torch.load(path, map_location="cpu", weights_only=False)["hyper_parameters"]
