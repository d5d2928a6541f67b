"""Is the extrapolation grade the same wherever it is evaluated?

MD with LAMMPS and the upstream pair style from each start structure gives two frames, its first and
its last. The eager model grades their atoms, the compiled file called from Python, the library
engine's input at step 0, and LAMMPS with the pair style on 1, 2 and 4 ranks. Energies and forces of
the compiled file with the grade stand beside those of the same checkpoint compiled without it.

    python benchmarks/grade_agreement.py --plugin PLUGIN.so --checkpoint best.ckpt \\
        --model GRADED.nequip.pt2 --plain PLAIN.nequip.pt2 --structures DATA/md/*.xyz

with

    nequip-decorr extrapolation fit best.ckpt DATA/train.xyz
    nequip-decorr compile best.ckpt GRADED.nequip.pt2 --target pair_allegro
    nequip-compile best.ckpt PLAIN.nequip.pt2 --mode aotinductor --device cpu --target pair_allegro

Writes a row per frame and pair of ways: the largest difference of an atom's grade, relative to the
grade itself, and relative to the larger of it and 1 (the edge of the data). A grade well below 1 is
a small difference of features from their mean, and float32 rounds the features.
"""

from __future__ import annotations

import argparse
import os
import shlex
import tempfile
from collections.abc import Iterable
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from hardware import describe, write

from nequip_decorr.extrapolation.grade import ExtrapolationGrade
from nequip_decorr.features.frames import load_model
from nequip_decorr.lammps_wheel import PLUGIN_VARIABLE
from nequip_decorr.md.engines.lammps_command import lammps_command
from nequip_decorr.md.lammps.build import inspect_lammps, run_lammps
from nequip_decorr.md.lammps.run_input import write_data
from nequip_decorr.md.lammps.step_zero import evaluate_in_lammps, evaluate_in_library
from nequip_decorr.md.record import read_trajectory
from nequip_decorr.md.start import start_frame
from nequip_decorr.models.metadata import read_metadata
from nequip_decorr.models.potential import CompiledPotential, Evaluation
from nequip_decorr.resources import templates_dir
from nequip_decorr.structures import read_structure

OUT = Path(__file__).parent / "results" / "grade_agreement.csv"
Row = dict[str, Any]


def frames(
    structure: Path, model: Path, elements: tuple[str, ...], options: argparse.Namespace
) -> list[tuple[int, Atoms]]:
    """First and last frame of an NVT run in LAMMPS, as its dump has them."""
    atoms = start_frame(read_structure(structure).atoms, structure.stem, options.temperature, 1)
    with tempfile.TemporaryDirectory() as scratch:
        write_data(Path(scratch) / "structure.data", atoms, elements)
        given = {
            "templates": str(templates_dir()), "pair": "allegro", "model": str(model),
            "elements": " ".join(elements), "grade": "1", "temperature": str(options.temperature),
            "steps": str(options.steps), "trajectory_every": str(options.steps),
            "temperature_factor": "1e300", "energy_below_max": "1e300", "energy_above_max": "1e300",
        }  # fmt: skip
        if plugin := os.environ.get(PLUGIN_VARIABLE):
            given["plugin"] = plugin
        words = ["-in", str(templates_dir() / "in.nvt")]
        words += [word for key, value in given.items() for word in ("-var", key, value)]
        run_lammps(lammps_command()[0], words, cwd=scratch)
        found = read_trajectory(Path(scratch))
    return [(int(frame.info["step"]), frame) for frame in (found[0], found[-1])]


def evaluate(
    atoms: Atoms, model: Path, elements: tuple[str, ...], options: argparse.Namespace
) -> dict[str, Evaluation]:
    """The frame in every way but the eager one."""
    potential = CompiledPotential(model)
    found = {
        "compiled": potential.evaluate(
            atoms.positions, potential.types_of(atoms), atoms.cell.array, atoms.pbc
        ),
        "library engine": evaluate_in_library(potential, atoms),
    }
    coeff = f'* * "{model}" {" ".join(elements)}'
    for ranks in options.ranks:
        launch = shlex.split(options.launch.format(ranks=ranks)) if ranks > 1 else []
        name = f"LAMMPS, {ranks} rank{'s' if ranks > 1 else ''}"
        found[name] = evaluate_in_lammps(
            atoms, elements, [*launch, *lammps_command()[0]], "allegro", coeff,
            os.environ.get(PLUGIN_VARIABLE), grade=True,
        )  # fmt: skip
    return found


