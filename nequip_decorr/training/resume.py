"""Go on with a call of ``nequip-train`` that was broken off."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, cast


def go_on(
    folder: Path, config: Path, overrides: Sequence[str], say: Callable[[str], None] = print
) -> list[str]:
    """Return the overrides with which ``nequip-train`` goes on in the folder of an earlier call.

    Lightning does not write over the checkpoints of another call: a second training from the
    beginning leaves ``best-v1.ckpt`` beside the first one's ``best.ckpt``, and without a
    ``dirpath`` each call has a folder of its own. So checkpoints that no training can go on from
    are set aside. NequIP takes the training module from the checkpoint, so a training of another
    config begins anew.

    Args:
        folder: of the training (``hydra.run.dir``); it need not be there.
        config: its config.
        overrides: of the command line, without ``hydra.run.dir``.
        say: receives a line where checkpoints are set aside.

    Returns:
        ``++ckpt_path=...``, or nothing where the training begins.
    """
    last = _checkpoints(folder, "last.ckpt")
    if len(last) == 1 and _can_go_on(folder, last[0], composed(config, overrides)):
        return [f"++ckpt_path={last[0]}"]
    set_aside(folder, say)
    return []


def set_aside(folder: Path, say: Callable[[str], None] = print) -> None:
    """Move the checkpoints of a training into a new folder beside its own."""
    found = _checkpoints(folder, "*.ckpt")
    if not found:
        return
    names = (folder.with_name(f"{folder.name}_earlier_{k}") for k in count(1))
    aside = next(path for path in names if not path.exists())
    for path in found:
        target = aside / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    say(f"the training begins anew; checkpoints of the one that was broken off: {aside}")


def composed(config: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the config of a call of ``nequip-train``, as Hydra keeps it beside the training."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(config.parent.resolve()), version_base=None):
        found = OmegaConf.to_container(compose(config.stem, overrides=[*overrides]))
    return cast("dict[str, Any]", found)


def _checkpoints(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.rglob(pattern) if path.is_file())


def _can_go_on(folder: Path, last: Path, config: dict[str, Any]) -> bool:
    """Whether the config is the same and Lightning will know the earlier checkpoints again."""
    import torch
    from omegaconf import OmegaConf

    begun = folder / ".hydra" / "config.yaml"
    if not begun.is_file() or _rest(OmegaConf.to_container(OmegaConf.load(begun))) != _rest(config):
        return False
    try:
        states = torch.load(last, map_location="cpu", weights_only=False)["callbacks"]
    except (RuntimeError, EOFError, KeyError, pickle.UnpicklingError):
        return False
    savers = [state for name, state in states.items() if name.startswith("ModelCheckpoint")]
    given = [each for each in _callbacks(config) if "ModelCheckpoint" in str(each.get("_target_"))]
    return (
        all(each.get("dirpath") for each in given)
        and len(given) == len(savers)
        and all(Path(state["dirpath"]) == last.parent for state in savers)
    )


def _rest(config: Any) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "ckpt_path"}


def _callbacks(config: dict[str, Any]) -> list[dict[str, Any]]:
    found = (config.get("trainer") or {}).get("callbacks")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
