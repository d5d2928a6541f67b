"""ASE calculators with a planted failure. The harmless part ties atoms to where they begin."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.geometry import find_mic


class Planted(Calculator):
    """Springs to the start positions, and something that goes wrong.

    A configuration is evaluated once per step, so ``self.step`` is the MD step.

    Args:
        failure: ``none``, ``nan_forces``, ``nan_energy``, ``crash``, ``heat``, ``well``, ``sink``,
            ``push`` or ``kick``.
        at: step from which on it goes wrong.
        strength: how strongly.
        k: spring constant, eV/A^2.
    """

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self, failure: str = "none", at: int = 0, strength: float = 1.0, k: float = 2.0
    ) -> None:
        super().__init__()
        self.failure, self.at, self.strength, self.k = failure, at, strength, k
        self.step = -1
        self.home: np.ndarray | None = None
        self.before: np.ndarray | None = None

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.step += 1
        x = self.atoms.positions.copy()
        if self.home is None or len(self.home) != len(x):
            self.home = self.before = x
        away = self._between(self.home, x)
        energy, forces = 0.5 * self.k * float((away**2).sum()), -self.k * away
        if self.step >= self.at and self.failure != "none":
            energy, forces = getattr(self, f"_{self.failure}")(x, energy, forces)
        self.before = x
        self.results = {"energy": energy, "forces": forces, "stress": np.zeros(6)}

    def _between(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Shortest vectors: LAMMPS wraps atoms into the cell now and then."""
        return find_mic(end - start, self.atoms.cell, self.atoms.pbc)[0]

    def _nan_forces(self, x: np.ndarray, energy: float, forces: np.ndarray) -> Any:
        forces[3, 1] = np.nan
        return energy, forces

    def _nan_energy(self, x: np.ndarray, energy: float, forces: np.ndarray) -> Any:
        return np.nan, forces

    def _crash(self, x: np.ndarray, energy: float, forces: np.ndarray) -> Any:
        raise RuntimeError("the engine caught fire")

    def _heat(self, x: np.ndarray, energy: float, forces: np.ndarray) -> Any:
        """Pushes along the last displacement: friction of the wrong sign."""
        return energy, forces + self.strength * self._between(self.before, x)

    def _sink(self, x: np.ndarray, energy: float, forces: np.ndarray) -> Any:
        """Energy that falls with time, felt by no force."""
        return energy - self.strength * len(x) * self.step, forces

    def _well(self, x: np.ndarray, energy: float, forces: np.ndarray) -> Any:
        """Draws atoms 0 and 1 together with a constant force."""
        bond = self._between(x[:1], x[1:2])[0]
        pull = self.strength * bond / np.linalg.norm(bond)
        forces[0] += pull
        forces[1] -= pull
        return energy + self.strength * float(np.linalg.norm(bond)), forces

    def _push(self, x: np.ndarray, energy: float, forces: np.ndarray) -> Any:
        """Pushes atom 0 along z, without its spring."""
        forces[0] = [0.0, 0.0, self.strength]
        return energy, forces

    def _kick(self, x: np.ndarray, energy: float, forces: np.ndarray) -> Any:
        forces[2, 0] = -self.strength
        return energy, forces


class Graded(Planted):
    """Nothing goes wrong, but atom 4 has the extrapolation grade ``strength`` from ``at`` on."""

    implemented_properties = [*Planted.implemented_properties, "extrapolation_grade"]  # noqa: RUF012

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        grade = np.linspace(0.0, 0.9, len(self.atoms))
        grade[4] = self.strength if self.step >= self.at else 0.5
        self.results["extrapolation_grade"] = grade
