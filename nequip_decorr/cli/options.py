"""Options that commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from ..structures import Reading

Command = Callable[[argparse.Namespace], int]


def add_command(
    commands: Any, name: str, run: Command | None, summary: str, example: str = "", **texts: str
) -> argparse.ArgumentParser:
    """Add a sub-command whose description and epilog keep their lines.

    Args:
        commands: what ``add_subparsers`` gave.
        name: of the sub-command.
        run: takes the parsed arguments and returns the exit status; ``None`` for a group.
        summary: its line in the list of commands.
        example: words after ``nequip-decorr``, for the epilog.
        **texts: ``description`` or ``epilog``.
    """
    if example:
        texts["epilog"] = f"example:\n  nequip-decorr {example}"
    raw = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, formatter_class=raw, **texts
    )
    parser.set_defaults(run=run)
    return parser


def positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """Return the type of an option that takes a number above 0."""
    allowed = "a whole number of at least 1" if kind is int else "a number above 0"

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(0)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"got {text!r}; allowed: {allowed}")
        return value

    return read


def add_reading(parser: Any) -> None:
    """Add the options that say how to read the structure files."""
    group = parser.add_argument_group("how to read the structures (default: told from the file)")
    group.add_argument("--format", metavar="NAME", help="format name of ASE, e.g. lammps-data")
    group.add_argument(
        "--elements", metavar="A,B", help="elements of the atom types 1, 2, ... of a LAMMPS file"
    )
    group.add_argument("--units", help="unit style of a LAMMPS file")


def reading_from(arguments: argparse.Namespace) -> Reading:
    """How to read the structure files, as the command line says.

    Raises:
        UserError: no such format, element or unit style.
    """
    elements = (arguments.elements or "").replace(",", " ").split()
    return Reading(arguments.format, tuple(elements) or None, arguments.units)
