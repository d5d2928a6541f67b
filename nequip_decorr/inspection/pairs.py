"""Pair curves: the energy of two atoms that approach, a quick check for a missing wall.

A model has no repulsion where its data have no frames. Each pair of elements is looked at twice:
two atoms alone, and the closest two atoms of the data, one of which moves towards the other while
all others stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any, Final

import numpy as np
from ase import Atoms
from matscipy.neighbours import neighbour_list
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..features.frames import Model, outputs

CLOSEST: Final = 0.5
"""Share of the shortest distance of the data at which the curves begin."""
LOW_BARRIER_EV: Final = 3.0
"""Atoms at 3000 K meet with less: 12 kT."""
_NOTICED_EV: Final = 0.1
_POINTS: Final = 40


@dataclass(frozen=True)
class PairCurve:
    """Energy of a pair of elements against their distance.

    Attributes:
        model: its name.
        pair: the elements, e.g. ``Si-O``.
        shortest_A: shortest distance in the data; infinite where the pair is never within the
            cutoff.
        vacuum: distances (Å) and energies (eV) of the two alone, ``[2, N]``; zero at the largest
            distance.
        cell: of the closest two among the atoms of their frame, ``[2, N]``; zero at
            ``shortest_A``. ``None`` without such a pair.
    """

    model: str
    pair: str
    shortest_A: float
    vacuum: np.ndarray
    cell: np.ndarray | None

    @property
    def barrier_eV(self) -> float:
        """Largest energy that two atoms need to come within half the shortest distance."""
        return float("nan") if self.cell is None else float(self.cell[1].max())

    @property
    def finding(self) -> str:
        """What it means, in words."""
        if self.cell is None:
            return "not in the data"
        if not np.isfinite(self.cell[1]).all():
            return "energies that are not finite"
        if self.barrier_eV < LOW_BARRIER_EV:
            return "no wall"
        falls = self.barrier_eV - self.cell[1, 0]
        return "falls again" if falls > _NOTICED_EV else "repels"

    def rows(self) -> list[dict[str, Any]]:
        """Plain rows: one per distance."""
        return [
            {
                "model": self.model, "pair": self.pair, "shortest_A": f"{self.shortest_A:.6g}",
                "surroundings": where, "distance_A": f"{distance:.6g}",
                "energy_eV": f"{energy:.9g}",
            }
            for where, curve in (("vacuum", self.vacuum), ("cell", self.cell))
            if curve is not None
            for distance, energy in curve.T
        ]  # fmt: skip

    def line(self) -> list[str]:
        """Model, pair, shortest distance, barrier and finding as text."""
        shortest = f"{self.shortest_A:.2f}" if np.isfinite(self.shortest_A) else "–"
        barrier = "–" if np.isnan(self.barrier_eV) else f"{self.barrier_eV:.2f}"
        return [self.model, self.pair, shortest, barrier, self.finding]


HEADER: Final = ("model", "pair", "shortest distance in the data (Å)", "barrier (eV)", "finding")


class ClosestPairs:
    """The closest two atoms of each pair of elements, over frames that come one by one.

    Args:
        model: from :func:`~nequip_decorr.features.frames.open_model`.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.elements: set[str] = set()
        self.found: dict[tuple[str, str], tuple[float, Atoms, int, np.ndarray]] = {}

    def add(self, frame: Atoms) -> None:
        """Look through one frame."""
        self.elements |= set(frame.symbols)
        i, j, distance, vector = neighbour_list("ijdD", frame, self.model.cutoff_A)
        symbols = np.array(frame.symbols)
        for pair in combinations_with_replacement(self.model.type_names, 2):
            mine = np.flatnonzero((symbols[i] == pair[0]) & (symbols[j] == pair[1]) & (i != j))
            if len(mine) and distance[mine].min() < self.found.get(pair, (np.inf,))[0]:
                k = mine[distance[mine].argmin()]
                bare = Atoms(frame.symbols, frame.positions, cell=frame.cell, pbc=frame.pbc)
                bare.positions[j[k]] = bare.positions[i[k]] + vector[k]
                self.found[pair] = (float(distance[k]), bare, int(j[k]), vector[k])


def pair_curves(pairs: ClosestPairs, name: str = "model") -> list[PairCurve]:
    """Curves of every pair of the model's elements that the data have.

    Args:
        pairs: of the training data.
        name: of the model.
    """
    model, closest = pairs.model, pairs.found
    known = [t for t in model.type_names if t in pairs.elements]
    found = []
    for pair in combinations_with_replacement(known, 2):
        shortest = closest[pair][0] if pair in closest else np.inf
        start = CLOSEST * (shortest if pair in closest else 1.0)
        apart = np.linspace(start, 0.99 * model.cutoff_A, _POINTS)
        alone = [_alone(pair, d, model.cutoff_A) for d in apart]
        vacuum = _energies(model, alone)
        curve = None
        if pair in closest:
            _, frame, moved, vector = closest[pair]
            near = np.linspace(start, shortest, _POINTS)
            inside = [_closer(frame, moved, vector, d) for d in near]
            energies = _energies(model, inside)
            curve = np.stack([near, energies - energies[-1]])
        found.append(
            PairCurve(name, "-".join(pair), shortest, np.stack([apart, vacuum - vacuum[-1]]), curve)
        )
    return found


def _alone(pair: tuple[str, str], distance_A: float, cutoff_A: float) -> Atoms:
    return Atoms(pair, [[0, 0, 0], [distance_A, 0, 0]], cell=[4 * cutoff_A] * 3, pbc=False)


def _closer(frame: Atoms, moved: int, vector: np.ndarray, distance_A: float) -> Atoms:
    """The frame with one atom moved along the line to its neighbour; it stands at the end of it."""
    atoms: Atoms = frame.copy()
    atoms.positions[moved] += vector * (distance_A / np.linalg.norm(vector) - 1)
    return atoms


def _energies(model: Model, frames: Sequence[Atoms]) -> np.ndarray:
    """Energies in eV, ``[num_frames]``."""
    found = [out["total_energy"].double().reshape(-1) for out, _ in outputs(model.module, frames)]
    return np.concatenate(found)


def table(curves: Sequence[PairCurve]) -> Table:
    """The table for the terminal."""
    shown = Table(title="two atoms that approach", title_justify="left", title_style="bold",
                  box=SIMPLE_HEAD)  # fmt: skip
    for number, name in enumerate(HEADER):
        shown.add_column(name, justify="right" if number in (2, 3) else "left")
    for curve in curves:
        shown.add_row(*curve.line())
    return shown
