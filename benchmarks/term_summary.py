"""The figures of ``term_questions.py``, from the raw rows alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.stats import rankdata, spearmanr

from benchmarks.hardware import read
from benchmarks.study.paired import Paired

RESULTS: Final = Path(__file__).parent / "results"
TIMES: Final = ("stable_ps", "narrow_ps", "right_ps")
STARTS: Final = ("relaxed", "poor", "packed", "melt")
ARMS: Final = ("ema", "ema_early", "early", "sam")
STOCK, TERM = "stock", "decorrelated"
CURE: Final = {
    "one round of labels": ("near", "near, term"),
    "two rounds of labels": ("near, 2 rounds", "near, 2 rounds, term"),
    "three rounds of labels": ("near, 3 rounds", "near, 3 rounds, term"),
    "two rounds of labels and a longer training": (
        "near, 2 rounds, longer", "near, 2 rounds, term, longer",
    ),
}  # fmt: skip
"""Arms of ``cure.py`` without and with the term."""
Rows = Sequence[Mapping[str, Any]]
Logs = Mapping[tuple[str, int], float]


def means(rows: Rows, column: str) -> dict[tuple[str, int], float]:
    """Mean natural logarithm of a column by (model, seed); a time below 1 fs counts as 1 fs."""
    found = defaultdict(list)
    for r in rows:
        found[r["model"], r["seed"]].append(np.log(max(r[column], 1e-3)))
    return {k: float(np.mean(v)) for k, v in found.items()}


def paired(logs: Logs, base: str, other: str) -> Paired | None:
    """The paired reading over the training seeds that both have; ``None`` for one alone."""
    seeds = sorted(s for m, s in logs if m == base and (other, s) in logs)
    if len(seeds) < 2:
        return None
    return Paired(np.array([logs[other, s] - logs[base, s] for s in seeds]))


def ratio(logs: Logs, base: str, other: str) -> str:
    """The paired reading, in words."""
    p = paired(logs, base, other)
    if p is None:
        return "fewer than two pairs"
    r = p.ratio
    words = f"{r.value:.3g} [{r.low:.3g}, {r.high:.3g}], {len(p.logs)} pairs"
    return f"{words}, sign-flip p = {p.p_value:.2g}, detectable {p.detectable:.2f}"


def compared(rows: Rows, base: str = STOCK, other: str = TERM) -> None:
    """Print geometric means and ratios of all three times."""
    for time in TIMES:
        logs = means(rows, time)
        both = (
            f"{m} {np.exp(np.mean([v for (n, _), v in logs.items() if n == m])):.3g} ps"
            for m in (base, other)
        )
        print(f"  {time[:-3]:7s} {', '.join(both)}, ratio {ratio(logs, base, other)}")


def by_rank(x: Sequence[float], y: Sequence[float]) -> str:
    """Spearman's rank correlation, in words."""
    found = spearmanr(x, y)
    return f"{found.statistic:.2f} (n = {len(x)}, p = {found.pvalue:.2g})"


def survive(rows: Rows) -> str:
    """How many runs reach the end."""
    return f"{sum(r['status'] == 'survived' for r in rows)} of {len(rows)}"


def of_md(rows: Rows) -> None:
    """The 16 models on the demo's cells."""
    print("md, decorrelated over stock")
    compared(rows)
    for model in (STOCK, TERM):
        mine = [r for r in rows if r["model"] == model]
        early = {t: sum(r[t] < r["stable_ps"] for r in mine) for t in TIMES[1:]}
        print(
            f"  {model}: {survive(mine)} survive; the narrow window is earlier in "
            f"{early['narrow_ps']}, the right time in {early['right_ps']}"
        )


def of_edges(rows: Rows, logs: Logs) -> None:
    """Similarity of edges against the stable time."""
    table = {(r["model"], r["seed"]): r for r in rows}
    seeds = sorted({s for _, s in table if {(STOCK, s), (TERM, s)} <= logs.keys() & table.keys()})
    for column in [c for c in rows[0] if c not in ("model", "seed")]:
        values = {k: r[column] for k, r in table.items()}
        ranked = [
            [r for m in (STOCK, TERM) for r in rankdata([x[m, s] for s in seeds]).tolist()]
            for x in (values, logs)
        ]
        change, gain = ([x[TERM, s] - x[STOCK, s] for s in seeds] for x in (values, logs))
        mean = " ".join(f"{m} {np.mean([values[m, s] for s in seeds]):.3f}" for m in (STOCK, TERM))
        print(
            f"edges {column:9s} {mean}; over seeds {by_rank(*ranked)}; "
            f"within seed {by_rank(change, gain)}"
        )


