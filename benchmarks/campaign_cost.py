"""How much of a campaign of short runs is MD, and what does a report on 1,000 runs cost?

    python -m benchmarks.campaign_cost run --model MODEL.nequip.pt2 [--runs 8] [--length-ps 6]
    python -m benchmarks.campaign_cost report [--runs 1000]

`run` starts `nequip-decorr stability run` with one worker on 72 atoms of quartz at 300 K. MD is the
time within the engines; the rest is the imports of the command and of its worker, the check of the
model and the files. `report` writes `nequip-decorr stability report` of a made-up campaign of two
models, five structures of 72 atoms, two temperatures and 50 seeds, runs of 5 ps with a frame every
0.1 ps until they fail. Times are wall and processor time of the command with all its processes.
Writes a row to benchmarks/results/campaign_cost.csv, which replaces the row of the same part.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import yaml
from ase.build import bulk

from benchmarks.hardware import describe, read, write
from nequip_decorr import stability
from tests.conftest import quartz_cell
from tests.helpers import synthetic

OUT = Path(__file__).parent / "results" / "campaign_cost.csv"


def command(*words: str) -> dict[str, float]:
    """Run a command of this package: wall time, processor time and largest memory."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "nequip_decorr.cli", *words], check=True)
    wall, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": wall, "cpu_s": cpu, "peak_MB": used.ru_maxrss / 1e3}


def run(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """A campaign through the command."""
    quartz_cell().write(folder / "quartz.xyz")
    campaign = {
        "models": {"model": str(given.model.resolve())}, "structures": [str(folder / "quartz.xyz")],
        "temperatures_K": 300.0, "length_ps": given.length_ps,
        "seeds": list(range(1, (given.runs or 8) + 1)), "out": str(folder / "out"),
    }  # fmt: skip
    (folder / "campaign.yaml").write_text(yaml.safe_dump(campaign))
    cost = command("stability", "run", str(folder / "campaign.yaml"), "--workers", "1")
    runs = stability.read(folder / "out")
    return {"runs": len(runs), **cost, "md_s": sum(row["wall_s"] for row in runs)}


def report(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """A report through the command."""
    synthetic.crystal = lambda _: bulk("HfO2", "fluorite", a=5.1, cubic=True).repeat((2, 1, 3))
    hazards = {"stock": {"contact": 0.3, "temperature": 0.2}, "decorrelated": {"energy": 0.15}}
    seeds = range((given.runs or 1000) // 20)
    synthetic.write_campaign(
        folder, hazards, structures=tuple("abcde"), temperatures_K=(1000.0, 2000.0), seeds=seeds
    )
    return {"runs": 20 * len(seeds), **command("stability", "report", str(folder)), "md_s": None}


def main() -> None:
    """Measure one part."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=("run", "report"))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--runs", type=int)
    parser.add_argument("--length-ps", type=float, default=6.0)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    if given.part == "run" and given.model is None:
        parser.error("run needs --model")
    with tempfile.TemporaryDirectory() as folder:
        row = {"run": run, "report": report}[given.part](Path(folder), given)
    others = [r for r in read(given.out) if r["part"] != given.part] if given.out.exists() else []
    row = {"part": given.part, **row, "commit": describe()["commit"]}
    write(given.out, [*others, row], describe())
    print(row)


if __name__ == "__main__":
    main()
