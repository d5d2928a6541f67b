"""Checks of a structure, the same for every command: positions, cell, contacts, size, time step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.neighborlist import neighbor_list

from ..errors import Finding, UserError

FEW_ATOMS = 16
# Fractions of the sum of two covalent radii: below the first a bond vector has no direction, below
# the second no bond of any two elements is known.
_SAME_PLACE = 0.02
_UNUSUAL = 0.5
_LISTED = 3
_SHOWN = 5
_AXES = "xyz"


def check_structure(
    atoms: Atoms,
    name: str = "structure",
    *,
    ensemble: str | None = None,
    contact_fraction: float | None = None,
    cutoff_A: float | None = None,
    ranks: int = 1,
    timestep_fs: float | None = None,
) -> list[Finding]:
    """Find what no model can be evaluated on, and what is unusual; with an ensemble, also for MD.

    Atoms are counted from 0.

    Args:
        atoms: the structure.
        name: how the findings call it, e.g. ``structure 'quartz'`` or ``frame 3 of test.xyz``.
        ensemble: ``nve``, ``nvt`` or ``npt`` of the MD run, ``None`` where none is made.
        contact_fraction: the contact criterion of the MD run, ``None`` where it is off.
        cutoff_A: the model's cutoff radius; with it, the thickness of the cell is checked.
        ranks: MPI ranks that share the cell.
        timestep_fs: time step of the MD run.

    Returns:
        Errors and warnings, each with its remedy; empty if all is well.
    """
    if broken := list(_broken(atoms, name)):
        return broken
    found = list(_contacts(atoms, name, contact_fraction, ensemble is not None))
    if ensemble is not None:
        found += _for_md(atoms, name, ensemble)
    if cutoff_A is not None:
        found += _thickness(atoms, name, cutoff_A, ranks)
    if timestep_fs is not None:
        found += check_time_step(atoms, name, timestep_fs)
    return found


def require_sound(frames: Iterable[Atoms], name: str) -> None:
    """Insist that a model can be evaluated on structures.

    Args:
        frames: the structures.
        name: of their file or role, for the message.

    Raises:
        UserError: some have a position that is not finite, atoms at the same place or the like.
    """
    each = (check_structure(atoms, f"frame {k} of {name}") for k, atoms in enumerate(frames))
    refuse([str(found) for some in each for found in some if found.severity == "error"])


def refuse(errors: Sequence[str]) -> None:
    """Raise the first errors, if there are any, with the number of the others."""
    if errors:
        more = f"\nand {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
        raise UserError("\n".join(errors[:_SHOWN]) + more)


def _broken(atoms: Atoms, name: str) -> Iterator[Finding]:
    """Find what makes every further check meaningless."""
    if len(atoms) == 0:
        yield Finding(f"{name}: has 0 atoms; allowed: at least 2")
        return
    cell = np.asarray(atoms.cell)
    if bad := np.flatnonzero(~np.isfinite(atoms.positions).all(1)).tolist():
        text = f"{name}: has positions that are not finite (atoms {_listed(bad)})"
        yield Finding(text, remedy="correct the file or take another frame")
        return
    if not np.isfinite(cell).all():
        yield Finding(f"{name}: has a cell that is not finite", remedy="correct the file")
        return
    if bad := np.flatnonzero(atoms.numbers < 1).tolist():
        text = f"{name}: has atoms of unknown element (X): {_listed(bad)}"
        yield Finding(text, remedy="remove them or give their element")
    masses = atoms.get_masses()
    if bad := np.flatnonzero(~(np.isfinite(masses) & (masses > 0)) & (atoms.numbers > 0)).tolist():
        text = f"{name}: has masses that are not above 0 (atoms {_listed(bad)})"
        yield Finding(text, remedy="correct or remove the masses in the file")
    missing = [_AXES[i] for i in range(3) if atoms.pbc[i] and not cell[i].any()]
    if missing:
        yield Finding(
            f"{name}: is periodic along {', '.join(missing)}, where its cell has no volume (a "
            "vector of zeros)",
            remedy="give the cell vector, or set pbc to F there",
        )
    elif cell.any() and abs(atoms.cell.complete().volume) < 1e-6:
        text = f"{name}: its cell has no volume (two of its vectors are parallel)"
        yield Finding(text, remedy="give three independent cell vectors")


def _contacts(
    atoms: Atoms, name: str, contact_fraction: float | None, for_md: bool
) -> Iterator[Finding]:
    radii = covalent_radii[atoms.numbers]
    criterion = contact_fraction or 0.0
    reach = max(criterion, _UNUSUAL)
    i, j, distance_A, shift = neighbor_list("ijdS", atoms, reach * radii)
    ratio = distance_A / (radii[i] + radii[j])
    # Each pair once; an atom and its own image too.
    once = (i < j) | ((i == j) & np.array([tuple(s) > (0, 0, 0) for s in shift], dtype=bool))
    order = np.flatnonzero(once)
    order = order[np.argsort(ratio[order], kind="stable")]
    if not len(order):
        return
    pairs = [
        f"atoms {i[k]} ({atoms.symbols[i[k]]}) and {j[k]} ({atoms.symbols[j[k]]}), "
        f"{distance_A[k]:.3g} A apart" + (", through the periodic image" if shift[k].any() else "")
        for k in order[:_LISTED]
    ]
    more = f" and {len(order) - _LISTED} more pairs" if len(order) > _LISTED else ""
    text, closest = "; ".join(pairs) + more, float(ratio[order[0]])
    remedy = "remove or move one of the two, or relax the structure"
    if closest < _SAME_PLACE:
        yield Finding(f"{name}: has atoms at the same place: {text}", remedy=remedy)
    elif for_md and closest < criterion:
        yield Finding(
            f"{name}: starts with a pair at {closest:.2f} of the sum of its covalent radii, so "
            f"every run would fail at step 0: {text}; allowed: criteria.contact_fraction (now "
            f"{criterion:g}) below that",
            remedy=remedy,
        )
    else:
        near = f"closer than {reach:g} of the sum of their covalent radii"
        yield Finding(f"{name}: has atoms {near}: {text}", "warning", remedy)


def _for_md(atoms: Atoms, name: str, ensemble: str) -> Iterator[Finding]:
    if len(atoms) < 2:
        yield Finding(
            f"{name}: has {len(atoms)} atoms; allowed: at least 2 (one atom without net momentum "
            "has no temperature)",
            remedy="repeat the cell or take a larger structure",
        )
    if ensemble == "npt" and not atoms.pbc.all():
        text = f"{name}: is not periodic in all directions; allowed with npt: periodic"
        yield Finding(text, remedy="use ensemble nvt, or give the structure a periodic cell")
    if missing := [_AXES[i] for i in range(3) if not np.asarray(atoms.cell)[i].any()]:
        yield Finding(
            f"{name}: has no cell vector along {', '.join(missing)}; the run puts it into vacuum "
            "there, 10 A beyond the outermost atoms",
            "warning",
            "give a cell to choose another box",
        )
    if atoms.constraints:
        fixed = sorted({int(i) for c in atoms.constraints for i in getattr(c, "index", ())})
        which = f" (atoms {_listed(fixed)})" if fixed else ""
        yield Finding(f"{name}: constraints are ignored, every atom moves{which}", "warning")
    if 1 < len(atoms) < FEW_ATOMS:
        yield Finding(
            f"{name}: has only {len(atoms)} atoms; temperature fluctuates as 1/sqrt(atoms). "
            "`structures: {NAME: {file: FILE, repeat: 2}}` repeats the cell",
            "warning",
        )


def _thickness(atoms: Atoms, name: str, cutoff_A: float, ranks: int) -> Iterator[Finding]:
    """Warn of a cell thinner than the cutoff, as a whole or in the part of one rank."""
    cell = atoms.cell.complete()
    areas = np.linalg.norm(np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]]), axis=1)
    heights_A = np.abs(cell.volume / areas)

    def thickest(ranks: int) -> float:
        return float(max(min(heights_A / grid) for grid in _grids(ranks)))

    periodic = atoms.pbc & (heights_A < cutoff_A)
    if periodic.any():
        axis = int(np.flatnonzero(periodic)[0])
        yield Finding(
            f"{name}: its cell is {heights_A[axis]:.2f} A thick along {_AXES[axis]}, less than the "
            f"cutoff of {cutoff_A:g} A, so that an atom interacts with its own images",
            "warning",
            "repeat the cell",
        )
    elif ranks > 1 and (best := thickest(ranks)) < cutoff_A:
        enough = max(n for n in range(1, ranks) if n == 1 or thickest(n) >= cutoff_A)
        yield Finding(
            f"{name}: {ranks} MPI ranks get boxes of {best:.2f} A at most, thinner than the "
            f"cutoff of {cutoff_A:g} A: most of their atoms are copies of others' (ghosts)",
            "warning",
            f"use at most {enough} rank{'s' if enough > 1 else ''}, or a larger cell",
        )


def _grids(ranks: int) -> list[np.ndarray]:
    divisors = [n for n in range(1, ranks + 1) if ranks % n == 0]
    return [np.array(g) for g in product(divisors, repeat=3) if np.prod(g) == ranks]


def check_time_step(atoms: Atoms, name: str, timestep_fs: float) -> list[Finding]:
    """Warn of a time step above which the lightest atom's fastest vibration is poorly resolved.

    About a ninth of the period of the stiffest bonds: a hydrogen stretch (3700 cm^-1) takes 9 fs,
    and a period grows with the square root of the mass, so ``1 fs * sqrt(mass / amu)``.

    Args:
        atoms: the structure.
        name: how the finding calls it.
        timestep_fs: the time step.
    """
    longest_fs = float(np.sqrt(atoms.get_masses().min()))
    if timestep_fs <= 1.01 * longest_fs:
        return []
    lightest = chemical_symbols[atoms.numbers[atoms.get_masses().argmin()]]
    return [
        Finding(
            f"timestep_fs: {timestep_fs:g} fs is long for {lightest} in "
            f"{name.removeprefix('structure ')} (about "
            f"{longest_fs:.1f} fs resolves its fastest vibration), {timestep_fs / longest_fs:.1f} "
            "times what it allows; a model may be blamed for what the time step does",
            "warning",
            f"use a time step of at most {max(np.floor(longest_fs * 2) / 2, 0.5):g} fs",
        )
    ]


def _listed(indices: list[int]) -> str:
    text = ", ".join(str(i) for i in indices[:10])
    return text + (f" and {len(indices) - 10} more" if len(indices) > 10 else "")
