"""The data files beside a report's page: ``summary.json`` and ``runs.csv``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..campaign.store import COLUMNS
from ..files import csv_text, plain
from ..md.spec import settings
from .analysis import OPTIONAL, Analysis
from .loading import Key


def to_dict(found: Analysis) -> dict[str, Any]:
    """As plain JSON types, without anything that changes from one writing to the next."""
    data = {
        "schema": 1,
        "campaigns": [plan["name"] for plan in found.plans],
        "settings": settings(found.specs),
        "survival": found.summary.to_dict(),
        "structure": [
            {
                **_condition(e.key),
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
        "times": {
            model: {time: mean.to_dict() for time, mean in times.items()}
            for model, times in found.times.items()
        },
        "comparisons": [c.to_dict() for c in found.comparisons if c.time != "stable"],
        "structure_missing": found.structure_missing,
        "displacement": [
            {
                **_condition(key),
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
        "findings": found.findings,
        "renamed": found.renamed,
        "errors": [
            {"run_id": row["run_id"], "message": row["message"]}
            for row in found.rows
            if row["status"] == "error"
        ],
    }
    result: dict[str, Any] = plain(data)
    return result


def _condition(key: Key) -> dict[str, Any]:
    return dict(zip(("model", "structure", "temperature_K"), key, strict=True))


def runs_csv(found: Analysis) -> str:
    """The run table, with what the statistics took for model and structure."""
    grouped = any("train_seed" in row for row in found.rows)
    known = [name for name in OPTIONAL if any(name in row for row in found.rows)]
    columns = [*COLUMNS, *known, *(["train_seed"] if grouped else [])]
    return csv_text(({**run.row, "run_id": run.spec.run_id} for run in found.runs), columns)
