"""What a report needs of the runs' folders: records, trajectories, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import ase.io
import numpy as np
from ase import Atoms

from ..campaign.several import Part, join
from ..campaign.store import MANIFEST
from ..files import read_json
from ..md.distribution import Distribution, average, mean_absolute_difference
from ..md.dynamics import MIN_FRAMES, Displacement, displacements, pooled
from ..md.record import find_columns, read_trajectory
from ..md.spec import RunSpec
from ..md.structure import Images, angular_distribution, is_box, radial_distribution, stable_window

Key = tuple[str, str, float]
Reference = Mapping[Any, Mapping[str, str | Path]]
"""Files by structure, or by (model, structure, temperature), and kind (``rdf``, ``adf``)."""
_FEWEST_FRAMES: Final = 8
"""Stable frames of a run, the start among them, from which on it may set a window for others."""


@dataclass(frozen=True)
class Run:
    """One finished run: its row, what was asked for, and where it lies."""

    row: dict[str, Any]
    spec: RunSpec
    folder: Path
    manifest: dict[str, Any]
    part: Part

    @property
    def model(self) -> str:
        """Name of the model among all campaigns; ``groups`` change that of the row."""
        return self.part.models[self.spec.model.name]

    @property
    def key(self) -> Key:
        """(model, structure, temperature): runs that differ in their seed alone share it."""
        return self.row["model"], self.row["structure"], self.row["temperature_K"]

    def record(self) -> Mapping[str, np.ndarray] | None:
        """Columns of the thermo record, ``None`` where it is missing or damaged."""
        return find_columns(self.folder)

    def stable_frames(self) -> list[Atoms]:
        """Frames before the failure, in the orientation of the start structure."""
        try:
            frames = read_trajectory(self.folder, self.spec.timestep_fs, positions_alone=True)
        except (OSError, ValueError):
            return []
        end_ps = self.row["stable_time_ps"] or 0.0
        if self.row["status"] != "failed":
            end_ps *= 1 + 1e-9
        frames = [frame for frame in frames if frame.info["time_ps"] < end_ps]
        return _oriented(frames, Path(self.spec.structure_file))


def _oriented(frames: list[Atoms], start_file: Path) -> list[Atoms]:
    """LAMMPS turns a cell; turned back, the benchmark's box images come out as they should."""
    if not frames or is_box(frames[0]):
        return frames
    try:
        start = ase.io.read(start_file, index=0, format="extxyz")
    except (OSError, ValueError):
        return frames
    assert isinstance(start, Atoms)
    for frame in frames:
        if np.allclose(frame.cell.cellpar(), start.cell.cellpar(), atol=1e-3):
            frame.set_cell(start.cell, scale_atoms=True)
    return frames


def load_runs(campaign_dirs: Sequence[str | Path]) -> tuple[list[Run], list[Part]]:
    """Finished runs of one or several campaigns, and the campaigns.

    Names are those of :func:`~nequip_decorr.campaign.several.join`.

    Raises:
        ValueError: no folder, the same one twice, or one that holds no campaign.
    """
    runs: list[Run] = []
    parts = join(campaign_dirs)
    for number, part in enumerate(parts):
        specs = {item["spec"]["run_id"]: item["spec"] for item in part.plan["runs"]}
        for row in part.rows():
            place = part.folder / "runs" / row["run_id"]
            spec = RunSpec.from_dict(specs[row["run_id"]])
            # A campaign that was moved still finds its start frames.
            moved = part.folder / "inputs" / Path(spec.structure_file).name
            if moved.is_file():
                spec = replace(spec, structure_file=str(moved))
            unique = {**row, "run_id": f"{number}/{row['run_id']}"}
            manifest = read_json(place / MANIFEST) or {}
            runs.append(Run(unique, spec, place, manifest, part))
    return runs, parts


@dataclass(frozen=True)
class StructureError:
    """A distribution of one model at one condition against its reference.

    Attributes:
        key: (model, structure, temperature).
        got: ours, over the runs of the key.
        reference: what it is compared with.
        errors: mean absolute difference by label, and ``average``.
        images: how distances were taken, see :mod:`.structure`.
        window_ps: first and last time of the frames.
        runs: how many runs gave frames.
    """

    key: Key
    got: Distribution
    reference: Distribution
    errors: dict[str, float]
    images: Images
    window_ps: tuple[float, float]
    runs: int


