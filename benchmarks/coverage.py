"""Do the intervals cover and does the test hold its level? Simulated campaigns with known hazard.

Each scenario draws campaigns of two models over start structures and seeds: Weibull failure times
whose scale varies by structure (log-normal, shared by both models, or also each model's own), runs
censored at 10 ps and, in some, cut short at random. The true means are integrals over structures.

    python -m benchmarks.coverage --campaigns 2000
    python -m benchmarks.coverage --paired --campaigns 300

For an interval ``covered`` counts campaigns whose interval holds the true value; for a test it
counts rejections at 5 % where both models are alike. ``low`` and ``high`` are the 95 % Wilson
interval of the rate. Bars: 92 to 98 % and 3 to 7 %.

With ``--paired`` two training configurations share training seeds, so that their trained models are
long-lived or short-lived together, on cells that every campaign has (fixed) or that it draws.
``paired_log_ratio`` is the interval of ``study/paired.py``: mean and Student's t of the log stable
times, a difference per training seed. ``rejects`` is the power of the tests.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track
from scipy.stats import binomtest, norm

from benchmarks.hardware import write
from benchmarks.study.paired import Paired
from nequip_decorr.survival.arrays import Estimate, run_arrays
from nequip_decorr.survival.comparison import compare
from nequip_decorr.survival.estimators import survival_at
from nequip_decorr.survival.verdict import Comparison

LENGTH_PS = 10.0
AT_PS = 5.0


@dataclass(frozen=True)
class Scenario:
    """How campaigns are drawn.

    Attributes:
        structures, replicas, trained: start structures, seeds each, trained models per condition.
        scale_ps: Weibull scale of model A in a middling structure.
        ratio: scale of B over that of A.
        shape: Weibull shape (1: exponential).
        spread: standard deviation of log scale by structure, shared by both models.
        own_spread: the same, each model for itself.
        trained_spread: the same by trained model.
        cut_share: about this share of runs is cut short before the end.
        seed_spread: standard deviation of log scale by training seed, shared by both models.
        fixed: every campaign has the same structures.
    """

    name: str
    structures: int
    replicas: int
    scale_ps: float = 6.0
    ratio: float = 1.0
    shape: float = 1.0
    spread: float = 0.5
    own_spread: float = 0.0
    trained: int = 1
    trained_spread: float = 0.0
    cut_share: float = 0.0
    seed_spread: float = 0.0
    fixed: bool = False

    def cells(self) -> np.ndarray:
        """Log scale of each cell where these are fixed, ``[structures]``."""
        return self.spread * norm.ppf((np.arange(self.structures) + 0.5) / self.structures)


SCENARIOS = (
    Scenario("8x3 alike", 8, 3),
    Scenario("8x3 B 2 times", 8, 3, ratio=2),
    Scenario("8x3 B 4 times: early failures", 8, 3, scale_ps=2, ratio=4, spread=0.7),
    Scenario("8x3 no heterogeneity: Weibull 2", 8, 3, shape=2, spread=0, ratio=1.5),
    Scenario("8x3 cut short 30 %", 8, 3, shape=1.5, ratio=2, spread=1, cut_share=0.3),
    Scenario("8x3 alike: cut short 30 %", 8, 3, spread=1, cut_share=0.3),
    Scenario("8x3 alike on average: own structures", 8, 3, own_spread=0.7),
    Scenario("8x3 alike: few fail", 8, 3, scale_ps=60),
    Scenario("8x3 A fails: B hardly", 8, 3, scale_ps=3, ratio=30),
    Scenario("8x3 alike: all fail at once", 8, 3, scale_ps=0.5),
    Scenario("20x1 Weibull 0.7", 20, 1, shape=0.7, ratio=2),
    Scenario("6x4 B 2 times", 6, 4, ratio=2),
    Scenario("6x4 alike", 6, 4),
    Scenario("5x3 B 2 times", 5, 3, ratio=2),
    Scenario("5x1 alike", 5, 1),
    Scenario("3x3 B 2 times", 3, 3, ratio=2),
    Scenario("3x3 alike", 3, 3),
    Scenario("2x3 B 2 times", 2, 3, ratio=2),
    Scenario("6x2: 5 trained models and alike", 6, 2, trained=5, trained_spread=0.4),
)
PAIRED = tuple(
    Scenario(f"{cells} cells: {trained} paired trained models{end}", 6, 2, ratio=ratio,
             trained=trained, trained_spread=0.15, seed_spread=0.95, fixed=cells == "fixed")
    for cells in ("fixed", "drawn")
    for trained in (5, 8)
    for end, ratio in ((" alike", 1.0), (": B 1.3 times", 1.3))
)  # fmt: skip


def true_survival(scenario: Scenario, ratio: float, times_ps: np.ndarray) -> np.ndarray:
    """Survival averaged over structures (and trained models) at times [m], by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    variance = scenario.own_spread**2 + scenario.trained_spread**2 + scenario.seed_spread**2
    variance += 0 if scenario.fixed else scenario.spread**2
    cells = scenario.cells() if scenario.fixed else np.zeros(1)
    scale = scenario.scale_ps * ratio * np.exp(np.sqrt(variance) * nodes + cells[:, None])
    survival = np.exp(-((times_ps[:, None, None] / scale) ** scenario.shape))
    return (survival @ (weights / weights.sum())).mean(1)


