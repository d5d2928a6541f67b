"""How the verdict moves as each criterion is tightened and loosened, from the records of the runs.

One number stands for the bound of a criterion: its *scale*, 1 as run, 0.8 a fifth stricter (a
contact fraction is divided by it, every other bound multiplied).

A tighter bound is decided by the record, at the record's stride: a passage between two rows is
missed, so times are never too short. A looser bound is not: the run has stopped where it failed,
and what would have come after is unknown. So such a run is *open*, and every figure has two ends:
``low`` as if it failed where it stopped, ``high`` as if it then lasted to its full length. A run
whose value already lay beyond the looser bound fails all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from ase import Atoms

from ..md.criteria import (
    closest_contact,
    target_temperature_K,
    temperature_limit_K,
)
from ..md.spec import RunSpec
from .estimators import rmst

SCALES: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)
SWEPT: Final = ("temperature", "contact", "energy", "force", "drift")
# Beyond this the bound would cut into bonds that every material has.
_MAX_CONTACT: Final = 0.86


@dataclass(frozen=True)
class Series:
    """How close a run came to each criterion in the course of time.

    Attributes:
        time_ps: by criterion, ``[num_rows]``; a contact may come from frames at their own stride.
        severity: by criterion, value over bound, ``[num_rows]``: beyond 1 the run has failed. A
            criterion that is off, or was not recorded, is missing.
    """

    time_ps: dict[str, np.ndarray]
    severity: dict[str, np.ndarray]


@dataclass(frozen=True)
class Point:
    """Mean stable time of one model at one scale of one criterion.

    Attributes:
        criterion: the criterion that is scaled, the others are as run.
        scale: see the module.
        bound: the bound that this makes, in the criterion's unit; ``None`` where runs differ.
        model: the model's name.
        rmst_low_ps: restricted mean if open runs failed where they stopped.
        rmst_high_ps: restricted mean if open runs lasted.
        runs: how many runs this rests on.
        failed: how many of them fail, the open ones not among them.
        open: how many runs are open.
    """

    criterion: str
    scale: float
    bound: float | None
    model: str
    rmst_low_ps: float | None
    rmst_high_ps: float | None
    runs: int
    failed: int
    open: int

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def run_series(
    spec: RunSpec, record: Mapping[str, np.ndarray], frames: Sequence[Atoms] = ()
) -> Series:
    """How close one run came to each of its criteria.

    Args:
        spec: the run, with its criteria.
        record: the columns of its ``thermo.csv``.
        frames: its trajectory, with ``info["time_ps"]``; needed for ``contact`` where the engine
            does not record the smallest distance.
    """
    criteria, step = spec.criteria, record["step"]
    if not len(step):
        return Series({}, {})
    severity: dict[str, np.ndarray] = {}
    if criteria.temperature_factor is not None:
        targets_K = [target_temperature_K(spec, int(k)) for k in step]
        limit_K = np.array([temperature_limit_K(criteria, target_K) for target_K in targets_K])
        severity["temperature"] = record["temperature_K"] / limit_K
    change = record["potential_eV_per_atom"] - record["potential_eV_per_atom"][0]
    limits = (criteria.energy_below_eV, -1), (criteria.energy_above_eV, 1)
    sides = [sign * change / bound for bound, sign in limits if bound is not None]
    if sides:
        severity["energy"] = np.maximum.reduce(sides)
    if criteria.max_force_eV_per_A is not None:
        severity["force"] = record["max_force_eV_per_A"] / criteria.max_force_eV_per_A
    if criteria.drift_eV_per_atom is not None and spec.ensemble == "nve":
        total = record["total_eV_per_atom"]
        severity["drift"] = np.abs(total - total[0]) / criteria.drift_eV_per_atom
    times = dict.fromkeys(severity, record["time_ps"])
    if criteria.contact_fraction is not None:
        found = record["time_ps"], record["min_contact"]
        if not np.isfinite(found[1]).any():
            found = (
                np.array([frame.info["time_ps"] for frame in frames]),
                np.array([_closest(frame) for frame in frames]),
            )
        times["contact"], severity["contact"] = (
            found[0],
            criteria.contact_fraction / np.maximum(found[1], 1e-9),
        )
    return Series(times, severity)


def _closest(atoms: Atoms) -> float:
    return closest_contact(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc).fraction


@dataclass(frozen=True)
class _Outcome:
    """End of a run at a scale: time and failure, and the same if an open run lasted."""

    time_ps: float
    failed: bool
    open: bool = False


def rescaled(row: Mapping[str, Any], series: Series, criterion: str, scale: float) -> _Outcome:
    """How a run would have ended with the bound of one criterion scaled.

    Args:
        row: the run's row in the run table.
        series: from :func:`run_series`.
        criterion: one of :data:`SWEPT`.
        scale: see the module.
    """
    end_ps, failed = float(row["stable_time_ps"]), row["status"] == "failed"
    if scale < 1 and criterion in series.severity:
        over = np.flatnonzero(series.severity[criterion] > scale)
        times = series.time_ps[criterion][over]
        if len(times) and times[0] < end_ps:
            return _Outcome(float(times[0]), True)
    if scale > 1 and failed and row["cause"] == criterion and _worst(row) <= scale:
        return _Outcome(end_ps, True, open=end_ps < row["length_ps"])
    return _Outcome(end_ps, failed)


def sweep(
    rows: Sequence[Mapping[str, Any]],
    series: Mapping[str, Series],
    horizon_ps: float,
    bounds_as_run: Mapping[str, float | None],
    scales: Sequence[float] = SCALES,
) -> list[Point]:
    """Mean stable time of every model at every scale of every criterion that was on.

    Args:
        rows: the run table; runs that ended in ``error`` are no evidence and left out.
        series: by ``run_id``; a run without one keeps its outcome where bounds get tighter.
        horizon_ps: the common horizon, the same at every scale.
        bounds_as_run: the bound of each criterion that was on, to name the scaled ones;
            ``None`` for one that differs between runs.
        scales: see the module; 1 is always among the results.

    Raises:
        ValueError: for an unknown criterion, or a scale that is not positive.
    """
    if unknown := set(bounds_as_run) - set(SWEPT):
        raise ValueError(f"no such criterion: {sorted(unknown)}; allowed: {SWEPT}")
    if any(not scale > 0 for scale in scales):
        raise ValueError(f"scales must be positive, got {list(scales)}")
    used = [row for row in rows if row["status"] != "error"]
    models = sorted({row["model"] for row in used})
    points = []
    for criterion, bound in bounds_as_run.items():
        for scale in sorted({1.0, *scales}):
            scaled = _scaled(criterion, bound, scale)
            if criterion == "contact" and (scaled or 0.0) > max(_MAX_CONTACT, bound or 0.0):
                continue
            for model in models:
                ends = [
                    (row, rescaled(row, series.get(row["run_id"], _EMPTY), criterion, scale))
                    for row in used
                    if row["model"] == model
                ]
                points.append(_point(criterion, scale, scaled, model, ends, horizon_ps))
    return points


def ratio_range(points: Sequence[Point], model: str, other: str) -> dict[tuple[str, float], Any]:
    """Range of ``model``'s mean stable time over ``other``'s, by (criterion, scale).

    Both ends are the same where no run is open; ``None`` where a mean is not known or is 0.
    """
    by_model = {(p.criterion, p.scale, p.model): p for p in points}
    found: dict[tuple[str, float], Any] = {}
    for (criterion, scale, name), a in by_model.items():
        b = by_model.get((criterion, scale, other))
        if name != model or b is None:
            continue
        if a.rmst_low_ps is None or a.rmst_high_ps is None or not b.rmst_low_ps:
            found[criterion, scale] = None
        else:
            high = b.rmst_high_ps or b.rmst_low_ps
            found[criterion, scale] = (a.rmst_low_ps / high, a.rmst_high_ps / b.rmst_low_ps)
    return found


def order_sentence(points: Sequence[Point], model: str, other: str) -> str:
    """Whether the order of two models as run holds at every scale, in words."""
    ratios = ratio_range(points, model, other)
    as_run = [pair[0] for (_, scale), pair in ratios.items() if scale == 1 and pair]
    if not as_run or as_run[0] == 1:
        return f"As run, {model} and {other} have the same mean stable time, or none is known."
    better, worse = (model, other) if as_run[0] > 1 else (other, model)
    turned: dict[bool, dict[str, float]] = {True: {}, False: {}}
    for (criterion, scale), pair in ratio_range(points, better, worse).items():
        if pair and pair[0] < 1:
            # The scale nearest to 1 at which it may turn.
            nearest = max if scale < 1 else min
            known = turned[scale < 1].setdefault(criterion, scale)
            turned[scale < 1][criterion] = nearest(known, scale)
    tight, loose = (
        ", ".join(f"{name} x {scale:g}" for name, scale in turned[side].items())
        for side in (True, False)
    )
    first = (
        f"The order turns when a criterion is tightened to {tight}."
        if tight
        else f"{better} stays ahead of {worse} however a criterion is tightened."
    )
    second = (
        f" Loosened to {loose} or more it could turn: runs stop where they fail, so that is open."
        if loose
        else " No loosening can turn it."
    )
    return first + second


_EMPTY: Final = Series({}, {})


def _worst(row: Mapping[str, Any]) -> float:
    """Value over bound at the failure; what is not recorded counts as just beyond the bound."""
    value, threshold = row.get("value"), row.get("threshold")
    if value is None or threshold is None or not np.isfinite([value, threshold]).all():
        return 1.0
    if row["cause"] == "contact":
        return threshold / value if value > 0 else np.inf
    return abs(value / threshold) if threshold else 1.0


def _scaled(criterion: str, bound: float | None, scale: float) -> float | None:
    if bound is None:
        return None
    return bound / scale if criterion == "contact" else bound * scale


def _point(
    criterion: str,
    scale: float,
    bound: float | None,
    model: str,
    ends: Sequence[tuple[Mapping[str, Any], _Outcome]],
    horizon_ps: float,
) -> Point:
    time = np.array([end.time_ps for _, end in ends])
    failed = np.array([end.failed for _, end in ends])
    is_open = np.array([end.open for _, end in ends])
    lasting = np.where(is_open, [float(row["length_ps"]) for row, _ in ends], time)
    return Point(
        criterion=criterion,
        scale=scale,
        bound=bound,
        model=model,
        rmst_low_ps=_mean(time, failed, horizon_ps),
        rmst_high_ps=_mean(lasting, failed & ~is_open, horizon_ps),
        runs=len(ends),
        failed=int((failed & ~is_open).sum()),
        open=int(is_open.sum()),
    )


def _mean(time: np.ndarray, failed: np.ndarray, horizon_ps: float) -> float | None:
    try:
        return rmst(time, failed, horizon_ps).rmst_ps
    except ValueError:  # not observed up to the horizon
        return None
