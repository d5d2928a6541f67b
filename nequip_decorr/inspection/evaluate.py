"""Errors and feature correlation of a trained model on labelled frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from ..features.fields import (
    EDGE_FEATURES,
    block_names,
)
from ..training.monitor import FeatureCorrelation


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
        """As plain JSON types."""
        return asdict(self)


def load_model(path: Path | str) -> Any:
    """The eager model of a checkpoint or package, ready for evaluation.

    Opening a checkpoint runs code that it names: open only files whose maker you trust.
    """
    from nequip.model.saved_models.load_utils import load_saved_model
    from nequip.utils.global_state import set_global_state

    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint or package at {path}")
    set_global_state()
    return load_saved_model(str(path)).eval()


def outputs(
    model: Any, frames: Sequence[Atoms], batch_size: int = 4
) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Output and input dictionaries of batches of ``frames``.

    Args:
        model: as :func:`load_model` gives it.
        frames: structures; labels are passed through where there are any.
        batch_size: frames per batch.
    """
    from nequip.data import AtomicDataDict, from_ase
    from nequip.integrations.utils import basic_transforms
    from nequip.nn import graph_model

    metadata = model.metadata
    type_names = metadata[graph_model.TYPE_NAMES_KEY].split(" ")
    unknown = {s for f in frames for s in f.get_chemical_symbols()} - set(type_names)
    if unknown:
        raise ValueError(
            f"the model does not know the elements {sorted(unknown)}; it knows {type_names}"
        )
    transforms = basic_transforms(
        metadata,
        float(metadata[graph_model.R_MAX_KEY]),
        type_names,
        {name: name for name in type_names},
    )
    for start in range(0, len(frames), batch_size):
        batch = []
        for frame in frames[start : start + batch_size]:
            data = from_ase(frame)
            for transform in transforms:
                data = transform(data)
            batch.append(data)
        target = AtomicDataDict.batched_from_list(batch)
        with torch.enable_grad():
            predicted = model(dict(target))
        yield {k: v.detach() for k, v in predicted.items()}, target


def evaluate(
    model: Any,
    frames: Sequence[Atoms],
    block_size: int | None = None,
    field: str = EDGE_FEATURES,
) -> Evaluation:
    """Errors and correlation of ``model`` on labelled ``frames``.

    Args:
        model: as :func:`load_model` gives it.
        frames: structures with energy and forces.
        block_size: channels per feature block.
        field: the output field that holds the features.
    """
    monitors = {
        name: FeatureCorrelation(name, field=field, block_size=block_size)
        for name in ("mean_abs", "effective_rank")
    }
    force_errors, energy_errors = [], []
    for predicted, target in outputs(model, frames):
        for monitor in monitors.values():
            monitor.update(predicted, target)
        sizes = target["num_atoms"].reshape(-1, 1)
        force_errors.append((predicted["forces"] - target["forces"]).abs().flatten())
        difference = predicted["total_energy"] - target["total_energy"]
        energy_errors.append((difference.abs() / sizes).flatten())
    values = {name: monitor.per_block().tolist() for name, monitor in monitors.items()}
    names = block_names(field, len(values["mean_abs"]))
    return Evaluation(
        frames=len(frames),
        force_mae_eV_per_A=torch.cat(force_errors).double().mean().item(),
        energy_mae_eV_per_atom=torch.cat(energy_errors).double().mean().item(),
        correlation=dict(zip(names, values["mean_abs"], strict=True)),
        effective_rank=dict(zip(names, values["effective_rank"], strict=True)),
    )


def evaluate_files(
    checkpoint: Path | str,
    files: dict[str, Path],
    block_size: int | None = None,
    field: str = EDGE_FEATURES,
) -> dict[str, Evaluation]:
    """:func:`evaluate` a checkpoint on several files of labelled frames, by name."""
    model = load_model(checkpoint)
    return {
        name: evaluate(model, list(ase.io.iread(path, ":")), block_size, field)
        for name, path in files.items()
    }
