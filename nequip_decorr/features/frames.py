"""Structures to batches, to the output of an eager model, to blocks of features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from ase import Atoms
from ase.calculators.calculator import all_properties
from torch import Tensor

from ..errors import UserError
from ..model_files import recognise, require
from .fields import ATOM_TYPE, EDGE_INDEX, Blocks, edge_type_labels, read_features
from .taps import TAPS, attach_taps, interaction_layers

ATOMS_PER_BATCH: Final = 400
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
        UserError: the file is something else, or names a module that Python cannot find.
    """
    from nequip.model.saved_models.load_utils import load_saved_model
    from nequip.utils.global_state import set_global_state

    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint or package at {path}")
    require(path, ("checkpoint", "package"))
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
        path = Path(model)
        model = _open_file(path)
        weights = _weights(path)
    metadata = getattr(model, "metadata", None)
    if not isinstance(metadata, Mapping) or "type_names" not in metadata:
        raise UserError(
            "a model must be a checkpoint, a package, or a module as "
            f"`nequip_decorr.features.frames.load_model` gives it, got {type(model).__name__}"
        )
    return Model(model, metadata["type_names"].split(" "), float(metadata["r_max"]), weights)


def _open_file(path: Path) -> Any:
    found = recognise(path)
    if found.kind == "compiled":
        raise UserError(
            f"{path} is a compiled model: it gives energies and forces, its features are not in "
            "the file. Give the checkpoint (.ckpt) or package (.nequip.zip) it was compiled from"
        )
    require(found, ("checkpoint", "package"))
    try:
        module = load_model(path)
    except (FileNotFoundError, UserError):
        raise
    except Exception as err:
        text = str(err).strip().splitlines() or [""]
        raise UserError(
            f"{path} cannot be opened as a checkpoint or package of the NequIP framework "
            f"({type(err).__name__}: {text[0]})"
        ) from err
    if any(True for _ in interaction_layers(module)):
        missing = [tap for tap in TAPS if f"layer0_{tap}" not in module.irreps_out]
        attach_taps(module, missing, "its training")
    return module


def weights_of(training_module: Mapping[str, Any]) -> str:
    """Say which weights NequIP takes from a checkpoint.

    Args:
        training_module: the node of the training configuration.
    """
    from hydra.utils import get_class
    from nequip.train import EMALightningModule

    target = str(training_module.get("_target_"))
    if "ScheduleFree" in target:
        return "averaged weights of the schedule-free optimiser"
    if issubclass(get_class(target), EMALightningModule):
        return f"EMA weights (decay {training_module.get('ema_decay', 0.999)})"
    return "trained weights (no EMA)"


def _weights(path: Path) -> str:
    if path.name.endswith(".nequip.zip"):
        return "weights of the package (EMA, where its training kept an average)"
    checkpoint = torch.load(path, map_location="cpu", weights_only=False)
    return weights_of(checkpoint["hyper_parameters"]["info_dict"]["training_module"])


def outputs(
    model: Any, frames: Sequence[Atoms], batch_size: int = 4
) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Yield output and input dictionaries of batches of ``frames``, all on the CPU.

    Args:
        model: as :func:`load_model` gives it; evaluated where its parameters are, which for a
            checkpoint from a GPU is a GPU.
        frames: structures; energy, forces and stress are passed through where there are any.
        batch_size: frames per batch.

    Raises:
        UserError: an element that the model does not know, or an input that the frames lack.
    """
    from nequip.data import AtomicDataDict, from_ase
    from nequip.integrations.utils import basic_transforms
    from nequip.nn import graph_model

    metadata = model.metadata
    type_names = metadata[graph_model.TYPE_NAMES_KEY].split(" ")
    unknown = {s for f in frames for s in f.get_chemical_symbols()} - set(type_names)
    if unknown:
        raise UserError(
            f"the model does not know the elements {sorted(unknown)}; it knows {type_names}"
        )
    transforms = basic_transforms(
        metadata,
        float(metadata[graph_model.R_MAX_KEY]),
        type_names,
        {name: name for name in type_names},
    )
    inputs = set(getattr(model, "model_input_fields", ()))
    # NequIP takes a dipole and others for fields of atoms, and refuses the frame.
    unused = list(set(all_properties) - {"energy", "forces", "stress"} - inputs)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    for start in range(0, len(frames), batch_size):
        batch = []
        for frame in frames[start : start + batch_size]:
            wanted = inputs & (set(frame.info) | set(frame.arrays))
            data = from_ase(frame, include_keys=list(wanted), exclude_keys=unused)
            for transform in transforms:
                data = transform(data)
            batch.append(data)
        target = AtomicDataDict.batched_from_list(batch)
        try:
            with torch.enable_grad():
                predicted = model(AtomicDataDict.to_(dict(target), device))
        except KeyError as err:
            if err.args[0] not in inputs:
                raise
            raise UserError(
                f"the model needs `{err.args[0]}` of each frame beside positions, cell and "
                "elements, and the frames do not have it; add it to the structures under that name"
            ) from err
        yield {k: v.detach().cpu() for k, v in predicted.items()}, target


def feature_batches(
    model: Model, frames: Iterable[Atoms], field: str | None = None, block_size: int | None = None
) -> Iterator[Batch]:
    """Yield the features of all frames, in batches of about ``ATOMS_PER_BATCH`` atoms.

    Args:
        model: from :func:`open_model`.
        frames: structures, read one batch after the other.
        field: see :func:`~nequip_decorr.features.fields.read_features`.
        block_size: channels per block.

    Raises:
        UserError: see :func:`outputs` and :func:`~nequip_decorr.features.fields.read_blocks`.
    """
    for group in _groups(frames):
        predicted, given = next(outputs(model.module, [_bare(f) for f in group], len(group)))
        data = {**given, **predicted}
        features = read_features(model.module, data, field, block_size)
        on_edges = bool(features.on_edges)
        kinds = data[ATOM_TYPE].reshape(-1).long()
        yield Batch(
            frames=group,
            features=features,
            kinds=edge_type_labels(data, features.values.shape[1]) if on_edges else kinds,
            lengths_A=edge_lengths(data) if on_edges else None,
            output=data,
        )


def edge_lengths(data: Mapping[str, Tensor]) -> Tensor:
    """Return the length of each edge in Å, ``[num_edges]``."""
    if EDGE_LENGTH in data:
        return data[EDGE_LENGTH].detach().reshape(-1)
    from nequip.nn import with_edge_vectors_

    names = ("pos", EDGE_INDEX, "cell", "edge_cell_shift", "batch")
    graph = {name: data[name] for name in names if name in data}
    lengths: Tensor = with_edge_vectors_(graph)[EDGE_LENGTH]
    return lengths.detach().reshape(-1)


def _groups(frames: Iterable[Atoms]) -> Iterator[list[Atoms]]:
    group: list[Atoms] = []
    for frame in frames:
        if group and sum(map(len, group)) + len(frame) > ATOMS_PER_BATCH:
            yield group
            group = []
        group.append(frame)
    if group:
        yield group


def _bare(frame: Atoms) -> Atoms:
    """A structure without labels: frames of a batch need not have the same ones."""
    bare: Atoms = frame.copy()
    for name in LABELS:
        bare.info.pop(name, None)
        bare.arrays.pop(name, None)
    return bare
