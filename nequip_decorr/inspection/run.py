"""Inspect a model: the way from files to an :class:`Inspection`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ase import Atoms
from torch import Tensor

from ..features.fields import (
    block_names,
    split_blocks,
)
from .accumulate import Accumulator
from .entry import Entry
from .reading import feature_batches
from .result import Inspection
from .sources import (
    FrameSet,
    Model,
    open_frames,
    open_model,
)

DEFAULT_BINS: Final = 20
Frames = str | Path | Atoms | Sequence[Atoms]


def inspect_model(
    model: Any,
    data: Frames | Mapping[str, Frames],
    *,
    name: str = "model",
    field: str | None = None,
    block_size: int | None = None,
    num_bins: int = DEFAULT_BINS,
    max_frames: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Inspection:
    """How correlated are the features of a model on these structures?

    Memory does not grow with the number of frames.

    Args:
        model: checkpoint (of a training with or without this plugin), package, or loaded module.
        data: structures by name of the data set, the first in distribution: files that ase reads,
            or ``Atoms``. No labels are needed; where there are forces, their error is given too.
        name: what to call the model.
        field: edge or node field of the output, or a pattern (``layer*_node_invariants``: a block
            per layer); of equivariant fields the scalars are inspected. By default
            ``edge_features``; of a message-passing model from a file, ``layer*_node_invariants``
            (the taps of ``TapFeatures`` are there whether or not it was trained with them).
        block_size: channels per block; by default what the model says (Allegro's
            ``num_scalar_features``), else one block.
        num_bins: bins of edge length between 0 and the cutoff.
        max_frames: of each data set, evenly spaced.
        progress: called with the data set, the frames done and their number.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a compiled model, an unknown element or field, a file without structures.
    """
    if isinstance(data, Mapping):
        named = dict(data)
    else:
        named = {Path(data).stem if isinstance(data, (str, Path)) else "data": data}
    if not named:
        raise ValueError("`data` names no structures")
    for key, value in (("num_bins", num_bins), ("max_frames", max_frames)):
        if value is not None and value < 1:
            raise ValueError(f"`{key}` must be at least 1, got {value}")
    sets = {key: open_frames(source, max_frames) for key, source in named.items()}
    opened = open_model(model)
    for key, frames in sets.items():
        unknown = sorted(frames.elements - set(opened.type_names))
        if unknown:
            raise ValueError(
                f"{key} has elements that {name} does not know: {unknown}; it knows "
                f"{opened.type_names}"
            )
    entries = []
    for key, frames in sets.items():
        report = None if progress is None else _bound(progress, key, len(frames))
        entries.append(_inspect(opened, frames, name, key, field, block_size, num_bins, report))
    return Inspection(tuple(entries))


def _bound(
    progress: Callable[[str, int, int], None], dataset: str, total: int
) -> Callable[[int], None]:
    return lambda done: progress(dataset, done, total)


def _inspect(
    model: Model,
    frames: FrameSet,
    name: str,
    dataset: str,
    field: str | None,
    block_size: int | None,
    num_bins: int,
    progress: Callable[[int], None] | None,
) -> Entry:
    accumulator: Accumulator | None = None
    names: dict[int, str] = {}
    done = 0
    error_sum, error_count = 0.0, 0
    for batch in feature_batches(model, frames, field, block_size):
        features = batch.features
        if accumulator is None:
            on_edges = batch.lengths_A is not None
            names = kind_names(model.type_names, on_edges)
            cutoff = model.cutoff_A if on_edges else None
            accumulator = Accumulator(len(names), cutoff, num_bins)
        accumulator.update(features.blocks, batch.kinds, batch.lengths_A)
        error_sum += float(batch.force_errors_eV_per_A.sum())
        error_count += batch.force_errors_eV_per_A.numel()
        done += batch.frames
        if progress is not None:
            progress(done)
    assert accumulator is not None
    moments = accumulator.result()
    if moments.total.count.max() < 2:
        what = "edges" if moments.by_bin is not None else "atoms"
        raise ValueError(
            f"{dataset} has {int(moments.total.count.max())} {what}: no correlation without two "
            f"(the model's cutoff is {model.cutoff_A} Å)"
        )
    mae = error_sum / error_count if error_count else None
    return Entry(
        model=name,
        dataset=dataset,
        field=features.field,
        blocks=features.names,
        widths=features.widths,
        kinds=names,
        moments=moments,
        frames=done,
        force_mae_eV_per_A=mae,
    )


def inspect_features(
    features: Tensor,
    *,
    block_size: int | None = None,
    lengths_A: Tensor | None = None,
    cutoff_A: float | None = None,
    kinds: Tensor | None = None,
    kind_names: Mapping[int, str] | None = None,
    name: str = "features",
    dataset: str = "data",
    num_bins: int = DEFAULT_BINS,
) -> Inspection:
    """The same for features that are at hand, from whatever model.

    Args:
        features: ``[num_samples, width]``.
        block_size: channels per block (default: one block).
        lengths_A: edge length of each sample, ``[num_samples]``, if samples are edges.
        cutoff_A: largest length (default: the largest there is).
        kinds: number of the kind of each sample, ``[num_samples]``.
        kind_names: names of the kinds.
        name: of the model.
        dataset: of the data set.
        num_bins: bins of edge length.

    Raises:
        ValueError: shapes that do not fit, or fewer than two samples.
    """
    if features.dim() != 2 or features.shape[0] < 2:
        raise ValueError(
            f"`features` must be [num_samples, channels] with two samples or more, got "
            f"{tuple(features.shape)}"
        )
    for key, value in (("lengths_A", lengths_A), ("kinds", kinds)):
        if value is not None and value.shape != features.shape[:1]:
            raise ValueError(f"`{key}` must be [{features.shape[0]}], got {tuple(value.shape)}")
    number = 1 if kinds is None else int(kinds.max()) + 1
    if lengths_A is not None and cutoff_A is None:
        cutoff_A = float(lengths_A.max())
    accumulator = Accumulator(number, cutoff_A if lengths_A is not None else None, num_bins)
    blocks = split_blocks(features, block_size)
    accumulator.update(blocks, kinds, lengths_A)
    entry = Entry(
        model=name,
        dataset=dataset,
        field="features",
        blocks=tuple(block_names("features", len(blocks))),
        widths=(blocks.shape[-1],) * len(blocks),
        kinds=dict(kind_names or {k: str(k) for k in range(number)}),
        moments=accumulator.result(),
    )
    return Inspection((entry,))


def kind_names(type_names: Sequence[str], on_edges: bool) -> dict[int, str]:
    """``Si-O`` (centre, neighbour) by the number of an ordered pair, or ``Si`` by type."""
    if not on_edges:
        return dict(enumerate(type_names))
    n = len(type_names)
    return {i * n + j: f"{type_names[i]}-{type_names[j]}" for i in range(n) for j in range(n)}
