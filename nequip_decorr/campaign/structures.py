"""Start structures of a campaign: files, globs and frames, by name."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.io import read
from ase.neighborlist import neighbor_list

from .validate import (
    Mistakes,
    check_keys,
    number,
)

FEW_ATOMS = 16
_FRAME = re.compile(r"^(?P<file>.+)@(?P<index>-?\d+|[-\d]*:[-\d:]*)$")


@dataclass(frozen=True)
class Structure:
    """A start structure; ``source`` says where it came from."""

    name: str
    source: str
    atoms: Atoms


def read_structures(data: Any, folder: Path, mistakes: Mistakes) -> tuple[Structure, ...]:
    """Structures from a file name, a list of them, or a mapping of name to file.

    A file name may be a glob, and may end in ``@INDEX`` or ``@START:STOP:STEP`` to choose frames.
    In a mapping a value may also be ``{file: ..., repeat: [2, 2, 2]}``.
    """
    found: list[Structure] = []
    if isinstance(data, str):
        data = [data]
    if isinstance(data, dict) and data:
        for name, value in data.items():
            found += _named(str(name), value, folder, mistakes)
    elif isinstance(data, list) and data:
        for i, value in enumerate(data):
            found += _files(f"structures[{i}]", None, value, folder, mistakes)
    else:
        mistakes.add("structures", data, "a file, a list of files, or a mapping of name to file")
    names = [structure.name for structure in found]
    for name in sorted({name for name in names if names.count(name) > 1}):
        sources = ", ".join(s.source for s in found if s.name == name)
        mistakes.say(
            f"structures: {name!r} names {names.count(name)} of them ({sources}); allowed: each "
            "name once (a mapping `structures: {NAME: FILE}` chooses names)"
        )
    return tuple(found)


def _named(name: str, value: Any, folder: Path, mistakes: Mistakes) -> list[Structure]:
    what = f"structures.{name}"
    repeat = (1, 1, 1)
    if isinstance(value, dict):
        check_keys(what, value, ("file", "repeat"), mistakes)
        repeat = _repeat(f"{what}.repeat", value.get("repeat", [1, 1, 1]), mistakes)
        value = value.get("file")
    found = _files(what, name, value, folder, mistakes)
    return [Structure(s.name, s.source, s.atoms.repeat(repeat)) for s in found]


def _repeat(what: str, value: Any, mistakes: Mistakes) -> tuple[int, int, int]:
    items = value if isinstance(value, list) else [value] * 3
    if len(items) != 3:
        mistakes.add(what, value, "one whole number or three")
        return (1, 1, 1)
    a, b, c = (number(what, item, mistakes, least=1, whole=True) or 1 for item in items)
    return a, b, c


def _files(
    what: str, name: str | None, value: Any, folder: Path, mistakes: Mistakes
) -> list[Structure]:
    if not isinstance(value, str) or not value:
        mistakes.add(what, value, "a file name (a glob and `FILE@INDEX` are allowed)")
        return []
    pattern, index = value, None
    if not (folder / value).exists() and (match := _FRAME.match(value)):
        pattern, index = match["file"], match["index"]
    path = folder / Path(pattern).expanduser()
    paths = [path] if path.exists() else [Path(p) for p in sorted(glob.glob(str(path)))]
    if not paths:
        mistakes.say(f"{what}: no such file: {path}")
    found: list[Structure] = []
    for path in paths:
        try:
            frames = read(path, index=index if index is not None else "-1")
        except Exception as err:
            mistakes.say(f"{what}: {path} cannot be read: {type(err).__name__}: {err}")
            continue
        stem = path.name.split(".")[0] if name is None else name
        stem = f"{stem}-{path.name.split('.')[0]}" if name and len(paths) > 1 else stem
        if isinstance(frames, Atoms):
            label = stem if name or index is None else f"{stem}@{index}"
            found.append(Structure(label, value, frames))
        else:
            if not frames:
                mistakes.say(f"{what}: {value} chooses no frame")
            found += [Structure(f"{stem}@{i}", value, atoms) for i, atoms in enumerate(frames)]
    return found


def check_structure(
    structure: Structure, ensemble: str, contact_fraction: float | None, mistakes: Mistakes
) -> None:
    """Note what no run of this structure could survive, and warn of what is unusual."""
    atoms, what = structure.atoms, f"structure {structure.name!r}"
    if len(atoms) < 2:
        mistakes.say(f"{what}: has {len(atoms)} atoms; allowed: at least 2")
        return
    if not (np.isfinite(atoms.positions).all() and np.isfinite(np.asarray(atoms.cell)).all()):
        mistakes.say(f"{what}: has positions or a cell that are not finite")
        return
    if (atoms.numbers < 1).any():
        mistakes.say(f"{what}: has atoms of unknown element (X)")
        return
    if atoms.pbc.any() and abs(atoms.cell.volume) < 1e-6:
        mistakes.say(f"{what}: is periodic but its cell has no volume")
        return
    if ensemble == "npt" and not atoms.pbc.all():
        mistakes.say(f"{what}: is not periodic in all directions; allowed with npt: periodic")
    if atoms.constraints:
        mistakes.warn(f"{what}: constraints are ignored, every atom moves")
    if len(atoms) < FEW_ATOMS:
        mistakes.warn(
            f"{what}: has only {len(atoms)} atoms; temperature fluctuates as 1/sqrt(atoms). "
            "`structures: {NAME: {file: FILE, repeat: 2}}` repeats the cell"
        )
    if contact_fraction is not None:
        closest = closest_contact(atoms)
        if closest < contact_fraction:
            mistakes.say(
                f"{what}: starts with a pair at {closest:.2f} of the sum of its covalent radii, so "
                f"every run would fail at step 0; allowed: criteria.contact_fraction (now "
                f"{contact_fraction:g}) below that"
            )


def closest_contact(atoms: Atoms) -> float:
    """Smallest ``d_ij / (r_i + r_j)`` below 2, with ``ase.data.covalent_radii``; else 2."""
    radii = covalent_radii[atoms.numbers]
    i, j, distance_A = neighbor_list("ijd", atoms, 2.0 * radii)
    return float(np.min(distance_A / (radii[i] + radii[j]), initial=2.0))


def longest_timestep_fs(atoms: Atoms) -> float:
    """A time step above which the lightest atom's fastest vibration is poorly resolved.

    About a ninth of the period of the stiffest bonds: a hydrogen stretch (3700 cm^-1) takes 9 fs,
    and a period grows with the square root of the mass, so ``1 fs * sqrt(mass / amu)``.
    """
    return float(np.sqrt(atoms.get_masses().min()))
