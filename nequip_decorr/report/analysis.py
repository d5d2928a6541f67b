"""Everything a report shows, gathered once; the page and the data files are made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..md.criteria import CRITERIA
from ..md.dynamics import (
    Displacement,
    Drift,
    energy_drift,
)
from ..md.spec import RunSpec, target_temperature_K
from ..survival.outcomes import Estimate
from ..survival.sensitivity import (
    Point,
    order_sentence,
    run_series,
    sweep,
)
from ..survival.summary import (
    Summary,
    summarise,
)
from .evidence import (
    Key,
    Reference,
    Run,
    StructureError,
    load_runs,
    mean_displacements,
    structure_errors,
)
from .figures_physics import Trace

Groups = Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Findings:
    """What the campaigns show.

    Attributes:
        runs: every finished run.
        plans: the campaigns' plans.
        summary: survival and comparisons.
        traces: course of each run that has a record.
        structure: distributions against the reference.
        structure_missing: which of them could not be made, and why.
        displacement: mean square displacements by condition.
        drifts: energy drift of the runs in NVE, by model.
        sweep: mean stable time by scaled criterion.
        sweep_verdict: what the sweep means for the first comparison.
        unfinished: planned runs that have not ended.
    """

    runs: list[Run]
    plans: list[dict[str, Any]]
    summary: Summary
    traces: list[Trace]
    structure: list[StructureError]
    structure_missing: list[str]
    displacement: dict[Key, list[Displacement]]
    drifts: dict[str, list[Drift]]
    sweep: list[Point]
    sweep_verdict: str
    unfinished: int

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The run table as judged."""
        return [run.row for run in self.runs]

    @property
    def specs(self) -> list[RunSpec]:
        """What was asked for, run by run."""
        return [run.spec for run in self.runs]


def gather(
    campaign_dirs: Sequence[str | Path],
    *,
    horizon_ps: float | None = None,
    reference: str | Reference | None = None,
    groups: Groups | None = None,
    resamples: int = 4000,
    seed: int = 0,
) -> Findings:
    """Read the campaigns and work out everything; arguments as in :func:`.report.write_report`."""
    runs, plans = load_runs(campaign_dirs)
    reference = _reference(reference, plans)
    cluster: str | tuple[str, ...] = "structure"
    if groups is not None:
        _group(runs, groups)
        cluster = ("structure", "train_seed")
    summary = summarise(
        [run.row for run in runs],
        horizon_ps=horizon_ps,
        reference=reference if isinstance(reference, str) else None,
        cluster=cluster,
        resamples=resamples,
        seed=seed,
    )
    frames: dict[Key, list[Any]] = {}
    lengths: dict[Key, float] = {}
    traces, series = [], {}
    drifts: dict[str, list[Drift]] = {}
    for run in runs:
        if run.row["status"] == "error":
            continue
        stable = run.stable_frames()
        frames.setdefault(run.key, []).append(stable)
        lengths[run.key] = max(lengths.get(run.key, 0.0), float(run.row["length_ps"]))
        record = run.record()
        if record is None or not len(record["step"]):
            continue
        traces.append(_trace(run, record))
        series[run.row["run_id"]] = run_series(run.spec, record, stable)
        if run.spec.ensemble == "nve":
            time = record["time_ps"]
            inside = time <= run.row["stable_time_ps"]
            drift = energy_drift(time[inside], record["total_eV_per_atom"][inside])
            if drift is not None:
                drifts.setdefault(run.row["model"], []).append(drift)
    structure, missing = structure_errors(frames, lengths, reference)
    rows = [run.row for run in runs]
    specs = [run.spec for run in runs]
    points = sweep(rows, series, summary.horizon_ps, bounds_as_run(specs))
    first = summary.comparisons[0] if summary.comparisons else None
    planned = sum(len(plan["runs"]) for plan in plans)
    return Findings(
        runs=runs,
        plans=plans,
        summary=summary,
        traces=traces,
        structure=structure,
        structure_missing=missing,
        displacement=mean_displacements(frames),
        drifts=drifts,
        sweep=points,
        sweep_verdict=order_sentence(points, first.model_b, first.model_a) if first else "",
        unfinished=planned - len(runs),
    )


