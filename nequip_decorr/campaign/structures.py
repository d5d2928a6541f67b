"""The ``structures:`` of a campaign file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from ..errors import UserError
from ..structures import Reading, Structure, shortest_names
from ..structures import read_structures as read_files
from ..structures.read import LAMMPS_UNITS
from .validate import Count, Mistakes, NotAllowed, Strict, of_kind, one_of, validate, words


def _three(value: Any) -> Any:
    items = value if isinstance(value, (list, tuple)) else [value] * 3
    if len(items) != 3:
        raise NotAllowed("one whole number or three")
    return items


class _Entry(Strict):
    """A structure of a campaign file."""

    file: Annotated[str, of_kind(str, "a file name (a glob and `FILE@INDEX` are allowed)")] = Field(
        None, validate_default=True
    )
    repeat: Annotated[tuple[Count, Count, Count], BeforeValidator(_three)] = (1, 1, 1)
    format: Annotated[str | None, of_kind(str, "a format name of ASE")] = None
    elements: Annotated[
        tuple[str, ...] | None,
        words("chemical symbols of the atom types 1, 2, ..., e.g. [Si, O]", str.split),
    ] = None
    units: Annotated[str | None, one_of(LAMMPS_UNITS)] = None


def read_structures(data: Any, folder: Path, mistakes: Mistakes) -> tuple[Structure, ...]:
    """Read structures from a file, a list, or a mapping of name to file.

    A file may be a glob, and may end in ``@INDEX`` or ``@START:STOP:STEP`` to choose frames. An
    entry may be a mapping with ``file``, ``repeat``, ``format``, ``elements`` and ``units``.
    """
    found: list[Structure] = []
    keys = set(data) if isinstance(data, dict) else set()
    if keys and not ("file" in keys and len(keys) > 1 and keys <= set(_Entry.model_fields)):
        for name, value in data.items():
            found += _read(f"structures.{name}", str(name), value, folder, mistakes)
    elif data is not None:
        for i, value in enumerate(data if isinstance(data, list) else [data]):
            found += _read(f"structures[{i}]", None, value, folder, mistakes)
    for name in dict.fromkeys(structure.name for structure in found):
        same = [structure for structure in found if structure.name == name]
        if len(same) > 1:
            mistakes.say(_collision(name, same, folder))
    return tuple(found)


def _read(
    what: str, name: str | None, value: Any, folder: Path, mistakes: Mistakes
) -> list[Structure]:
    mapping = value if isinstance(value, dict) and "file" in value else {"file": value}
    entry = validate(_Entry, mapping, mistakes, what)
    if entry is None:
        return []
    failed: list[str] = []
    found: list[Structure] = []
    try:
        reading = Reading(entry.format, entry.elements, entry.units)
        found = read_files(entry.file, folder, reading, name, failed)
    except UserError as err:
        failed.append(str(err))
    for line in failed:
        mistakes.say(f"{what}: {line}")
    return [replace(s, atoms=s.atoms.repeat(entry.repeat)) for s in found]


def _collision(name: str, same: Sequence[Structure], folder: Path) -> str:
    sources = [Path(s.source) for s in same]
    shown = [str(p.relative_to(folder) if p.is_relative_to(folder) else p) for p in sources]
    names = [text.replace("/", "-") for text in shortest_names(sources)]
    names = [n if names.count(n) == 1 else f"{n}-{i}" for i, n in enumerate(names)]
    mapping = ", ".join(f'"{n}": "{file}"' for n, file in zip(names, shown, strict=True))
    return (
        f"structures: {name!r} names {len(same)} of them ({', '.join(shown)}); allowed: each name "
        f"once, e.g. with `structures: {{{mapping}}}`"
    )
