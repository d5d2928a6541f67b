"""Reading of structure files: the format is given or recognised by content and ending."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ase import Atoms
from ase.data import atomic_masses, atomic_numbers
from ase.io import iread
from ase.io.formats import (
    UnknownFileTypeError,
    extension2format,
    filetype,
    get_compression,
    ioformats,
    open_with_compression,
)

from ..errors import UserError, did_you_mean
from .names import find_files, name_structure

READ_ALL: Final = ":"
LAMMPS_UNITS: Final = ("metal", "real", "si", "cgs", "electron", "micro", "nano")
# A standard atomic mass is recognised within this.
_MASS_TOLERANCE_AMU: Final = 0.1
_TYPED: Final = ("lammps-data", "lammps-dump-text", "lammps-dump-binary")
# Endings that several programs share, or that ASE gives to a format nobody means here.
_SHARED_ENDINGS: Final = (
    "in", "out", "log", "dat", "data", "com", "md", "cell", "config", "restart",
)  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """How to read a structure file; by default it is told from name and content.

    Attributes:
        format: a format name of ASE, e.g. ``vasp``, ``extxyz``, ``lammps-data``.
        elements: elements of the atom types 1, 2, ... of a LAMMPS file that names none.
        units: unit style of a LAMMPS file; by default what its header says, else ``metal``.
    """

    format: str | None = None
    elements: tuple[str, ...] | None = None
    units: str | None = None

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in ioformats:
            hint = did_you_mean(self.format, ioformats)
            raise UserError(
                f"format: got {self.format!r}; allowed: a format name of ASE{hint}, e.g. "
                "extxyz, vasp, cif, lammps-data, lammps-dump-text"
            )
        for symbol in self.elements or ():
            if symbol not in atomic_numbers or symbol == "X":
                raise UserError(f"elements: got {symbol!r}; allowed: chemical symbols")
        if self.units is not None and self.units not in LAMMPS_UNITS:
            raise UserError(f"units: got {self.units!r}; allowed: one of {', '.join(LAMMPS_UNITS)}")


@dataclass(frozen=True)
class Structure:
    """A structure as read from a file.

    Attributes:
        name: what tables, folders and velocities are keyed by.
        source: the file, with ``@FRAME`` where one was chosen.
        atoms: the structure.
        format: the ASE format that the file was read as.
    """

    name: str
    source: str
    atoms: Atoms
    format: str = ""


def read_structures(
    text: str,
    folder: str | Path = ".",
    reading: Reading | None = None,
    name: str | None = None,
    failed: list[str] | None = None,
) -> list[Structure]:
    """Read the structures that a text means.

    Args:
        text: ``FILE`` (its last frame), a glob, ``FILE@INDEX`` or ``FILE@START:STOP:STEP``.
        folder: what a relative path starts from.
        reading: format and elements, where they cannot be told from the file.
        name: instead of the file's own name.
        failed: receives a line for each file that cannot be read, instead of an error at the first.

    Raises:
        UserError: no such file, no such frame, or a file that cannot be read.
    """
    paths, frames = find_files(text, folder)
    found: list[Structure] = []
    for path in paths:
        stem = name or name_structure(path)
        stem = f"{name}-{name_structure(path)}" if name and len(paths) > 1 else stem
        try:
            kind = recognise_format(path, reading)
            for index, atoms in iter_frames(path, frames or "-1", reading):
                one = frames is None or (name is not None and ":" not in frames)
                chosen = frames if frames is not None and ":" not in frames else index
                source = str(path) if frames is None else f"{path}@{chosen}"
                found.append(Structure(stem if one else f"{stem}@{chosen}", source, atoms, kind))
        except UserError as err:
            if failed is None:
                raise
            failed.append(str(err))
    return found


def read_structure(text: str | Path, reading: Reading | None = None) -> Structure:
    """Read one structure: ``FILE`` (its last frame) or ``FILE@INDEX``.

    Raises:
        UserError: no such file, a file that cannot be read, or more than one frame.
    """
    found = read_structures(str(text), ".", reading)
    if len(found) != 1:
        raise UserError(f"{text}: chooses {len(found)} structures; allowed: one")
    return found[0]


def iter_frames(
    path: str | Path, frames: str = READ_ALL, reading: Reading | None = None
) -> Iterator[tuple[int, Atoms]]:
    """Read frames one after the other, with their indices in the file.

    Args:
        path: the file; an ``@`` in its name has no meaning here.
        frames: ``INDEX`` or ``START:STOP:STEP``.
        reading: format and elements, where they cannot be told from the file.

    Raises:
        UserError: the file cannot be read, or holds no such frame.
    """
    path, reading = Path(path), reading or Reading()
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    kind = recognise_format(path, reading)
    options = _options(path, kind, reading)
    wanted = _slice(frames)
    if ioformats[kind].single and frames not in ("-1", "0", READ_ALL):
        raise UserError(
            f"{path} cannot be read: a file of format {kind} has one frame, not {frames}"
        )
    indices, count = _indices(path, kind, wanted, options), 0
    try:
        for atoms in iread(str(path), wanted, kind, do_not_split_by_at_sign=True, **options):
            if kind == "lammps-data":
                _set_elements(path, atoms, reading)
            elif kind in _TYPED and atoms.calc is not None:
                atoms.calc.results.pop("energy", None)  # ASE's 0.0; a dump has none
            yield next(indices), atoms
            count += 1
    except UserError:
        raise
    except Exception as err:
        where = f" (frame {count} of {frames})" if ":" in frames else ""
        raise UserError(f"{path} cannot be read as {kind}{where}: {_reason(err)}") from err
    if count == 0:
        raise UserError(f"{path} cannot be read: it has no frame {frames}")


def recognise_format(path: Path, reading: Reading | None = None) -> str:
    """Tell a file's format: as given, else LAMMPS' own from the content, the ending, ASE's guess.

    Raises:
        UserError: it cannot be told.
    """
    if reading is not None and reading.format is not None:
        return reading.format
    head = _head(path)
    if not head.strip():
        raise UserError(f"{path} cannot be read: the file is empty")
    if re.search(r"^ITEM: (TIMESTEP|UNITS|NUMBER OF ATOMS)", head, re.M):
        return "lammps-dump-text"
    if re.search(r"^\s*\d+\s+atoms\b[\s\S]*?^\s*\d+\s+atom types\b", head, re.M):
        return "lammps-data"
    name, _ = get_compression(str(path))
    ending = Path(name).suffix.lower().lstrip(".")
    if ending in ("xyz", "extxyz") or re.match(r"\s*\d+\s*\n.*(Properties|Lattice)=", head):
        return "extxyz"
    if ending in ("vasp", "poscar"):
        return "vasp"
    if ending in extension2format and ending not in _SHARED_ENDINGS:
        return str(extension2format[ending].name)
    try:
        kind = filetype(str(path))
    except UnknownFileTypeError:
        kind = ""
    if kind not in ioformats:
        raise UserError(
            f"{path} cannot be read: its format cannot be told; give `format: NAME` (a format "
            "name of ASE: extxyz, vasp, cif, lammps-data, lammps-dump-text, ...)"
        )
    return str(kind)


def _head(path: Path) -> str:
    try:
        with open_with_compression(str(path), "rb") as file:
            return str(file.read(4000).decode("utf-8", errors="replace"))
    except (OSError, EOFError) as err:
        raise UserError(f"{path} cannot be read: {err}") from None


def _slice(frames: str) -> slice:
    if ":" not in frames:
        index = int(frames)
        return slice(index, index + 1 or None)
    return slice(*(int(part) if part else None for part in frames.split(":")))


def _indices(path: Path, kind: str, wanted: slice, options: dict[str, Any]) -> Iterator[int]:
    """Indices of the frames that a slice chooses; counts the frames only where it must."""
    start, step = wanted.start or 0, wanted.step or 1
    if start >= 0 and step > 0:
        yield from range(start, 1 << 62, step)
    elif wanted == slice(-1, None):
        yield -1
    else:
        everything = iread(str(path), ":", kind, do_not_split_by_at_sign=True, **options)
        yield from range(*wanted.indices(sum(1 for _ in everything)))


def _reason(err: Exception) -> str:
    if isinstance(err, KeyError):
        return f"{err.args[0]!r} is neither an element nor a key of this format"
    if isinstance(err, StopIteration) or isinstance(err.__cause__, StopIteration):
        return "the file ends early"
    return f"{type(err).__name__}: {' '.join(str(err).split())[:300]}"


def _options(path: Path, kind: str, reading: Reading) -> dict[str, Any]:
    """What ASE must be told of a LAMMPS file, whose atom types are numbers."""
    if kind not in _TYPED:
        if reading.elements or reading.units:
            raise UserError(f"{path}: `elements` and `units` are for LAMMPS files, this is {kind}")
        return {}
    head = _head(path)
    said = re.search(r"units\s*=\s*(\w+)|^ITEM: UNITS\s+(\w+)", head, re.M)
    units = reading.units or (said and (said[1] or said[2])) or "metal"
    if units not in LAMMPS_UNITS:
        raise UserError(f"{path}: has units {units}; allowed: one of {', '.join(LAMMPS_UNITS)}")
    if kind == "lammps-data":
        return {"units": units}
    columns = re.search(r"^ITEM: ATOMS (.*)$", head, re.M)
    if columns and "element" in columns[1].split():
        if reading.elements:
            raise UserError(f"{path}: `elements` is given, and the file names its elements itself")
    elif not reading.elements:
        raise UserError(_needs_elements(path, "names no elements"))
    return {"units": units, "specorder": list(reading.elements) if reading.elements else None}


def _set_elements(path: Path, atoms: Atoms, reading: Reading) -> None:
    """Elements of a LAMMPS data file's types: given, or by mass, or by label."""
    types = atoms.arrays["type"]
    masses = atoms.get_masses() if atoms.has("masses") else None
    labels = re.search(r"^Atom Type Labels", _head(path), re.M) is not None
    for kind in sorted(set(types)):
        mine = types == kind
        if reading.elements:
            if kind > len(reading.elements):
                raise UserError(
                    f"{path}: has atoms of type {kind}, `elements` names {len(reading.elements)}; "
                    "give one for each type, in their order"
                )
            atoms.numbers[mine] = atomic_numbers[reading.elements[kind - 1]]
        elif masses is not None:
            off = abs(atomic_masses[atoms.numbers[mine][0]] - masses[mine][0])
            if off > _MASS_TOLERANCE_AMU:
                what = f"type {kind} has mass {masses[mine][0]:g}, which is no element's"
                raise UserError(_needs_elements(path, what))
        elif not labels or (atoms.numbers == types).all():
            raise UserError(_needs_elements(path, "has neither elements nor masses"))


def _needs_elements(path: Path, what: str) -> str:
    return (
        f"{path}: {what}: LAMMPS' atom types are numbers, not elements; give `elements: "
        "[Si, O]` (on the command line `--elements Si,O`) with those of the types 1, 2, ..."
    )
