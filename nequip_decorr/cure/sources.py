"""Where frames come from: runs of campaigns and of LAMMPS, dumps and structure files."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import Atoms

from ..campaign.store import PLAN, read_plan, read_runs
from ..errors import UserError
from ..files import sha256_file
from ..md.record import BEYOND, find_columns, read_ring, read_trajectory
from ..md.spec import RunSpec
from ..md.start import read_start
from ..models.compiling import compiled_from
from ..structures import READ_ALL, Reading, iter_frames

RECORDED: Final = "recorded_grade"
"""Entry of ``info``: largest grade of the frame, as MD has recorded it."""
_GIVE_IT: Final = "give the checkpoint or package with --model"


@dataclass(frozen=True)
class Source:
    """Frames of one run, or of one file.

    Attributes:
        name: of the run or file.
        frames: in the order of time.
        start: a cell of the user's.
        ordered: whether the frames are MD, so that nothing counts after the first wreckage.
    """

    name: str
    frames: Iterable[Atoms]
    start: Atoms | None = None
    ordered: bool = True


def campaign_in(place: Path) -> Path:
    """Where the campaign of a folder of ``lammps input --pair library`` lies; else the place."""
    results = place / "results"
    return results if (results / PLAN).is_file() and not (place / PLAN).is_file() else place


def sources_of(place: Path, reading: Reading | None = None) -> list[Source]:
    """Frames of a campaign, of a run in a folder of ``lammps input``, or of any structure file.

    Raises:
        UserError: no frames that can be read.
    """
    if not place.is_dir():
        frames = [atoms for _, atoms in iter_frames(place, READ_ALL, reading)]
        steps: list[Any] = [atoms.info.get("timestep", atoms.info.get("step")) for atoms in frames]
        # A file put together from several runs has an end of the data in its midst.
        is_md = None not in steps and all(a < b for a, b in itertools.pairwise(steps))
        for number, atoms in enumerate(frames):
            atoms.info = {"step": atoms.info.get("timestep", number), **atoms.info}
        if len(frames) == 1 and not is_md:
            return [Source(str(place), [], frames[0])]
        return [Source(str(place), frames, ordered=is_md)]
    if not (place / PLAN).is_file():
        by_step = _by_step(place, None)
        if not by_step:
            raise UserError(
                f"{place}: no campaign ({PLAN}) and no trajectory here; allowed: results folders "
                "of `nequip-decorr stability run`, folders of `nequip-decorr lammps input` after "
                "the run, LAMMPS dumps and structure files"
            )
        start = by_step.pop(0, None)
        record = find_columns(place) or {"step": np.empty(0), "time_ps": np.empty(0)}
        times_ps = dict(zip(record["step"].tolist(), record["time_ps"].tolist(), strict=True))
        for frame in filter(None, (start, *by_step.values())):
            frame.info["structure"] = place.resolve().name
            if (step := frame.info["step"]) in times_ps:
                frame.info["time_ps"] = times_ps[step]
        return [Source(str(place), list(by_step.values()), start)]
    specs = {item["spec"]["run_id"]: item["spec"] for item in read_plan(place)["runs"]}
    found = []
    for row in read_runs(place):
        if row["status"] != "error":
            spec = RunSpec.from_dict(specs[row["run_id"]])
            start = read_start(str(place / "inputs" / Path(spec.structure_file).name))
            start.info = {"structure": spec.structure, "step": 0, "time_ps": 0.0}
            found.append(Source(spec.run_id, _Run(place / "runs" / spec.run_id, spec), start))
    return found


@dataclass(frozen=True)
class _Run:
    """Stored and last frames of a run, each step once, read when they are looked at."""

    folder: Path
    spec: RunSpec

    def __iter__(self) -> Iterator[Atoms]:
        grades = self._recorded()
        for step, atoms in _by_step(self.folder, self.spec.timestep_fs).items():
            if step == 0:
                continue
            atoms.info.update(structure=self.spec.structure, model=self.spec.model.name)
            if step in grades:
                atoms.info[RECORDED] = grades[step]
            yield atoms

    def _recorded(self) -> dict[int, float]:
        """Largest grade by step, where MD has recorded it."""
        columns = find_columns(self.folder)
        if columns is None:
            return {}
        return dict(zip(columns["step"].tolist(), columns["max_grade"].tolist(), strict=True))


def _by_step(folder: Path, timestep_fs: float | None) -> dict[int, Atoms]:
    """All frames that a run has left, in the order of their steps."""
    found: dict[int, Atoms] = {}
    for read in (read_trajectory, read_ring, partial(read_ring, stem=BEYOND)):
        try:
            frames = read(folder, timestep_fs)
        except (OSError, ValueError):
            continue
        found = {int(f.info["step"]): f for f in frames} | found
    return dict(sorted(found.items()))


def checkpoint_of(places: Sequence[Path]) -> Path:
    """Checkpoint or package that the model of the campaigns among the places was compiled from.

    Raises:
        UserError: none or several are known, or it has changed since.
    """
    campaigns = [place for place in places if (place / PLAN).is_file()]
    specs = (item["spec"] for place in campaigns for item in read_plan(place)["runs"])
    models = {spec["model"]["path"] for spec in specs} - {None}
    sources = dict(filter(None, map(compiled_from, sorted(models))))
    if len(sources) != 1 or not next(iter(sources.values())).is_file():
        raise UserError(
            "which checkpoint is to be improved? The campaigns name "
            f"{sorted(set(map(str, sources.values()))) or 'none'}; {_GIVE_IT}"
        )
    ((compiled, source),) = sources.items()
    if sha256_file(source) != compiled:
        raise UserError(f"{source} has changed since the campaign's model was compiled; {_GIVE_IT}")
    return source
