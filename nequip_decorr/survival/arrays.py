"""From run rows to arrays, and the results that statistics hand back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..files import plain
from ..md.spec import STATUSES

Array = NDArray[Any]
COLUMNS: Final = ("model", "structure", "temperature_K", "seed")


class Result:
    """Base of the result dataclasses: plain JSON through :meth:`to_dict`."""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; a number that is not finite becomes ``None``."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True)
class Estimate(Result):
    """A value with its confidence interval, in the unit of the quantity."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class RunArrays(Result):
    """Run rows as arrays [n], without the runs that are no evidence.

    Attributes:
        time_ps: time of failure, or last good time of a censored run.
        failed: ``False`` for a run that survived or was interrupted.
        cause: cause of failure, ``None`` where censored.
        columns: any other columns of the rows, by name.
        counts: number of rows by status, the excluded ``error`` rows among them.
    """

    time_ps: Array
    failed: Array
    cause: Array
    columns: dict[str, Array]
    counts: dict[str, int]

    def labels(self, names: Sequence[str]) -> Array:
        """Integer labels [n, len(names)] of the levels of columns."""
        levels = (np.unique(self.columns[name], return_inverse=True)[1] for name in names)
        return np.stack([codes.ravel() for codes in levels], axis=1)


def run_arrays(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> RunArrays:
    """Turn run rows into arrays.

    ``error`` rows are left out and counted; ``interrupted`` and ``survived`` are censored.

    Args:
        rows: mappings with ``status``, ``cause``, ``stable_time_ps`` and the named columns.
        columns: further columns to keep.

    Raises:
        ValueError: an unknown status, a missing key, or a failed run without a cause.
    """
    rows = list(rows)
    for number, row in enumerate(rows):
        if missing := {"status", "stable_time_ps", *columns} - row.keys():
            raise ValueError(f"row {number} lacks {sorted(missing)}, got {sorted(row)}")
        if row["status"] not in STATUSES:
            raise ValueError(f"row {number}: status {row['status']!r}, allowed: {STATUSES}")
        if row["status"] == "failed" and not row.get("cause"):
            raise ValueError(f"row {number}: a failed run needs a cause, got {row.get('cause')!r}")
    used = [row for row in rows if row["status"] != "error"]
    failed = np.array([row["status"] == "failed" for row in used], dtype=bool)
    cause = [row.get("cause") if row["status"] == "failed" else None for row in used]
    counted = Counter(row["status"] for row in rows)
    time_ps = np.array([row["stable_time_ps"] for row in used], dtype=float)
    if used:
        time_ps, failed = check_times(time_ps, failed)
    return RunArrays(
        time_ps=time_ps,
        failed=failed,
        cause=np.array(cause, dtype=object),
        columns={name: np.array([row[name] for row in used]) for name in columns},
        counts={status: counted[status] for status in STATUSES},
    )


def check_times(time_ps: ArrayLike, failed: ArrayLike) -> tuple[Array, Array]:
    """Return times as float [n] and flags as bool [n], or say what is wrong with them."""
    time, flag = np.asarray(time_ps, dtype=float), np.asarray(failed)
    if time.ndim != 1 or time.shape != flag.shape:
        raise ValueError(f"time_ps and failed must be [n], got shapes {time.shape}, {flag.shape}")
    if not time.size:
        raise ValueError("no runs: at least one that is not an error is needed")
    if flag.dtype != bool:
        raise TypeError(f"failed must be bool, got {flag.dtype}")
    if not (np.isfinite(time) & (time >= 0)).all():
        bad = time[~(np.isfinite(time) & (time >= 0))]
        raise ValueError(f"time_ps must be finite and >= 0, got {bad[:5].tolist()}")
    return time, flag


def check_level(level: float) -> float:
    """Return a confidence level, or say that it is not within (0, 1)."""
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
    return level


def risk_sets(time: Array, failed: Array, last: float = np.inf) -> tuple[Array, Array, Array]:
    """Distinct failure times [k] before ``last``; at risk [n, k] and failing [n, k] as 0/1."""
    tau = np.unique(time[failed & (time < last)])
    return tau, (time[:, None] >= tau) * 1.0, ((time[:, None] == tau) & failed[:, None]) * 1.0


def km_influence(at_risk: Array, failing: Array) -> tuple[Array, Array]:
    """Kaplan-Meier survival [k] and the derivative of it with the weight of each run [n, k]."""
    y, d = at_risk.sum(0), failing.sum(0)
    survival = np.cumprod(1 - d / y)
    left = np.where(y > d, y - d, np.inf)
    return survival, -survival * np.cumsum((failing - at_risk * d / y) / left, axis=1)
