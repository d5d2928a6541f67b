"""From a model's output dictionary to blocks of features, ``[num_blocks, num_samples, channels]``.

Loss, monitor and inspection read features here alone, so they accept the same fields. An Allegro
model's ``edge_features`` hold ``num_layers + 1`` blocks of ``num_scalar_features`` channels: the
scalar track of the two-body embedding, then that of each layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..errors import UserError
from .taps import TAPS

EDGE_FEATURES: Final = "edge_features"
EDGE_INDEX: Final = "edge_index"
ATOM_TYPE: Final = "atom_types"
_TAPS: Final = ("node_invariants", *(tap for tap in TAPS if tap != "node_invariants"))
DEFAULT_FIELDS: Final = (EDGE_FEATURES, *(f"layer*_{tap}" for tap in _TAPS))
"""What is looked for where no field is given."""
# What a model is given or predicts, and no features of it.
_NOT_FEATURES: Final = frozenset(
    {"pos", "cell", "edge_cell_shift", "edge_vectors", "forces", "edge_forces", "stress", "virial"}
)
_PAIR: Final = 1 << 16


class Blocks(NamedTuple):
    """Blocks of features.

    Attributes:
        values: ``[B, num_samples, largest width]``; a narrower block is filled up with constant
            channels, which count as dead and so enter no average over pairs.
        rows: the samples that were taken; ``None`` for all.
        names: of the blocks.
        widths: channels of each block.
        field: field or pattern they come from.
        on_edges: whether the samples are edges, else atoms; ``None`` where the output has no graph.
    """

    values: Tensor
    rows: Tensor | None
    names: tuple[str, ...]
    widths: tuple[int, ...]
    field: str
    on_edges: bool | None


def read_blocks(
    data: Mapping[str, Tensor],
    field: str,
    block_size: int | None = None,
    num_blocks: int | None = None,
    max_samples: int | None = None,
    irreps: Mapping[str, Any] | None = None,
) -> Blocks:
    """Read the blocks of one field, or of every field that a pattern matches.

    Args:
        data: the model's output.
        field: a field's name, or a pattern such as ``layer*_node_invariants``: a block per layer.
        block_size: channels per block, of every field.
        num_blocks: blocks per field.
        max_samples: take evenly strided samples where there are more.
        irreps: the model's ``irreps_out``. Of a field with vectors, the scalar channels are taken.

    Raises:
        UserError: no such field; a field that holds no features, with those that can be used;
            blocks that don't divide a field; fields of edges and of atoms under one pattern.
    """
    names = [field] if field in data else match_fields(usable_fields(data, irreps), field)
    tables = [read_field(data, name, irreps) for name in names or [field]]
    sizes = {name: len(table) for name, table in zip(names, tables, strict=True)}
    on_edges = {_is_on_edges(data, name) for name in names}
    if len(set(sizes.values())) > 1 or len(on_edges) > 1:
        raise UserError(
            f"`field` {field!r} matches fields of edges and of atoms, with different numbers of "
            f"rows: {sizes}"
        )
    rows = strided_rows(len(tables[0]), max_samples, tables[0].device)
    if rows is not None:
        tables = [table.index_select(0, rows) for table in tables]
    labels: list[str] = []
    parts: list[Tensor] = []
    for name, label, table in zip(names, _short_names(names), tables, strict=True):
        split = split_blocks(table, block_size, num_blocks)
        parts.append(split)
        several = [label] if len(split) == 1 else [f"{label}_{k}" for k in range(len(split))]
        labels += block_names(name, len(split)) if len(names) == 1 else several
    widths = tuple(part.shape[-1] for part in parts for _ in range(len(part)))
    if len(parts) > 1:
        parts = [torch.cat([pad(part, (0, max(widths) - part.shape[-1])) for part in parts])]
    return Blocks(parts[0], rows, tuple(labels), widths, field, on_edges.pop())


def read_features(
    model: Any, data: Mapping[str, Tensor], field: str | None = None, block_size: int | None = None
) -> Blocks:
    """Read blocks with what the model itself says about its fields.

    Args:
        model: has ``irreps_out`` and modules, one of which may say the number of channels.
        data: output dictionary, with the graph.
        field: field or pattern; ``None`` takes the first of ``DEFAULT_FIELDS`` that is there.
        block_size: channels per block; ``None`` asks the model (Allegro's
            ``num_scalar_features``), else one block per field.

    Raises:
        UserError: see :func:`read_blocks`.
    """
    irreps = getattr(model, "irreps_out", None)
    if field is None:
        usable = usable_fields(data, irreps)
        field = next((f for f in DEFAULT_FIELDS if match_fields(usable, f)), EDGE_FEATURES)
    size = block_size or _own_block_size(model, field)
    if block_size is None and size and field in data and data[field].shape[-1] % size:
        size = None
    return read_blocks(data, field, size, irreps=irreps)


def read_field(
    data: Mapping[str, Tensor], field: str, irreps: Mapping[str, Any] | None = None
) -> Tensor:
    """Read the features of ``field``, ``[num_samples, width]``; of vectors the scalar channels.

    Raises:
        UserError: the field is not in the output, is not a floating-point table, or has no scalar
            channels.
    """
    known: Any = (irreps or {}).get(field)
    if field not in data:
        fault = f"field `{field}` is not in the model's output"
    elif not _is_table(features := data[field]) or not features.is_floating_point():
        fault = (
            f"field `{field}` must be a floating-point tensor [num_samples, channels], got "
            f"{features.dtype} of shape {tuple(features.shape)}"
        )
    elif field in _NOT_FEATURES or scalar_width(known, features.shape[1]) == 0:
        fault = (
            f"field `{field}` holds no features of scalar channels (irreps {known}); components of "
            "vectors and tensors turn with the structure, and so would their correlation"
        )
    elif scalar_width(known, features.shape[1]) == features.shape[1]:
        return features
    else:
        places = zip(known.slices(), known, strict=True)
        return torch.cat([features[:, place] for place, (_, ir) in places if ir.l == 0], 1)
    raise UserError(f"{fault}; fields that could be used: {usable_fields(data, irreps)}")


def scalar_width(irreps: Any, width: int | None = None) -> int:
    """Count the scalar channels of a field.

    Args:
        irreps: of the field; ``None`` (or irreps of another width) counts every channel as scalar.
        width: channels of the field, where it is there.
    """
    if irreps is None or (width is not None and irreps.dim != width):
        return width or 0
    return sum(multiplicity for multiplicity, irrep in irreps if irrep.l == 0)


def usable_fields(data: Mapping[str, Tensor], irreps: Mapping[str, Any] | None = None) -> list[str]:
    """List the fields with scalar channels, and two channels or more, per edge or per atom."""
    graph = EDGE_INDEX in data and ATOM_TYPE in data
    rows = {data[EDGE_INDEX].shape[1], data[ATOM_TYPE].numel()} if graph else None
    return sorted(
        name
        for name, value in data.items()
        if name not in _NOT_FEATURES
        and _is_table(value)
        and value.is_floating_point()
        and (rows is None or value.shape[0] in rows)
        and value.shape[1] > 1
        and scalar_width((irreps or {}).get(name), value.shape[1])
    )


def match_fields(names: Iterable[str], field: str) -> list[str]:
    """List the names that ``field`` matches, itself or by its ``*``, in the order of layers."""
    if not set(field) & set("*?["):
        return [name for name in names if name == field]
    return sorted((n for n in names if fnmatchcase(n, field)), key=_natural_order)


def _natural_order(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _short_names(names: Sequence[str]) -> list[str]:
    """``layer0_node_invariants`` as ``layer0``, where that tells them apart."""
    short = [name.partition("_")[0] for name in names]
    return short if len(set(short)) == len(names) else list(names)


def _is_table(value: object) -> bool:
    return isinstance(value, Tensor) and value.dim() == 2


def _is_on_edges(data: Mapping[str, Tensor], field: str) -> bool | None:
    """By the number of rows, and by its name where a graph has as many edges as atoms."""
    if EDGE_INDEX not in data or ATOM_TYPE not in data:
        return None
    edges, atoms = data[EDGE_INDEX].shape[1], data[ATOM_TYPE].numel()
    if edges != atoms:
        return data[field].shape[0] == edges
    from nequip.data import _key_registry

    if field in _key_registry._EDGE_FIELDS or "edge" in field:
        return True
    return not (field in _key_registry._NODE_FIELDS or "node" in field)


def _own_block_size(model: Any, field: str) -> int | None:
    """Channels per block as the model says them: ``num_scalar_features`` of an Allegro."""
    for layer in model.modules():
        size = getattr(layer, "num_scalar_features", None)
        if isinstance(size, int) and getattr(layer, "scalar_out_field", EDGE_FEATURES) == field:
            return size
    return None


def strided_rows(num_rows: int, max_rows: int | None, device: torch.device) -> Tensor | None:
    """Spread ``max_rows`` indices evenly over ``num_rows``; ``None`` for all of them.

    The neighbour list is ordered by frame and atom, so all frames and atoms have their share.
    """
    if max_rows is None or num_rows <= max_rows:
        return None
    return (2 * torch.arange(max_rows, device=device) + 1) * num_rows // (2 * max_rows)


def resolve_blocks(width: int, block_size: int | None, num_blocks: int | None) -> tuple[int, int]:
    """Find number and size of the blocks that ``width`` channels fall into.

    Args:
        width: channels in all.
        block_size: channels per block, or ``None``.
        num_blocks: number of blocks, or ``None``. Neither given means one block.

    Raises:
        UserError: the numbers don't fit, naming both.
    """
    if block_size and num_blocks and block_size * num_blocks != width:
        raise UserError(
            f"{num_blocks} blocks of {block_size} channels make {block_size * num_blocks}, "
            f"but the field has {width} channels; give one of `block_size` and `num_blocks`"
        )
    name, divisor = (
        ("num_blocks", num_blocks or 1) if block_size is None else ("block_size", block_size)
    )
    if width % divisor:
        raise UserError(
            f"`{name}` {divisor} does not divide the field's {width} channels; "
            f"allowed: {[d for d in range(1, width + 1) if width % d == 0]}"
        )
    return (divisor, width // divisor) if block_size is None else (width // divisor, divisor)


def split_blocks(
    features: Tensor, block_size: int | None = None, num_blocks: int | None = None
) -> Tensor:
    """Split ``[num_samples, width]`` into ``[num_blocks, num_samples, block_size]`` (a view)."""
    blocks, size = resolve_blocks(features.shape[-1], block_size, num_blocks)
    return features.reshape(features.shape[0], blocks, size).transpose(0, 1)


def block_names(field: str, num_blocks: int) -> list[str]:
    """Name the blocks: ``two_body, layer_1, ...`` for Allegro's edge features, else numbers."""
    if field == EDGE_FEATURES and num_blocks > 1:
        return ["two_body", *(f"layer_{k}" for k in range(1, num_blocks))]
    return [f"block_{k}" for k in range(num_blocks)]


def edge_type_labels(data: Mapping[str, Tensor], num_samples: int) -> Tensor:
    """Label each edge by its ordered pair of atom types, ``[num_edges]``; see :func:`type_pair`.

    Raises:
        UserError: the samples are not the edges of the graph.
    """
    edge_index = data[EDGE_INDEX]
    if num_samples != edge_index.shape[1]:
        raise UserError(
            f"`per_edge_type` needs one feature row per edge: got {num_samples} rows for "
            f"{edge_index.shape[1]} edges; use an edge field or `per_edge_type: false`"
        )
    types = data[ATOM_TYPE].reshape(-1).to(torch.long)
    return types[edge_index[0]] * _PAIR + types[edge_index[1]]


def type_pair(label: int) -> tuple[int, int]:
    """Return the types (centre, neighbour) of a label of :func:`edge_type_labels`."""
    return divmod(label, _PAIR)
