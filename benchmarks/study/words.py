"""How numbers and names are written in ``docs/results.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from nequip_decorr.survival.arrays import Estimate
from nequip_decorr.survival.verdict import Comparison

from .analysis import Relation, Tables
from .declared import STOCK

MIN_SEEDS: Final = 2  # a single seed is no evidence
CORES: Final = {"careful": "EMA and a ZBL core", "wall": "a wall where the training data end"}
Relations = Mapping[bool, Relation | None]


def number(value: float | None) -> str:
    """Three digits."""
    if value is None or np.isnan(value):
        return "-"
    return "inf" if np.isinf(value) else f"{value:.3g}"


def interval(estimate: Estimate | None) -> str:
    """A value and its interval."""
    if estimate is None:
        return "-"
    if not np.isfinite(estimate.high) and estimate.low == 0:
        return f"{number(estimate.value)} (one seed)"
    return f"{number(estimate.value)} [{number(estimate.low)}, {number(estimate.high)}]"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def mean_of(tables: Tables, condition: str, column: str, seeds: Sequence[int]) -> float | None:
    """Mean of a column over training seeds."""
    values = [v for s, v in tables.by_seed(condition, column).items() if s in seeds]
    return float(np.mean(values)) if values else None


def each(value: float, by_seed: Sequence[float]) -> str:
    """A ratio and, in brackets, that of each seed."""
    return f"{number(value)} ({', '.join(map(number, by_seed))})"


def over_seeds(found: Comparison) -> str:
    """RMST ratio and interval; one training seed says nothing of others."""
    if found.clusters["train_seed"] < MIN_SEEDS:
        return f"{number(found.ratio.value)} (one seed)"
    return interval(found.ratio)


def effect(found: Comparison) -> str:
    """Ratio of RMST, p and number of training seeds."""
    p, seeds = found.permutation.p_value, found.clusters["train_seed"]
    return f"{over_seeds(found)}, p = {number(p)}, {seeds} seeds each"


def baseline(name: str) -> str:
    """What a condition is held against: the core alone where it is on top of that, else stock."""
    return next((core for core in CORES if name.startswith(f"{core}_")), STOCK)
