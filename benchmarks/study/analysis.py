"""From the two tables to the numbers of the report; survival statistics are the package's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from scipy import stats

from nequip_decorr.survival.arrays import Estimate, run_arrays
from nequip_decorr.survival.comparison import compare
from nequip_decorr.survival.estimators import Rmst, SurvivalCurve, kaplan_meier, rmst
from nequip_decorr.survival.verdict import Comparison

Row = dict[str, Any]
CLUSTERS: Final = ("train_seed", "structure")
FIXED_CELLS: Final = ("train_seed",)
SHORTEST_PS: Final = 1e-3
RESAMPLES: Final = 4000
MIN_WITHIN: Final = 3
CORRELATION: Final = "correlation_test_id"
BARRIER: Final = "barrier_eV"
TIME: Final = "rmst_ps"
COLUMNS: Final = ("force_mae_test_id", "force_mae_ood", CORRELATION)


@dataclass(frozen=True, eq=False)
class Tables:
    """Both tables of one regime; not to be changed, since statistics of it are kept."""

    regime: str
    models: list[Row]
    runs: list[Row]

    @classmethod
    def of(cls, regime: str, models: Sequence[Row], runs: Sequence[Row]) -> Tables:
        """The rows of a regime; runs get the condition as their ``model``."""
        chosen = [{**r, "model": r["condition"]} for r in runs if r["regime"] == regime]
        return cls(regime, [m for m in models if m["regime"] == regime], chosen)

    def half(self, half: str, condition: str | None = None) -> list[Row]:
        """Runs on a half, of one condition or of all."""
        wanted = (condition, None)
        return [
            r for r in self.runs if r["half"] == half and (r["model"] in wanted or not condition)
        ]

    def without(self, conditions: Collection[str]) -> Tables:
        """The rows of all other conditions."""
        models, runs = (
            [r for r in rows if r["condition"] not in conditions]
            for rows in (self.models, self.runs)
        )
        return Tables(self.regime, models, runs)

    def joined(self, other: Tables, condition: str, name: str) -> Tables:
        """With a condition of another regime under a name of its own."""
        models = [{**m, "condition": name} for m in other.models if m["condition"] == condition]
        runs = [
            {**r, "condition": name, "model": name} for r in other.runs if r["model"] == condition
        ]
        return Tables(self.regime, [*self.models, *models], [*self.runs, *runs])

    def conditions(self, half: str) -> list[str]:
        """Conditions that have runs on a half."""
        return sorted({r["model"] for r in self.half(half)})

    def seeds(self, half: str, condition: str) -> list[int]:
        """Training seeds of a condition on a half."""
        return sorted({r["train_seed"] for r in self.half(half, condition)})

    def by_seed(self, condition: str, column: str) -> dict[int, float]:
        """A column of the model table, by training seed, where it has a number."""
        return {
            m["train_seed"]: float(m[column])
            for m in self.models
            if m["condition"] == condition and m.get(column) is not None
        }


@cache
def mean_time(tables: Tables, half: str, condition: str, seeds: tuple[int, ...] = ()) -> Rmst:
    """RMST with an interval by training seed and structure, of all seeds or of some."""
    runs = tables.half(half, condition)
    chosen = [r for r in runs if not seeds or r["train_seed"] in seeds]
    data = run_arrays(chosen, CLUSTERS)
    return rmst(data.time_ps, data.failed, horizon(chosen), cluster=data.labels(CLUSTERS))


def curve(runs: Sequence[Row]) -> SurvivalCurve:
    """Kaplan-Meier curve with a band by training seed and structure."""
    data = run_arrays(runs, CLUSTERS)
    return kaplan_meier(data.time_ps, data.failed, cluster=data.labels(CLUSTERS))


@cache
def against(
    tables: Tables, half: str, baseline: str, condition: str, clusters: tuple[str, ...] = CLUSTERS
) -> Comparison | None:
    """A condition against a baseline over the training seeds that both have.

    Args:
        tables: of a regime.
        half: whose runs count.
        baseline: a condition.
        condition: another.
        clusters: as the protocol has them; ``FIXED_CELLS`` for an interval over training seeds
            alone, since the cells were fixed by design.
    """
    shared = set(tables.seeds(half, baseline)) & set(tables.seeds(half, condition))
    if not shared:
        return None
    rows = [r for r in tables.half(half) if r["train_seed"] in shared]
    limit = horizon(rows)  # and the test of the protocol; `paired.py` has the other
    return compare(
        rows, baseline, condition, cluster=clusters, horizon_ps=limit, paired_seeds=False
    )


def horizon(runs: Sequence[Row]) -> float:
    """Length that was asked for."""
    return min(float(r["length_ps"]) for r in runs)


def survivors(runs: Sequence[Row]) -> int:
    """How many reached the end."""
    return sum(r["status"] == "survived" for r in runs)


def causes(runs: Sequence[Row]) -> str:
    """How runs ended, in words; contacts by the pair of elements that met."""

    def end(run: Row) -> str:
        if run["status"] != "failed":
            return str(run["status"])
        pair = str(run.get("message") or "").split(" at ")[0]
        met = run["cause"] == "contact" and pair
        return f"contact {pair}" if met else str(run["cause"])

    count = Counter(map(end, runs))
    return ", ".join(f"{name} {n}" for name, n in count.most_common())


def error_ratio(
    tables: Tables, baseline: str, condition: str, column: str, seeds: Sequence[int] | None = None
) -> Estimate | None:
    """Ratio of a positive column by paired training seeds: geometric mean, Student t interval."""
    a, b = (tables.by_seed(c, column) for c in (baseline, condition))
    shared = sorted(a.keys() & b.keys() & set(seeds if seeds is not None else a))
    if not shared:
        return None
    logs = np.log([b[s] / a[s] for s in shared])
    half = np.inf
    if len(logs) > 1:
        half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    mean = logs.mean()
    return Estimate(*(float(np.exp(x)) for x in (mean, mean - half, mean + half)))


@dataclass(frozen=True)
class Relation:
    """Rank correlation of a property of models with their stability.

    Attributes:
        estimate: with an interval by the bootstrap of models.
        by_seed: with an interval by the bootstrap of whole training seeds, whose models start from
            the same weights.
        models: how many; of how many ``conditions``.
    """

    estimate: Estimate
    by_seed: Estimate
    models: int
    conditions: int


def log_stable_time(tables: Tables, half: str) -> dict[tuple[str, int], float]:
    """Mean log10 of the stable time in ps, a run that survives counting as its length."""
    found: dict[tuple[str, int], list[float]] = {}
    for r in tables.half(half):
        if r["status"] != "error":
            time = max(float(r["stable_time_ps"]), SHORTEST_PS)
            found.setdefault((r["model"], r["train_seed"]), []).append(np.log10(time))
    return {key: float(np.mean(values)) for key, values in found.items()}


def times(tables: Tables, half: str, condition: str) -> dict[int, float]:
    """RMST (ps) by training seed."""
    seeds = tables.seeds(half, condition)
    return {s: mean_time(tables, half, condition, (s,)).rmst_ps for s in seeds}


def over(
    tables: Tables, half: str, baseline: str, condition: str
) -> dict[str, tuple[float, list[float]]]:
    """A condition over a baseline in RMST and in ``COLUMNS``: of all shared seeds, and of each.

    For two seeds that says more than any interval.
    """
    a, b = (times(tables, half, c) for c in (baseline, condition))
    seeds = sorted(a.keys() & b.keys())
    found = against(tables, half, baseline, condition)
    ratio = found.ratio.value if found else float("nan")
    result = {TIME: (ratio, [b[s] / a[s] for s in seeds])}
    for column in COLUMNS:
        x, y = (tables.by_seed(c, column) for c in (baseline, condition))
        each = [y[s] / x[s] for s in seeds if s in x and s in y]
        result[column] = (geometric(each) if each else float("nan"), each)
    return result


@dataclass(frozen=True)
class Shares:
    """Parts of the variance of models' mean log stable time.

    Attributes:
        seed: that goes with the training seed; ``condition``: with the condition; the rest with
            neither.
        seed_p: of an F test of the seed against the rest; ``condition_p``: of the condition.
        by_seed_ps: geometric mean stable time by seed.
        conditions: how many, each trained with all of the seeds.
    """

    seed: float
    seed_p: float
    condition: float
    condition_p: float
    by_seed_ps: dict[int, float]
    conditions: int


def variance_shares(
    tables: Tables, half: str, conditions: Sequence[str], seeds: Sequence[int]
) -> Shares | None:
    """How much of the scatter is the seed's, and how much the condition's (two-way, additive)."""
    log_times = log_stable_time(tables, half)
    names = [c for c in conditions if all((c, s) in log_times for s in seeds)]
    if len(names) < 2 or len(seeds) < 2:
        return None
    y = np.array([[log_times[c, s] for s in seeds] for c in names])
    total = float(((y - y.mean()) ** 2).sum())
    by_seed, by_condition = y.mean(0), y.mean(1)
    part_seed = len(names) * float(((by_seed - y.mean()) ** 2).sum()) / total
    part_condition = len(seeds) * float(((by_condition - y.mean()) ** 2).sum()) / total
    df_seed, df_condition = len(seeds) - 1, len(names) - 1
    rest = max(1 - part_seed - part_condition, 1e-12) / (df_seed * df_condition)
    p_seed, p_condition = (
        float(stats.f.sf(part / df / rest, df, df_seed * df_condition))
        for part, df in ((part_seed, df_seed), (part_condition, df_condition))
    )
    means = {s: float(10**m) for s, m in zip(seeds, by_seed, strict=True)}
    return Shares(part_seed, p_seed, part_condition, p_condition, means, len(names))


def lowest_barriers(models: Sequence[Row]) -> list[Row]:
    """The model table with the lowest of each model's barriers to a contact as a column."""

    def lowest(row: Row) -> float | None:
        found = [v for k, v in row.items() if k.startswith("barrier_") and v is not None]
        return min(found, default=None)

    return [{**row, BARRIER: lowest(row)} for row in models]


