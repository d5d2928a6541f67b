"""Checkpoints of tiny trainings, as ``nequip-train`` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from nequip.utils import get_current_code_versions

from tests.helpers.training import fit, module_config


def trained(
    folder: Path, terms: list[dict[str, Any]] | None = None, epochs: int = 2, **changes: Any
) -> Path:
    """Train, and return the checkpoint; ``terms`` are the ``extra_metrics`` of the loss."""
    fit(folder, module_config(terms, **changes), checkpoint=True, epochs=epochs)
    (path,) = (folder / "checkpoints").glob("*.ckpt")
    checkpoint = torch.load(path, weights_only=False)
    # `nequip-train` notes them, and opening a checkpoint asks for them.
    versions = get_current_code_versions(verbose=False)
    checkpoint["hyper_parameters"]["info_dict"]["versions"] = versions
    torch.save(checkpoint, path)
    return path
