"""Springs between the neighbours of a crystal: an ASE calculator for long runs of small cells."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from matscipy.neighbours import neighbour_list


class Springs(Calculator):
    """``k x^2 (1 + x^2 / s^2) / 2`` of a bond, ``x`` beyond its length in the first structure.

    The quartic part couples the modes of vibration, which harmonic springs leave alone.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]
    reach_A, k_eV_per_A2, softness_A = 3.3, 10.0, 0.1

    def __init__(self) -> None:
        super().__init__()
        self.bonds: tuple[np.ndarray, ...] | None = None

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes
    ) -> None:
        """Energy and forces; the first structure is at rest."""
        super().calculate(atoms, properties, system_changes)
        positions = self.atoms.positions
        if self.bonds is None:
            i, j, shift, length = neighbour_list("ijSd", self.atoms, self.reach_A)
            once = (i < j) | ((i == j) & (shift @ [4, 2, 1] > 0))
            self.bonds = i[once], j[once], shift[once] @ self.atoms.cell.array, length[once]
        i, j, shift, rest = self.bonds
        vector = positions[j] - positions[i] + shift
        length = np.sqrt(np.einsum("ij,ij->i", vector, vector))
        x = length - rest
        square = (x / self.softness_A) ** 2
        self.results["energy"] = float(0.5 * self.k_eV_per_A2 * (x**2 * (1 + square)).sum())
        pull = (self.k_eV_per_A2 * x * (1 + 2 * square) / length)[:, None] * vector
        forces = np.zeros_like(positions)
        np.add.at(forces, i, pull)
        np.add.at(forces, j, -pull)
        self.results["forces"] = forces
