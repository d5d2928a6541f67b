"""Inspect a model: the way from files to an :class:`Inspection`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from ase import Atoms
from torch import Tensor

from ..errors import UserError
from ..extrapolation.beside import grade_file
from ..extrapolation.grade import ExtrapolationGrade
from ..extrapolation.scoring import score
from ..features.fields import EDGE_INDEX, block_names, split_blocks, type_pair
from ..features.frames import Batch, Model, feature_batches, open_model
from ..structures import Reading
from .accumulate import Accumulator
from .entry import Entry
from .labels import Labels
from .pairs import ClosestPairs, pair_curves
from .result import Inspection
from .sources import FrameSet, open_frames

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
    reading: Reading | None = None,
    grade: str | Path | None = None,
    pairs: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Inspection:
    """How correlated are the features of a model on these structures?

    Memory does not grow with the number of frames. With a checkpoint or a loaded model, its
    training data and structures of a melt:

    >>> from nequip_decorr import inspect_model
    >>> found = inspect_model(model, {"training": training, "melt": melt})
    >>> [(entry.dataset, entry.frames) for entry in found.entries]
    [('training', 8), ('melt', 2)]

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
        reading: format and elements of the files, where they cannot be told from them.
        grade: file of the model's extrapolation grade (default: the one beside a checkpoint or
            package, if there is one); then the atoms are graded too.
        pairs: also draw the energy of two atoms that approach, against the shortest distance of
            each pair of elements in the first data set, which should be the training data.
        progress: called with the data set, the frames done and their number.

    Raises:
        FileNotFoundError: no such file.
        UserError: a compiled model, an unknown element or field, a file without structures.
    """
    if isinstance(data, Mapping):
        named = dict(data)
    else:
        named = {Path(data).stem if isinstance(data, (str, Path)) else "data": data}
    if not named:
        raise UserError("`data` names no structures")
    for key, value in (("num_bins", num_bins), ("max_frames", max_frames)):
        if value is not None and value < 1:
            raise UserError(f"`{key}` must be at least 1, got {value}")
    sets = {key: open_frames(source, max_frames, key, reading) for key, source in named.items()}
    opened = model if isinstance(model, Model) else open_model(model)
    for key, frames in sets.items():
        if unknown := sorted(frames.elements - set(opened.type_names)):
            raise UserError(
                f"{key} has elements that {name} does not know: {unknown}; it knows "
                f"{opened.type_names}"
            )
    beside = grade_file(Path(model)) if isinstance(model, (str, Path)) else None
    grade = grade or (beside if beside is not None and beside.is_file() else None)
    fitted = None if grade is None else ExtrapolationGrade.load(grade)
    if fitted is not None:
        fitted.check_model(opened.module)
    entries, grades, closest = [], [], ClosestPairs(opened)
    options = field, block_size, num_bins, progress
    for number, (key, frames) in enumerate(sets.items()):
        looks = closest if pairs and number == 0 else None
        entries.append(_inspect(opened, frames, name, key, *options, looks))
        if fitted is not None:
            grades.append(score(fitted, opened.module, f"{name}: {key}", frames, keep=False))
    curves = pair_curves(closest, name) if pairs else []
    return Inspection(tuple(entries), tuple(grades), tuple(curves))


def _inspect(
    model: Model,
    frames: FrameSet,
    name: str,
    dataset: str,
    field: str | None,
    block_size: int | None,
    num_bins: int,
    progress: Callable[[str, int, int], None] | None,
    closest: ClosestPairs | None,
) -> Entry:
    accumulator: Accumulator | None = None
    done = bare = 0
    labels = Labels("forces"), Labels("energy")
    for batch in feature_batches(model, frames, field, block_size):
        features = batch.features
        if accumulator is None:
            cutoff = model.cutoff_A if batch.lengths_A is not None else None
            accumulator = Accumulator(cutoff, num_bins)
        accumulator.update(features.values, batch.kinds, batch.lengths_A)
        for found in labels:
            found.add(batch.frames, batch.output)
        if closest is not None:
            for frame in batch.frames:
                closest.add(frame)
        bare += _without_edges(batch)
        done += len(batch.frames)
        if progress is not None:
            progress(dataset, done, len(frames))
    assert accumulator is not None
    moments = accumulator.result()
    on_edges = moments.by_bin is not None
    samples = int(moments.total.count.max())
    if samples < 2:
        why = f"; no edge within {model.cutoff_A:g} Å in {bare} of {done} frames"
        what, why = ("edges", why) if on_edges else ("atoms", "")
        raise UserError(f"{dataset} has {samples} {what}: no correlation without two{why}")
    return Entry(
        model=name,
        dataset=dataset,
        field=features.field,
        blocks=features.names,
        widths=features.widths,
        kinds=kind_names(moments.by_kind, model.type_names, on_edges),
        moments=moments,
        frames=done,
        bare_frames=bare,
        forces=labels[0],
        energies=labels[1],
        weights=model.weights,
        warnings=frames.warnings,
    )


def _without_edges(batch: Batch) -> int:
    """Number of frames that have no edge, where the samples are edges."""
    if batch.lengths_A is None:
        return 0
    sizes = torch.tensor([len(frame) for frame in batch.frames])
    frame_of = torch.arange(len(sizes)).repeat_interleave(sizes)
    return len(sizes) - len(torch.unique(frame_of[batch.output[EDGE_INDEX][0].cpu()]))


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
    """Inspect features that are at hand, from any model.

    >>> import torch
    >>> from nequip_decorr import inspect_features
    >>> features = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
    >>> features[:, 5] = -3 * features[:, 2]
    >>> (statistics,) = inspect_features(features).entries[0].statistics
    >>> statistics.duplicates
    ((2, 5),)

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
        UserError: shapes that do not fit, or fewer than two samples.
    """
    if features.dim() != 2 or features.shape[0] < 2:
        raise UserError(
            f"`features` must be [num_samples, channels] with two samples or more, got "
            f"{tuple(features.shape)}"
        )
    for key, value in (("lengths_A", lengths_A), ("kinds", kinds)):
        if value is not None and value.shape != features.shape[:1]:
            raise UserError(f"`{key}` must be [{features.shape[0]}], got {tuple(value.shape)}")
    number = 1 if kinds is None else int(kinds.max()) + 1
    if lengths_A is not None and cutoff_A is None:
        cutoff_A = float(lengths_A.max())
    accumulator = Accumulator(cutoff_A if lengths_A is not None else None, num_bins)
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


def kind_names(kinds: Iterable[int], type_names: Sequence[str], on_edges: bool) -> dict[int, str]:
    """Name kinds of samples: ``Si-O`` (centre, neighbour) of edges, ``Si`` of atoms."""
    pairs = {kind: type_pair(kind) if on_edges else (kind,) for kind in kinds}
    return {kind: "-".join(type_names[t] for t in pair) for kind, pair in pairs.items()}
