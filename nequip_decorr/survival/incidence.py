"""Of what runs fail: cause-specific cumulative incidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from .arrays import Array, Estimate, Result, check_level, check_times, km_influence, risk_sets
from .clusters import (
    clopper_pearson_bound,
    cluster_codes,
    fewest_clusters,
    jackknife_variance,
    t_quantile,
)


@dataclass(frozen=True, eq=False)
class CumulativeIncidence(Result):
    """Probability to have failed of one cause by a time, the other causes competing.

    Attributes:
        cause: the cause.
        time_ps: [k] time 0 and the distinct times of failure of any cause.
        incidence, low, high, variance: [k] the probability from that time on, and its band.
        known_ps: nothing is known beyond; infinite where no run was left.
    """

    cause: str
    time_ps: Array
    incidence: Array
    low: Array
    high: Array
    variance: Array
    known_ps: float
    level: float

    def at(self, time_ps: float) -> Estimate:
        """Incidence at one time; not a number beyond ``known_ps``."""
        if not time_ps >= 0:
            raise ValueError(f"time_ps must be >= 0, got {time_ps}")
        if time_ps > self.known_ps:
            return Estimate(np.nan, np.nan, np.nan)
        row = int(np.searchsorted(self.time_ps, time_ps, side="right")) - 1
        return Estimate(float(self.incidence[row]), float(self.low[row]), float(self.high[row]))


def cumulative_incidence(
    time_ps: ArrayLike,
    failed: ArrayLike,
    cause: ArrayLike,
    *,
    level: float = 0.95,
    cluster: ArrayLike | None = None,
) -> dict[str, CumulativeIncidence]:
    """Aalen-Johansen cumulative incidence of each cause seen; they sum to 1 - Kaplan-Meier.

    The band is log-log. Without ``cluster`` its variance is that of the delta method (Marubini &
    Valsecchi, Analysing Survival Data from Clinical Trials, 1995, eq. 10.12) with a normal
    quantile; with it, the jackknife of :mod:`.clusters`. Where the incidence is 0 or 1 the exact
    binomial bound stands in.

    Raises:
        ValueError: a failed run without a cause.
    """
    time, flag = check_times(time_ps, failed)
    names = np.asarray(cause, dtype=object)
    if names.shape != time.shape:
        raise ValueError(f"cause must be {time.shape}, got {names.shape}")
    if any(not isinstance(name, str) for name in names[flag]):
        raise ValueError(f"each failed run needs a cause (str), got {list(set(names[flag]))}")
    check_level(level)
    codes = cluster_codes(cluster, len(time))
    exact = 1 - clopper_pearson_bound(fewest_clusters(codes), level)
    z = stats.norm.ppf((1 + level) / 2) if cluster is None else t_quantile(codes, level)
    tau, at_risk, failing = risk_sets(time, flag)
    n, d = at_risk.sum(0), failing.sum(0)
    survival, influence = km_influence(at_risk, failing)
    before, before_influence = np.append(1.0, survival)[:-1], np.roll(influence, 1, axis=1)
    before_influence[:, :1] = 0.0
    result = {}
    for name in sorted(set(names[flag])):
        cases = failing * (names == name)[:, None]
        own = cases.sum(0)
        f = np.cumsum(before * own / n)
        if cluster is None:
            variance = _delta_variance(f, before, own, d, n)
        else:
            per_run = before_influence * own / n + before * (cases - at_risk * own / n) / n
            variance = jackknife_variance(np.cumsum(per_run, axis=1), codes)
        with np.errstate(all="ignore"):
            spread = np.exp(z * np.sqrt(variance) / (f * -np.log(f)))
            low, high = f**spread, f ** (1 / spread)
        low[f <= 0], high[f <= 0] = 0.0, exact
        low[f >= 1], high[f >= 1] = 1 - exact, 1.0
        result[name] = CumulativeIncidence(
            cause=name,
            time_ps=np.append(0.0, tau),
            incidence=np.append(0.0, f),
            low=np.append(0.0, low),
            high=np.append(exact, high),
            variance=np.append(0.0, variance),
            known_ps=np.inf if survival[-1] <= 0 else float(time.max()),
            level=level,
        )
    return result


def _delta_variance(f: Array, before: Array, own: Array, d: Array, n: Array) -> Array:
    gap = np.tril(f[:, None] - f)
    variance = np.cumsum(before**2 * own * (n - own) / n**3)
    variance += gap**2 @ (d / (n * np.where(n > d, n - d, np.inf)))
    variance -= 2 * gap @ (before * own / n**2)
    return variance
