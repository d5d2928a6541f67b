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
from typing import Any, Final, NamedTuple

import numpy as np
from ase import Atoms

from ..md.criteria import CRITERIA, criterion
from ..md.judge import severities
from ..md.spec import RunSpec, target_temperature_K
from .estimators import rmst

SCALES: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)
SWEPT: Final = tuple(c.name for c in CRITERIA if any(bound.option for bound in c.bounds))


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
    if not len(record["step"]):
        return Series({}, {})
    target_K = np.array([target_temperature_K(spec, int(step)) for step in record["step"]])
    severity = severities(record, spec.criteria, spec.ensemble, target_K)
    times = dict.fromkeys(severity, record["time_ps"])
    for name, values in severity.items():
        row = criterion(name)
        if row.of_frame is not None and not np.isfinite(values).any():
            times[name] = np.array([frame.info["time_ps"] for frame in frames])
            found = np.array([row.of_frame(frame) for frame in frames])
            severity[name] = row.ratio(found, row.setting(spec.criteria, spec.ensemble))
    return Series(times, severity)


class _Outcome(NamedTuple):
    """End of a run at a scale: time and failure, and the same if an open run lasted."""

    time_ps: float
    failed: bool
    open: bool = False


def rescaled(row: Mapping[str, Any], series: Series, name: str, scale: float) -> _Outcome:
    """How a run would have ended with the bound of one criterion scaled.

    Args:
        row: the run's row in the run table.
        series: from :func:`run_series`.
        name: one of :data:`SWEPT`.
        scale: see the module.
    """
    end_ps, failed = float(row["stable_time_ps"]), row["status"] == "failed"
    if scale < 1 and name in series.severity:
        over = np.flatnonzero(series.severity[name] > scale)
        times = series.time_ps[name][over]
        if len(times) and times[0] < end_ps:
            return _Outcome(float(times[0]), True)
    if scale > 1 and failed and row["cause"] == name and _worst(row) <= scale:
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
    for name, bound in bounds_as_run.items():
        for scale in sorted({1.0, *scales}):
            scaled = None if bound is None else criterion(name).scaled(bound, scale)
            if (scaled or 0.0) > max(criterion(name).widest, bound or 0.0):
                continue
            for model in models:
                mine = [row for row in used if row["model"] == model]
                ends = [rescaled(r, series.get(r["run_id"], _EMPTY), name, scale) for r in mine]
                time, failed, is_open = map(np.array, zip(*ends, strict=True))
                lasting = np.where(is_open, [float(row["length_ps"]) for row in mine], time)
                low = _mean(time, failed, horizon_ps)
                high = _mean(lasting, failed & ~is_open, horizon_ps)
                counts = (len(mine), int((failed & ~is_open).sum()), int(is_open.sum()))
                points.append(Point(name, scale, scaled, model, low, high, *counts))
    return points


def ratio_range(points: Sequence[Point], model: str, other: str) -> dict[tuple[str, float], Any]:
    """Range of ``model``'s mean stable time over ``other``'s, by (criterion, scale).

    Both ends are the same where no run is open; ``None`` where a mean is not known or is 0.
    """
    by_model = {(p.criterion, p.scale, p.model): p for p in points}
    found: dict[tuple[str, float], Any] = {}
    for (kind, scale, name), a in by_model.items():
        b = by_model.get((kind, scale, other))
        if name != model or b is None:
            continue
        if a.rmst_low_ps is None or a.rmst_high_ps is None or not b.rmst_low_ps:
            found[kind, scale] = None
        else:
            high = b.rmst_high_ps or b.rmst_low_ps
            found[kind, scale] = (a.rmst_low_ps / high, a.rmst_high_ps / b.rmst_low_ps)
    return found


def order_sentence(points: Sequence[Point], model: str, other: str, *, shown: bool = True) -> str:
    """Whether the order of two models as run holds at every scale, in words.

    Args:
        points: from :func:`sweep`.
        model: one of the two.
        other: the other one.
        shown: whether a difference of the two is shown as run.
    """
    ratios = ratio_range(points, model, other)
    as_run = [pair[0] for (_, scale), pair in ratios.items() if scale == 1 and pair]
    if not as_run:
        return f"The mean stable times of {model} and {other} have no known ratio as run."
    if as_run[0] == 1:
        return f"As run, {model} and {other} have the same mean stable time: no order to turn."
    better, worse = (model, other) if as_run[0] > 1 else (other, model)
    means = {(p.criterion, p.scale, p.model): p.rmst_low_ps for p in points}
    tight: dict[str, float] = {}
    tied: dict[str, float] = {}
    loose: dict[str, float] = {}
    # From scale 1 outwards, so that the first found is the one nearest to it.
    for (kind, scale), pair in sorted(
        ratio_range(points, better, worse).items(), key=lambda item: abs(np.log(item[0][1]))
    ):
        equal = means[kind, scale, better] == means[kind, scale, worse]
        if scale < 1 and (equal or (pair and np.isclose(pair[0], 1))):
            tied.setdefault(kind, scale)
        elif pair and pair[0] < 1:
            (tight if scale < 1 else loose).setdefault(kind, scale)
    text = f"The order of the means, {better} above {worse}, "
    if tight:
        text += f"turns when a criterion is tightened to {_scales(tight)}."
    elif tied:
        text += f"does not turn when a criterion is tightened, but they tie at {_scales(tied)}."
    else:
        text += "does not change however a criterion is tightened."
    if not shown:
        text += " That they differ at all is not shown."
    if not loose:
        return f"{text} No loosening can turn it."
    why = "runs stop where they fail, so that is open."
    return f"{text} Loosened to {_scales(loose)} or more it could turn: {why}"


def _scales(found: Mapping[str, float]) -> str:
    return ", ".join(f"{name} x {scale:g}" for name, scale in found.items())


_EMPTY: Final = Series({}, {})


def _worst(row: Mapping[str, Any]) -> float:
    """Value over bound at the failure; what is not recorded counts as just beyond the bound."""
    value, threshold = row.get("value"), row.get("threshold")
    if value is None or threshold is None or not np.isfinite([value, threshold]).all():
        return 1.0
    return float(abs(criterion(row["cause"]).ratio(value, threshold))) if threshold else 1.0


def _mean(time: np.ndarray, failed: np.ndarray, horizon_ps: float) -> float | None:
    try:
        return rmst(time, failed, horizon_ps).rmst_ps
    except ValueError:  # not observed up to the horizon
        return None
