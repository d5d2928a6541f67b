"""Collect the frames of MD that are worth a label: where a model leaves its training data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import ase.io
import numpy as np
import torch
from ase import Atoms

from ..extrapolation.beside import grade_of
from ..extrapolation.choose import EDGE, Candidate, Choice, LabelledSoFar, choose
from ..extrapolation.grade import ExtrapolationGrade
from ..features.fields import ATOM_TYPE
from ..features.frames import load_model, outputs
from ..md.contact import closest_contact
from ..structures import Reading
from .rules import DEFAULT_BEYOND, Rules
from .sources import RECORDED, Source, campaign_in, checkpoint_of, sources_of

NOTHING: Final = "nothing to label"
"""How the line begins that says why no frame was chosen."""
LOOKED_AT: Final = "frames looked at"
"""What the line has that says how many frames there were and how many were chosen."""
_AGREES: Final = 1e-3
"""Relative difference of a recorded grade from that of the same frame and the same grade."""


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
            f"{n['wreckage']} wreckage, {n['candidates']} candidates; {len(self.frames)} chosen"
        )
        if not self.frames:
            return found
        found += ": "
        largest = f"(largest grade {self.left_grade:.3g})"
        if self.left_grade <= EDGE:
            found += f"with their labels no candidate is beyond the edge {largest}"
        else:
            found += f"with their labels some candidates are still beyond the edge {largest}"
        if self.repeated:
            found += f"\nstart cells: {self.own}, and {self.repeated} like one of them left out"
        barren = [k for k, n in self.by_structure.items() if n["wreckage"] and not n["candidates"]]
        if barren and self.frames:
            found += f"\nno frame of the MD of {', '.join(barren)}: {self.why_none}"
        return found


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
    paths = [campaign_in(Path(place)) for place in places]
    sources = [source for path in paths for source in sources_of(path, reading)]
    model = Path(model or checkpoint_of(paths))
    rules, fitted, eager = rules or Rules(), grade_of(model, grade), load_model(model)
    fitted.check_model(eager)
    pool, found = _pool(eager, fitted, sources, rules, progress or (lambda x, _: x))
    chosen = choose(
        [candidate for _, candidate in pool],
        len(eager.type_names),
        rules.frames,
        per_type=rules.per_element,
        per_composition=rules.per_composition,
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
        cells.setdefault(_key(start), start)
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


def _key(atoms: Atoms) -> bytes:
    numbers = (atoms.positions, atoms.cell.array[atoms.pbc])
    rounded = (np.round(x, 4).tobytes() for x in numbers)
    return b"".join((atoms.numbers.tobytes(), atoms.pbc.tobytes(), *rounded))


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
