"""Courses of the criteria's quantities in the runs, for the figure of time series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from ..md.criteria import CRITERIA
from ..md.judge import first_row
from ..md.spec import RunSpec, target_temperature_K
from .loading import Run


@dataclass(frozen=True)
class Trace:
    """A run's course.

    Attributes:
        model: its model.
        cause: of failure, ``None`` where it did not fail.
        time_ps: ``[num_rows]``.
        values: quantity ``[num_rows]`` of each criterion that is drawn and was recorded.
    """

    model: str
    cause: str | None
    time_ps: np.ndarray
    values: dict[str, np.ndarray]


def trace_of(run: Run, record: Mapping[str, np.ndarray]) -> Trace:
    """The course of one run, from its record."""
    spec = run.spec
    target_K = np.array([target_temperature_K(spec, int(step)) for step in record["step"]])
    now, start = SimpleNamespace(**record), first_row(record)
    values = {
        c.name: c.value(now, start) / (target_K if c.per_target else 1.0)
        for c in CRITERIA
        if c.trace
    }
    return Trace(
        model=run.row["model"],
        cause=run.row["cause"] if run.row["status"] == "failed" else None,
        time_ps=record["time_ps"],
        values={name: value for name, value in values.items() if np.isfinite(value).any()},
    )


def trace_limits(specs: Sequence[RunSpec]) -> dict[str, tuple[float, ...]]:
    """Bounds to draw beside the traces, by criterion, where runs have at most two sets of them."""
    found: dict[str, set[tuple[float, ...]]] = {}
    for spec in specs:
        target_K = spec.temperature_K
        for c in CRITERIA:
            if c.trace and not (c.per_target and target_K <= 0):
                limits = [limit for _, limit in c.limits(spec.criteria, target_K)]
                scale = target_K if c.per_target else 1.0
                found.setdefault(c.name, set()).add(tuple(float(x / scale) for x in limits))
    return {
        name: tuple(sorted({x for limits in sets for x in limits}))
        for name, sets in found.items()
        if len(sets) <= 2
    }