def relation(
    tables: Tables, halves: Sequence[str], within: bool, column: str = CORRELATION, seed: int = 0
) -> Relation | None:
    """Spearman's coefficient of a column of the model table with stability, over models.

    Args:
        tables: of a regime.
        halves: whose runs count; a half is a stratum, since its cells are its own.
        within: rank inside each condition (and half) with three models or more.
        column: the mean absolute correlation, or another.
        seed: of the bootstrap.
    """
    groups: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
    names = set()
    for half in halves:
        for (condition, train_seed), time in log_stable_time(tables, half).items():
            value = tables.by_seed(condition, column).get(train_seed)
            if value is not None:
                key = half, condition if within else ""
                groups.setdefault(key, []).append((value, time, train_seed))
                names.add(condition)
    parts = {k: np.array(g) for k, g in groups.items() if len(g) >= MIN_WITHIN}
    if not parts:
        return None
    listed, rng = list(parts.values()), np.random.default_rng(seed)
    value = float(_stratified(listed, [np.ones((1, len(p))) for p in listed])[0])
    by_model = [[_counts(len(p), rng) for p in listed] for _ in range(RESAMPLES)]
    by_seed = [_whole_seeds(parts, rng) for _ in range(RESAMPLES)]
    used = len({condition for _, condition in parts}) if within else len(names)
    intervals = (_interval(value, listed, drawn) for drawn in (by_model, by_seed))
    return Relation(next(intervals), next(intervals), sum(map(len, listed)), used)


