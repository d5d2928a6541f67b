"""How long MD is right, and how long it can be trusted: first passages over a run's frames."""

from __future__ import annotations

from typing import Final

import numpy as np

ENERGY_BOUND: Final = 0.15
"""Error of the energy gained since the start, eV/atom."""
FORCE_SHARE: Final = 0.5
"""Mean absolute error of the forces over their root mean square."""
GRADE_BOUND: Final = 5.0
"""Largest grade of an atom."""
ATOMS_SHARE: Final = 0.5
"""Share of atoms beyond the edge of the data."""
PERSISTENCE: Final = 2


def wrong_frames(
    energy_eV_per_atom: np.ndarray,
    true_energy_eV_per_atom: np.ndarray,
    force_mae_eV_per_A: np.ndarray,
    force_rms_eV_per_A: np.ndarray,
    *,
    energy_bound: float = ENERGY_BOUND,
    force_share: float = FORCE_SHARE,
) -> np.ndarray:
    """Tell on which frames the model is wrong; the right time is their :func:`first_passage`.

    Args:
        energy_eV_per_atom: of the model, ``[F]``.
        true_energy_eV_per_atom: the labels, ``[F]``.
        force_mae_eV_per_A: mean absolute error of the force components, ``[F]``. The first frame
            is a start at rest, whose forces are near zero, and is not judged by them.
        force_rms_eV_per_A: root mean square of the true force components, ``[F]``.
        energy_bound: of the error of the energy gained since the first frame, eV/atom.
        force_share: of the root mean square.

    Returns:
        Whether a bound is passed, ``[F]`` bool.
    """
    error = np.asarray(energy_eV_per_atom) - np.asarray(true_energy_eV_per_atom)
    energy_wrong = ~(np.abs(error - error[:1]) <= energy_bound)
    allowed = force_share * np.asarray(force_rms_eV_per_A)
    force_wrong = ~(np.asarray(force_mae_eV_per_A) <= allowed)
    force_wrong[:1] = False
    wrong: np.ndarray = energy_wrong | force_wrong
    return wrong


def trusted_time_ps(
    time_ps: np.ndarray,
    max_grade: np.ndarray,
    share_above_1: np.ndarray,
    *,
    grade_bound: float = GRADE_BOUND,
    atoms_share: float = ATOMS_SHARE,
    persistence: int = PERSISTENCE,
) -> float | None:
    """First time at which the grade is beyond a bound on ``persistence`` frames in a row.

    Args:
        time_ps: of the frames, rising, ``[F]``.
        max_grade: largest extrapolation grade of an atom, ``[F]``.
        share_above_1: share of atoms beyond the edge of the data, ``[F]``.
        grade_bound: a frame with a larger grade cannot be trusted ...
        atoms_share: ... nor one with a larger share of its atoms beyond the edge.
        persistence: frames in a row.

    Returns:
        The time of the first of those frames, ``None`` if there are none; frames without a grade
        (NaN) are left out.
    """
    known = np.isfinite(np.asarray(share_above_1, dtype=float))
    beyond = (np.asarray(max_grade)[known] > grade_bound) | (
        np.asarray(share_above_1)[known] > atoms_share
    )
    return first_passage(np.asarray(time_ps)[known], beyond, persistence)


def first_passage(
    time_ps: np.ndarray, beyond: np.ndarray, persistence: int = PERSISTENCE
) -> float | None:
    """Find the first of ``persistence`` frames in a row that are beyond a bound.

    Args:
        time_ps: of the frames, rising, ``[F]``; the first is the start.
        beyond: ``[F]`` bool.
        persistence: frames in a row; at the end of a run fewer do not count.

    Returns:
        The time of the first of them, ``None`` if there are none.
    """
    for k in range(len(beyond) - persistence + 1):
        if beyond[k : k + persistence].all():
            return float(time_ps[k])
    return None


def frames_to_label(number: int) -> list[int]:
    """Choose of so many frames the first ten, and about 40 evenly in log time to the last."""
    late = np.geomspace(1, max(number - 1, 1), 40).round().astype(int)
    return sorted({*range(min(10, number)), *(k for k in late.tolist() if k < number)})
