"""The report of one or several campaigns: a page, its pictures, the run table, the numbers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from ..campaign.table import COLUMNS
from ..files import write_atomic
from ..html import png_bytes
from ..style import model_styles
from ..survival.summary import (
    spans_decades,
    view_ps,
)
from . import (
    figures as plots,
)
from . import (
    figures_physics as plots_physics,
)
from .analysis import (
    Findings,
    Groups,
    bounds_as_run,
    gather,
    to_dict,
)
from .evidence import Reference
from .page import page_of

PAGE: Final = "index.html"


def write_report(
    campaign_dirs: Sequence[str | Path] | str | Path,
    out: str | Path,
    *,
    title: str | None = None,
    horizon_ps: float | None = None,
    reference: str | Reference | None = None,
    groups: Groups | None = None,
    resamples: int = 4000,
    seed: int = 0,
) -> Path:
    """Write the report of finished runs into a folder.

    It holds ``index.html`` (self-contained), the pictures as PNG, ``runs.csv`` (a row per run) and
    ``summary.json``. The same runs give the same files, byte for byte.

    Args:
        campaign_dirs: results folder(s).
        out: folder of the report; made if it does not exist.
        title: of the page; by default the campaigns' names.
        horizon_ps: judge stability up to this time; by default as far as all models are known.
        reference: a model's name, or ``{structure: {"rdf": FILE, "adf": FILE}}`` with tables in
            the benchmark's format; by default what the campaigns name.
        groups: ``{model: (condition, training seed)}`` where models are the same method trained
            several times: conditions are then compared, with the training seed as a cluster.
        resamples: bootstrap resamples.
        seed: of everything random in the statistics.

    Returns:
        Path of the page.

    Raises:
        ValueError: no campaign in a folder, no run that is evidence, or an unknown model.
    """
    folders = [campaign_dirs] if isinstance(campaign_dirs, (str, Path)) else list(campaign_dirs)
    found = gather(
        folders,
        horizon_ps=horizon_ps,
        reference=reference,
        groups=groups,
        resamples=resamples,
        seed=seed,
    )
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    pictures = {}
    for name, draw in _figures(found).items():
        pictures[name] = png_bytes(draw())
        (out / f"{name}.png").write_bytes(pictures[name])
    write_atomic(out / "runs.csv", _runs_csv(found))
    write_atomic(
        out / "summary.json", json.dumps(_plain(to_dict(found)), indent=1, allow_nan=False) + "\n"
    )
    name = title or " + ".join(dict.fromkeys(plan["name"] for plan in found.plans))
    write_atomic(out / PAGE, page_of(name, found, pictures))
    return out / PAGE


def _figures(found: Findings) -> dict[str, Callable[[], Figure]]:
    """The pictures that there is something to draw for."""
    summary = found.summary
    names = [model.name for model in summary.models]
    looks = model_styles(names, summary.reference)
    draw: dict[str, Callable[[], Figure]] = {
        "survival": lambda: plots.survival_figure(summary),
        "rmst": lambda: plots.rmst_figure(summary),
        "pairs": lambda: plots.pairs_figure(summary, found.rows),
    }
    if any(model.causes for model in summary.models):
        draw["causes"] = lambda: plots.cause_figure(summary)
    if found.traces:
        limits, early = trace_limits(found), view_ps(summary)
        draw["traces"] = lambda: plots_physics.trace_figure(
            found.traces, names, limits, early if early < summary.horizon_ps else None
        )
    if found.structure:
        draw["structure"] = lambda: plots_physics.structure_figure(found.structure, looks)
        for kind in dict.fromkeys(e.got.kind for e in found.structure):
            draw[kind] = lambda kind=kind: plots_physics.distribution_figure(  # type: ignore[misc]
                found.structure, looks, kind
            )
    if found.displacement:
        draw["displacement"] = lambda: plots_physics.displacement_figure(found.displacement, looks)
    if found.sweep:
        draw["sweep"] = lambda: plots_physics.sweep_figure(
            found.sweep, names, looks, spans_decades(summary)
        )
    return draw


def trace_limits(found: Findings) -> dict[str, tuple[float, ...]]:
    """Bounds to draw beside the traces: those that all runs share."""
    bounds = bounds_as_run(found.specs)
    limits: dict[str, tuple[float, ...]] = {}
    heats = {
        max(c.temperature_factor, c.temperature_floor_K / spec.temperature_K)
        for spec in found.specs
        if (c := spec.criteria).temperature_factor is not None and spec.temperature_K > 0
    }
    if 0 < len(heats) <= 2:
        limits["heat"] = tuple(sorted(heats))
    windows = {(s.criteria.energy_below_eV, s.criteria.energy_above_eV) for s in found.specs}
    if len(windows) == 1:
        below, above = windows.pop()
        ends = (None if below is None else -below, above)
        limits["energy"] = tuple(end for end in ends if end is not None)
    contact = bounds.get("contact")
    if contact is not None:
        limits["contact"] = (contact,)
    return limits


def _runs_csv(found: Findings) -> str:
    """The run table, with what the statistics took for model and structure."""
    grouped = any("train_seed" in row for row in found.rows)
    columns = [*COLUMNS, *(["train_seed"] if grouped else [])]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows({**run.row, "run_id": run.spec.run_id} for run in found.runs)
    return text.getvalue()


def _plain(data: Any) -> Any:
    """Plain JSON types; a number that is not finite becomes ``None``."""
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_plain(value) for value in data]
    if isinstance(data, float) and data - data != 0.0:
        return None
    return data
