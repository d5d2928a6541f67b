"""All numbers of a report from the run table alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Final

import numpy as np

from ..md.criteria import CAUSES
from .arrays import Array, Estimate, Result, RunArrays, run_arrays
from .comparison import compare
from .estimators import Rmst, SurvivalCurve, common_horizon, kaplan_meier, rmst
from .incidence import CumulativeIncidence, cumulative_incidence
from .verdict import Comparison, at_once

Row = Mapping[str, Any]
FRACTIONS: Final = (0.25, 0.5, 1.0)


@dataclass(frozen=True, eq=False)
class ModelSummary(Result):
    """Survival of one model.

    Attributes:
        name: of the model.
        counts: runs by status.
        causes: failed runs by cause, in the order of :data:`~nequip_decorr.md.criteria.CAUSES`.
        rmst: mean stable time to the common horizon.
        median_ps: median stable time.
        survival_at: probability to be stable beyond a quarter, half and all of the horizon.
        curve: Kaplan-Meier curve; its band is the wider of those that take the clusters, or the
            runs, as independent.
        incidence: cumulative incidence of each cause, with a band by the same rule; that of a
            single cause is what the curve leaves.
    """

    name: str
    counts: dict[str, int]
    causes: dict[str, int]
    rmst: Rmst
    median_ps: Estimate
    survival_at: dict[str, Estimate]
    curve: SurvivalCurve
    incidence: dict[str, CumulativeIncidence]

    @property
    def n_judged(self) -> int:
        """Runs that are evidence: all but those that ended in an error."""
        return sum(self.counts.values()) - self.counts["error"]


@dataclass(frozen=True, eq=False)
class SurvivalSummary(Result):
    """Survival of all models of a set of campaigns, and their comparisons.

    Attributes:
        horizon_ps: the common horizon.
        models: by mean stable time, longest first; the reference, if any, last.
        reference: name of the model that stands for the truth, or ``None``.
        comparisons: of every two models but the reference, the first of :attr:`models` foremost.
        silent: models of which every run ended in an error.
        warnings: comparisons that could not be made, and why.
    """

    horizon_ps: float
    models: tuple[ModelSummary, ...]
    reference: str | None
    comparisons: tuple[Comparison, ...]
    silent: tuple[str, ...]
    warnings: tuple[str, ...]


def summarise(
    rows: Sequence[Row],
    *,
    horizon_ps: float | None = None,
    reference: str | None = None,
    cluster: str | Sequence[str] = "structure",
    seed: int = 0,
) -> SurvivalSummary:
    """Survival of every model and comparison of every two, to one common horizon.

    Args:
        rows: the run table.
        horizon_ps: at most this; by default as far as every model is known.
        reference: a model that is shown but not compared.
        cluster: column(s) whose levels hold dependent runs.
        seed: of everything random.

    Raises:
        ValueError: no run that is evidence.
    """
    by_model: dict[str, list[Row]] = {}
    for row in rows:
        by_model.setdefault(row["model"], []).append(row)
    heard = {m: runs for m, runs in by_model.items() if any(r["status"] != "error" for r in runs)}
    if not heard:
        raise ValueError(
            f"nothing to report: {len(rows)} finished runs, of which none is evidence (all of them "
            "ended in an error)"
            if rows
            else "nothing to report: no run has finished yet"
        )
    columns = (cluster,) if isinstance(cluster, str) else tuple(cluster)
    data = {model: run_arrays(runs, columns) for model, runs in heard.items()}
    samples = [(d.time_ps, d.failed) for d in data.values()]
    lengths = [float(r["length_ps"]) for runs in heard.values() for r in runs]
    horizon = common_horizon(samples, min([*lengths, *([horizon_ps] if horizon_ps else [])]))
    models = [_model(m, heard[m], d, columns, horizon) for m, d in data.items()]
    models.sort(key=lambda m: (m.name == reference, -m.rmst.rmst_ps, m.name))
    comparisons: list[Comparison] = []
    warnings: list[str] = []
    shared: dict[str, Any] = {"cluster": cluster, "seed": seed}
    for better, other in combinations((m.name for m in models if m.name != reference), 2):
        try:
            # The baseline comes first, so that a ratio speaks of the longer-lived model.
            comparisons.append(compare(rows, other, better, horizon_ps=horizon, **shared))
        except ValueError as err:
            warnings.append(f"{better} and {other} can't be compared in pairs: {err}")
    if not comparisons:
        warnings += [text for m in models for text in at_once(m.name, m.rmst)]
    return SurvivalSummary(
        horizon_ps=horizon,
        models=tuple(models),
        reference=reference if reference in heard else None,
        comparisons=tuple(comparisons),
        silent=tuple(sorted(set(by_model) - set(heard))),
        warnings=tuple(warnings),
    )


def _model(
    name: str, rows: Sequence[Row], data: RunArrays, columns: tuple[str, ...], horizon_ps: float
) -> ModelSummary:
    labels = data.labels(columns)
    curve = kaplan_meier(data.time_ps, data.failed, cluster=labels)
    plain = kaplan_meier(data.time_ps, data.failed)
    # Few clusters can agree at one time by chance.
    low, high = np.minimum(curve.low, plain.low), np.maximum(curve.high, plain.high)
    curve = replace(curve, low=low, high=high)
    causes = Counter(cause for cause in data.cause if cause)
    return ModelSummary(
        name=name,
        counts=data.counts,
        causes={cause: causes[cause] for cause in CAUSES if causes[cause]},
        rmst=rmst(data.time_ps, data.failed, horizon_ps, cluster=labels),
        median_ps=curve.median_ps(),
        survival_at={
            f"{f * horizon_ps:g}": curve.at(min(f * horizon_ps, curve.time_ps[-1]))
            for f in FRACTIONS
        },
        curve=curve,
        incidence=_incidence(data, labels, curve),
    )


def _incidence(
    data: RunArrays, labels: Array, curve: SurvivalCurve
) -> dict[str, CumulativeIncidence]:
    """Incidence of each cause, with the wider of the bands by run and by cluster."""
    by_run, by_cluster = (
        cumulative_incidence(data.time_ps, data.failed, data.cause, cluster=cluster)
        for cluster in (None, labels)
    )
    found = {}
    for cause, one in by_run.items():
        low = np.minimum(one.low, by_cluster[cause].low)
        high = np.maximum(one.high, by_cluster[cause].high)
        if len(by_run) == 1:
            _, lasting_low, lasting_high = curve.evaluate(one.time_ps)
            low, high = 1 - lasting_high, 1 - lasting_low
        found[cause] = replace(one, low=low, high=high)
    return found


def view_ps(summary: SurvivalSummary) -> float:
    """Where a time axis may end: at the horizon, or before if all failures come early."""
    last = max(float(m.curve.time_ps[m.curve.events > 0].max(initial=0)) for m in summary.models)
    return 1.25 * last if 0 < last < 0.4 * summary.horizon_ps else summary.horizon_ps


def spans_decades(summary: SurvivalSummary) -> bool:
    """Whether mean stable times are so short that only a logarithmic axis shows them."""
    means = [m.rmst.rmst_ps for m in summary.models if m.rmst.rmst_ps > 0]
    return bool(means) and min(means) < 0.05 * summary.horizon_ps
