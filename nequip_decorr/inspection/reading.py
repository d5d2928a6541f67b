"""From a model's output to blocks of features, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from ase import Atoms
from torch import Tensor
from torch.nn.functional import pad

from ..features.fields import (
    ATOM_TYPE,
    EDGE_FEATURES,
    EDGE_INDEX,
    block_names,
    edge_type_groups,
    match_fields,
    read_field,
    split_blocks,
)
from ..features.taps import TAPS
from .evaluate import outputs
from .sources import Model

ATOMS_PER_BATCH: Final = 400
_TAPS: Final = ("node_invariants", *(tap for tap in TAPS if tap != "node_invariants"))
DEFAULT_FIELDS: Final = (EDGE_FEATURES, *(f"layer*_{tap}" for tap in _TAPS))
"""What is looked for where no field is given."""
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
class Features:
    """Blocks of features, those of narrower fields filled up with zeros.

    Attributes:
        field: field or pattern they come from.
        on_edges: whether the samples are edges; else they are atoms.
        names: of the blocks.
        widths: channels of each block.
        blocks: ``[B, num_samples, largest width]``.
    """

    field: str
    on_edges: bool
    names: tuple[str, ...]
    widths: tuple[int, ...]
    blocks: Tensor


@dataclass(frozen=True)
class Batch:
    """Features of some frames, and the errors of the forces where there are labels.

    Attributes:
        frames: number of frames.
        features: their blocks.
        kinds: element of each atom, or ordered pair of each edge, ``[num_samples]``.
        lengths_A: of the edges, ``[num_samples]``; ``None`` for atoms.
        force_errors_eV_per_A: absolute errors of force components, of labelled frames, flat.
    """

    frames: int
    features: Features
    kinds: Tensor
    lengths_A: Tensor | None
    force_errors_eV_per_A: Tensor


def feature_batches(
    model: Model, frames: Iterable[Atoms], field: str | None, block_size: int | None
) -> Iterator[Batch]:
    """Features of all frames, in batches of about ``ATOMS_PER_BATCH`` atoms.

    Raises:
        ValueError: an element that the model does not know; a field that cannot be used.
    """
    for group in _groups(frames):
        predicted, given = next(outputs(model.module, [_bare(f) for f in group], len(group)))
        yield _read_batch(model, {**given, **predicted}, field, block_size, group)


def _read_batch(
    model: Model,
    data: Mapping[str, Tensor],
    field: str | None,
    block_size: int | None,
    frames: Sequence[Atoms],
) -> Batch:
    features = read_features(model.module, data, field, block_size)
    if features.on_edges:
        kinds = edge_type_groups(data, features.blocks.shape[1], len(model.type_names))
    else:
        kinds = data[ATOM_TYPE].reshape(-1).long()
    return Batch(
        frames=len(frames),
        features=features,
        kinds=kinds,
        lengths_A=edge_lengths(data) if features.on_edges else None,
        force_errors_eV_per_A=_force_errors(data, frames),
    )


def read_features(
    module: Any, data: Mapping[str, Tensor], field: str | None, block_size: int | None
) -> Features:
    """The features in a model's output.

    Args:
        module: the model, for what it says about the field.
        data: output dictionary, with the graph.
        field: edge or node field, or a pattern (``layer*_node_invariants``: a block per layer);
            ``None`` takes the first of ``DEFAULT_FIELDS`` that is there.
        block_size: channels per block; ``None`` asks the model (:func:`default_block_size`).

    Raises:
        ValueError: a field that is not there or cannot be used, with those that can; fields of
            edges and of atoms under one pattern.
    """
    usable = usable_fields(data)
    tried = DEFAULT_FIELDS if field is None else (field,)
    chosen = next((f for f in tried if match_fields(usable, f)), None)
    if chosen is None:
        raise ValueError(
            f"field {field or EDGE_FEATURES!r} of the model's output cannot be inspected; fields "
            f"that can: {usable}"
        )
    names = match_fields(usable, chosen)
    on_nodes = {_is_node_field(data, name) for name in names}
    if len(on_nodes) > 1:
        raise ValueError(f"field {field!r} matches fields of edges and of atoms: {names}")
    labels: list[str] = []
    parts: list[Tensor] = []
    for name, label in zip(names, _short_names(names), strict=True):
        table = _scalars(module, data, name)
        split = split_blocks(table, block_size or default_block_size(module, name, table.shape[-1]))
        parts += split.unbind(0)
        several = [label] if len(split) == 1 else [f"{label}_{k}" for k in range(len(split))]
        labels += block_names(name, len(split)) if len(names) == 1 else several
    widths = tuple(part.shape[-1] for part in parts)
    padded = [pad(part, (0, max(widths) - part.shape[-1])) for part in parts]
    return Features(chosen, on_nodes == {False}, tuple(labels), widths, torch.stack(padded))


def _short_names(names: Sequence[str]) -> list[str]:
    """``layer0_node_invariants`` as ``layer0``, where that tells them apart."""
    short = [name.partition("_")[0] for name in names]
    return short if len(set(short)) == len(names) else list(names)


def _scalars(module: Any, data: Mapping[str, Tensor], field: str) -> Tensor:
    """The scalar channels of a field: components of vectors turn with the frame of reference."""
    features = read_field(data, field)
    irreps = getattr(module, "irreps_out", {}).get(field)
    if irreps is None or irreps.dim != features.shape[1]:
        return features
    places = zip(irreps.slices(), irreps, strict=True)
    parts = [features[:, place] for place, (_, ir) in places if ir.l == 0]
    if not parts:
        raise ValueError(f"field {field!r} has no scalar channels, its irreps are {irreps}")
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


def _is_node_field(data: Mapping[str, Tensor], field: str) -> bool:
    """By the number of rows, and by its name where a graph has as many edges as atoms."""
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
