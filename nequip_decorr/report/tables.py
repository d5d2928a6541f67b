"""The tables of a report's page, each as a header and rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from ..md.criteria import criterion
from ..md.distribution import AVERAGE
from ..md.spec import settings
from ..survival.arrays import Estimate
from ..survival.sensitivity import Point
from .analysis import OPTIONAL, Analysis

Table = tuple[list[str], list[list[Any]]]
SHOWN_RUNS: Final = 2000
_VERDICTS: Final = {
    "a_better": "shown",
    "b_better": "shown",
    "sample_only": "on these structures",
    "inconclusive": "not shown",
}


def tables_of(found: Analysis) -> dict[str, Table]:
    """Every table by name; one without rows has nothing to show."""
    makers = [comparisons, survival, causes, structure, drift, displacement, sweep, runs, errors]
    makers += [conditions, hashes, versions]
    return {make.__name__: make(found) for make in makers}


def comparisons(found: Analysis) -> Table:
    """Every two models, by each time that they have."""
    header = ["model", "against", "time", "ratio (95 %)", "difference / ps (95 %)", "p", "pairs"]
    rows = [
        [c.model_b, c.model_a, c.time, estimate(c.ratio), estimate(c.difference_ps),
         f"{c.permutation.p_value:.2g}", c.n_pairs, _VERDICTS[c.verdict]]
        for c in found.comparisons
    ]  # fmt: skip
    return [*header, "difference"], rows


def survival(found: Analysis) -> Table:
    """Median stable time and survival of each model."""
    models, horizon = found.summary.models, found.summary.horizon_ps
    times = list(models[0].survival_at)
    header = ["model", "median stable time / ps", *(f"stable beyond {t} ps" for t in times)]
    beyond = f"> {horizon:g}"
    rows = [
        [m.name, estimate(m.median_ps, beyond) if m.rmst.n_failed else beyond,
         *(percent(m.survival_at[t]) for t in times), m.n_judged]
        for m in models
    ]  # fmt: skip
    return [*header, "runs"], rows


def causes(found: Analysis) -> Table:
    """Each cause of failure of each model."""
    horizon = found.summary.horizon_ps
    header = ["model", "cause", "runs", "median time / ps", "first / ps"]
    rows = []
    for m in found.summary.models:
        for cause in m.causes:
            times = [
                r["stable_time_ps"]
                for r in found.rows
                if r["model"] == m.name and r["cause"] == cause
            ]
            rows.append([m.name, criterion(cause).label, len(times), f"{np.median(times):.3g}",
                         f"{min(times):.3g}", percent(m.incidence[cause].at(horizon))])  # fmt: skip
    return [*header, f"incidence at {horizon:g} ps"], rows


def structure(found: Analysis) -> Table:
    """Errors of the distribution functions."""
    header = ["model", "structure", "T / K", "", "error", "by pair or triplet", "frames", "runs"]
    rows = [
        [e.key[0], e.key[1], f"{e.key[2]:g}", e.got.kind.upper(), f"{e.errors[AVERAGE]:.4f}",
         ", ".join(f"{k} {v:.3f}" for k, v in e.errors.items() if k != AVERAGE),
         f"{e.got.frames}{' (few)' if e.got.too_few else ''}", e.runs,
         f"{e.window_ps[0]:.2f} to {e.window_ps[1]:.2f}"]
        for e in found.structure
    ]  # fmt: skip
    return [*header, "window / ps"], rows


def drift(found: Analysis) -> Table:
    """Energy drift in NVE by model."""
    header = ["model", "runs in NVE", "median drift / meV per atom and ps", "largest"]
    rows = []
    for model, drifts in found.drifts.items():
        rates = np.array([d.rate_eV_per_atom_ps for d in drifts]) * 1e3
        away, largest = sum(d.low > 0 or d.high < 0 for d in drifts), rates[np.abs(rates).argmax()]
        rows.append([model, len(drifts), f"{np.median(rates):.3g}",
                     f"{largest:.3g}", f"{away} of {len(drifts)}"])  # fmt: skip
    return [*header, "interval excludes 0"], rows


def displacement(found: Analysis) -> Table:
    """Mean square displacement by condition and element."""
    header = ["model", "structure", "T / K", "element", "MSD / A²", "at lag / ps", "diffusion"]
    rows = [
        [key[0], key[1], f"{key[2]:g}", p.element, f"{p.msd_A2[-1]:.3g}", f"{p.lag_ps[-1]:.3g}",
         p.verdict]
        for key, parts in found.displacement.items() for p in parts
    ]  # fmt: skip
    return header, rows


def sweep(found: Analysis) -> Table:
    """Mean stable time at each scale of each criterion."""
    header = ["criterion", "scale", "bound", "model", "mean stable time / ps", "failed", "unknown"]
    rows = [
        [criterion(p.criterion).label, f"x {p.scale:g}",
         "–" if p.bound is None else f"{p.bound:.3g}", p.model, _range(p), p.failed, p.open, p.runs]
        for p in found.sweep
    ]  # fmt: skip
    return [*header, "runs"], rows


def runs(found: Analysis) -> Table:
    """The first runs of the run table."""
    header = ["model", "structure", "T / K", "seed", "end", "stable / ps", "of / ps", "message"]
    rows = [
        [*_start(r), criterion(r["cause"]).label if r["status"] == "failed" else r["status"],
         "–" if r["stable_time_ps"] is None else f"{r['stable_time_ps']:.4g}",
         f"{r['length_ps']:g}", r["message"]]
        for r in found.rows[:SHOWN_RUNS]
    ]  # fmt: skip
    for name, head in OPTIONAL.items():
        if any(name in r for r in found.rows):
            header.insert(-1, head)
            for cells, r in zip(rows, found.rows, strict=False):
                cells.insert(-1, f"{r[name]:.3g}" if name in r else "–")
    return header, rows


def errors(found: Analysis) -> Table:
    """Runs that ended in an error."""
    rows = [[*_start(r), r["message"]] for r in found.rows if r["status"] == "error"]
    return ["model", "structure", "T / K", "seed", "message"], rows


def conditions(found: Analysis) -> Table:
    """Settings of the runs, and every value that they have."""
    rows = [
        ["temperatures / K", _set(f"{r['temperature_K']:g}" for r in found.rows)],
        ["seeds", _set(r["seed"] for r in found.rows)],
    ]
    for name, values in settings(found.specs).items():
        rows.append([name.replace("criteria.", "").replace("_", " "), _set(map(_value, values))])
    return ["setting", "value"], rows


def hashes(found: Analysis) -> Table:
    """Content hash of each model."""
    seen: dict[str, set[str]] = {}
    for run in found.runs:
        if model := run.manifest.get("inputs", {}).get("model"):
            seen.setdefault(run.model, set()).add(str(model)[:16])
    return ["model", "content hash"], [[m, _set(sorted(h))] for m, h in sorted(seen.items())]


def versions(found: Analysis) -> Table:
    """Versions of the software."""
    seen: dict[str, set[str]] = {}
    for run in found.runs:
        for name, version in run.manifest.get("versions", {}).items():
            seen.setdefault(name, set()).add(str(version))
    return ["software", "version"], [[n, _set(sorted(v))] for n, v in sorted(seen.items())]


def estimate(value: Estimate, infinite: str = "∞") -> str:
    """``1.2 (0.9 to 1.6)``; what is unknown is a dash."""
    value_text, low, high = (
        "–" if np.isnan(x) else infinite if np.isinf(x) else f"{x:.3g}" if abs(x) > 1e-3 else "0"
        for x in (value.value, value.low, value.high)
    )
    return f"{value_text} ({low} to {high})"


def percent(value: Estimate) -> str:
    """``50% (20% to 80%)``, ``100% (at least 29%)``; what is unknown is a dash."""
    if np.isnan(value.value):
        return "–"
    if value.value == value.high == 1:
        return f"100% (at least {value.low:.0%})"
    if value.value == value.low == 0:
        return f"0% (at most {value.high:.0%})" if value.high < 1 else "0% (no upper bound)"
    return f"{value.value:.0%} ({value.low:.0%} to {value.high:.0%})"


def _range(p: Point) -> str:
    if p.rmst_low_ps is None or p.rmst_high_ps is None:
        return "–"
    low, high = f"{p.rmst_low_ps:.3g}", f"{p.rmst_high_ps:.3g}"
    return low if p.rmst_low_ps == p.rmst_high_ps else f"{low} to {high}"


def _start(row: dict[str, Any]) -> list[Any]:
    return [row["model"], row["structure"], f"{row['temperature_K']:g}", row["seed"]]


def _value(value: Any) -> str:
    return "off" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _set(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))
