"""Go on with a call of ``nequip-train`` that was broken off."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml


def go_on(folder: Path, config: Any = None) -> list[str]:
    """Return the overrides with which ``nequip-train`` goes on in the folder of an earlier call.

    Lightning does not write over the checkpoints of another call: a second training from the
    beginning leaves ``best-v1.ckpt`` beside the first one's ``best.ckpt``. So what no training can
    go on from is removed.

    Args:
        folder: of the training (``hydra.run.dir``); it need not be there.
        config: the config as it is now, plain. Without one it is taken to be as it was. A
            checkpoint holds its own, which NequIP would prefer in silence.

    Returns:
        ``++ckpt_path=...``, or nothing where the training has to begin.
    """
    found = sorted(folder.rglob("last.ckpt"))
    if found and (config is None or _same(config, _begun_with(folder))):
        return [f"++ckpt_path={found[0]}"]
    shutil.rmtree(folder / ".hydra", ignore_errors=True)
    for path in folder.rglob("*.ckpt"):
        path.unlink()
    return []


def _begun_with(folder: Path) -> Any:
    """Return the config that Hydra keeps of a call."""
    path = folder / ".hydra" / "config.yaml"
    return yaml.safe_load(path.read_text()) if path.is_file() else None


def _same(a: Any, b: Any) -> bool:
    def rest(config: Any) -> dict[str, Any]:
        return {key: value for key, value in (config or {}).items() if key != "ckpt_path"}

    return rest(a) == rest(b)
