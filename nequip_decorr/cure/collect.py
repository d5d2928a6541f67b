"""Collect the frames of MD that are worth a label: where a model leaves its training data."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import ase.io
import numpy as np
import torch
from ase import Atoms

from ..campaign.store import PLAN, read_plan, read_runs
from ..errors import UserError
from ..extrapolation.beside import grade_of
from ..extrapolation.choose import EDGE, Candidate, Choice, LabelledSoFar, choose
from ..extrapolation.grade import ExtrapolationGrade
from ..features.fields import ATOM_TYPE
from ..features.frames import load_model, outputs
from ..files import read_json
from ..md.contact import closest_contact
from ..md.record import read_record, read_ring, read_trajectory
from ..md.spec import RunSpec
from ..md.start import read_start
from ..structures import READ_ALL, Reading, iter_frames
from .rules import DEFAULT_BEYOND, Rules

NOTHING: Final = "nothing to label"
"""How the line begins that says why no frame was chosen."""
LOOKED_AT: Final = "frames looked at"
"""What the line has that says how many frames there were and how many were chosen."""
RECORDED: Final = "recorded_grade"
"""Entry of ``info``: largest grade of the frame, as MD has recorded it."""
_AGREES: Final = 1e-3
"""Relative difference of a recorded grade from that of the same frame and the same grade."""


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


@dataclass
class Collected:
    """Chosen frames, and what became of the others.

    Attributes:
        frames: to label, in the order of choice. ``info`` says run, step, time_ps, largest_grade,
            grade_with_starts (once the start cells count as labelled), worst_atom,
            atoms_beyond_edge and chosen_for.
        counts: frames by ``inside`` the edge, ``wreckage`` and ``candidates``.
        by_structure: the same for the frames of each structure, without the start cells.
        left_grade: largest grade among the candidates if the chosen frames were labelled.
        own: number of different start cells.
        repeated: start cells that were left out because they are the same as one of these.
        beyond: grade from which a frame is wreckage, once the start cells count as labelled.
    """

    frames: list[Atoms] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    by_structure: dict[str, Counter[str]] = field(default_factory=dict)
    left_grade: float = 0.0
    own: int = 0
    repeated: int = 0
    beyond: float = DEFAULT_BEYOND

    @property
    def why_none(self) -> str:
        """Why no frame was chosen."""
        if not self.counts["wreckage"]:
            return "no frame is beyond the edge of the training data"
        return (
            f"runs go from inside the data to wreckage (a grade above {self.beyond:g}) between two "
            "stored frames; store frames more often (`trajectory_every`) or raise --beyond"
        )

    def __str__(self) -> str:
        n = self.counts
        found = (
            f"{sum(n.values())} {LOOKED_AT}: {n['inside']} inside the training data, "
            f"{n['wreckage']} wreckage, {n['candidates']} candidates; {len(self.frames)} chosen; "
            f"with their labels the largest grade of a candidate is {self.left_grade:.3g}"
        )
        if self.repeated:
            found += f"\nstart cells: {self.own}, and {self.repeated} like one of them left out"
        barren = [k for k, n in self.by_structure.items() if n["wreckage"] and not n["candidates"]]
        if barren and self.frames:
            found += f"\nno frame of the MD of {', '.join(barren)}: {self.why_none}"
        return found


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
        try:
            record = read_record(self.folder)
        except (OSError, ValueError):
            return {}
        return dict(zip(record["step"].tolist(), record["max_grade"].tolist(), strict=True))


def checkpoint_of(campaigns: Sequence[Path]) -> Path:
    """Checkpoint or package that the campaigns' model was compiled from.

    Raises:
        UserError: none or several are known.
    """
    found: dict[str, None] = {}
    for place in campaigns:
        for item in read_plan(place)["runs"]:
            path = item["spec"]["model"]["path"]
            note = read_json(Path(path).with_name("compiled.json")) if path else None
            if note:
                found[note["source"]] = None
    if len(found) != 1 or not Path(next(iter(found))).is_file():
        raise UserError(
            f"which checkpoint is to be improved? The campaigns name {list(found) or 'none'}; give "
            "the checkpoint or package with --model"
        )
    return Path(next(iter(found)))


def collect(
    places: Sequence[Path | str],
    model: Path | str | None = None,
    grade: Path | str | None = None,
    rules: Rules | None = None,
    *,
    reading: Reading | None = None,
    progress: Any = None,
) -> Collected:
    """Choose frames of campaigns, LAMMPS dumps or structure files to label.

    Args:
        places: results folders and files.
        model: checkpoint or package to improve; by default what the campaigns' model was compiled
            from.
        grade: its fitted grade; by default the file beside it.
        rules: what is chosen.
        reading: how to read the files.
        progress: wraps an iterable, with a description.

    Raises:
        UserError: nothing to read, no checkpoint or no grade.
    """
    paths = [Path(place) for place in places]
    sources = [source for path in paths for source in sources_of(path, reading)]
    model = Path(model or checkpoint_of([path for path in paths if path.is_dir()]))
    rules, fitted, eager = rules or Rules(), grade_of(model, grade), load_model(model)
    fitted.check_model(eager)
    pool, found = _pool(eager, fitted, sources, rules, progress or (lambda x, _: x))
    chosen = choose(
        [candidate for _, candidate in pool],
        len(eager.type_names),
        rules.frames,
        per_type=rules.per_element,
        own_share=rules.own_share,
    )
    found.frames = [_described(*pool[c.index], c, eager.type_names) for c in chosen]
    found.left_grade = _left(pool, chosen, len(eager.type_names))
    return found


Pool = list[tuple[Atoms, Candidate]]


def _pool(
    model: Any, grade: ExtrapolationGrade, sources: Sequence[Source], rules: Rules, progress: Any
) -> tuple[Pool, Collected]:
    """All candidates, the user's own cells first, each of them once.

    Where the grade that MD has recorded is that of a frame, frames that it has inside the data
    are not graded again.
    """
    cells: dict[bytes, Atoms] = {}
    starts = [(source.name, source.start) for source in sources if source.start is not None]
    for name, start in starts:
        start.info = {"run": name, **start.info}
        cells.setdefault(_positions(start), start)
    own: Pool = [(start, _candidate(model, grade, start, own=True)) for start in cells.values()]
    width = len(grade.gaussians.scale)
    labelled = LabelledSoFar(len(model.type_names), width)
    for _, cell in own:
        labelled.add(cell)
    pool = [item for item in own if item[1].largest > EDGE]
    found = Collected(own=len(own), repeated=len(starts) - len(own), beyond=rules.beyond)
    found.counts.update(inside=len(own) - len(pool), candidates=len(pool))
    for source in progress(sources, "grading"):
        trusts_record = False
        for atoms in source.frames:
            place = atoms.info.get("structure", source.name)
            counts = found.by_structure.setdefault(place, Counter())
            recorded, broken = atoms.info.pop(RECORDED, np.nan), _broken(atoms, rules)
            if trusts_record and not broken and recorded < EDGE * (1 - _AGREES):
                counts["inside"] += 1
                continue
            candidate = None if broken else _candidate(model, grade, atoms)
            then = np.inf if candidate is None else float(labelled.grade(candidate).max())
            if candidate is not None:
                trusts_record = abs(recorded - candidate.largest) <= _AGREES * candidate.largest
            if candidate is None or not then <= rules.beyond:
                counts["wreckage"] += 1
                if source.ordered:
                    break
            elif candidate.largest <= EDGE:
                counts["inside"] += 1
            else:
                counts["candidates"] += 1
                atoms.info = {"run": source.name, **atoms.info}
                atoms.info["grade_with_starts"] = round(then, 4)
                pool.append((atoms, candidate))
    found.counts += sum(found.by_structure.values(), Counter())
    return pool, found


def _positions(atoms: Atoms) -> bytes:
    return b"".join((atoms.numbers.tobytes(), np.round(atoms.positions, 4).tobytes()))


def _broken(atoms: Atoms, rules: Rules) -> bool:
    if not np.isfinite(atoms.positions).all():
        return True
    contact = closest_contact(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    return contact.fraction < rules.contact_fraction


def _candidate(model: Any, grade: ExtrapolationGrade, atoms: Atoms, own: bool = False) -> Candidate:
    data, _ = next(outputs(model, [atoms], batch_size=1))
    return Candidate(grade.vectors_of_output(data), data[ATOM_TYPE].reshape(-1), own)


def _described(atoms: Atoms, candidate: Candidate, choice: Choice, names: Sequence[str]) -> Atoms:
    """A frame to label, without velocities, with what is known of it in ``info``."""
    gamma = candidate.vectors.norm(dim=1)
    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    known = ("run", "model", "structure", "step", "time_ps", "grade_with_starts")
    kind, _, number = choice.why.partition("type ")
    frame.info = {
        **{key: atoms.info[key] for key in known if key in atoms.info},
        "largest_grade": round(float(gamma.max()), 4),
        "worst_atom": int(gamma.argmax()),
        "atoms_beyond_edge": torch.nonzero(gamma > EDGE).flatten().numpy(),
        "chosen_for": f"element {names[int(number)]}" if number else kind,
    }
    return frame


def _left(pool: Pool, chosen: Sequence[Choice], num_types: int) -> float:
    if not pool:
        return 0.0
    labelled = LabelledSoFar(num_types, pool[0][1].vectors.shape[1])
    for choice in chosen:
        labelled.add(pool[choice.index][1])
    return max(float(labelled.grade(candidate).max()) for _, candidate in pool)


def write_frames(path: Path, frames: Sequence[Atoms]) -> None:
    """Write frames to label as extended XYZ."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ase.io.write(path, list(frames), format="extxyz")
