"""From a model's output dictionary to blocks of features, ``[num_blocks, num_samples, channels]``.

An Allegro model's ``edge_features`` hold ``num_layers + 1`` blocks of ``num_scalar_features``
channels: the scalar track of the two-body embedding, then that of each layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import pad

EDGE_FEATURES: Final = "edge_features"
EDGE_INDEX: Final = "edge_index"
ATOM_TYPE: Final = "atom_types"


def read_field(data: Mapping[str, Tensor], field: str) -> Tensor:
    """The features of ``field``, ``[num_samples, width]``.

    Raises:
        ValueError: the field is not in the output, or is not a floating-point table.
    """
    if field not in data:
        candidates = sorted(k for k, v in data.items() if _is_table(v) and v.is_floating_point())
        raise ValueError(
            f"field `{field}` is not in the model's output; fields that could be used: {candidates}"
        )
    features = data[field]
    if not _is_table(features) or not features.is_floating_point():
        raise ValueError(
            f"field `{field}` must be a floating-point tensor [num_samples, channels], got "
            f"{features.dtype} of shape {tuple(features.shape)}"
        )
    return features


def match_fields(names: Iterable[str], field: str) -> list[str]:
    """The names that ``field`` stands for: itself, or what its ``*`` matches, in layer order."""
    if not set(field) & set("*?["):
        return [name for name in names if name == field]
    return sorted((n for n in names if fnmatchcase(n, field)), key=_natural_order)


def _natural_order(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def read_blocks(
    data: Mapping[str, Tensor],
    field: str,
    block_size: int | None = None,
    num_blocks: int | None = None,
    max_samples: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Blocks of the features of one field, or of every field that a pattern matches.

    Blocks of fields of different widths are filled up with constant channels, which count as dead
    and so enter no average over pairs.

    Args:
        data: the model's output.
        field: a field's name, or a pattern such as ``layer*_node_invariants``: a block per layer.
        block_size: channels per block, of every field.
        num_blocks: blocks per field.
        max_samples: take evenly strided samples where there are more.

    Returns:
        ``[num_blocks, num_samples, channels]``, and the rows that were taken (``None``: all).

    Raises:
        ValueError: no such field, blocks that don't divide a field, or fields of edges and of
            nodes under one pattern.
    """
    names = match_fields(data, field) or [field]
    tables = [read_field(data, name) for name in names]
    rows = {table.shape[0] for table in tables}
    if len(rows) > 1:
        sizes = {name: table.shape[0] for name, table in zip(names, tables, strict=True)}
        raise ValueError(f"`field` {field!r} matches fields of different numbers of rows: {sizes}")
    taken = strided_rows(rows.pop(), max_samples, tables[0].device)
    if taken is not None:
        tables = [table.index_select(0, taken) for table in tables]
    parts = [split_blocks(table, block_size, num_blocks) for table in tables]
    if len(parts) == 1:
        return parts[0], taken
    width = max(part.shape[-1] for part in parts)
    return torch.cat([pad(part, (0, width - part.shape[-1])) for part in parts]), taken


def strided_rows(num_rows: int, max_rows: int | None, device: torch.device) -> Tensor | None:
    """Indices of ``max_rows`` rows spread evenly over ``num_rows``, or ``None`` for all of them.

    The neighbour list is ordered by frame and atom, so all frames and atoms have their share.
    """
    if max_rows is None or num_rows <= max_rows:
        return None
    return (2 * torch.arange(max_rows, device=device) + 1) * num_rows // (2 * max_rows)


def _is_table(value: object) -> bool:
    return isinstance(value, Tensor) and value.dim() == 2


def resolve_blocks(width: int, block_size: int | None, num_blocks: int | None) -> tuple[int, int]:
    """Number and size of the blocks that ``width`` channels fall into.

    Args:
        width: channels in all.
        block_size: channels per block, or ``None``.
        num_blocks: number of blocks, or ``None``. Neither given means one block.

    Raises:
        ValueError: the numbers don't fit, naming both.
    """
    if block_size is None and num_blocks is None:
        return 1, width
    if block_size is not None and num_blocks is not None:
        if block_size * num_blocks != width:
            raise ValueError(
                f"{num_blocks} blocks of {block_size} channels make {block_size * num_blocks}, "
                f"but the field has {width} channels; give one of `block_size` and `num_blocks`"
            )
        return num_blocks, block_size
    name, divisor = (
        ("block_size", block_size) if block_size is not None else ("num_blocks", num_blocks)
    )
    assert divisor is not None
    if width % divisor:
        raise ValueError(
            f"`{name}` {divisor} does not divide the field's {width} channels; "
            f"allowed: {[d for d in range(1, width + 1) if width % d == 0]}"
        )
    other = width // divisor
    return (other, divisor) if name == "block_size" else (divisor, other)


def split_blocks(
    features: Tensor, block_size: int | None = None, num_blocks: int | None = None
) -> Tensor:
    """Split ``[num_samples, width]`` into ``[num_blocks, num_samples, block_size]`` (a view)."""
    blocks, size = resolve_blocks(features.shape[-1], block_size, num_blocks)
    return features.reshape(features.shape[0], blocks, size).transpose(0, 1)


def block_names(field: str, num_blocks: int) -> list[str]:
    """Names for people: ``two_body, layer_1, ...`` for Allegro's edge features, else numbers."""
    if field == EDGE_FEATURES and num_blocks > 1:
        return ["two_body", *(f"layer_{k}" for k in range(1, num_blocks))]
    return [f"block_{k}" for k in range(num_blocks)]


def edge_type_groups(data: Mapping[str, Tensor], num_samples: int, num_types: int) -> Tensor:
    """Ordered pair of atom types of each edge, ``[num_edges]``: ``centre * num_types + other``.

    Raises:
        ValueError: the samples are not the edges of the graph.
    """
    edge_index = data[EDGE_INDEX]
    if num_samples != edge_index.shape[1]:
        raise ValueError(
            f"`per_edge_type` needs one feature row per edge: got {num_samples} rows for "
            f"{edge_index.shape[1]} edges; use an edge field or `per_edge_type: false`"
        )
    types = data[ATOM_TYPE].reshape(-1).to(torch.long)
    return types[edge_index[0]] * num_types + types[edge_index[1]]
