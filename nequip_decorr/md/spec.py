"""The vocabulary of a stability evaluation: what is run, when it counts as failed, how it ended.

Plain data only. The campaign makes :class:`RunSpec` objects, an engine turns one into a
:class:`RunResult`, and everything after that (statistics, report) reads the result alone.
Units stand in the names: K, fs, ps, eV, A (Angstrom), GPa.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from ..models.spec import ModelSpec

Status = Literal["survived", "failed", "interrupted", "error"]
STATUSES: Final = ("survived", "failed", "interrupted", "error")

Cause = Literal["temperature", "contact", "energy", "force", "drift", "nonfinite", "lost"]
CAUSES: Final = ("temperature", "contact", "energy", "force", "drift", "nonfinite", "lost")

ENSEMBLES: Final = ("nve", "nvt", "npt")
THERMOSTATS: Final = ("nose-hoover", "langevin")
ENGINES: Final = ("lammps", "lammps-library", "ase")


@dataclass(frozen=True)
class Criteria:
    """When a run counts as failed. ``None`` switches a criterion off.

    Attributes:
        temperature_factor: fails above this multiple of the (current) target temperature.
        temperature_floor_K: the temperature bound is never below this.
        contact_fraction: fails when a pair is closer than this fraction of the sum of the two
            covalent radii (``ase.data.covalent_radii``).
        energy_below_eV: fails when the potential energy per atom is lower than at step 0 by more.
        energy_above_eV: fails when the potential energy per atom is higher than at step 0 by more.
        max_force_eV_per_A: fails when a force component on an atom is larger.
        drift_eV_per_atom: in NVE, fails when the total energy per atom leaves its start by more.
        check_every: steps between two checks.

    A non-finite energy, force or position (``nonfinite``) and a lost atom (``lost``) always fail.
    """

    temperature_factor: float | None = 3.0
    temperature_floor_K: float = 2500.0
    contact_fraction: float | None = 0.6
    energy_below_eV: float | None = 1.0
    energy_above_eV: float | None = 2.0
    max_force_eV_per_A: float | None = 200.0
    drift_eV_per_atom: float | None = 0.2
    check_every: int = 1


@dataclass(frozen=True)
class RunSpec:
    """One MD run, complete: an engine needs nothing else.

    ``structure_file`` is an extended XYZ with positions, cell and momenta already in it, the same
    for every model. With a ramp, ``temperature_end_K`` (or ``pressure_end_GPa``) is reached at
    the last step.
    """

    run_id: str
    model: ModelSpec
    structure: str
    structure_file: str
    temperature_K: float
    seed: int
    ensemble: Literal["nve", "nvt", "npt"] = "nvt"
    thermostat: Literal["nose-hoover", "langevin"] = "nose-hoover"
    timestep_fs: float = 1.0
    steps: int = 5000
    thermostat_damping_fs: float = 100.0
    barostat_damping_fs: float = 1000.0
    pressure_GPa: float = 0.0
    temperature_end_K: float | None = None
    pressure_end_GPa: float | None = None
    engine: Literal["lammps", "lammps-library", "ase"] = "lammps-library"
    lammps_command: tuple[str, ...] | None = None
    criteria: Criteria = field(default_factory=Criteria)
    record_every: int = 10
    trajectory_every: int = 100
    ring_frames: int = 50
    walltime_s: float | None = None

    @property
    def length_ps(self) -> float:
        """Length asked for, in ps."""
        return self.steps * self.timestep_fs * 1e-3

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RunSpec:
        """Inverse of :meth:`to_dict`."""
        data = dict(data)
        data["model"] = ModelSpec(**data["model"])
        data["criteria"] = Criteria(**data["criteria"])
        if data.get("lammps_command") is not None:
            data["lammps_command"] = tuple(data["lammps_command"])
        return cls(**data)


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        status: ``survived`` (reached the end: right-censored), ``failed`` (a criterion was met),
            ``interrupted`` (walltime or signal: censored at ``last_step``), ``error`` (the engine
            could not run: no evidence about the model).
        cause: the criterion of a failed run, else ``None``.
        value: the offending value in the criterion's unit, ``None`` where it is not a number.
        threshold: the bound it crossed.
        last_step: the step of failure (first passage), or the last good step.
        check_every: steps between two checks; a failure lies within that many steps before.
        message: one line for people.
        wall_s: wall time of the MD.
    """

    status: Status
    last_step: int
    check_every: int
    cause: Cause | None = None
    value: float | None = None
    threshold: float | None = None
    message: str = ""
    wall_s: float = 0.0
