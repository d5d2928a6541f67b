"""Grades of labelled or unlabelled structures: tables, worst atoms, and what a grade means."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from scipy.optimize import isotonic_regression
from scipy.stats import mannwhitneyu

from ..errors import UserError
from ..features.frames import outputs
from ..structures import require_sound
from .grade import FIELD, ExtrapolationGrade, Progress


@dataclass(frozen=True)
class Scores:
    """Grades of the atoms of one file.

    Attributes:
        name: of the file.
        frames: the structures, each with the array ``extrapolation_grade``.
        grade: of all atoms, ``[num_atoms]``.
        symbols: of all atoms.
        frame: index of each atom's structure.
        atom: index of each atom in its structure.
        force_error_eV_per_A: norm of the force error; NaN where there is no label.
    """

    name: str
    frames: list[Atoms]
    grade: np.ndarray
    symbols: np.ndarray
    frame: np.ndarray
    atom: np.ndarray
    force_error_eV_per_A: np.ndarray

    @property
    def labelled(self) -> np.ndarray:
        """Which atoms have a force label, ``[num_atoms]`` bool."""
        finite: np.ndarray = np.isfinite(self.force_error_eV_per_A)
        return finite

    def rows(self) -> list[dict[str, Any]]:
        """One row for all atoms and one per element: number, median, 99 %, largest, share > 1."""
        found = []
        for element in ["all", *sorted(set(self.symbols))]:
            grade = self.grade if element == "all" else self.grade[self.symbols == element]
            error = self.force_error_eV_per_A
            error = error if element == "all" else error[self.symbols == element]
            found.append(
                {
                    "file": self.name,
                    "element": element,
                    "atoms": len(grade),
                    "median": float(np.median(grade)),
                    "p99": float(np.quantile(grade, 0.99)),
                    "largest": float(grade.max()),
                    "share_above_1": float((grade > 1).mean()),
                    "force_error_eV_per_A": float(np.nanmean(error))
                    if np.isfinite(error).any()
                    else None,
                }
            )
        return found

    def worst(self, number: int = 10) -> list[dict[str, Any]]:
        """The atoms with the largest grades: structure, index, element, grade."""
        order = np.argsort(-self.grade, kind="stable")[:number]
        return [
            {
                "file": self.name,
                "frame": int(self.frame[k]),
                "atom": int(self.atom[k]),
                "element": str(self.symbols[k]),
                "grade": float(self.grade[k]),
            }
            for k in order
        ]


def score(
    grade: ExtrapolationGrade,
    model: Any,
    name: str,
    frames: Iterable[Atoms],
    progress: Progress | None = None,
    keep: bool = True,
) -> Scores:
    """Grade every atom of some structures, and measure the force errors where there are labels.

    Args:
        grade: fitted to ``model``.
        model: an eager model.
        name: of the file.
        frames: structures.
        progress: wraps the iterable, with a description.
        keep: whether the scores hold the structures.

    Raises:
        UserError: the grade was fitted to another model, or a structure has atoms at the same
            place or positions that are not finite.
    """
    grade.check_model(model)
    kept: list[Atoms] = []
    parts: list[tuple[np.ndarray, ...]] = []
    frames = list(frames)
    require_sound(frames, name)
    for number, frame in enumerate((progress or (lambda f, _: f))(frames, name)):
        for data, target in outputs(model, [frame], batch_size=1):
            gamma = grade.of_output(data).numpy()
            error = np.full(len(frame), np.nan)
            if "forces" in target:
                error = (data["forces"] - target["forces"]).norm(dim=-1).double().numpy()
        if keep:
            graded = frame.copy()
            graded.calc = frame.calc
            graded.set_array(FIELD, gamma)
            kept.append(graded)
        parts.append(
            (gamma, np.array(frame.symbols), np.full(len(frame), number),
             np.arange(len(frame)), error)
        )  # fmt: skip
    if not parts:
        raise UserError(f"{name}: no structure to grade")
    return Scores(name, kept, *map(np.concatenate, zip(*parts, strict=True)))


def auroc(values: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve; NaN where all are or none is positive.

    Args:
        values: larger for what should be positive, ``[n]``.
        positive: ``[n]`` bool.
    """
    ones, zeros = int(positive.sum()), int((~positive).sum())
    if not ones or not zeros:
        return float("nan")
    return float(mannwhitneyu(values[positive], values[~positive]).statistic / (ones * zeros))


@dataclass(frozen=True)
class Reading:
    """What force error to expect at a grade: a rising fit with a band, from labelled atoms.

    Attributes:
        grade: knots, rising, ``[k]``.
        median_eV_per_A: of the error at the knots.
        low_eV_per_A: 5 % of atoms have less.
        high_eV_per_A: 95 % of atoms have less.
    """

    grade: np.ndarray
    median_eV_per_A: np.ndarray
    low_eV_per_A: np.ndarray
    high_eV_per_A: np.ndarray

    @classmethod
    def fit(cls, grade: np.ndarray, error: np.ndarray, bins: int = 20) -> Reading | None:
        """Fit quantiles in bins of equal numbers of atoms, made monotone; ``None`` below 20."""
        ok = np.isfinite(grade) & np.isfinite(error)
        if ok.sum() < 20:
            return None
        order = np.argsort(grade[ok], kind="stable")
        groups = np.array_split(order, min(bins, int(ok.sum()) // 10))
        knots = np.array([np.median(grade[ok][g]) for g in groups])
        curves = [
            isotonic_regression([np.quantile(error[ok][g], q) for g in groups]).x
            for q in (0.5, 0.05, 0.95)
        ]
        return cls(knots, *curves)

    def expect(self, grade: float) -> tuple[float, float, float]:
        """Median, 5 % and 95 % of the force error in eV/A at a grade."""
        curves = (self.median_eV_per_A, self.low_eV_per_A, self.high_eV_per_A)
        return tuple(float(np.interp(grade, self.grade, c)) for c in curves)  # type: ignore[return-value]
