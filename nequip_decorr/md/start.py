"""Start frames: one per (structure, temperature, seed), the same for every model.

A run begins from a file that holds everything an engine needs, velocities included, so that two
models judged on the same key start from the same point of phase space and can be compared in
pairs. Numbers are written with 17 significant digits: reading the file gives back the same bits.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import ase.io
import numpy as np
from ase import Atoms, units

from ..errors import UserError

MARGIN_A: Final = 10.0
"""Vacuum on each side of the box that is put around atoms."""
_NEAR_A: Final = 2.0
_SAME_MASS: Final = 1e-3


def velocity_rng(structure: str, temperature_K: float, seed: int) -> np.random.Generator:
    """Random numbers that depend on the key alone, not on order, platform or model.

    The key's SHA-256 seeds a ``SeedSequence``, which seeds a counter-based Philox generator.

    Args:
        structure: name of the structure in the campaign.
        temperature_K: start temperature.
        seed: replica seed.
    """
    key = f"{structure}|{float(temperature_K)!r}|{int(seed)}".encode()
    words = np.frombuffer(hashlib.sha256(key).digest(), dtype="<u4")
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(words.tolist())))


def draw_momenta(
    masses_amu: np.ndarray, temperature_K: float, rng: np.random.Generator
) -> np.ndarray:
    """Maxwell-Boltzmann momenta with no net momentum, at the exact temperature.

    After the drift is removed, ``3 n - 3`` degrees of freedom are left; the momenta are scaled so
    that their kinetic energy is ``(3 n - 3) / 2 * k_B * T``, the temperature LAMMPS'
    ``compute temp`` shows. (``Atoms.get_temperature`` of ASE divides by ``3 n``.)

    Args:
        masses_amu: masses, ``[num_atoms]``.
        temperature_K: temperature; 0 gives zero momenta.
        rng: source of randomness.

    Returns:
        Momenta in ASE units, ``[num_atoms, 3]``.

    Raises:
        ValueError: fewer than two atoms, or a negative or non-finite temperature.
    """
    masses = np.asarray(masses_amu, dtype=np.float64)[:, None]
    if len(masses) < 2:
        raise ValueError(f"a start frame needs at least 2 atoms, got {len(masses)}")
    if not (np.isfinite(temperature_K) and temperature_K >= 0):
        raise ValueError(f"temperature_K must be finite and at least 0, got {temperature_K}")
    momenta = rng.standard_normal((len(masses), 3)) * np.sqrt(masses * units.kB * temperature_K)
    momenta -= masses * momenta.sum(axis=0) / masses.sum()
    kinetic_eV = 0.5 * float((momenta**2 / masses).sum())
    target_eV = 0.5 * (3 * len(masses) - 3) * units.kB * temperature_K
    return momenta * np.sqrt(target_eV / kinetic_eV) if kinetic_eV > 0 else np.zeros_like(momenta)


def start_frame(atoms: Atoms, structure: str, temperature_K: float, seed: int) -> Atoms:
    """Positions, cell and masses of ``atoms`` with the momenta of its key; nothing else is kept."""
    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    if atoms.has("masses"):
        frame.set_masses(atoms.get_masses())
    rng = velocity_rng(structure, temperature_K, seed)
    frame.set_momenta(draw_momenta(frame.get_masses(), temperature_K, rng))
    return frame


def extxyz_text(frame: Atoms) -> str:
    """Extended XYZ with every number to 17 significant digits (ASE's own writer keeps 8 decimals).

    Columns are species, positions (A), momenta (ASE units), and masses (amu) where they differ
    from the elements' own.
    """
    columns = "species:S:1:pos:R:3:momenta:R:3"
    numbers = np.hstack([frame.positions, frame.get_momenta()])
    if frame.has("masses"):
        columns += ":masses:R:1"
        numbers = np.hstack([numbers, frame.get_masses()[:, None]])
    lattice = " ".join(f"{x:.17g}" for x in np.asarray(frame.cell).ravel())
    pbc = " ".join("T" if periodic else "F" for periodic in frame.pbc)
    header = f'Lattice="{lattice}" Properties={columns} pbc="{pbc}"'
    rows = (
        f"{symbol} " + " ".join(f"{x:.17g}" for x in row)
        for symbol, row in zip(frame.symbols, numbers, strict=True)
    )
    return "\n".join([str(len(frame)), header, *rows]) + "\n"


def read_start(path: str | Path) -> Atoms:
    """Read a start frame as every engine runs it; see :func:`engine_frame`.

    Raises:
        UserError: no engine can run the frame.
    """
    atoms = ase.io.read(path, index=0, format="extxyz")  # a structure may be called POSCAR
    assert isinstance(atoms, Atoms)
    return engine_frame(atoms)


def engine_frame(atoms: Atoms) -> Atoms:
    """Return the frame that every engine runs: the same physics in a box that all can use.

    A direction that is not periodic gets a box around the atoms, orthogonal to the other vectors
    and :data:`MARGIN_A` beyond the outermost atoms, where the given one is missing, tilted, or
    has an atom outside or within 2 A of a face (LAMMPS and the criterion ``lost`` count an atom
    outside as lost). Atoms of one element get their mean mass where masses differ by less than
    0.1 %, since LAMMPS has one mass per type. Constraints are dropped.

    Raises:
        UserError: a position or momentum is not finite, or a periodic direction has no length.
    """
    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    frame.set_momenta(atoms.get_momenta())
    if not (np.isfinite(frame.positions).all() and np.isfinite(frame.get_momenta()).all()):
        raise UserError("a position or momentum is not a finite number")
    if np.linalg.matrix_rank(frame.cell.array[frame.pbc], tol=1e-6) < frame.pbc.sum():
        raise UserError(
            f"the cell {frame.cell.array.tolist()} is periodic (pbc {frame.pbc.tolist()}) along a "
            "vector of no length or in the plane of the others; give the vector, or say in the "
            "file that the direction is not periodic (pbc F)"
        )
    if atoms.has("masses"):
        frame.set_masses(_common_masses(atoms))
    if len(open_axes := _open_axes(frame)):
        frame.cell[list(open_axes)] = 0.0
        frame.center(vacuum=MARGIN_A, axis=open_axes)
    return frame


def mass_spread_amu(atoms: Atoms) -> dict[str, float]:
    """Return the largest difference between masses of one element, by element."""
    masses, symbols = atoms.get_masses(), np.array(atoms.symbols)
    return {str(name): float(np.ptp(masses[symbols == name])) for name in np.unique(symbols)}


def _common_masses(atoms: Atoms) -> np.ndarray:
    masses = atoms.get_masses()
    for symbol in set(atoms.symbols):
        same = np.array(atoms.symbols) == symbol
        if np.ptp(masses[same]) < _SAME_MASS * masses[same].mean():
            masses[same] = masses[same].mean()
    return masses


def _open_axes(atoms: Atoms) -> tuple[int, ...]:
    """Directions that are not periodic and whose box does not do."""
    cell, found = atoms.cell.array, []
    left_handed = np.linalg.det(cell) < 0
    for axis in np.flatnonzero(~atoms.pbc):
        height_A = np.linalg.norm(cell[axis])
        others = np.delete(cell, axis, axis=0)
        if left_handed or height_A == 0 or np.abs(others @ cell[axis]).max() > 1e-6 * height_A:
            found.append(int(axis))
            continue
        along_A = atoms.positions @ cell[axis] / height_A
        if along_A.min() < _NEAR_A - 1e-6 or along_A.max() > height_A - _NEAR_A + 1e-6:
            found.append(int(axis))
    return tuple(found)
