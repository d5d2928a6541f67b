"""A training config of NequIP: what it would stop at, found before any label is paid for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from ..campaign.validate import Mistakes

MEAN_ENERGY: Final = "training_data_stats:per_atom_energy_mean"
ENERGY_PER_TYPE: Final = (
    "data.stats_manager._target_=nequip_decorr.DistanceStatisticsManager",
    "training_module.model.per_type_energy_shifts=${training_data_stats:per_type_energy_fit}",
)
"""Overrides that give each type an energy of its own."""


def check_config(path: Path, overrides: Sequence[str], mistakes: Mistakes) -> bool:
    """Compose a config as ``nequip-train`` does; note what does not fit or leads nowhere.

    Args:
        path: of the config.
        overrides: of the command line.
        mistakes: where mistakes go.

    Returns:
        Whether it gives all atoms one mean energy.
    """
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with initialize_config_dir(str(path.parent.resolve()), version_base=None):
            config = compose(path.stem, overrides=[*overrides])
    except yaml.YAMLError as err:
        mistakes.say(f"train.config: {path} is not valid YAML: {_line(err)}")
        return False
    except UnicodeDecodeError as err:
        mistakes.say(f"train.config: {path} is not text: {_line(err)}")
        return False
    except (HydraException, OmegaConfBaseException) as err:
        mistakes.say(f"train: {path} with {list(overrides)}: {_line(err)}")
        return False
    for line in dict.fromkeys(_dangling(config)):
        mistakes.say(f"train.config: {path}: {line}")
    data = config.get("data")
    if data and ("split_dataset" in data or "train_file_path" not in data):
        mistakes.say(
            f"train.config: {path}: `data` needs `train_file_path` and a `val_file_path` of its "
            "own, as nequip.data.datamodule.ASEDataModule has them, and no `split_dataset`: "
            "labelled frames join a file of training data"
        )
    if never := _never_validates(config):
        mistakes.say(f"train.config: {path}: {never}, so that no best checkpoint would be left")
    return MEAN_ENERGY in OmegaConf.to_yaml(config.get("training_module", {}))


def _never_validates(config: Any) -> str:
    """Why a training ends before its first validation; nothing where that cannot be told."""
    from omegaconf.errors import OmegaConfBaseException

    try:
        trainer = config.get("trainer") or {}
        every, epochs = trainer.get("check_val_every_n_epoch", 1), trainer.get("max_epochs")
        batches = trainer.get("limit_val_batches")
    except OmegaConfBaseException:  # noted above, or a resolver that NequIP registers
        return ""
    if batches == 0:
        return "`trainer.limit_val_batches` is 0"
    if isinstance(every, int) and isinstance(epochs, int) and 0 < epochs < every:
        return (
            f"`trainer.check_val_every_n_epoch` is {every} and `trainer.max_epochs` {epochs}: the "
            "training ends before its first validation"
        )
    return ""


def start_from(checkpoint: Path) -> list[str]:
    """Arguments of nequip-train that put a trained model in the place of the config's."""
    model = "training_module.model"
    target = f"+{model}._target_=nequip.model.ModelFromCheckpoint"
    return [f"~{model}", target, f"+{model}.checkpoint_path={checkpoint}"]


def _dangling(node: Any, place: str = "") -> Iterator[str]:
    """Name the references to keys that the config does not have, or that are still ``???``."""
    from omegaconf import OmegaConf
    from omegaconf.errors import (
        InterpolationKeyError,
        InterpolationToMissingValueError,
        OmegaConfBaseException,
    )

    for key in node if OmegaConf.is_dict(node) else range(len(node)):
        name = f"{place}.{key}" if place else str(key)
        try:
            value = None if OmegaConf.is_missing(node, key) else node[key]
        except InterpolationToMissingValueError as err:
            missing = _line(err).rpartition(": ")[2]
            yield f"`{missing}` has no value; give it in `overrides`: {missing}=..."
        except InterpolationKeyError as err:
            yield f"{name}: {_line(err)}"
        except OmegaConfBaseException:  # a resolver that NequIP registers
            continue
        else:
            if OmegaConf.is_config(value) and not OmegaConf.is_interpolation(node, key):
                yield from _dangling(value, name)


def _line(error: Exception) -> str:
    return " ".join(str(error).split("\n    full_key")[0].split())
