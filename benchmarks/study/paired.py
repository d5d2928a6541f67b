"""Two conditions over the training seeds that they share: the paired reading of the tables.

Models of one training seed start from the same weights and see the frames in the same order, so
that their log stable times correlate at 0.9 and more. The effect of a condition is the mean
difference of the log stable time over seeds, with Student's interval and a sign-flip test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from nequip_decorr.survival.arrays import Estimate

from .analysis import Tables, log_stable_time

POWER: Final = 0.8


@dataclass(frozen=True)
class Paired:
    """A condition against a baseline.

    Attributes:
        logs: difference of the mean natural logarithm of the stable time, one per training seed.
        correlation: of the two conditions' log stable times over seeds; NaN where one is constant.
    """

    logs: np.ndarray
    correlation: float = float("nan")

    @property
    def _half_width(self) -> tuple[float, float]:
        freedom = len(self.logs) - 1
        error = self.logs.std(ddof=1) / np.sqrt(len(self.logs))
        t = stats.t(freedom)
        return t.ppf(0.975) * error, (t.ppf(0.975) + t.ppf(POWER)) * error

    @property
    def ratio(self) -> Estimate:
        """Ratio of the geometric mean stable times with its 95 % interval."""
        mean, half = self.logs.mean(), self._half_width[0]
        return Estimate(*(float(np.exp(x)) for x in (mean, mean - half, mean + half)))

    @property
    def detectable(self) -> float:
        """Ratio that would have been found significant in four of five such studies."""
        return float(np.exp(self._half_width[1]))

    @property
    def p_value(self) -> float:
        """Of a two-sided sign-flip test: a condition without effect is as often ahead as behind."""
        found = stats.permutation_test(
            (self.logs,), np.mean, permutation_type="samples", n_resamples=9999, rng=0
        )
        return float(found.pvalue)


def paired(tables: Tables, half: str, baseline: str, condition: str) -> Paired | None:
    """Compare over shared training seeds; ``None`` for fewer than three."""
    log10 = log_stable_time(tables, half)
    a, b = ({s: v for (c, s), v in log10.items() if c == name} for name in (baseline, condition))
    seeds = sorted(a.keys() & b.keys())
    if len(seeds) < 3:
        return None
    x, y = np.array([[a[s] for s in seeds], [b[s] for s in seeds]]) * np.log(10)
    varies = x.std() > 0 and y.std() > 0
    return Paired(y - x, float(np.corrcoef(x, y)[0, 1]) if varies else float("nan"))


def pooled(parts: Sequence[Paired]) -> Paired:
    """All regimes together, each difference of a training seed one observation."""
    return Paired(np.concatenate([part.logs for part in parts]))


def spreads(tables: Tables, half: str, condition: str) -> dict[str, float]:
    """Factor that one standard deviation makes in the stable time, by where it comes from.

    Method of moments for training seed and cell (crossed) with velocities within both.
    """
    cells: dict[tuple[int, str], list[float]] = {}
    for r in tables.half(half, condition):
        key = r["train_seed"], r["structure"]
        cells.setdefault(key, []).append(float(np.log(max(r["stable_time_ps"], 1e-3))))
    seeds, structures = sorted({s for s, _ in cells}), sorted({c for _, c in cells})
    number = min(map(len, cells.values()), default=0)
    if len(cells) < len(seeds) * len(structures) or min(len(seeds), len(structures), number) < 2:
        return {}
    y = np.array([[cells[s, c][:number] for c in structures] for s in seeds])
    within = y.var(axis=2, ddof=1).mean()
    mean = y.mean(2)
    rest = mean - mean.mean(0) - mean.mean(1, keepdims=True) + mean.mean()
    crossed = (rest**2).sum() / ((len(seeds) - 1) * (len(structures) - 1))
    parts = {
        "training seed": mean.mean(1).var(ddof=1) - crossed / len(structures),
        "cell": mean.mean(0).var(ddof=1) - crossed / len(seeds),
        "both together": crossed - within / number,
        "velocities": within,
    }
    return {name: float(np.exp(np.sqrt(max(v, 0.0)))) for name, v in parts.items()}
