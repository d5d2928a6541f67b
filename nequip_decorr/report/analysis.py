"""Everything that a report shows, worked out once; page and data files are made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..campaign.several import Part, renamed
from ..campaign.times import TIMES, Time, label_source, row_by_time
from ..files import sha256_file
from ..md.criteria import CRITERIA
from ..md.dynamics import Displacement, Drift, energy_drift
from ..md.spec import RunSpec
from ..survival.arrays import run_arrays
from ..survival.comparison import compare
from ..survival.estimators import Rmst, rmst
from ..survival.sensitivity import Point, order_sentence, run_series, sweep
from ..survival.summary import SurvivalSummary, summarise
from ..survival.verdict import Comparison
from .loading import (
    Key,
    Reference,
    Run,
    StructureError,
    load_runs,
    mean_displacements,
    structure_errors,
)
from .traces import Trace, trace_of

OPTIONAL: Final = {
    "trusted_ps": "trusted / ps",
    "right_ps": "right / ps",
    "max_grade": "largest grade",
}
"""What the run table has beside its columns where it is known, and the heads in words."""
Groups = Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Analysis:
    """Everything that a report shows of its campaigns.

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
        findings: warnings of the check before the runs, a sentence each.
        renamed: what has another name than in its campaign, and why, a sentence each.
        times: mean trusted and right time by model, where the runs have them.
        comparisons: those of the summary, each followed by the same two models' trusted and right
            times where both have them.
    """

    runs: list[Run]
    plans: list[dict[str, Any]]
    summary: SurvivalSummary
    traces: list[Trace]
    structure: list[StructureError]
    structure_missing: list[str]
    displacement: dict[Key, list[Displacement]]
    drifts: dict[str, list[Drift]]
    sweep: list[Point]
    sweep_verdict: str
    unfinished: int
    findings: list[str]
    renamed: list[str]
    times: dict[str, dict[str, Rmst]]
    comparisons: list[Comparison]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The run table as judged."""
        return [run.row for run in self.runs]

    @property
    def specs(self) -> list[RunSpec]:
        """What was asked for, run by run."""
        return [run.spec for run in self.runs]


def analyse(
    campaign_dirs: Sequence[str | Path],
    *,
    horizon_ps: float | None = None,
    reference: str | Reference | None = None,
    groups: Groups | None = None,
    seed: int = 0,
) -> Analysis:
    """Read the campaigns and work out everything; arguments as in :func:`.report.write_report`."""
    runs, parts = load_runs(campaign_dirs)
    plans = [part.plan for part in parts]
    cluster: str | tuple[str, ...] = "structure"
    if groups is not None:
        _group(runs, groups)
        cluster = ("structure", "train_seed")
    not_compared: list[str] = []
    if reference is None:
        reference, not_compared = _reference(runs, parts)
    summary = summarise(
        [run.row for run in runs],
        horizon_ps=horizon_ps,
        reference=reference if isinstance(reference, str) else None,
        cluster=cluster,
        seed=seed,
    )
    frames: dict[Key, list[Any]] = {}
    lengths: dict[Key, float] = {}
    traces, series = [], {}
    ended: dict[tuple[str, Time], list[dict[str, Any]]] = {}
    sources: dict[str, set[str | None]] = {}
    drifts: dict[str, list[Drift]] = {}
    for run in runs:
        if run.row["status"] == "error":
            continue
        stable = run.stable_frames()
        frames.setdefault(run.key, []).append(stable)
        lengths[run.key] = max(lengths.get(run.key, 0.0), float(run.row["length_ps"]))
        record = run.record()
        for time in TIMES[1:]:
            if (row := row_by_time(run.folder, run.row, time, record)) is not None:
                ended.setdefault((row["model"], time), []).append(row)
                run.row[f"{time}_ps"] = row["stable_time_ps"]
                if time == "right":
                    sources.setdefault(row["model"], set()).add(label_source(run.folder))
        if record is None or not len(record["step"]):
            continue
        traces.append(trace_of(run, record))
        if np.isfinite(record["share_above_1"]).any():
            run.row["max_grade"] = float(np.nanmax(record["max_grade"]))
        series[run.row["run_id"]] = run_series(run.spec, record, stable)
        if run.spec.ensemble == "nve":
            time_ps = record["time_ps"]
            inside = time_ps <= run.row["stable_time_ps"]
            drift = energy_drift(time_ps[inside], record["total_eV_per_atom"][inside])
            if drift is not None:
                drifts.setdefault(run.row["model"], []).append(drift)
    notes = renamed(parts)
    if len({source for found in sources.values() for source in found}) > 1:
        notes.append(
            "the labels of these campaigns come from several potentials; right times by labels of "
            "different potentials are not compared"
        )
    structure, missing = structure_errors(frames, lengths, reference)
    displacement, left_out = mean_displacements(frames)
    rows = [run.row for run in runs]
    specs = [run.spec for run in runs]
    points = sweep(rows, series, summary.horizon_ps, bounds_as_run(specs))
    first = summary.comparisons[0] if summary.comparisons else None
    return Analysis(
        runs=runs,
        plans=plans,
        summary=summary,
        traces=traces,
        structure=structure,
        structure_missing=[*not_compared, *missing, *left_out],
        displacement=displacement,
        drifts=drifts,
        sweep=points,
        sweep_verdict=_order(points, first),
        unfinished=sum(len(part.items) for part in parts) - len(runs),
        findings=_findings(plans),
        renamed=notes,
        times=_mean_times(ended, summary.horizon_ps),
        comparisons=_by_time(summary, ended, sources, cluster, seed),
    )


