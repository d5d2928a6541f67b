"""The report of one or several campaigns: a page, its pictures, the run table, the numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from ..files import write_atomic
from ..html import png_bytes, write_pictures
from ..style import model_styles
from ..survival.summary import spans_decades, view_ps
from . import figures as plots
from . import figures_physics as plots_physics
from .analysis import Analysis, Groups, analyse
from .export import runs_csv, to_dict
from .loading import Reference
from .page import page_of
from .traces import trace_limits

PAGE: Final = "index.html"
PICTURES: Final = "survival|rmst|pairs|causes|traces|structure|rdf|adf|displacement|sweep"


def write_report(
    folders: Sequence[str | Path] | str | Path,
    out: str | Path | None = None,
    *,
    title: str | None = None,
    horizon_ps: float | None = None,
    reference: str | Reference | None = None,
    groups: Groups | None = None,
    seed: int = 0,
) -> Path:
    """Write the report: one HTML page, figures, a table of runs and a summary.

    ``index.html`` is self-contained; beside it are the pictures as PNG, ``runs.csv`` (a row per
    run) and ``summary.json``. The same runs give the same files, byte for byte.

    Args:
        folders: results folder(s).
        out: folder of the report; by default ``report`` in the first results folder.
        title: of the page; by default the campaigns' names.
        horizon_ps: judge stability up to this time; by default as far as all models are known.
        reference: a model's name, or ``{structure: {"rdf": FILE, "adf": FILE}}`` with tables in
            the benchmark's format; by default what the campaigns name.
        groups: ``{model: (condition, training seed)}`` where models are the same method trained
            several times: conditions are then compared, with the training seed as a cluster.
        seed: of everything random in the statistics.

    Returns:
        Path of the page.

    Raises:
        ValueError: no campaign in a folder, no run that is evidence, or an unknown model.
    """
    listed = [folders] if isinstance(folders, (str, Path)) else list(folders)
    found = analyse(listed, horizon_ps=horizon_ps, reference=reference, groups=groups, seed=seed)
    out = Path(listed[0]) / "report" if out is None else Path(out)
    out.mkdir(parents=True, exist_ok=True)
    pictures = {name: png_bytes(draw()) for name, draw in _figures(found).items()}
    write_pictures(out, pictures, PICTURES)
    write_atomic(out / "runs.csv", runs_csv(found))
    write_atomic(out / "summary.json", json.dumps(to_dict(found), indent=1, allow_nan=False) + "\n")
    name = title or " + ".join(dict.fromkeys(plan["name"] for plan in found.plans))
    write_atomic(out / PAGE, page_of(name, found, pictures))
    return out / PAGE


def _figures(found: Analysis) -> dict[str, Callable[[], Figure]]:
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
        limits, early = trace_limits(found.specs), view_ps(summary)
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
