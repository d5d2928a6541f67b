"""Models and data to inspect: from files to blocks of features, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ase.io
import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from ..evaluate import load_model, outputs
from ..features import (
    ATOM_TYPE,
    EDGE_FEATURES,
    EDGE_INDEX,
    edge_type_groups,
    read_field,
    resolve_blocks,
)

COMPILED: Final = (".pt2", ".pth", ".pt")
ATOMS_PER_BATCH: Final = 400
EDGE_LENGTH: Final = "edge_lengths"
# What a model is given or predicts, and no features of it.
_NOT_FEATURES: Final = frozenset(
    {"pos", "cell", "edge_cell_shift", "edge_vectors", "forces", "edge_forces", "stress", "virial"}
)
_LABELS: Final = (
    "energy", "energies", "free_energy", "forces", "stress", "stresses", "virial", "dipole",
    "magmom", "magmoms", "charges",
)  # fmt: skip


@dataclass(frozen=True)
class Model:
    """An eager model and what inspecting it needs to know.

    Attributes:
        module: takes and returns a dictionary of tensors.
        type_names: elements, in the order of the atom types.
        cutoff_A: largest edge length.
    """

    module: Any
    type_names: list[str]
    cutoff_A: float


def open_model(model: Any) -> Model:
    """A checkpoint, a package, or a module that is loaded already.

    Opening a checkpoint runs code that it names: open only files whose maker you trust.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a compiled model, or a file or module that is no model.
    """
    if isinstance(model, (str, Path)):
        model = _open_file(Path(model))
    metadata = getattr(model, "metadata", None)
    if not isinstance(metadata, Mapping) or "type_names" not in metadata:
        raise ValueError(
            "a model must be a checkpoint, a package, or a module as "
            f"`nequip_decorr.evaluate.load_model` gives it, got {type(model).__name__}"
        )
    return Model(model, metadata["type_names"].split(" "), float(metadata["r_max"]))


def _open_file(path: Path) -> Any:
    if path.name.endswith(COMPILED):
        raise ValueError(
            f"{path} is a compiled model: it gives energies and forces, its features are not in "
            "the file. Give the checkpoint (.ckpt) or package (.nequip.zip) it was compiled from"
        )
    try:
        return load_model(path)
    except (FileNotFoundError, ModuleNotFoundError):
        raise
    except Exception as err:
        text = str(err).strip().splitlines() or [""]
        raise ValueError(
            f"{path} cannot be opened as a checkpoint or package of the NequIP framework "
            f"({type(err).__name__}: {text[0]})"
        ) from err


@dataclass(frozen=True)
class FrameSet:
    """Structures to inspect a model on; a file is read anew for each pass.

    Attributes:
        source: a file, or the structures themselves.
        chosen: which of its frames are used, ascending.
        elements: of all of its frames.
    """

    source: Path | Sequence[Atoms]
    chosen: tuple[int, ...]
    elements: frozenset[str]

    def __iter__(self) -> Iterator[Atoms]:
        wanted = set(self.chosen)
        return (frame for k, frame in enumerate(_frames(self.source)) if k in wanted)

    def __len__(self) -> int:
        return len(self.chosen)


def open_frames(
    source: str | Path | Atoms | Sequence[Atoms], max_frames: int | None = None
) -> FrameSet:
    """Look through a file (any that ase reads) or structures, without keeping them.

    Args:
        source: a file, a structure or a sequence of structures. No labels are needed.
        max_frames: use at most this many, evenly spaced over all.

    Raises:
        FileNotFoundError: no such file.
        ValueError: ase cannot read it, or it holds no atoms.
    """
    if isinstance(source, Atoms):
        source = [source]
    if isinstance(source, (str, Path)):
        source = Path(source)
        if not source.is_file():
            raise FileNotFoundError(f"no file of structures at {source}")
    elements: set[str] = set()
    number = 0
    try:
        for frame in _frames(source):
            elements.update(frame.get_chemical_symbols())
            number += 1
    except Exception as err:
        raise ValueError(
            f"ase cannot read {source} (frame {number}): {type(err).__name__}: {err}"
        ) from err
    if not elements:
        raise ValueError(f"no atoms in {source if isinstance(source, Path) else 'the structures'}")
    chosen = range(number)
    if max_frames is not None and max_frames < number:
        chosen = np.unique(np.linspace(0, number - 1, max_frames).round().astype(int)).tolist()
    return FrameSet(source, tuple(chosen), frozenset(elements))


def _frames(source: Path | Sequence[Atoms]) -> Iterable[Atoms]:
    return ase.io.iread(source, ":") if isinstance(source, Path) else source


@dataclass(frozen=True)
class Batch:
    """Features of some frames, and the errors of the forces where there are labels.

    Attributes:
        frames: number of frames.
        blocks: ``[B, num_samples, C]``.
        kinds: element of each atom, or ordered pair of each edge, ``[num_samples]``.
        lengths_A: of the edges, ``[num_samples]``; ``None`` for atoms.
        force_errors_eV_per_A: absolute errors of force components, of labelled frames, flat.
    """

    frames: int
    blocks: Tensor
    kinds: Tensor
    lengths_A: Tensor | None
    force_errors_eV_per_A: Tensor


def feature_batches(
    model: Model, frames: Iterable[Atoms], field: str, block_size: int | None
) -> Iterator[Batch]:
    """Features of all frames, in batches of about ``ATOMS_PER_BATCH`` atoms.

    Raises:
        ValueError: an element that the model does not know; a field that cannot be used.
    """
    for group in _groups(frames):
        predicted, given = next(outputs(model.module, [_bare(f) for f in group], len(group)))
        yield read_batch(model, {**given, **predicted}, field, block_size, group)


def read_batch(
    model: Model,
    data: Mapping[str, Tensor],
    field: str,
    block_size: int | None,
    frames: Sequence[Atoms] = (),
) -> Batch:
    """The features in a model's output.

    Args:
        model: for its elements, and for what it says about the field.
        data: output dictionary, with the graph.
        field: edge or node field.
        block_size: channels per block; ``None`` asks the model (:func:`default_block_size`).
        frames: the structures, for their force labels.

    Raises:
        ValueError: a field that is not there or cannot be used, with those that can.
    """
    features = _scalars(model, data, field)
    num_samples, width = features.shape
    size = block_size or default_block_size(model.module, field, width)
    blocks, channels = resolve_blocks(width, size, None)
    on_edges = num_samples == data[EDGE_INDEX].shape[1] and not _is_node_field(model, data, field)
    if on_edges:
        kinds = edge_type_groups(data, num_samples, len(model.type_names))
    else:
        kinds = data[ATOM_TYPE].reshape(-1).long()
    return Batch(
        frames=len(frames),
        blocks=features.reshape(num_samples, blocks, channels).transpose(0, 1),
        kinds=kinds,
        lengths_A=edge_lengths(data) if on_edges else None,
        force_errors_eV_per_A=_force_errors(data, frames),
    )


def _scalars(model: Model, data: Mapping[str, Tensor], field: str) -> Tensor:
    """The scalar channels of a field: components of vectors turn with the frame of reference."""
    usable = usable_fields(data)
    if field not in usable:
        if field in data and field not in _NOT_FEATURES:
            read_field(data, field)
        raise ValueError(
            f"field {field!r} of the model's output cannot be inspected; fields that can: {usable}"
        )
    features = read_field(data, field)
    irreps = getattr(model.module, "irreps_out", {}).get(field)
    if irreps is None or irreps.dim != features.shape[1]:
        return features
    parts = [
        features[:, s] for s, (_, ir) in zip(irreps.slices(), irreps, strict=True) if ir.l == 0
    ]
    if not parts:
        raise ValueError(f"field {field!r} has no scalar channels ({irreps}); others: {usable}")
    return torch.cat(parts, 1) if len(parts) < len(irreps) else features


def usable_fields(data: Mapping[str, Tensor]) -> list[str]:
    """Fields with two channels or more per edge or per atom."""
    rows = {data[EDGE_INDEX].shape[1], data[ATOM_TYPE].numel()}
    return sorted(
        name
        for name, value in data.items()
        if name not in _NOT_FEATURES
        and value.dim() == 2
        and value.is_floating_point()
        and value.shape[0] in rows
        and value.shape[1] > 1
    )


def _is_node_field(model: Model, data: Mapping[str, Tensor], field: str) -> bool:
    """Decides where a graph has as many edges as atoms."""
    if data[ATOM_TYPE].numel() != data[EDGE_INDEX].shape[1]:
        return data[field].shape[0] == data[ATOM_TYPE].numel()
    from nequip.data import _key_registry

    if field in _key_registry._EDGE_FIELDS or "edge" in field:
        return False
    return field in _key_registry._NODE_FIELDS or "node" in field


def default_block_size(module: Any, field: str, width: int) -> int | None:
    """Channels per block as the model says them: ``num_scalar_features`` of an Allegro.

    ``None`` where no layer says so, or where it does not divide the width.
    """
    for layer in module.modules():
        size = getattr(layer, "num_scalar_features", None)
        if isinstance(size, int) and getattr(layer, "scalar_out_field", EDGE_FEATURES) == field:
            return size if width % size == 0 else None
    return None


def edge_lengths(data: Mapping[str, Tensor]) -> Tensor:
    """Length of each edge in Å, ``[num_edges]``."""
    if EDGE_LENGTH in data:
        return data[EDGE_LENGTH].detach().reshape(-1)
    from nequip.nn import with_edge_vectors_

    graph = {
        k: data[k] for k in ("pos", EDGE_INDEX, "cell", "edge_cell_shift", "batch") if k in data
    }
    return with_edge_vectors_(graph)[EDGE_LENGTH].detach().reshape(-1)


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
    bare = frame.copy()
    for name in _LABELS:
        bare.info.pop(name, None)
        bare.arrays.pop(name, None)
    return bare


def _force_errors(data: Mapping[str, Tensor], frames: Sequence[Atoms]) -> Tensor:
    if "forces" not in data or not frames:
        return torch.zeros(0, dtype=torch.float64)
    errors = []
    parts = data["forces"].detach().double().cpu().split([len(f) for f in frames])
    for frame, predicted in zip(frames, parts, strict=True):
        results = frame.calc.results if frame.calc is not None else {}
        label = results.get("forces", frame.arrays.get("forces"))
        if label is not None:
            errors.append((predicted - torch.as_tensor(np.asarray(label)).double()).abs().flatten())
    return torch.cat(errors) if errors else torch.zeros(0, dtype=torch.float64)
