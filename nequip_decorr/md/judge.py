"""Judging a run by the table of criteria: a state, a halt of LAMMPS, or the record afterwards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np

from .contact import CONTACT_CAP, Contact
from .criteria import CRITERIA, Criteria, Violation, criterion
from .spec import RunResult, RunSpec


@dataclass(frozen=True)
class State:
    """What the criteria look at; the columns of a run's record have the same names.

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
        max_grade: largest extrapolation grade; NaN where the model has none.
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
    max_grade: float = math.nan


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
    for c in CRITERIA:
        if not c.stops or c.ensemble not in (None, ensemble):
            continue
        value = c.value(state, start)
        if c.optional and math.isnan(value):
            continue
        for bound, limit in c.limits(criteria, state.target_K):
            if not (value >= limit if bound.below else value <= limit):
                return c.violation(state.step, value, float(limit))
    return None


def contact_violation(step: int, found: Contact, limit: float, symbols: str) -> Violation:
    """A contact with its pair in words; ``symbols`` names it, e.g. ``O-Si``."""
    plain = criterion("contact").violation(step, found.fraction, limit)
    return replace(plain, message=f"{symbols} at {found.distance_A:.3f} A, {plain.message}")


def from_halt(
    criteria: Criteria, target_K: float, halt: str, step: int, printed: float
) -> Violation:
    """What a ``fix halt`` of ``check.lmp`` found, in the units of :func:`evaluate`.

    Args:
        criteria: of the run.
        target_K: target temperature at that step.
        halt: id of the fix.
        step: step of the halt.
        printed: value in its message.

    Raises:
        ValueError: no criterion has that halt.
    """
    for c in CRITERIA:
        for bound in c.bounds:
            if bound.halt != halt:
                continue
            if math.isnan(printed) or (math.isinf(printed) and not c.optional):
                return criterion("nonfinite").violation(step, None, math.nan)
            setting = bound.setting(criteria)
            limit = bound.limit(math.inf if setting is None else setting, criteria, target_K)
            return c.violation(step, bound.reading(printed, limit), float(limit))
    raise ValueError(f"fix halt `{halt}` is none of the templates'")


def failed(spec: RunSpec, violation: Violation) -> RunResult:
    """The result of a run that met a criterion."""
    found = {name: getattr(violation, name) for name in ("cause", "value", "threshold", "message")}
    return RunResult("failed", violation.step, spec.criteria.check_every, **found)


def lammps_variables(
    criteria: Criteria, ensemble: str, elements: Sequence[str]
) -> dict[str, Sequence[float]]:
    """Numbers by variable of the LAMMPS templates; infinite where a criterion is off."""
    found: dict[str, Sequence[float]] = {}
    for c in CRITERIA:
        for bound in c.bounds:
            setting = bound.setting(criteria) if c.ensemble in (None, ensemble) else None
            found |= bound.variables(math.inf if setting is None else setting, criteria, elements)
    return found


def severities(
    record: Mapping[str, np.ndarray], criteria: Criteria, ensemble: str, target_K: np.ndarray
) -> dict[str, np.ndarray]:
    """How far a run was towards each criterion that is on: beyond 1 it has failed.

    Args:
        record: columns of ``thermo.csv``, each ``[num_rows]``.
        criteria: of the run.
        ensemble: of the run.
        target_K: target temperature of each row.

    Returns:
        By criterion, ``[num_rows]``; NaN where the quantity was not recorded.
    """
    now, start = SimpleNamespace(**record), first_row(record)
    found = {}
    for c in CRITERIA:
        if c.setting(criteria, ensemble) is not None:
            sides = [c.ratio(c.value(now, start), x) for _, x in c.limits(criteria, target_K)]
            found[c.name] = np.maximum.reduce(sides)
    return found


def first_row(record: Mapping[str, np.ndarray]) -> SimpleNamespace:
    """The first row of a record, with the names of :class:`State`."""
    return SimpleNamespace(**{name: column[0] for name, column in record.items()})