def true_mean(scenario: Scenario, ratio: float, horizon_ps: float) -> float:
    """Restricted mean to a horizon; the cubed variable smooths the integrand at 0."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    x = (nodes + 1) / 2
    survival = true_survival(scenario, ratio, horizon_ps * x**3)
    return float(horizon_ps * (weights / 2 * 3 * x**2) @ survival)


def true_log_mean(scenario: Scenario, ratio: float) -> float:
    """Mean of the log of the stable time, which ends with the run."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    x = (nodes + 1) / 2
    failed = 1 - true_survival(scenario, ratio, LENGTH_PS * x**3)
    return float(np.log(LENGTH_PS) - (weights / 2 * 3 / x) @ failed)


def draw(scenario: Scenario, rng: np.random.Generator) -> list[dict[str, Any]]:
    """The run rows of one campaign."""
    s = scenario
    shape = (s.trained, s.structures, s.replicas)
    shared = s.cells()[:, None] if s.fixed else rng.normal(0, s.spread, (1, s.structures, 1))
    if s.seed_spread:
        shared = shared + rng.normal(0, s.seed_spread, (s.trained, 1, 1))
    rows = []
    for model, ratio in (("A", 1.0), ("B", s.ratio)):
        log_scale = shared + rng.normal(0, s.own_spread, (1, s.structures, 1))
        log_scale = log_scale + rng.normal(0, s.trained_spread, (s.trained, 1, 1))
        time = s.scale_ps * ratio * np.exp(log_scale) * rng.weibull(s.shape, shape)
        end = np.full(shape, LENGTH_PS)
        if s.cut_share:
            end = np.minimum(end, rng.exponential(-LENGTH_PS / np.log1p(-s.cut_share), shape))
        for index in np.ndindex(shape):
            failed = time[index] < end[index]
            censored = "survived" if end[index] == LENGTH_PS else "interrupted"
            row = dict(zip(("train_seed", "structure", "seed"), index, strict=True))
            row |= {"model": model, "temperature_K": 300.0, "length_ps": LENGTH_PS}
            row |= {"status": "failed", "cause": "contact"} if failed else {"status": censored}
            rows.append(row | {"stable_time_ps": min(time[index], end[index])})
    return rows


def campaigns(
    scenario: Scenario, count: int, seed: int
) -> Iterator[tuple[list[dict[str, Any]], Comparison]]:
    """Draw and compare ``count`` campaigns; the same ones for the same seed."""
    rng = np.random.default_rng([seed, *scenario.name.encode()])
    for number in range(count):
        rows = draw(scenario, rng)
        options = {"permutations": 2000, "seed": number}
        yield rows, compare(rows, "A", "B", cluster=clusters(scenario), **options)


