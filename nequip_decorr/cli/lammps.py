"""``nequip-decorr lammps input`` and ``nequip-decorr lammps check``."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

from ..lammps_wheel import COMMAND_DEFAULT, PLUGIN_VARIABLE
from ..md.criteria import RENAMED, Criteria
from ..md.lammps.settings import RunSettings
from .options import Answer, OldName, add_command, add_group, add_reading, reading_from

_INPUT: Final = """\
Write a LAMMPS folder that is ready to run, for a compiled model and a start structure. Type order
and cutoff come from the model; an element that it does not know is an error here and not on the
cluster.
"""
_INPUT_EXAMPLES: Final = """\
nequip-decorr lammps input model.nequip.pt2 quartz.xyz --out run --temperature 1200 --steps 100000
nequip-decorr lammps input model.nequip.pt2 quartz.xyz --out run --grade 3   stop beyond the data
sh run/run.sh              run it
sh run/run.sh restart      go on after a kill
"""
_INPUT_FILES: Final = """\
in.ENSEMBLE, *.lmp, structure.data, the model   the input, its shared parts, the start structure
run.sh, slurm.sh                                the command, and a job of a Slurm cluster
thermo.csv, trajectory.lammpstrj, restart.*     written by the run: record (`worst_atom` counts from
                                                0, LAMMPS ids from 1), frames, restart files
"""
_CHECK: Final = """\
Compare energy, forces, virial and extrapolation grade at step 0 between a compiled model called
from Python, a LAMMPS and the library engine. Lists what the LAMMPS can do, and how to add what is
missing.
"""
_CHECK_STATUS: Final = """\
0 what was compared agrees, 1 something disagrees or the model is not strictly local,
2 nothing could be compared, or not with the LAMMPS that --lmp or --plugin names
"""


def add_parsers(commands: Any) -> None:
    """Add the group and its commands."""
    group = add_group(commands, "lammps", "write and check LAMMPS runs of a compiled model")
    _add_input(group)
    _add_check(group)


def _add_input(group: Any) -> None:
    parser = add_command(
        *(group, "input", run_input, "write a ready LAMMPS folder", _INPUT, _INPUT_EXAMPLES),
        writes=_INPUT_FILES,
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
                metavar=None if "choices" in item.metadata else "X",
                help=_with_default(item.metadata["help"], item.default),
            )
    run.add_argument(
        "--grade", nargs="?", const=True, type=_grade, metavar="BOUND",
        help="read the extrapolation grade of the model, and stop where an atom's is above BOUND "
        "(3 is a good one; 1 is the edge of the training data); `off` does not read it; by default "
        "it is recorded if the model has one",
    )  # fmt: skip
    bounds = parser.add_argument_group("when a run stops as failed (`off` switches one off)")
    former = {new: name for name, new in RENAMED.items()}
    for item in fields(Criteria):
        kind = _bound if "None" in str(item.type) else _type(item.type)
        option = f"--{item.name.replace('_', '-')}"
        present = option.lower()
        bounds.add_argument(
            present, dest=item.name, type=kind, default=item.default,
            metavar="X", help=_with_default(item.metadata["help"], item.default),
        )  # fmt: skip
        old = [f"--{former[item.name].replace('_', '-')}"] if item.name in former else []
        for name in [option, *old] if option != present else old:
            parser.add_argument(
                name, dest=item.name, type=kind, action=OldName, const=present,
                default=argparse.SUPPRESS, help=argparse.SUPPRESS,
            )  # fmt: skip
    add_reading(parser)


def _add_check(group: Any) -> None:
    parser = add_command(
        *(group, "check", run_check, "compare a compiled model in Python and LAMMPS", _CHECK),
        "nequip-decorr lammps check model.nequip.pt2 quartz.xyz --lmp /path/to/lmp\n"
        "nequip-decorr lammps check model.nequip.pt2 quartz.xyz --json",
        status=_CHECK_STATUS,
        json=True,
    )
    parser.add_argument("model", help="compiled model")
    parser.add_argument("structure", help="structure to compare on: FILE or FILE@INDEX")
    parser.add_argument("--lmp", help=f"LAMMPS executable or command (default: {COMMAND_DEFAULT})")
    parser.add_argument(
        "--plugin",
        type=Path,
        help=f"LAMMPS plugin that brings the pair style (default: ${PLUGIN_VARIABLE})",
    )
    parser.add_argument(
        "--checkpoint", type=Path,
        help="compare the eager model too (with the grade beside it, MODEL.grade.npz)",
    )  # fmt: skip
    parser.add_argument(
        "--flags", default="", help="more flags for LAMMPS, e.g. '-k on g 1 -sf kk'"
    )
    add_reading(parser)


def _with_default(text: str, default: Any) -> str:
    return text if default is None else f"{text} (default: {default})"


def _bound(text: str) -> float | None:
    return None if text == "off" else float(text)


def _grade(text: str) -> float | bool:
    try:
        return False if text == "off" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"got {text!r}; allowed: a number, `off`, or nothing if it stands after the files"
        ) from None


def _type(annotation: Any) -> Any:
    """Type of an option from the annotation of its field."""
    kinds = {"int": int, "float": float, "Path": Path}
    return kinds.get(str(annotation).split(" ")[0], str)


def settings_from(arguments: argparse.Namespace) -> RunSettings:
    """The run that the command line asks for."""
    from ..md.lammps.run_input import plugin_from_environment

    given = {
        item.name: getattr(arguments, item.name)
        for item in fields(RunSettings)
        if "option" in item.metadata
    }
    brings = given["pair"] not in ("library", "mliap")
    plugin = given["plugin"] or (plugin_from_environment() if brings else None)
    given["plugin"] = Path(plugin).resolve() if plugin else None
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
    if settings.pair != "library":
        print("Its LAMMPS must have the pair style; `--pair library` needs only what pip installs")
    return 0


def run_check(arguments: argparse.Namespace) -> Answer:
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
    data = {
        "status": report.status,
        "model": str(report.model.path),
        "lammps": report.build.version,
        "atoms": report.num_atoms,
        "compared": [asdict(item) for item in report.agreements],
        "faults": report.faults,
        "warnings": report.warnings,
    }
    return Answer(data, report.status)