def of_starts(rows: Rows) -> None:
    """Times, errors at step 0 and the term's ratio by kind of start."""
    error, stable = "force_mae_eV_per_A", "stable_ps"
    for kind in STARTS:
        mine = [r for r in rows if r["kind"] == kind]
        models = [r for r in mine if r["model"] != "reference"]
        stock = [r for r in models if r["model"] == STOCK]
        column = {k: np.array([r[k] for r in stock]) for k in (stable, error, "force_rms_eV_per_A")}
        print(
            f"starts {kind}: stock's median stable time {np.median(column[stable]):.3f} ps; "
            f"reference survives {survive([r for r in mine if r['model'] == 'reference'])}; "
            f"stock's force error at step 0 {column[error].mean():.2f} eV/A, RMS force "
            f"{column['force_rms_eV_per_A'].mean():.2f}"
        )
        compared(models)
        errors, logs = means(models, error), means(models, stable)
        print(f"  force error at step 0, ratio {ratio(errors, STOCK, TERM)}")
        print(
            f"  error against time over models: {by_rank(*zip(*_both(errors, logs), strict=True))}"
        )
    stock = [r for r in rows if r["model"] == STOCK]
    print(
        "starts, all runs of stock, error against time: "
        + by_rank([r[error] for r in stock], [r[stable] for r in stock])
    )


def _both(a: Logs, b: Logs) -> list[tuple[float, float]]:
    return [(a[k], b[k]) for k in b]


def of_truncated(rows: Rows) -> None:
    """MD with all neighbours and with the nearest."""
    for kind in ("all", "nearest"):
        print(f"truncated: MD with {kind} neighbours, decorrelated over stock")
        compared([r for r in rows if r["neighbours"] == kind])
    for base in (STOCK, TERM):
        print(f"truncated, {base}: MD with the nearest over MD with all")
        mine = [{**r, "model": r["neighbours"]} for r in rows if r["model"] == base]
        compared(mine, "all", "nearest")


def of_early(rows: Rows, models: Rows) -> None:
    """Ways of training, against stock of the same seed."""
    errors = means(models, "force_mae_eV_per_A")
    for base, arm in [*((STOCK, a) for a in ARMS), ("ema", "ema_early")]:
        if any(r["model"] == arm for r in rows):
            print(f"early: {arm} over {base}")
            compared(rows, base, arm)
            print(f"  ID force error, ratio {ratio(errors, base, arm)}")


def stable_times(tables: Mapping[str, Rows]) -> dict[str, Paired]:
    """The paired reading of each comparison of models with and without the term, by its name.

    Args:
        tables: what :func:`read_tables` gives.
    """
    stock = [r for r in tables.get("md", []) if r["model"] == STOCK]
    parts = {
        "md": (tables.get("md", []), STOCK, TERM),
        **{
            f"truncated, {kind}": (
                [r for r in tables.get("truncated", []) if r["neighbours"] == kind], STOCK, TERM
            )
            for kind in ("all", "nearest")
        },
        **{
            f"starts, {kind}": (
                [r for r in tables.get("starts", []) if r["kind"] == kind], STOCK, TERM
            )
            for kind in STARTS
        },
        "early": ([*stock, *tables.get("early", [])], STOCK, "early"),
        "early with EMA": (tables.get("early", []), "ema", "ema_early"),
        **{name: (tables.get("cure", []), *arms) for name, arms in CURE.items()},
    }  # fmt: skip
    found = {k: paired(means(r, "stable_ps"), base, other) for k, (r, base, other) in parts.items()}
    return {name: reading for name, reading in found.items() if reading is not None}


def read_tables() -> dict[str, Rows]:
    """The raw rows by the name of their file, without ``term_``; ``cure`` has those of the cure."""
    tables = {p.stem.removeprefix("term_"): read(p) for p in sorted(RESULTS.glob("term_*.csv"))}
    longer = [r for r in read(RESULTS / "cure_long.csv") if r["horizon_ps"] == 10]
    rows = [*read(RESULTS / "cure_runs.csv"), *(r for r in longer if "longer" in r["arm"])]
    return {**tables, "cure": [{**r, "model": r["arm"]} for r in rows]}


def summary() -> None:
    """Print all of them."""
    tables = read_tables()
    if "md" in tables:
        of_md(tables["md"])
    if "edges" in tables and "md" in tables:
        of_edges(tables["edges"], means(tables["md"], "stable_ps"))
    if "starts" in tables:
        of_starts(tables["starts"])
    if "truncated" in tables:
        of_truncated(tables["truncated"])
    if "early" in tables and "md" in tables:
        stock = [r for r in tables["md"] if r["model"] == STOCK]
        of_early([*stock, *tables["early"]], tables["early_models"])
    print("cure: stable time with the term over without")
    for name, (base, other) in CURE.items():
        print(f"  {name}: {ratio(means(tables['cure'], 'stable_ps'), base, other)}")
    for name in ("early_models", "sizes"):
        for r in tables.get(name, []):
            print(
                f"{name}: {r['model']} {r['seed']}: correlation {r['correlation']:.3f}, "
                f"ID force error {r['force_mae_eV_per_A']:.4f} eV/A"
            )