def _order(points: Sequence[Point], first: Comparison | None) -> str:
    """What the sweep means for the first comparison."""
    if first is None:
        return ""
    shown = first.verdict != "inconclusive"
    return order_sentence(points, first.model_b, first.model_a, shown=shown)


def _mean_times(
    ended: Mapping[tuple[str, Time], Sequence[dict[str, Any]]], horizon_ps: float
) -> dict[str, dict[str, Rmst]]:
    """Restricted means by model and time, of rows that end with that time."""
    found: dict[str, dict[str, Rmst]] = {}
    for (model, time), rows in ended.items():
        data = run_arrays(rows, ("structure",))
        cluster = np.unique(data.columns["structure"], return_inverse=True)[1]
        mean = rmst(data.time_ps, data.failed, horizon_ps, cluster=cluster)
        found.setdefault(model, {})[time] = mean
    return found


def _by_time(
    summary: SurvivalSummary,
    ended: Mapping[tuple[str, Time], Sequence[dict[str, Any]]],
    sources: Mapping[str, set[str | None]],
    cluster: str | tuple[str, ...],
    seed: int,
) -> list[Comparison]:
    """Comparisons of every two models by each time that both have, from labels of one potential."""
    found = []
    for stable in summary.comparisons:
        found.append(stable)
        a, b, horizon_ps = stable.model_a, stable.model_b, summary.horizon_ps
        for time in TIMES[1:]:
            if time == "right" and len(sources.get(a, set()) | sources.get(b, set())) > 1:
                continue
            rows = [*ended.get((a, time), ()), *ended.get((b, time), ())]
            # Nothing to compare where no start has both, or not up to the horizon.
            with suppress(ValueError):
                found.append(
                    compare(
                        rows, a, b, horizon_ps=horizon_ps, cluster=cluster, seed=seed, time=time
                    )
                )
    return found


def bounds_as_run(specs: Sequence[RunSpec]) -> dict[str, float | None]:
    """Bound of each criterion that is on somewhere; ``None`` where runs differ."""
    found: dict[str, set[float]] = {}
    for spec in specs:
        for c in CRITERIA:
            setting = c.setting(spec.criteria, spec.ensemble)
            if setting is not None:
                found.setdefault(c.name, set()).add(setting)
    return {name: values.pop() if len(values) == 1 else None for name, values in found.items()}


def _reference(
    runs: Sequence[Run], parts: Sequence[Part]
) -> tuple[str | Reference | None, list[str]]:
    """What the campaigns name: the first model, or files for each condition; and what clashes."""
    for part in parts:
        if isinstance(part.reference, str):
            return part.reference, []
    named: dict[Key, dict[str, dict[str, str]]] = {}
    for run in runs:
        files = (run.part.reference or {}).get(run.row["structure"], {})
        for kind, path in files.items():
            content = sha256_file(path) if Path(path).is_file() else str(path)
            named.setdefault(run.key, {}).setdefault(kind, {})[content] = path
    tables: Reference = {
        key: {kind: next(iter(files.values())) for kind, files in kinds.items() if len(files) == 1}
        for key, kinds in named.items()
    }
    clashes = [
        f"{kind.upper()} of {key[0]} in {key[1]} at {key[2]:g} K: the campaigns name different "
        f"tables ({', '.join(map(str, files.values()))})"
        for key, kinds in sorted(named.items())
        for kind, files in kinds.items()
        if len(files) > 1
    ]
    return tables or None, clashes


def _group(runs: Sequence[Run], groups: Groups) -> None:
    names = {run.row["model"] for run in runs}
    if unknown := set(groups) - names:
        raise ValueError(f"groups: no model {sorted(unknown)}; allowed: {sorted(names)}")
    for run in runs:
        model = run.row["model"]
        condition, train_seed = groups.get(model, (model, ""))
        run.row.update(model=condition, train_seed=str(train_seed))


def _findings(plans: Sequence[dict[str, Any]]) -> list[str]:
    """Warnings that the plans keep of their check, each once."""
    found = [item for plan in plans for item in plan.get("findings", [])]
    texts = [f"{item['message']}; {item.get('remedy')}" if item.get("remedy") else item["message"]
             for item in found]  # fmt: skip
    return list(dict.fromkeys(texts))
