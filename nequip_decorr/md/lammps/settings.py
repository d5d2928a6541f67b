"""Settings of a production run; each field is an option of ``lammps input`` as well."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from ...errors import UserError
from ...lammps_wheel import COMMAND_DEFAULT, PLUGIN_VARIABLE
from ...models.spec import ModelSpec
from ..criteria import Criteria
from ..spec import THERMOSTATS, RunSpec

ENSEMBLES: Final = ("nve", "nvt", "npt", "ramp")
PAIRS: Final = ("allegro", "allegro/kk", "nequip", "mliap", "library")


def _option(default: Any, option: str, text: str, **rules: Any) -> Any:
    """A field with its option, help text, and rules: ``choices``, ``above`` or ``least``."""
    return field(default=default, metadata={"option": option, "help": text, **rules})


@dataclass(frozen=True)
class RunSettings:
    """Describe one production run; every field is an option of the command, or several.

    ``grade``: whether LAMMPS reads the extrapolation grade; ``None``: where the model has one.

    Raises:
        UserError: a value that is not allowed; the message says what, got and allowed.
    """

    ensemble: str = _option("nvt", "--ensemble", "template of the input", choices=ENSEMBLES)
    pair: str = _option("allegro", "--pair", "way of the model into LAMMPS", choices=PAIRS)
    temperature_K: float = _option(
        300.0, "--temperature", "target, also of the start velocities, K", above=0
    )
    temperature_end_K: float | None = _option(
        None, "--temperature-end", "target at the last step (ramp), K", above=0
    )
    pressure_GPa: float = _option(0.0, "--pressure", "target pressure (npt), GPa")
    timestep_fs: float = _option(1.0, "--timestep", "time step, fs", above=0)
    steps: int = _option(10_000, "--steps", "number of steps", least=1)
    seed: int = _option(1, "--seed", "seed of the velocities and a Langevin thermostat", least=1)
    thermostat: str = _option(
        "nose-hoover", "--thermostat", "thermostat of nvt, npt and ramp", choices=THERMOSTATS
    )
    record_every: int = _option(
        10, "--record-every", "steps between two rows of thermo.csv", least=1
    )
    trajectory_every: int = _option(
        100, "--trajectory-every", "steps between two frames of the dump, 0 for none", least=0
    )
    restart_every: int = _option(
        1000, "--restart-every", "steps between two restart files, 0 for none", least=0
    )
    ranks: int = _option(1, "--ranks", "MPI ranks, or GPUs for a model compiled for cuda", least=1)
    lammps: str | None = _option(
        None, "--lmp", f"LAMMPS executable or command (default: {COMMAND_DEFAULT})"
    )
    plugin: Path | None = field(
        default=None,
        metadata={
            "option": "--plugin",
            "help": f"LAMMPS plugin that brings the pair style (default: ${PLUGIN_VARIABLE})",
        },
    )
    grade: bool | None = None
    criteria: Criteria = field(default_factory=Criteria)

    def __post_init__(self) -> None:
        for item in fields(self):
            _check(item.name, getattr(self, item.name), item.metadata)
        if (self.ensemble == "ramp") != (self.temperature_end_K is not None):
            raise UserError(
                f"temperature_end_K belongs to the ensemble ramp and to it alone, got "
                f"{self.temperature_end_K} with {self.ensemble}"
            )
        if self.pair == "nequip" and self.ranks != 1:
            raise UserError(
                f"pair_style nequip runs on one MPI rank, got ranks {self.ranks}; a model that is "
                "not strictly local scales with ML-IAP (--pair mliap)"
            )


def _check(name: str, value: Any, rules: Any) -> None:
    choices, above, least = rules.get("choices"), rules.get("above"), rules.get("least")
    if choices is not None and value not in choices:
        raise UserError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    if not isinstance(value, (int, float)):
        return
    wanted = f" and above {above}" if above is not None else ""
    wanted = f" and at least {least}" if least is not None else wanted
    inside = math.isfinite(value) and (above is None or value > above)
    if not (inside and (least is None or value >= least)):
        raise UserError(f"{name} must be finite{wanted}, got {value}")


def run_spec(settings: RunSettings, model_path: Path, structure: str, file: str = "") -> RunSpec:
    """The run as the stability engines know it.

    Args:
        settings: the run.
        model_path: compiled model.
        structure: name of the start structure.
        file: file of the start frame, by default the name with `.xyz`.
    """
    shared = {
        item.name: getattr(settings, item.name)
        for item in fields(settings)
        if item.name
        not in ("ensemble", "pair", "restart_every", "ranks", "lammps", "plugin", "grade")
    }
    return RunSpec(
        run_id="production",
        model=ModelSpec(model_path.name, "nequip", path=str(model_path)),
        structure=structure,
        structure_file=file or f"{structure}.xyz",
        ensemble="nvt" if settings.ensemble == "ramp" else settings.ensemble,  # type: ignore[arg-type]
        ring_frames=0,
        **shared,
    )
