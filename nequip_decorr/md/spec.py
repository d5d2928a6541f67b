"""The vocabulary of a stability evaluation: what is run, when it counts as failed, how it ended.

Plain data only. The campaign makes :class:`RunSpec` objects, an engine turns one into a
:class:`RunResult`, and everything after that (statistics, report) reads the result alone.
Units stand in the names: K, fs, ps, eV, A (Angstrom), GPa.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from ..models.spec import ModelSpec as ModelSpec
from .criteria import Criteria

Status = Literal["survived", "failed", "interrupted", "error"]
STATUSES: Final = ("survived", "failed", "interrupted", "error")

ENSEMBLES: Final = ("nve", "nvt", "npt")
THERMOSTATS: Final = ("nose-hoover", "langevin")
LAMMPS: Final = "lammps"
LAMMPS_LIBRARY: Final = "lammps-library"
ASE: Final = "ase"
ENGINES: Final = (LAMMPS, LAMMPS_LIBRARY, ASE)


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
    engine: str = LAMMPS_LIBRARY
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
        data["criteria"] = Criteria.from_dict(data["criteria"])
        if data.get("lammps_command") is not None:
            data["lammps_command"] = tuple(data["lammps_command"])
        return cls(**data)


def target_temperature_K(spec: RunSpec, step: int) -> float:
    """Target of the thermostat at a step; a ramp is linear and ends at the last step."""
    if spec.temperature_end_K is None:
        return spec.temperature_K
    return spec.temperature_K + (spec.temperature_end_K - spec.temperature_K) * step / spec.steps


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
    cause: str | None = None
    value: float | None = None
    threshold: float | None = None
    message: str = ""
    wall_s: float = 0.0


_SETTINGS: Final = (
    *("ensemble", "thermostat", "thermostat_damping_fs", "barostat_damping_fs", "pressure_GPa"),
    *("timestep_fs", "steps", "temperature_end_K", "pressure_end_GPa", "engine", "walltime_s"),
    *("record_every", "trajectory_every", "ring_frames"),
)


def settings(specs: Sequence[RunSpec]) -> dict[str, list[Any]]:
    """Every setting of the runs, and every value it has in them."""
    found: dict[str, list[Any]] = {}
    for spec in specs:
        values = {name: getattr(spec, name) for name in _SETTINGS}
        if spec.ensemble == "nve":
            values |= {"thermostat": None, "thermostat_damping_fs": None}
        if spec.ensemble != "npt":
            values |= {"barostat_damping_fs": None, "pressure_GPa": None}
        values |= {f"criteria.{name}": value for name, value in asdict(spec.criteria).items()}
        for name, value in values.items():
            if value not in found.setdefault(name, []):
                found[name].append(value)
    return {name: values for name, values in found.items() if values != [None]}
