"""The ``structures:`` of a campaign file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..structures import Reading, Structure, shortest_names
from ..structures import read_structures as read_files
from .validate import Mistakes, check_keys, number

_KEYS = ("file", "repeat", "format", "elements", "units")


def read_structures(data: Any, folder: Path, mistakes: Mistakes) -> tuple[Structure, ...]:
    """Structures from a file, a list, or a mapping of name to file; an entry may be a mapping.

    A file may be a glob, and may end in ``@INDEX`` or ``@START:STOP:STEP`` to choose frames.
    """
    found: list[Structure] = []
    if isinstance(data, dict) and data and not ("file" in data and set(data) <= set(_KEYS)):
        for name, value in data.items():
            found += _read(f"structures.{name}", str(name), value, folder, mistakes)
    elif isinstance(data, (str, list, dict)) and data:
        for i, value in enumerate(data if isinstance(data, list) else [data]):
            found += _read(f"structures[{i}]", None, value, folder, mistakes)
    else:
        mistakes.add("structures", data, "a file, a list of files, or a mapping of name to file")
    for name in dict.fromkeys(structure.name for structure in found):
        same = [structure for structure in found if structure.name == name]
        if len(same) > 1:
            mistakes.say(_collision(name, same, folder))
    return tuple(found)


def _read(
    what: str, name: str | None, value: Any, folder: Path, mistakes: Mistakes
) -> list[Structure]:
    entry = value if isinstance(value, dict) else {"file": value}
    check_keys(what, entry, _KEYS, mistakes)
    file = entry.get("file")
    if not isinstance(file, str) or not file:
        mistakes.add(what, value, "a file name (a glob and `FILE@INDEX` are allowed)")
        return []
    repeat = _repeat(f"{what}.repeat", entry.get("repeat", 1), mistakes)
    elements = entry.get("elements")
    if isinstance(elements, str):
        elements = elements.split()
    try:
        reading = Reading(
            entry.get("format"), tuple(elements) if elements else None, entry.get("units")
        )
        found = read_files(file, folder, reading, name)
    except UserError as err:
        mistakes.say(f"{what}: {err}")
        return []
    return [replace(s, atoms=s.atoms.repeat(repeat)) for s in found]


def _repeat(what: str, value: Any, mistakes: Mistakes) -> tuple[int, int, int]:
    items = value if isinstance(value, list) else [value] * 3
    if len(items) != 3:
        mistakes.add(what, value, "one whole number or three")
        return (1, 1, 1)
    a, b, c = (number(what, item, mistakes, least=1, whole=True) or 1 for item in items)
    return a, b, c


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
