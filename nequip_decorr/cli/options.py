"""Options that commands share."""

from __future__ import annotations

import argparse
from typing import Any

from ..structures import Reading


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