def clusters(scenario: Scenario) -> tuple[str, ...]:
    """Columns to cluster by."""
    columns = [] if scenario.fixed else ["structure"]
    return (*columns, *(["train_seed"] if scenario.trained > 1 else []))


def paired_logs(rows: list[dict[str, Any]]) -> Paired:
    """The paired reading of a campaign: a difference of mean log stable times per seed."""
    logs: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        key = row["model"], row["train_seed"]
        logs.setdefault(key, []).append(np.log(row["stable_time_ps"]))
    seeds = sorted({seed for _, seed in logs})
    return Paired(np.array([np.mean(logs["B", s]) - np.mean(logs["A", s]) for s in seeds]))


def tally(scenario: Scenario, count: int, seed: int = 0) -> dict[str, list[int]]:
    """[hits, campaigns] by quantity; means are judged at the horizon that each campaign used."""
    hits: dict[str, list[int]] = {}

    def add(quantity: str, hit: bool) -> None:
        found = hits.setdefault(quantity, [0, 0])
        found[0] += bool(hit)
        found[1] += 1

    def holds(quantity: str, estimate: Estimate, value: float) -> None:
        add(quantity, estimate.low <= value <= estimate.high)

    mean = cache(partial(true_mean, scenario))
    true_log = true_log_mean(scenario, scenario.ratio) - true_log_mean(scenario, 1.0)
    survival_a = float(true_survival(scenario, 1.0, np.array([AT_PS]))[0])
    for rows, c in campaigns(scenario, count, seed):
        a, b = mean(1.0, c.horizon_ps), mean(scenario.ratio, c.horizon_ps)
        holds("rmst", Estimate(c.rmst_a.rmst_ps, c.rmst_a.low_ps, c.rmst_a.high_ps), a)
        holds("difference", c.difference_ps, b - a)
        holds("ratio", c.ratio, b / a)
        if scenario.seed_spread:
            logs, kind = paired_logs(rows), "rejects" if scenario.ratio != 1 else "rejects_alike"
            holds("paired_log_ratio", logs.ratio, float(np.exp(true_log)))
            add(f"paired_log_{kind}", logs.p_value < 0.05)
            add(f"test_{kind}", c.permutation.p_value < 0.05)
            continue
        runs = run_arrays([row for row in rows if row["model"] == "A"], clusters(scenario))
        labels = np.column_stack([runs.columns[name] for name in clusters(scenario)])
        at = survival_at(runs.time_ps, runs.failed, AT_PS, cluster=labels)
        if np.isfinite(at.value):
            holds("survival_at_5ps", at, survival_a)
        if scenario.ratio == 1:
            add("test_rejects", c.permutation.p_value < 0.05)
            add("verdict_for_one", c.verdict in ("a_better", "b_better"))
    return hits


def main() -> None:
    """Run all scenarios and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--campaigns", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--paired", action="store_true", help="the scenarios of shared seeds")
    parser.add_argument("--out", type=Path, help="default: coverage.csv, or coverage_paired.csv")
    args = parser.parse_args()
    name = "coverage_paired.csv" if args.paired else "coverage.csv"
    rows = []
    for scenario in track(PAIRED if args.paired else SCENARIOS, description="scenarios"):
        hits = tally(scenario, args.campaigns, args.seed)
        for quantity, (hit, n) in hits.items():
            wilson = binomtest(hit, n).proportion_ci(method="wilson")
            shares = {"rate": hit / n, "low": wilson.low, "high": wilson.high}
            row = {"scenario": scenario.name, "quantity": quantity, "n": n, "covered": hit}
            rows.append(row | {name: f"{value:.4f}" for name, value in shares.items()})
        write(args.out or Path(__file__).parent / "results" / name, rows, None)


if __name__ == "__main__":
    main()