def to_dict(found: Findings) -> dict[str, Any]:
    """As plain JSON types, without anything that changes from one writing to the next."""
    return {
        "schema": 1,
        "campaigns": [plan["name"] for plan in found.plans],
        "settings": settings(found.specs),
        "survival": found.summary.to_dict(),
        "structure": [
            {
                "model": e.key[0],
                "structure": e.key[1],
                "temperature_K": e.key[2],
                "kind": e.got.kind,
                "mean_absolute_difference": e.errors,
                "frames": e.got.frames,
                "too_few_frames": e.got.too_few,
                "window_ps": list(e.window_ps),
                "images": e.images,
                "runs": e.runs,
            }
            for e in found.structure
        ],
        "structure_missing": found.structure_missing,
        "displacement": [
            {
                "model": key[0],
                "structure": key[1],
                "temperature_K": key[2],
                "element": part.element,
                "last_lag_ps": float(part.lag_ps[-1]),
                "last_msd_A2": float(part.msd_A2[-1]),
                "exponent": part.exponent,
                "diffusion_A2_per_ps": part.diffusion_A2_per_ps,
                "verdict": part.verdict,
            }
            for key, parts in found.displacement.items()
            for part in parts
        ],
        "drift": {model: [asdict(d) for d in drifts] for model, drifts in found.drifts.items()},
        "sweep": [point.to_dict() for point in found.sweep],
        "sweep_verdict": found.sweep_verdict,
        "unfinished": found.unfinished,
        "errors": [
            {"run_id": row["run_id"], "message": row["message"]}
            for row in found.rows
            if row["status"] == "error"
        ],
    }


_SETTINGS: Final = (
    *("ensemble", "thermostat", "thermostat_damping_fs", "barostat_damping_fs", "pressure_GPa"),
    *("timestep_fs", "steps", "temperature_end_K", "pressure_end_GPa", "engine", "walltime_s"),
    *("record_every", "trajectory_every", "ring_frames"),
)


def settings(specs: Sequence[RunSpec]) -> dict[str, list[Any]]:
    """Every setting of the runs, and every value it has in them."""
    found: dict[str, list[Any]] = {}
    for spec in specs:
        values = {name: getattr(spec, name) for name in _SETTINGS}
        if spec.ensemble == "nve":
            values |= {"thermostat": None, "thermostat_damping_fs": None}
        if spec.ensemble != "npt":
            values |= {"barostat_damping_fs": None, "pressure_GPa": None}
        values |= {f"criteria.{name}": value for name, value in asdict(spec.criteria).items()}
        for name, value in values.items():
            if value not in found.setdefault(name, []):
                found[name].append(value)
    return {name: values for name, values in found.items() if values != [None]}


def bounds_as_run(specs: Sequence[RunSpec]) -> dict[str, float | None]:
    """Bound of each criterion that is on somewhere; ``None`` where runs differ."""
    found: dict[str, set[float]] = {}
    for spec in specs:
        for c in CRITERIA:
            setting = c.setting(spec.criteria, spec.ensemble)
            if setting is not None:
                found.setdefault(c.name, set()).add(setting)
    return {name: values.pop() if len(values) == 1 else None for name, values in found.items()}


def estimate_text(value: Estimate) -> str:
    """``1.2 (0.9 to 1.6)``; what can't be told is a dash."""
    texts = [
        "–" if np.isnan(x) else "∞" if np.isinf(x) else f"{x:.3g}" if abs(x) > 1e-3 else "0"
        for x in (value.value, value.low, value.high)
    ]
    return f"{texts[0]} ({texts[1]} to {texts[2]})"


def _reference(
    given: str | Reference | None, plans: Sequence[dict[str, Any]]
) -> str | Reference | None:
    """What was given, or what the campaigns name; files of several campaigns are put together."""
    if given is not None:
        return given
    files: dict[str, Any] = {}
    for plan in plans:
        entry = plan.get("reference")
        if isinstance(entry, str):
            return entry
        # Two campaigns with the same runs have their structures named with the campaign.
        files |= {f"{plan['name']}: {name}": value for name, value in (entry or {}).items()}
        files |= entry or {}
    return files or None


def _group(runs: Sequence[Run], groups: Groups) -> None:
    names = {run.row["model"] for run in runs}
    if unknown := set(groups) - names:
        raise ValueError(f"groups: no model {sorted(unknown)}; allowed: {sorted(names)}")
    for run in runs:
        model = run.row["model"]
        condition, train_seed = groups.get(model, (model, ""))
        run.row.update(model=condition, train_seed=str(train_seed))


def _trace(run: Run, record: Mapping[str, np.ndarray]) -> Trace:
    spec, time = run.spec, record["time_ps"]
    target_K = np.array([target_temperature_K(spec, int(step)) for step in record["step"]])
    potential, contact = record["potential_eV_per_atom"], record["min_contact"]
    return Trace(
        model=run.row["model"],
        cause=run.row["cause"] if run.row["status"] == "failed" else None,
        time_ps=time,
        heat=record["temperature_K"] / target_K,
        energy=potential - potential[0],
        contact=contact if np.isfinite(contact).any() else None,
    )
