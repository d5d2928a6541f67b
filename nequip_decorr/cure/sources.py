"""Where frames come from: the runs of a campaign, LAMMPS dumps and structure files."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ase import Atoms

from ..campaign.store import PLAN, read_plan, read_runs
from ..errors import UserError
from ..files import sha256_file
from ..md.record import find_columns, read_ring, read_trajectory
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


def sources_of(place: Path, reading: Reading | None = None) -> list[Source]:
    """Frames of a campaign's folder, a LAMMPS dump or any structure file.

    Raises:
        UserError: neither a campaign nor a readable file.
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
        raise UserError(
            f"{place}: no campaign here ({PLAN} is missing); allowed: results folders of "
            "`nequip-decorr stability run`, LAMMPS dumps and structure files"
        )
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
        found: dict[int, Atoms] = {}
        for read in (read_trajectory, read_ring):
            try:
                frames = read(self.folder, self.spec.timestep_fs)
            except (OSError, ValueError):
                continue
            found = {int(f.info["step"]): f for f in frames if f.info["step"]} | found
        grades = self._recorded()
        for step in sorted(found):
            found[step].info.update(structure=self.spec.structure, model=self.spec.model.name)
            if step in grades:
                found[step].info[RECORDED] = grades[step]
            yield found[step]

    def _recorded(self) -> dict[int, float]:
        """Largest grade by step, where MD has recorded it."""
        columns = find_columns(self.folder)
        if columns is None:
            return {}
        return dict(zip(columns["step"].tolist(), columns["max_grade"].tolist(), strict=True))


def checkpoint_of(campaigns: Sequence[Path]) -> Path:
    """Checkpoint or package that the campaigns' model was compiled from.

    Raises:
        UserError: none or several are known, or it has changed since.
    """
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
