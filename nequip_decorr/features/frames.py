"""Structures to batches, to the output of an eager model, to blocks of features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from ase import Atoms
from torch import Tensor

from ..errors import UserError
from .fields import (
    ATOM_TYPE,
    EDGE_INDEX,
    Blocks,
    edge_type_labels,
    read_features,
)
from .taps import (
    TAPS,
    attach_taps,
    interaction_layers,
)

ATOMS_PER_BATCH: Final = 400
COMPILED: Final = (".pt2", ".pth", ".pt")
EDGE_LENGTH: Final = "edge_lengths"
LABELS: Final = (
    "energy", "energies", "free_energy", "forces", "stress", "stresses", "virial", "dipole",
    "magmom", "magmoms", "charges",
)  # fmt: skip


@dataclass(frozen=True)
class Model:
    """An eager model and what its metadata say.

    Attributes:
        module: takes and returns a dictionary of tensors.
        type_names: elements, in the order of the atom types.
        cutoff_A: largest edge length.
        weights: which weights they are, in words.
    """

    module: Any
    type_names: list[str]
    cutoff_A: float
    weights: str = "as given"


@dataclass(frozen=True)
class Batch:
    """Features of some frames.

    Attributes:
        frames: the structures.
        features: their blocks.
        kinds: type of each atom, or label of each edge's ordered pair of types, ``[num_samples]``.
        lengths_A: of the edges, ``[num_samples]``; ``None`` for atoms.
        output: of the model, with the graph.
    """

    frames: Sequence[Atoms]
    features: Blocks
    kinds: Tensor
    lengths_A: Tensor | None
    output: Mapping[str, Tensor]


def load_model(path: Path | str) -> Any:
    """Load the eager model of a checkpoint or package, ready for evaluation.

    Opening a checkpoint runs code that it names: open only files whose maker you trust.

    Raises:
        FileNotFoundError: no such file.
        UserError: the file names a module that Python cannot find.
    """
    from nequip.model.saved_models.load_utils import load_saved_model
    from nequip.utils.global_state import set_global_state

    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint or package at {path}")
    set_global_state()
    try:
        return load_saved_model(str(path)).eval()
    except Exception as err:
        missing = _missing_module(err)
        if missing is None:
            raise
        raise UserError(
            f"{path} needs the Python module {missing!r} (No module named {missing!r}): it was "
            "trained with it. Install the package that holds it, or add its folder to PYTHONPATH"
        ) from err


def _missing_module(err: BaseException | None) -> str | None:
    """The module that an import looked for in vain, however often the error was wrapped."""
    while err is not None:
        if isinstance(err, ModuleNotFoundError):
            return err.name
        err = err.__cause__ or err.__context__
    return None


def open_model(model: Any) -> Model:
    """Open a checkpoint or a package, or take a module that is loaded already.

    The layers of a message-passing model from a file are tapped, whether or not it was trained so.
    Opening a checkpoint runs code that it names: open only files whose maker you trust.

    Raises:
        FileNotFoundError: no such file.
        UserError: a compiled model, or a file or module that is no model.
    """
    weights = "as given"
    if isinstance(model, (str, Path)):
        weights = _weights(Path(model))
        model = _open_file(Path(model))
    metadata = getattr(model, "metadata", None)
    if not isinstance(metadata, Mapping) or "type_names" not in metadata:
        raise UserError(
            "a model must be a checkpoint, a package, or a module as "
            f"`nequip_decorr.features.frames.load_model` gives it, got {type(model).__name__}"
        )
    return Model(model, metadata["type_names"].split(" "), float(metadata["r_max"]), weights)
