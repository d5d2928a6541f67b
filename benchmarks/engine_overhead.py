"""How much does a step of the library engine cost, against ASE, with the same compiled model?

    python benchmarks/engine_overhead.py MODEL.nequip.pt2 [--repeats 8] [--steps 400] [--out CSV]

Both engines run NVT on 96 atoms of silica, alternately and in one process, with default criteria
and record, so that what a user gets is what is compared. The time of a short run is subtracted,
which leaves loading the model and setting up out. Also given: ASE's own dynamics with NequIP's own
calculator and no criteria at all (a model compiled with ``--target ase`` is needed for it,
``--ase-model``). Writes one row per repeat, and prints the ratio with its spread.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from ase import Atoms, units
from ase.io import read
from ase.md.nose_hoover_chain import NoseHooverChainNVT
from ase.spacegroup import crystal
from hardware import csv_text, write

from nequip_decorr.md.criteria import Criteria
from nequip_decorr.md.engines import get_engine
from nequip_decorr.md.spec import ModelSpec, RunSpec
from nequip_decorr.md.start import extxyz_text, start_frame

TEMPERATURE_K = 300.0
OFF = Criteria(
    temperature_factor=None,
    contact_fraction=0.6,
    energy_drop_eV_per_atom=1e6,
    energy_rise_eV_per_atom=1e6,
    max_force_eV_per_A=1e6,
)


def silica() -> Atoms:
    """96 atoms of alpha cristobalite."""
    basis = [(0.3003, 0.3003, 0.0), (0.2392, 0.1044, 0.1787)]
    cellpar = [4.9709, 4.9709, 6.9278, 90, 90, 90]
    cell = crystal(["Si", "O"], basis, spacegroup=92, cellpar=cellpar)
    return Atoms(cell.numbers, cell.positions, cell=cell.cell, pbc=True).repeat((2, 2, 2))


def engine_s(engine: str, model: Path, start: Path, steps: int) -> float:
    """Wall time of a run with every criterion evaluated at every step, none of them met."""
    spec = RunSpec(
        "r",
        ModelSpec("m", "nequip", path=str(model)),
        "s",
        str(start),
        TEMPERATURE_K,
        1,
        steps=steps,
        engine=engine,
        criteria=OFF,
    )
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        result = get_engine(engine).run(spec, Path(folder))
        took = time.perf_counter() - began
    if result.status != "survived":
        raise RuntimeError(f"{engine}: {result}")
    return took


def bare_s(model: Path, start: Path, steps: int) -> float:
    """Wall time of ASE's dynamics with NequIP's calculator, and nothing else."""
    from nequip.integrations.ase import NequIPCalculator

    began = time.perf_counter()
    atoms = read(start)
    atoms.calc = NequIPCalculator.from_compiled_model(
        str(model), device="cpu", chemical_species_to_atom_type_map=True
    )
    NoseHooverChainNVT(atoms, units.fs, TEMPERATURE_K, 100 * units.fs).run(steps)
    return time.perf_counter() - began


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--ase-model", type=Path, help="the same model compiled for target ase")
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start.xyz"
        start.write_text(extxyz_text(start_frame(silica(), "silica", TEMPERATURE_K, 1)))
        ways = {
            "library": lambda n: engine_s("lammps-library", given.model, start, n),
            "ase": lambda n: engine_s("ase", given.model, start, n),
        }
        if given.ase_model:
            ways["bare_ase"] = lambda n: bare_s(given.ase_model, start, n)
        for way in ways.values():
            way(10)  # first calls load and warm up
        few = max(1, given.steps // 10)
        for repeat in range(given.repeats):
            order = list(ways) if repeat % 2 == 0 else list(ways)[::-1]
            row = {"repeat": repeat}
            for name in order:
                took = ways[name](given.steps) - ways[name](few)
                row[f"{name}_ms_per_step"] = 1e3 * took / (given.steps - few)
            rows.append(row)
    if given.out:
        write(given.out, rows, None)
    else:
        print(csv_text(rows), end="")
    library = np.array([row["library_ms_per_step"] for row in rows])
    for name in list(ways)[1:]:
        ratio = library / [row[f"{name}_ms_per_step"] for row in rows]
        low, high = np.percentile(ratio, [5, 95])
        print(
            f"library / {name}: median {np.median(ratio):.3f}, 5 to 95 % of {len(ratio)} repeats: "
            f"{low:.3f} to {high:.3f}; library {np.median(library):.2f} ms per step",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