def _interval(
    value: float, parts: Sequence[np.ndarray], drawn: Sequence[Sequence[Any]]
) -> Estimate:
    """Percentile bootstrap of the stratified coefficient, from how often each model was drawn."""
    weights = [np.array(counts, float) for counts in zip(*drawn, strict=True)]
    low, high = np.nanpercentile(_stratified(parts, weights), [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def _counts(number: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of ``number`` is drawn in as many draws with replacement."""
    return np.bincount(rng.integers(0, number, number), minlength=number)


def _whole_seeds(
    parts: Mapping[tuple[str, str], np.ndarray], rng: np.random.Generator
) -> list[list[int]]:
    """How often models are drawn if seeds are, the same ones in all strata of a half."""
    drawn: dict[str, Counter[float]] = {}
    for half in sorted({half for half, _ in parts}):
        seeds = np.unique(np.concatenate([p[:, 2] for (h, _), p in parts.items() if h == half]))
        drawn[half] = Counter(rng.choice(seeds, len(seeds)).tolist())
    return [[drawn[h][s] for s in p[:, 2]] for (h, _), p in parts.items()]


def across_and_within(
    tables: Tables, halves: Sequence[str], column: str = CORRELATION
) -> dict[bool, Relation | None]:
    """:func:`relation` by ``within``."""
    return {within: relation(tables, halves, within, column) for within in (False, True)}


def _stratified(parts: Sequence[np.ndarray], weights: Sequence[np.ndarray]) -> np.ndarray:
    """Pearson's coefficient of the ranks, taken and centred within each stratum.

    Args:
        parts: of a stratum, both quantities (and more columns) by model, ``[models, 2]``.
        weights: of a stratum, how often each model counts, ``[draws, models]``.

    Returns:
        Coefficients, ``[draws]``; not a number where a quantity doesn't vary.
    """
    sums = np.zeros((3, len(weights[0])))
    for part, weight in zip(parts, weights, strict=True):
        x, y = (_ranks(part[:, k], weight) for k in (0, 1))
        sums += [(weight * product).sum(1) for product in (x * y, x * x, y * y)]
    norm = np.sqrt(sums[1] * sums[2])
    correlation = np.full(len(norm), np.nan)
    np.divide(sums[0], norm, out=correlation, where=norm > 1e-9)
    return correlation


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean ranks over their number, centred, of values that count several times or not at all."""
    group = np.unique(values, return_inverse=True)[1].ravel()
    counts = weights @ np.eye(group.max() + 1)[group]
    last, total = np.cumsum(counts, axis=1), np.maximum(counts.sum(1, keepdims=True), 1)
    ranks = np.take((last - (counts - 1) / 2) / total, group, axis=1)
    ranks -= (weights * ranks).sum(1, keepdims=True) / total
    return ranks


def select(
    tables: Tables, candidates: Sequence[str], stock: str, bounds: Sequence[float] = (1.02, 1.1)
) -> tuple[str | None, float]:
    """The best found by the rule of the protocol, and the bound on the ID error that it met.

    RMST and error are those over stock's of the same training seeds.
    """
    found = {}
    for name in candidates:
        ratios = over(tables, "tuning", stock, name)
        (rmst_ratio, each), (error, _) = ratios[TIME], ratios[COLUMNS[0]]
        if len(each) >= 2:
            found[name] = rmst_ratio, error
    for bound in bounds:
        ahead = {n: ratio for n, (ratio, error) in found.items() if error <= bound and ratio > 1}
        if ahead:
            return max(ahead, key=lambda name: ahead[name]), bound
    return None, bounds[-1]


def geometric(values: Sequence[float]) -> float:
    """Geometric mean."""
    return float(np.exp(np.mean(np.log(values))))
