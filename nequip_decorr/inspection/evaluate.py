"""Errors and feature correlation of a trained model on labelled frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ..errors import UserError
from ..features.fields import EDGE_FEATURES
from ..features.frames import load_model, open_model, outputs
from .run import inspect_model

__all__ = ["Evaluation", "evaluate", "evaluate_files", "load_model", "outputs"]


@dataclass(frozen=True)
class Evaluation:
    """Errors on a set of frames, and how correlated the features are there.

    Attributes:
        frames: number of frames.
        force_mae_eV_per_A: mean absolute error of force components.
        energy_mae_eV_per_atom: mean absolute error of the energy per atom.
        correlation: mean absolute correlation per block, by name.
        effective_rank: effective rank per block, by name.
    """

    frames: int
    force_mae_eV_per_A: float
    energy_mae_eV_per_atom: float
    correlation: dict[str, float]
    effective_rank: dict[str, float]

    @property
    def mean_correlation(self) -> float:
        """Mean over the blocks."""
        return float(np.mean(list(self.correlation.values())))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)


def evaluate(
    model: Any,
    frames: str | Path | Sequence[Atoms],
    block_size: int | None = None,
    field: str = EDGE_FEATURES,
) -> Evaluation:
    """Take errors and correlation of ``model`` on labelled ``frames``.

    Args:
        model: as :func:`~nequip_decorr.inspect_model` takes it.
        frames: structures with energy and forces, or their file.
        block_size: channels per feature block.
        field: the output field that holds the features.

    Raises:
        UserError: frames without labels.
    """
    entry = inspect_model(model, {"data": frames}, field=field, block_size=block_size).entries[0]
    errors = []
    for labels in (entry.forces, entry.energies):
        if labels is None or labels.mae is None:
            found = "" if labels is None else labels.sentence()
            raise UserError(f"the frames have no labels to compare with; {found}")
        errors.append(labels.mae)
    names, statistics = entry.blocks, entry.statistics
    return Evaluation(
        frames=entry.frames,
        force_mae_eV_per_A=errors[0],
        energy_mae_eV_per_atom=errors[1],
        correlation={name: s.mean_abs for name, s in zip(names, statistics, strict=True)},
        effective_rank={name: s.effective_rank for name, s in zip(names, statistics, strict=True)},
    )


def evaluate_files(
    checkpoint: Path | str,
    files: dict[str, Path],
    block_size: int | None = None,
    field: str = EDGE_FEATURES,
) -> dict[str, Evaluation]:
    """:func:`evaluate` a checkpoint on several files of labelled frames, by name."""
    model = open_model(checkpoint)
    return {name: evaluate(model, path, block_size, field) for name, path in files.items()}
