"""How numbers, names and sections are written; the sections' words are in ``templates``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nequip_decorr.survival.arrays import Estimate
from nequip_decorr.survival.verdict import Comparison

from .analysis import Relation, Tables
from .declared import HERE, STOCK

MIN_SEEDS: Final = 2  # a single seed is no evidence
CORES: Final = {"careful": "EMA and a ZBL core", "wall": "a wall where the training data end"}
Relations = Mapping[bool, Relation | None]


def number(value: float | None) -> str:
    """Three digits, the same ones on every machine where the last bits differ."""
    if value is None or np.isnan(value):
        return "-"
    return "inf" if np.isinf(value) else f"{float(f'{value:.12g}'):.3g}"


def interval(estimate: Estimate | None) -> str:
    """A value and its interval."""
    if estimate is None:
        return "-"
    if not np.isfinite(estimate.high) and estimate.low == 0:
        return f"{number(estimate.value)} (one seed)"
    return f"{number(estimate.value)} [{number(estimate.low)}, {number(estimate.high)}]"


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table of texts, counts, numbers and estimates."""
    cells = [[_cell(value) for value in row] for row in rows]
    lines = [header, ["---"] * len(header), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, str | int):
        return str(value)
    return interval(value) if isinstance(value, Estimate) else number(value)


_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.globals["table"] = table
_TEMPLATES.filters |= {
    "number": number,
    "interval": interval,
    "fold": lambda text: " ".join(text.split()),
}


def section(name: str, /, **values: Any) -> str:
    """A section of the page, or a part of one, from the macro of that name."""
    return str(getattr(_TEMPLATES.get_template("sections.md.j2").module, name)(**values))


def mean_of(tables: Tables, condition: str, column: str, seeds: Sequence[int]) -> float | None:
    """Mean of a column over training seeds."""
    values = [v for s, v in tables.by_seed(condition, column).items() if s in seeds]
    return float(np.mean(values)) if values else None


def each(value: float, by_seed: Sequence[float]) -> str:
    """A ratio and, in brackets, that of each seed."""
    return f"{number(value)} ({', '.join(map(number, by_seed))})"


def over_seeds(found: Comparison | None) -> str:
    """RMST ratio and interval; one training seed says nothing of others."""
    if found is None:
        return "-"
    if found.clusters["train_seed"] < MIN_SEEDS:
        return f"{number(found.ratio.value)} (one seed)"
    return interval(found.ratio)


def effect(found: Comparison) -> str:
    """Ratio of RMST, p and number of training seeds."""
    p, seeds = found.permutation.p_value, found.clusters["train_seed"]
    return f"{over_seeds(found)}, p = {number(p)}, {seeds} seeds each"


def ranked(found: Relation) -> str:
    """A rank correlation and how many models it is of."""
    return f"{interval(found.estimate)} ({found.models} models)"


def baseline(name: str) -> str:
    """What a condition is held against: the core alone where it is on top of that, else stock."""
    return next((core for core in CORES if name.startswith(f"{core}_")), STOCK)
