"""Distances that say a run has gone wrong: the closest pair, and atoms outside the cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from matscipy.neighbours import neighbour_list

CONTACT_CAP: Final = 1.2
"""Fractions of the covalent sum above this are reported as this."""


@dataclass(frozen=True)
class Contact:
    """The pair that is closest by ``fraction``, its distance over the sum of covalent radii."""

    fraction: float
    distance_A: float
    pair: tuple[int, int] | None


def contact_radii_A(elements: Sequence[str], fraction: float) -> list[float]:
    """Radius per element; two atoms are in contact when closer than the sum of theirs."""
    return [fraction * float(covalent_radii[atomic_numbers[element]]) for element in elements]


def closest_contact(
    numbers: np.ndarray,
    positions_A: np.ndarray,
    cell_A: np.ndarray,
    pbc: Sequence[bool] | np.ndarray,
    cap: float = CONTACT_CAP,
) -> Contact:
    """Pair with the smallest distance as a fraction of the sum of its covalent radii.

    Args:
        numbers: atomic numbers, ``[num_atoms]``.
        positions_A: finite positions, ``[num_atoms, 3]``; they may lie outside the cell.
        cell_A: cell vectors in rows, ``[3, 3]``.
        pbc: which directions are periodic, ``[3]``.
        cap: pairs further apart than this fraction are not looked for.
    """
    radii = covalent_radii[numbers]
    i, j, distance_A = neighbour_list(
        "ijd", positions=positions_A, cell=cell_A, pbc=pbc, cutoff=2 * cap * float(radii.max())
    )
    fraction = distance_A / (radii[i] + radii[j])
    if len(fraction) == 0 or fraction.min() >= cap:
        return Contact(cap, math.inf, None)
    closest = int(fraction.argmin())
    pair = (int(i[closest]), int(j[closest]))
    return Contact(float(fraction[closest]), float(distance_A[closest]), pair)


def num_outside(
    positions_A: np.ndarray, cell_A: np.ndarray, pbc: Sequence[bool] | np.ndarray
) -> int:
    """Atoms beyond the cell in a direction that is not periodic; ``positions_A [num_atoms, 3]``."""
    if np.all(pbc):
        return 0
    scaled = np.linalg.solve(cell_A.T, positions_A.T).T[:, ~np.asarray(pbc, dtype=bool)]
    return int(((scaled < 0) | (scaled > 1)).any(axis=1).sum())