def compare(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Largest difference relative to the grade, and to the larger of the grade and 1."""
    difference = np.abs(first - second)
    return float((difference / second).max()), float((difference / np.maximum(second, 1)).max())


def measure(options: argparse.Namespace) -> Iterable[Row]:
    """A row per structure, frame and pair of ways."""
    elements = tuple(read_metadata(options.model).type_names or ())
    eager = load_model(options.checkpoint)
    grade = ExtrapolationGrade.load(options.grade or options.checkpoint.with_suffix(".grade.npz"))
    plain = CompiledPotential(options.plain) if options.plain else None
    for structure in options.structures:
        for step, atoms in frames(structure, options.model, elements, options):
            found = evaluate(atoms, options.model, elements, options)
            grades = {name: item.grade for name, item in found.items()}
            grades = {"eager": next(grade.score(eager, [atoms])), **grades}
            about = {"structure": structure.stem, "atoms": len(atoms), "step": step}
            for first, second in combinations(grades, 2):
                relative, scaled = compare(grades[second], grades[first])
                yield {
                    **about, "first": first, "second": second,
                    "largest_grade": float(grades[first].max()),
                    "relative_difference": relative, "difference_over_max_of_grade_and_1": scaled,
                }  # fmt: skip
            if plain is not None:
                types = plain.types_of(atoms)
                other = plain.evaluate(atoms.positions, types, atoms.cell.array, atoms.pbc)
                item = found["compiled"]
                forces = np.abs(other.forces_eV_per_A - item.forces_eV_per_A).max()
                yield {
                    **about, "first": "compiled", "second": "compiled without the grade",
                    "energy_eV_per_atom": abs(other.energy_eV - item.energy_eV) / len(atoms),
                    "force_eV_per_A": float(forces),
                }  # fmt: skip


def main() -> None:
    """Measure, print the largest difference of each pair, write the CSV and what it ran on."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--grade", type=Path, help="its grade (default: beside the checkpoint)")
    parser.add_argument("--model", type=Path, required=True, help="compiled with the grade")
    parser.add_argument("--plain", type=Path, help="compiled without the grade")
    parser.add_argument("--structures", type=Path, nargs="+", required=True)
    parser.add_argument("--plugin", type=Path, help=f"a plugin (default: ${PLUGIN_VARIABLE})")
    parser.add_argument("--steps", type=int, default=300, help="of MD before the last frame")
    parser.add_argument("--temperature", type=float, default=300.0, help="of the MD, K")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--launch", default="mpirun -np {ranks}")
    options = parser.parse_args()
    options.model = options.model.resolve()
    if options.plugin:
        os.environ[PLUGIN_VARIABLE] = str(options.plugin.resolve())
    command, environment = lammps_command()
    os.environ.update(environment)

    rows = []
    for row in measure(options):
        print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        rows.append(row)
    about: Row = {"date": date.today().isoformat(), **describe()}
    about["lammps"] = inspect_lammps(command, os.environ.get(PLUGIN_VARIABLE)).version
    about["pair_style"] = "mir-group/pair_nequip_allegro, a plugin of the lammps wheel"
    about["dtype"] = read_metadata(options.model).dtype
    largest: dict[str, dict[str, float]] = {}
    for row in rows:
        entry = largest.setdefault(f"{row['first']} and {row['second']}", {})
        for key in set(row) - {"structure", "atoms", "step", "first", "second", "largest_grade"}:
            entry[key] = max(entry.get(key, 0.0), row[key])
    write(OUT, rows, {**about, "largest": largest})


if __name__ == "__main__":
    main()
