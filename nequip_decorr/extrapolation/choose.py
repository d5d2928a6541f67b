r"""Choose the structures whose labels teach a model most: greedy, without labels.

An atom's whitened features in units of the edge form its *grade vector* :math:`g`, whose length is
the extrapolation grade (:meth:`.Gaussians.vector`). A labelled atom enters the covariance with a
weight of its own, so that rare atoms count however large the training set is. The grade of an atom
once the atoms :math:`c` of some structures are labelled is then

.. math::

    \gamma'^2 = g^\top M^{-1} g, \qquad M = I + \sum_c g_c g_c^\top

It never rises, and that of a labelled atom is below 1: nearly equal structures leave the pool with
the one that was chosen. Sources: D-optimal selection (Podryabinkin and Shapeev 2017,
doi:10.1016/j.commatsci.2017.08.031), last-layer covariance (Bigi et al. 2024, arXiv:2403.02251).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Final

import torch
from torch import Tensor

EDGE: Final = 1.0


@dataclass(frozen=True)
class Candidate:
    """A structure that may get a label.

    Attributes:
        vectors: grade vector of each atom, ``[num_atoms, D]``.
        types: type of each atom, ``[num_atoms]``.
        own: whether it is a cell of the user's, rather than a frame of MD.
    """

    vectors: Tensor
    types: Tensor
    own: bool = False

    def composition(self, num_types: int) -> tuple[int, ...]:
        """Atoms of each type in the smallest formula unit."""
        counts = self.types.bincount(minlength=num_types).tolist()
        return tuple(n // max(gcd(*counts), 1) for n in counts)

    @property
    def largest(self) -> float:
        """Largest grade of its atoms."""
        return float(self.vectors.norm(dim=1).max())


@dataclass(frozen=True)
class Choice:
    """A chosen structure.

    Attributes:
        index: among the candidates.
        grade: largest grade at the time of choice, after those chosen before it.
        atom: the atom that has it.
        why: what it was chosen for: ``own cells``, ``type T``, ``composition`` or ``largest
            grade``.
    """

    index: int
    grade: float
    atom: int
    why: str


class LabelledSoFar:
    """The matrices M per atom type; additive in the atoms that get labels."""

    def __init__(self, num_types: int, width: int) -> None:
        self.matrix = torch.eye(width, dtype=torch.float64).repeat(num_types, 1, 1)
        self._factor = self.matrix.clone()

    def add(self, candidate: Candidate) -> None:
        """Count the atoms of a structure as labelled."""
        for number in candidate.types.unique().tolist():
            g = candidate.vectors[candidate.types == number]
            self.matrix[number] += g.T @ g
            self._factor[number] = torch.linalg.cholesky(self.matrix[number])

    def whitened(self, whiten: Tensor) -> Tensor:
        """Whitening factors after which the length of a vector is the grade, ``[T, K, K]``."""
        white: Tensor = torch.linalg.solve_triangular(self._factor, whiten, upper=False)
        return white

    def grade(self, candidate: Candidate) -> Tensor:
        """Grade of each atom of a structure, ``[num_atoms]``."""
        found = torch.zeros(len(candidate.types), dtype=torch.float64)
        for number in candidate.types.unique().tolist():
            mine = candidate.types == number
            white = torch.linalg.solve_triangular(
                self._factor[number], candidate.vectors[mine].T, upper=False
            )
            found[mine] = white.norm(dim=0)
        return found


def choose(
    candidates: Sequence[Candidate],
    num_types: int,
    frames: int,
    *,
    per_type: int = 1,
    per_composition: int = 0,
    own_share: float = 0.25,
) -> list[Choice]:
    """Choose structures one after the other, each the one that is farthest from all labelled data.

    Args:
        candidates: structures that make sense; wreckage must have been left out.
        num_types: number of atom types.
        frames: at most so many are chosen; fewer where nothing is beyond the edge any more.
        per_type: so many are chosen for each atom type first, by the grades of its atoms alone.
        per_composition: so many are chosen of each composition then, where there are that many.
        own_share: share of ``frames`` that is offered to the user's own cells before all else.

    Returns:
        The choices in order.
    """
    if not candidates:
        return []
    labelled = LabelledSoFar(num_types, candidates[0].vectors.shape[1])
    grades = [labelled.grade(c) for c in candidates]
    found: list[Choice] = []

    def take(number: int, why: str, pool: Sequence[int], kind: int | None = None) -> None:
        for _ in range(number):
            best = max(
                (_worst(grades[k], candidates[k], k, kind) for k in pool), default=(0.0, 0, 0)
            )
            if best[0] <= EDGE or len(found) >= frames:
                return
            grade, index, atom = best
            found.append(Choice(index, grade, atom, why))
            labelled.add(candidates[index])
            for k, g in enumerate(grades):
                # The grade only falls, so what is inside the edge needs no second look.
                if bool((g > EDGE).any()):
                    grades[k] = labelled.grade(candidates[k])

    every = range(len(candidates))
    take(round(own_share * frames), "own cells", [k for k in every if candidates[k].own])
    for kind in range(num_types):
        have = sum(int(candidates[c.index].types[c.atom]) == kind for c in found)
        take(max(0, per_type - have), f"type {kind}", every, kind)
    of_composition: dict[tuple[int, ...], list[int]] = {}
    for k in every:
        of_composition.setdefault(candidates[k].composition(num_types), []).append(k)
    for pool in of_composition.values():
        have = sum(choice.index in pool for choice in found)
        take(max(0, per_composition - have), "composition", pool)
    take(frames, "largest grade", every)
    return found


def _worst(grade: Tensor, c: Candidate, index: int, kind: int | None) -> tuple[float, int, int]:
    """Largest grade of a structure (of a type), the structure's index and the atom's."""
    if kind is not None:
        grade = torch.where(c.types == kind, grade, 0.0)
    atom = int(grade.argmax()) if len(grade) else 0
    return (float(grade[atom]) if len(grade) else 0.0, index, atom)