def structure_errors(
    frames: Mapping[Key, Sequence[Sequence[Atoms]]],
    lengths_ps: Mapping[Key, float],
    reference: str | Reference | None,
) -> tuple[list[StructureError], list[str]]:
    """RDF and ADF of every model and condition against the reference, and what is missing.

    Args:
        frames: stable frames of each run, by key.
        lengths_ps: length asked for, by key.
        reference: a model's name, or files.
    """
    found: list[StructureError] = []
    missing: list[str] = []
    if reference is None:
        return found, missing
    functions = {"rdf": radial_distribution, "adf": angular_distribution}
    for key, runs in sorted(frames.items()):
        model, structure, temperature_K = key
        if model == reference:
            continue
        if isinstance(reference, str):
            truth_runs = frames.get((reference, structure, temperature_K), [])
            kinds: list[str] = ["rdf", "adf"]
        else:
            truth_runs = []
            files = reference.get(key) or reference.get(structure, {})
            kinds = [kind for kind in functions if kind in files]
        for kind in kinds:
            what = f"{kind.upper()} of {model} in {structure} at {temperature_K:g} K"
            try:
                truth: Distribution | None
                images: Images = "cell"
                own = isinstance(reference, str)
                window = _window(lengths_ps[key], own, _common_end_ps(frames, key, reference))
                if isinstance(reference, str):
                    truth = _mean(functions[kind], truth_runs, window, images)[0]
                else:
                    truth = Distribution.read_csv(files[kind])
                    first = next((run[0] for run in runs if run), None)
                    images = "cell" if first is None or is_box(first) else "box"
                got, times, count = _mean(functions[kind], runs, window, images)
                if truth is None or got is None:
                    who = "it" if got is None else "the reference"
                    missing.append(f"{what}: {who} has no stable frame from {window[0]:g} ps on")
                    continue
                errors = mean_absolute_difference(got, truth)
            except (OSError, ValueError) as err:
                missing.append(f"{what}: {err}")
                continue
            found.append(StructureError(key, got, truth, errors, images, times, count))
    return found, missing


def _window(length_ps: float, own: bool, stable_ps: float) -> tuple[float, float, float | None]:
    """Start, end and stride of the frames to compare.

    Against tables: the benchmark's 3 to 5.94 ps every 0.06, or what there is of it. Against a
    model's own runs, which give any window: the same start, or half of the stable time that the
    models share, up to that time.
    """
    start = min(3.0, length_ps / 2)
    if own:
        return min(start, stable_ps / 2), stable_ps, None
    return start, min(5.94, length_ps), 0.06


def _common_end_ps(frames: Mapping[Key, Sequence[Sequence[Atoms]]], key: Key, truth: Any) -> float:
    """Shortest over the models of the longest stable time at a condition.

    A model that hardly got going sets no window for the others, if any of them did.
    """
    runs_of = [runs for k, runs in frames.items() if k[1:] == key[1:] and k[0] != truth]
    longest = [max(runs, key=len, default=[]) for runs in runs_of]
    ends = [run[-1].info["time_ps"] for run in longest if len(run) >= _FEWEST_FRAMES]
    ends = ends or [run[-1].info["time_ps"] for run in longest if len(run) > 1]
    return min(ends, default=0.0)


def _mean(
    function: Any,
    runs: Sequence[Sequence[Atoms]],
    window: tuple[float, float, float | None],
    images: Images,
) -> tuple[Distribution | None, tuple[float, float], int]:
    """Distribution over the window of all runs, its first and last time, and the runs in it."""
    parts, times = [], []
    for frames in runs:
        time = np.array([frame.info["time_ps"] for frame in frames])
        start, stop, every = window
        stride = every or (np.diff(time).min() if len(time) > 1 else 1.0)
        chosen = stable_window(time, np.inf, start, stop, stride)
        chosen = chosen[time[chosen] > 0]  # the start frame is the same for every model
        if len(chosen):
            parts.append(function([frames[k] for k in chosen], images=images))
            times.extend(time[chosen])
    if not parts:
        return None, (np.nan, np.nan), 0
    return average(parts), (float(min(times)), float(max(times))), len(parts)


def mean_displacements(
    frames: Mapping[Key, Sequence[Sequence[Atoms]]],
) -> tuple[dict[Key, list[Displacement]], list[str]]:
    """Mean square displacement per element, over the runs of a key that are long enough.

    Of runs that stored frames at different distances, those of the most common one are taken; the
    second result says which were left out.
    """
    found, left_out = {}, []
    for key, runs in sorted(frames.items()):
        parts: dict[float, list[list[Displacement]]] = {}
        for run in runs:
            if len(run) >= MIN_FRAMES:
                frame_ps = run[1].info["time_ps"] - run[0].info["time_ps"]
                parts.setdefault(round(frame_ps, 9), []).append(displacements(run, frame_ps))
        if not parts:
            continue
        common = max(parts, key=lambda frame_ps: len(parts[frame_ps]))
        found[key] = pooled(parts[common])
        left_out += [
            f"MSD of {key[0]} in {key[1]} at {key[2]:g} K: without {len(others)} of {len(runs)} "
            f"runs, whose frames are {frame_ps:g} and not {common:g} ps apart"
            for frame_ps, others in parts.items()
            if frame_ps != common
        ]
    return found, left_out
