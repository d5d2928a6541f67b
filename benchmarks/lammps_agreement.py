"""Does LAMMPS with the upstream pair style do what the model does in Python? Three questions.

- `step0`: energy, forces and virial of each structure at step 0, pair style and library engine
  against the compiled model called from Python (what `nequip-decorr lammps check` compares).
- `stable_time`: the same failing run by `in.nvt` with the pair style and by the library engine: how
  many steps until a criterion is met, and by which. A structure at 2000 K for each seed.
- `ranks`: NVE on 1, 2 and 4 MPI ranks, potential and total energy of every step against one rank.
  That is about agreement, not speed: the ranks may share cores.

    python benchmarks/lammps_agreement.py --plugin PLUGIN.so \
        --model trained=TRAINED.nequip.pt2 --model trained64=TRAINED64.nequip.pt2 \
        --structures DATA/md/quartz_siox1.1.xyz DATA/md/cristobalite_siox1.1.xyz

DATA is what `nequip-decorr data siox DATA` makes. A TRAINED model:

    nequip-train -cp $PWD/configs -cn siox_allegro data_dir=DATA epochs=60 hydra.run.dir=TRAINED
    nequip-compile TRAINED/best.ckpt TRAINED.nequip.pt2 --mode aotinductor --device cpu \
        --target pair_allegro

with `dtype=float64` for the other. Two integrations of one start drift apart exponentially, since
sums are in another order: a run that fails late compares chaos. So each run is done once more as a
control, by the library engine alone from positions that are moved by 1e-9 A: where that fails at
another step too, the difference says nothing about the pair style. The columns
`energy_difference_eV_per_atom` tell how far apart two runs were at the last step that both reached.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import make_supercell
from hardware import describe, write

from nequip_decorr.lammps_wheel import COMMAND_VARIABLE, PLUGIN_VARIABLE
from nequip_decorr.md.criteria import Criteria
from nequip_decorr.md.engines import get_engine
from nequip_decorr.md.engines.lammps_command import lammps_command
from nequip_decorr.md.lammps.build import inspect_lammps, run_lammps
from nequip_decorr.md.lammps.check import check_model
from nequip_decorr.md.lammps.run_input import write_data
from nequip_decorr.md.record import read_record
from nequip_decorr.md.spec import ModelSpec, RunSpec
from nequip_decorr.md.start import extxyz_text, start_frame
from nequip_decorr.models.metadata import read_metadata
from nequip_decorr.resources import templates_dir
from nequip_decorr.structures import read_structure

RESULTS = Path(__file__).parent / "results"
TEMPERATURE_K = 2000.0
RANKS_TEMPERATURE_K = 300.0
RANKS_STEPS = 100
NUDGE_A = 1e-9

Row = dict[str, Any]


def step0(name: str, path: Path, structures: list[Path], command: list[str]) -> Iterable[Row]:
    """How far both ways into LAMMPS are from Python."""
    for structure in structures:
        report = check_model(path, structure, command, os.environ.get(PLUGIN_VARIABLE))
        for found in report.agreements:
            if found.note:
                raise SystemExit(f"{found.way}: {found.note}")
            yield {
                "model": name,
                "dtype": report.model.dtype,
                "structure": structure.stem,
                "atoms": report.num_atoms,
                "way": found.way,
                "energy_eV_per_atom": found.energy_eV_per_atom,
                "force_eV_per_A": found.force_eV_per_A,
                "virial_eV_per_atom": found.virial_eV_per_atom,
                "agrees": found.agrees,
            }


def stable_time(
    name: str, path: Path, structures: list[Path], options: argparse.Namespace
) -> Iterable[Row]:
    """The same run by both engines, for every seed and check stride."""
    for every in options.check_every:
        for seed in range(1, options.seeds + 1):
            structure = structures[(seed - 1) % len(structures)]
            with tempfile.TemporaryDirectory() as scratch:
                yield compare_runs(name, path, structure, seed, every, options.steps, Path(scratch))


def compare_runs(
    name: str, path: Path, structure: Path, seed: int, every: int, steps: int, folder: Path
) -> Row:
    """One run by both engines."""
    frame = start_frame(read_structure(structure).atoms, structure.stem, TEMPERATURE_K, seed)
    moved = frame.copy()
    moved.positions += np.random.default_rng(seed).normal(0.0, NUDGE_A, moved.positions.shape)
    starts = {"start": frame, "moved": moved}
    for key, atoms in starts.items():
        (folder / f"{key}.xyz").write_text(extxyz_text(atoms))
    spec = RunSpec(
        run_id="run",
        model=ModelSpec(name, "nequip", path=str(path)),
        structure=structure.stem,
        structure_file=str(folder / "start.xyz"),
        temperature_K=TEMPERATURE_K,
        seed=seed,
        steps=steps,
        record_every=1,
        criteria=Criteria(check_every=every),
    )
    nudged = replace(spec, structure_file=str(folder / "moved.xyz"))
    pair = get_engine("lammps").run(spec, folder / "pair")
    library = get_engine("lammps-library").run(spec, folder / "library")
    control = get_engine("lammps-library").run(nudged, folder / "control")
    for result in (pair, library, control):
        if result.status in ("error", "interrupted"):
            raise SystemExit(f"{name}, seed {seed}: {result.status}, {result.message}")
    return {
        "model": name,
        "dtype": read_metadata(path).dtype,
        "structure": structure.stem,
        "seed": seed,
        "check_every": every,
        "pair_status": pair.status,
        "pair_cause": pair.cause,
        "pair_step": pair.last_step,
        "library_status": library.status,
        "library_cause": library.cause,
        "library_step": library.last_step,
        "difference_steps": abs(pair.last_step - library.last_step),
        "energy_difference_eV_per_atom": apart(folder / "pair", folder / "library"),
        "control_step": control.last_step,
        "control_energy_difference_eV_per_atom": apart(folder / "control", folder / "library"),
    }


def apart(first: Path, second: Path) -> float:
    """Difference of the potential energies at the last step that both runs recorded, eV/atom."""
    energies = [read_record(folder)["potential_eV_per_atom"] for folder in (first, second)]
    last = min(map(len, energies)) - 1
    return float(abs(energies[0][last] - energies[1][last]))


def ranks(
    name: str, path: Path, structures: list[Path], options: argparse.Namespace, command: list[str]
) -> Iterable[Row]:
    """Energies of every step on one rank and on more, of a cell doubled twice."""
    model = read_metadata(path)
    for structure in structures:
        atoms = make_supercell(read_structure(structure).atoms, np.diag([2, 2, 1]))
        frame = start_frame(atoms, structure.stem, RANKS_TEMPERATURE_K, 1)
        elements = model.lammps_types(atoms)
        energies: dict[int, np.ndarray] = {}
        for number in options.ranks:
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch)
                write_data(folder / "structure.data", frame, elements)
                given = {
                    "templates": str(templates_dir()),
                    "pair": "allegro",
                    "model": str(path),
                    "elements": " ".join(elements),
                    "steps": str(RANKS_STEPS),
                    "record_every": "1",
                }
                if plugin := os.environ.get(PLUGIN_VARIABLE):
                    given["plugin"] = plugin
                launch = shlex.split(options.launch.format(ranks=number)) if number > 1 else []
                words = ["-in", str(templates_dir() / "in.nve")]
                words += [word for key, value in given.items() for word in ("-var", key, value)]
                run_lammps([*launch, *command], words, cwd=folder)
                found = read_record(folder)
                assert list(found["step"]) == list(range(RANKS_STEPS + 1))
                columns = ("potential_eV_per_atom", "total_eV_per_atom")
                energies[number] = np.stack([found[column] for column in columns])
        single = energies[1]
        for number, energy in energies.items():
            yield {
                "model": name,
                "dtype": model.dtype,
                "structure": structure.stem,
                "atoms": len(atoms),
                "ranks": number,
                "steps": RANKS_STEPS,
                "largest_relative_difference": float(np.abs(energy / single - 1).max()),
            }


def main() -> None:
    """Ask the three questions, write three CSV files and what they were measured on."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", required=True, metavar="NAME=FILE")
    parser.add_argument("--structures", type=Path, nargs="+", required=True)
    parser.add_argument("--lmp", help=f"a LAMMPS (default: ${COMMAND_VARIABLE}, else the wheel's)")
    parser.add_argument("--plugin", type=Path, help=f"a plugin (default: ${PLUGIN_VARIABLE})")
    parser.add_argument("--seeds", type=int, default=10, help="failing runs per model and stride")
    parser.add_argument("--check-every", type=int, nargs="+", default=[1])
    parser.add_argument("--steps", type=int, default=6000, help="at most, of a failing run")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--launch", default="mpirun -np {ranks}")
    options = parser.parse_args()
    if options.ranks[0] != 1:
        parser.error(f"--ranks must begin with 1, which the others are compared with: "
                     f"{options.ranks}")  # fmt: skip
    if options.lmp:
        os.environ[COMMAND_VARIABLE] = options.lmp
    if options.plugin:
        os.environ[PLUGIN_VARIABLE] = str(options.plugin.resolve())
    command, environment = lammps_command()
    os.environ.update(environment)
    models = {name: Path(path).resolve() for name, _, path in
              (entry.partition("=") for entry in options.model)}  # fmt: skip

    found: dict[str, list[Row]] = {"step0": [], "stable_time": [], "ranks": []}
    for name, path in models.items():
        found["step0"] += step0(name, path, options.structures, command)
        for row in stable_time(name, path, options.structures, options):
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
            found["stable_time"].append(row)
        found["ranks"] += ranks(name, path, options.structures, options, command)
    for kind, rows in found.items():
        write(RESULTS / f"lammps_agreement_{kind}.csv", rows, None)
    about: Row = {"date": date.today().isoformat(), **describe()}
    about["lammps"] = inspect_lammps(command, os.environ.get(PLUGIN_VARIABLE)).version
    about["pair_style"] = "mir-group/pair_nequip_allegro, a plugin of the lammps wheel"
    (RESULTS / "lammps_agreement.json").write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()
