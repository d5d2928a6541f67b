"""When a run has failed: one pure function per criterion, thresholds in one place.

Both LAMMPS engines evaluate the same criteria inside LAMMPS (``lammps/check.lmp``), with the
bounds that :func:`bounds` and :func:`contact_radii_A` give; the ASE engine calls :func:`evaluate`.

The defaults against the reference potential (SiO.tersoff): 275 runs of 5 to 6 ps at 300 to 2500 K,
NVE, NVT and NPT, of relaxed quartz, cristobalite, glass, SiO1.55 and SiO1.1 (48 to 96 atoms),
extremes over every step:

    criterion     worst of the reference                 default bound
    temperature   0.76 of the bound (NVE), 0.58 (else)   3 x target, at least 2500 K
    contact       0.75 of the covalent sum               0.6
    energy        0.22 below, 0.52 above the start       1.0 below, 2.0 above, eV/atom
    force         59 eV/A                                200 eV/A
    drift         0.010 eV/atom                          0.2 eV/atom

None was called a failure. NVE from a structure that is far from relaxed heats by what it releases:
SiO1.1 with oxygen freshly taken out gave off up to 0.6 eV/atom, and 9 of 30 such NVE runs passed
the temperature bound. Relax first, or raise ``temperature_floor_K``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from matscipy.neighbours import neighbour_list

from .spec import (
    Cause,
    Criteria,
    RunSpec,
)

CONTACT_CAP: Final = 1.2
"""Fractions of the covalent sum above this are reported as this."""


@dataclass(frozen=True)
class State:
    """What the criteria look at.

    Attributes:
        step: MD step.
        target_K: target temperature at this step.
        temperature_K: instantaneous temperature.
        potential_eV_per_atom: potential energy.
        total_eV_per_atom: potential and kinetic energy.
        max_force_eV_per_A: largest component of a force, in magnitude; NaN if one is.
        min_contact: smallest distance as a fraction of the sum of the two covalent radii.
        finite: whether every position and velocity is a finite number.
        num_lost: atoms that have left the cell through a side that is not periodic.
    """

    step: int
    target_K: float
    temperature_K: float
    potential_eV_per_atom: float
    total_eV_per_atom: float
    max_force_eV_per_A: float
    min_contact: float = CONTACT_CAP
    finite: bool = True
    num_lost: int = 0


@dataclass(frozen=True)
class Violation:
    """A criterion that is met: the run has failed. ``value`` is ``None`` if it is no number."""

    cause: Cause
    step: int
    value: float | None
    threshold: float | None
    message: str


@dataclass(frozen=True)
class Contact:
    """The pair that is closest by ``fraction``, its distance over the sum of covalent radii."""

    fraction: float
    distance_A: float
    pair: tuple[int, int] | None


def temperature_limit_K(criteria: Criteria, target_K: float) -> float:
    """Highest temperature allowed at a target; infinite where the criterion is off."""
    if criteria.temperature_factor is None:
        return math.inf
    return max(criteria.temperature_factor * target_K, criteria.temperature_floor_K)


def target_temperature_K(spec: RunSpec, step: int) -> float:
    """Target of the thermostat at a step; a ramp is linear and ends at the last step."""
    if spec.temperature_end_K is None:
        return spec.temperature_K
    return spec.temperature_K + (spec.temperature_end_K - spec.temperature_K) * step / spec.steps


def bounds(criteria: Criteria, ensemble: str) -> dict[str, float]:
    """Bounds by the name of the check in ``check.lmp``; infinite where a criterion is off."""
    given = {
        "energy_below": criteria.energy_below_eV,
        "energy_above": criteria.energy_above_eV,
        "force": criteria.max_force_eV_per_A,
        "drift": criteria.drift_eV_per_atom if ensemble == "nve" else None,
    }
    return {name: math.inf if bound is None else bound for name, bound in given.items()}


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


def nonfinite(state: State, start: State, criteria: Criteria) -> Violation | None:
    """An energy, force, velocity or position is not a finite number."""
    numbers = (
        state.temperature_K,
        state.potential_eV_per_atom,
        state.total_eV_per_atom,
        state.max_force_eV_per_A,
    )
    if state.finite and all(map(math.isfinite, numbers)):
        return None
    return _nonfinite(state.step)


def lost(state: State, start: State, criteria: Criteria) -> Violation | None:
    """An atom has left the system."""
    return _lost(state.step, state.num_lost) if state.num_lost else None


def contact(state: State, start: State, criteria: Criteria) -> Violation | None:
    """Two atoms are too close."""
    bound = criteria.contact_fraction
    if bound is None or state.min_contact >= bound:
        return None
    return contact_violation(state.step, Contact(state.min_contact, math.nan, None), bound)


def contact_violation(step: int, found: Contact, bound: float, symbols: str = "") -> Violation:
    """A contact in words; ``symbols`` names the pair, e.g. ``O-Si``."""
    where = f"{symbols} at {found.distance_A:.3f} A, " if symbols else ""
    message = f"{where}{found.fraction:.3f} of the covalent sum, allowed {bound:g}"
    return Violation("contact", step, found.fraction, bound, message)


def temperature(state: State, start: State, criteria: Criteria) -> Violation | None:
    """The temperature is above a multiple of its current target."""
    limit_K = temperature_limit_K(criteria, state.target_K)
    if state.temperature_K <= limit_K:
        return None
    return _violation("temperature", state.step, state.temperature_K, limit_K, "K", "temperature")


def energy(state: State, start: State, criteria: Criteria) -> Violation | None:
    """The potential energy per atom has left its window around the start."""
    change = state.potential_eV_per_atom - start.potential_eV_per_atom
    limit = bounds(criteria, "nvt")
    low, high = -limit["energy_below"], limit["energy_above"]
    if low <= change <= high:
        return None
    threshold = low if change < low else high
    return _violation("energy", state.step, change, threshold, "eV/atom", "potential energy change")


def force(state: State, start: State, criteria: Criteria) -> Violation | None:
    """A force component is too large."""
    limit = bounds(criteria, "nvt")["force"]
    if state.max_force_eV_per_A <= limit:
        return None
    return _violation("force", state.step, state.max_force_eV_per_A, limit, "eV/A", "largest force")


def drift(state: State, start: State, criteria: Criteria) -> Violation | None:
    """The total energy per atom has drifted (for NVE)."""
    limit = bounds(criteria, "nve")["drift"]
    size = abs(state.total_eV_per_atom - start.total_eV_per_atom)
    if size <= limit:
        return None
    return _violation("drift", state.step, size, limit, "eV/atom", "total energy drift")


Check = Callable[[State, State, Criteria], Violation | None]
CHECKS: Final[tuple[Check, ...]] = (nonfinite, lost, contact, temperature, energy, force, drift)
"""In order: the first that is met names the cause, as in ``check.lmp``."""


def evaluate(
    state: State, start: State, criteria: Criteria, ensemble: str = "nvt"
) -> Violation | None:
    """The first criterion that a state meets, or ``None``.

    Args:
        state: the state to judge.
        start: the state at step 0, for energy and drift.
        criteria: what counts as failed.
        ensemble: drift is judged in ``nve`` only.
    """
    for check in CHECKS:
        if check is drift and ensemble != "nve":
            continue
        violation = check(state, start, criteria)
        if violation is not None:
            return violation
    return None


def from_halt(spec: RunSpec, check: str, step: int, value: float) -> Violation:
    """What a ``fix halt`` of ``check.lmp`` found, in the units of :func:`evaluate`.

    Args:
        spec: the run.
        check: id of the fix.
        step: step of the halt.
        value: value in its message.

    Raises:
        ValueError: ``check`` is none of the template's.
    """
    limit = bounds(spec.criteria, spec.ensemble)
    if check == "nonfinite" or not math.isfinite(value):
        return _nonfinite(step)
    if check == "lost":
        return _lost(step, value)
    if check == "contact":
        bound = spec.criteria.contact_fraction
        return Violation("contact", step, None, bound, "a pair below its contact distance")
    if check == "temperature":
        limit_K = temperature_limit_K(spec.criteria, target_temperature_K(spec, step))
        return _violation("temperature", step, value * limit_K, limit_K, "K", "temperature")
    if check in ("energy_below", "energy_above"):
        sign = -1.0 if check == "energy_below" else 1.0
        what = "potential energy change"
        return _violation("energy", step, sign * value, sign * limit[check], "eV/atom", what)
    if check == "force":
        return _violation("force", step, value, limit["force"], "eV/A", "largest force")
    if check == "drift":
        return _violation("drift", step, value, limit["drift"], "eV/atom", "total energy drift")
    raise ValueError(f"fix halt `{check}` is none of the templates'")


def _nonfinite(step: int) -> Violation:
    return Violation("nonfinite", step, None, None, "an energy, force or position is not finite")


def _lost(step: int, count: float) -> Violation:
    return Violation("lost", step, float(count), 0.0, f"{count:.0f} atoms lost")


def _violation(
    cause: Cause, step: int, value: float, threshold: float, unit: str, what: str
) -> Violation:
    message = f"{what} {value:.4g} {unit}, allowed {threshold:.4g}"
    return Violation(cause, step, value, threshold, message)
