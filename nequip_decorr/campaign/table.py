"""The run table: one row per run, read from the manifests."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any, Final

from ..files import (
    read_json,
    write_atomic,
)
from .plan import read_plan
from .store import (
    MANIFEST,
    damage,
)

COLUMNS: Final = (
    *("campaign", "model", "structure", "temperature_K", "seed", "ensemble", "engine", "run_id"),
    *("status", "cause", "value", "threshold", "stable_time_ps", "last_step", "check_every"),
    *("length_ps", "timestep_fs", "wall_s", "message"),
)
PENDING: Final = "pending"
RUNNING: Final = "running"


def read_runs(campaign_dir: str | Path, unfinished: bool = False) -> list[dict[str, Any]]:
    """The runs of a campaign's present plan, sorted by model, structure, temperature and seed.

    Runs of an earlier plan (settings that the campaign file no longer has) stay on disk but are not
    listed. A finished run whose files have been cut short since counts as ``error``.

    Args:
        campaign_dir: folder of the campaign.
        unfinished: also the runs that are ``pending`` or ``running``.

    Returns:
        Rows with the keys :data:`COLUMNS`; ``None`` where a value doesn't apply.

    Raises:
        ValueError: no campaign in that folder.
    """
    folder = Path(campaign_dir)
    plan = read_plan(folder)
    rows = [_row(plan["name"], item["spec"], folder / "runs") for item in plan["runs"]]
    if not unfinished:
        rows = [row for row in rows if row["status"] not in (PENDING, RUNNING)]
    return sorted(
        rows, key=lambda row: (row["model"], row["structure"], row["temperature_K"], row["seed"])
    )


def _row(campaign: str, spec: dict[str, Any], runs: Path) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    for key in ("structure", "temperature_K", "seed", "ensemble", "engine", "run_id"):
        row[key] = spec[key]
    row.update(
        campaign=campaign,
        model=spec["model"]["name"],
        check_every=spec["criteria"]["check_every"],
        length_ps=spec["steps"] * spec["timestep_fs"] / 1000,
        timestep_fs=spec["timestep_fs"],
        status=PENDING,
        message="",
    )
    folder = runs / spec["run_id"]
    manifest = read_json(folder / MANIFEST)
    if not manifest:
        return row
    result = manifest.get("result")
    if not result or manifest.get("redo"):
        row["status"] = RUNNING if manifest["status"] == "running" else PENDING
        return row
    for key in ("cause", "value", "threshold", "last_step", "check_every", "wall_s", "message"):
        row[key] = result[key]
    row["status"] = manifest["status"]
    damaged = damage(manifest, folder)
    if damaged is not None and row["status"] != "error":
        row.update(status="error", cause=None, value=None, threshold=None, message=damaged)
    if row["status"] != "error":
        row["stable_time_ps"] = result["last_step"] * spec["timestep_fs"] / 1000
    return row


def runs_csv(rows: list[dict[str, Any]]) -> str:
    """The rows as CSV; numbers with all their digits, ``None`` as nothing."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_runs(campaign_dir: str | Path) -> Path:
    """Write ``runs.csv`` of the finished runs into the campaign's folder."""
    path = Path(campaign_dir) / "runs.csv"
    write_atomic(path, runs_csv(read_runs(campaign_dir)))
    return path


def count(rows: list[dict[str, Any]]) -> Counter[str]:
    """Runs by status, failed ones by cause (``failed: contact``)."""
    return Counter(
        f"failed: {row['cause']}" if row["status"] == "failed" else row["status"] for row in rows
    )
