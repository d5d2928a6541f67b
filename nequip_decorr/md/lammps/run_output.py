"""How a LAMMPS run ended, from its log and what it left in its folder."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ase import Atoms

from ...models.metadata import GRADE, MAKE_GRADE
from ..contact import CONTACT_CAP, closest_contact
from ..criteria import Violation
from ..judge import contact_violation, failed, from_halt
from ..record import RING, last_step, parse_dump_frame
from ..spec import RunResult, RunSpec, target_temperature_K
from .build import NO_COMPUTE

_HALT = re.compile(r"^Fix halt condition for fix-id (\S+) met on step (\d+) with value (\S+)", re.M)
_ENDED = re.compile(r"^Run ended at step (\d+)\s*$", re.M)
_ERROR = re.compile(r"^ERROR(?: on proc \d+)?: (.*)$", re.M)
# In errors of LAMMPS that are failures of the model. Others may name files: nanotube.data is none.
LOST: Final = "(lost|out of range) atoms|atoms? missing"
NONFINITE: Final = "non-numeric|not-a-number|(^|[^a-z0-9_/.-])nan([^a-z0-9_/.-]|$)"


@dataclass(frozen=True)
class LogEnd:
    """What the log says.

    Attributes:
        halt: check, step and value of the first halt.
        ended_at: step at which the run ended in good order.
        error: text of the error.
    """

    halt: tuple[str, int, float] | None = None
    ended_at: int | None = None
    error: str | None = None


def parse_log(text: str) -> LogEnd:
    """Read the end of a run from the text of ``log.lammps`` (or of the screen)."""
    halt, ended, error = _HALT.search(text), _ENDED.search(text), _ERROR.search(text)
    return LogEnd(
        halt=(halt[1], int(halt[2]), float(halt[3])) if halt else None,
        ended_at=int(ended[1]) if ended else None,
        error=error[1].strip() if error else None,
    )


def judge(spec: RunSpec, folder: Path, log: LogEnd, step: int | None = None) -> RunResult:
    """The result of a run that has ended by itself, from its log and folder.

    Args:
        spec: the run.
        folder: its folder.
        log: what the log says.
        step: the step an error came up in, where the engine knows.
    """
    every = spec.criteria.check_every
    if log.halt is not None:
        halt, halted_at, printed = log.halt
        target_K = target_temperature_K(spec, halted_at)
        violation = from_halt(spec.criteria, target_K, halt, halted_at, printed)
        if violation.cause == "contact":
            violation = _measured(spec, folder, violation)
        return failed(spec, violation)
    if log.error is not None:
        step = _step_of_error(folder) if step is None else step
        message = f"LAMMPS: {log.error}"
        if re.search(LOST, log.error, re.I):
            return failed(spec, Violation("lost", step, None, 0.0, message))
        if re.search(NONFINITE, log.error, re.I):
            return failed(spec, Violation("nonfinite", step, None, None, message))
        return RunResult("error", max(0, step - 1), every, message=message + _remedy(log.error))
    if log.ended_at is None:
        return RunResult("error", last_step(folder), every, message="LAMMPS ended too early")
    if log.ended_at >= spec.steps:
        message = f"reached {spec.steps} steps"
        return RunResult("survived", log.ended_at, every, message=message)
    return RunResult("interrupted", log.ended_at, every, message="walltime")


def _remedy(error: str) -> str:
    """What to do about an error of LAMMPS that concerns the grade; else nothing."""
    if found := re.search(r"Unrecognized compute style '(\w+/atom)'", error):
        return f"; {NO_COMPUTE.format(style=found[1])}"
    if error.startswith(f"missing {GRADE}"):
        return f"; the model has no extrapolation grade: {MAKE_GRADE}"
    return ""


def keep_ring(folder: Path, wanted: bool) -> None:
    """Join the files of the ring into ``ring.lammpstrj`` if it is wanted, and remove them."""
    files = _ring_files(folder)
    if wanted and files:
        with (folder / f"{RING}.lammpstrj").open("wb") as joined:
            for path in files:
                joined.write(path.read_bytes())
    shutil.rmtree(folder / RING, ignore_errors=True)


def _ring_files(folder: Path) -> list[Path]:
    return sorted((folder / RING).glob("*.lammpstrj"), key=lambda path: int(path.stem))


def _measured(spec: RunSpec, folder: Path, violation: Violation) -> Violation:
    """The contact's pair and distance, from the frame of its step, where the ring has it."""
    atoms = _ring_frame(folder, violation.step)
    bound = spec.criteria.contact_fraction
    if atoms is None or bound is None:
        return violation
    found = closest_contact(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    if found.pair is None or found.fraction >= CONTACT_CAP:
        return violation
    symbols = "-".join(sorted(atoms.symbols[i] for i in found.pair))
    return replace(contact_violation(violation.step, found, bound, symbols), step=violation.step)


def _ring_frame(folder: Path, step: int) -> Atoms | None:
    path = folder / RING / f"{step}.lammpstrj"
    if not path.is_file():
        return None
    return parse_dump_frame(path.read_text().partition("\n")[2])


def _step_of_error(folder: Path) -> int:
    """The step after the last that was completed, as far as the ring or the record know."""
    files = _ring_files(folder)
    if files:
        return int(files[-1].stem) + 1
    return last_step(folder)
