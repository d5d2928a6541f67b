"""How fast is a compiled model in LAMMPS, on how many ranks, and how much memory does it take?

Strong scaling (a fixed number of atoms on more ranks), weak scaling (a fixed number of atoms per
rank) and throughput against size on one rank, each with atoms per second and peak memory:

    python benchmarks/lammps_scaling.py --model small=SMALL.nequip.pt2 \
        --model large=LARGE.nequip.pt2 --atoms 12000 216 --steps 10 3 --warmup 2 1 \
        --plugin PLUGIN.so --hardware "2 CPU cores"

SMALL is the demo's stock model (`configs/siox_allegro.yaml`); LARGE has the settings of
`configs/hfo2_samd23_allegro.yaml` and one step of training on the demo data, for speed does not
ask what the weights are:

    nequip-train -cp $PWD/configs -cn siox_allegro data_dir=DATA hydra.run.dir=LARGE 'run=[train]' \
        epochs=1 trainer.check_val_every_n_epoch=1 +trainer.limit_train_batches=1 \
        cutoff_radius=6.0 training_module.model.l_max=2 training_module.model.num_layers=3 \
        training_module.model.num_scalar_features=512 \
        training_module.model.num_tensor_features=32 \
        training_module.model.scalar_embed_mlp_hidden_layers_depth=3 \
        training_module.model.scalar_embed_mlp_hidden_layers_width=256 \
        training_module.model.allegro_mlp_hidden_layers_width=512 \
        training_module.model.readout_mlp_hidden_layers_width=128
    nequip-compile LARGE/last.ckpt LARGE.nequip.pt2 --mode aotinductor --device cpu \
        --target pair_allegro

On GPUs, with a model compiled for cuda (one rank per GPU; `--launch` as the machine wants it):

    python benchmarks/lammps_scaling.py --model large=LARGE.nequip.pt2 --lmp /path/to/lmp \
        --flags "-k on g 4 -sf kk -pk kokkos newton on neigh half" --ranks 1 2 4 --atoms 10000 \
        --hardware "4 x H200"

Every row is one LAMMPS run: a short warm-up (the first calls of a model allocate), then the timed
steps. Runs are repeated round-robin; the row holds the fastest, which other work on the machine
disturbs least, and the slowest; `cpu_use` is LAMMPS's own figure, 1.0 where each rank had a core to
itself. `cpu_ms_per_step` is the smallest processor time of a rank among the repeats: what a step
takes on cores of one's own, and an upper bound of that for several ranks, which spin while they
wait for each other; `cpu_efficiency` is the efficiency by it. A run that belongs to several series
is done once and stands in each. Memory is the peak resident size of the ranks, summed; GPU memory
is the device's own figure from nvidia-smi while the run lasts, where there is one.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import tempfile
import threading
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.spacegroup import crystal
from hardware import describe, write

from nequip_decorr.md.lammps.build import inspect_lammps, run_lammps
from nequip_decorr.md.lammps.run_input import write_data
from nequip_decorr.models.metadata import ModelInfo, read_metadata
from nequip_decorr.structures import read_structure

RESULTS = Path(__file__).parent / "results" / "lammps_scaling.csv"

SYSTEM = """\
{plugin}
units metal
atom_style atomic
atom_modify map yes
boundary p p p
box tilt large
newton on
read_data structure.data
replicate {cells[0]} {cells[1]} {cells[2]}
pair_style allegro
pair_coeff * * {model} {elements}
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes
velocity all create {temperature_K} 1 mom yes dist gaussian loop geom
fix integrate all nve
timestep 0.001
"""
INPUT = f"""{SYSTEM}\
thermo {{steps}}
run {{warmup}} post no
run {{steps}}
info memory
"""


@dataclass(frozen=True)
class Row:
    """One line of the CSV; see the module's docstring for what is measured."""

    scaling: str
    model: str
    dtype: str
    device: str
    ranks: int
    atoms: int
    atoms_per_rank: float
    steps: int
    loop_s: float
    slowest_loop_s: float
    repeats: int
    cpu_use: float
    ms_per_step: float
    cpu_ms_per_step: float
    atom_steps_per_s: float
    atom_steps_per_s_per_rank: float
    efficiency: float
    cpu_efficiency: float
    listed_neighbours_per_atom: float
    peak_rss_MB: float
    gpu_memory_MB: float
    lammps: str
    hardware: str
    command: str


@dataclass(frozen=True)
class Case:
    """One run to make."""

    scaling: str
    name: str
    model: ModelInfo
    ranks: int
    cells: tuple[int, int, int]
    steps: int
    warmup: int

    @property
    def run(self) -> tuple[str, int, tuple[int, int, int]]:
        """What is run: the same for cases that differ in their series alone."""
        return self.name, self.ranks, self.cells


@dataclass(frozen=True)
class Sample:
    """What one run showed."""

    atoms: int
    loop_s: float
    cpu_use: float
    rss_MB: float
    gpu_MB: float
    listed_neighbours_per_atom: float
    command: str


def default_structure() -> Atoms:
    """Alpha-cristobalite, 12 atoms, orthogonal, so that it divides evenly among ranks."""
    return crystal(
        ["Si", "O"],
        [(0.3003, 0.3003, 0.0), (0.2392, 0.1044, 0.1787)],
        spacegroup=92,
        cellpar=[4.971, 4.971, 6.928, 90, 90, 90],
    )


def cells_for(atoms: Atoms, wanted: int) -> tuple[int, int, int]:
    """Repetitions that give about ``wanted`` atoms in a box as near a cube as can be."""
    lengths = atoms.cell.lengths()
    edge = (wanted / len(atoms) * np.prod(lengths)) ** (1 / 3)
    a, b, c = (max(1, round(edge / length)) for length in lengths)
    return a, b, c


def cases(models: dict[str, ModelInfo], atoms: Atoms, options: argparse.Namespace) -> list[Case]:
    """Every run of the benchmark, without repeats."""

    def each(values: list[int]) -> dict[str, int]:
        return dict(zip(models, values if len(values) > 1 else values * len(models), strict=True))

    wanted, steps, warmup = each(options.atoms), each(options.steps), each(options.warmup)
    found = []
    for name, model in models.items():
        x, y, z = cells_for(atoms, wanted[name])
        series = [("strong", ranks, (x, y, z)) for ranks in options.ranks]
        series += [("weak", ranks, (x * ranks, y, z)) for ranks in options.ranks]
        series += [("size", 1, cells_for(atoms, wanted[name] // part)) for part in (16, 4, 1)]
        found += [
            Case(scaling, name, model, ranks, cells, steps[name], warmup[name])
            for scaling, ranks, cells in series
        ]
    return found


def measure(case: Case, folder: Path, options: argparse.Namespace) -> Sample:
    """Run one case once."""
    text = INPUT.format(
        plugin=f'plugin load "{options.plugin.resolve()}"' if options.plugin else "",
        cells=case.cells,
        model=case.model.path.resolve(),
        elements=" ".join(options.elements),
        temperature_K=options.temperature,
        warmup=case.warmup,
        steps=case.steps,
    )
    (folder / "in.scaling").write_text(text, encoding="utf-8")
    launch = shlex.split(options.launch.format(ranks=case.ranks)) if case.ranks > 1 else []
    command = [*launch, *shlex.split(options.lmp), *shlex.split(options.flags)]
    with GpuMemory(case.model.device == "cuda") as gpu:
        output = run_lammps(command, ["-in", "in.scaling", "-log", "none"], cwd=folder)
    loops = re.findall(r"Loop time of (\S+) on \d+ procs for (\d+) steps with (\d+) atoms", output)
    seconds, _, atoms = [loop for loop in loops if int(loop[1]) == case.steps][-1]
    busy = re.findall(r"([0-9.]+)% CPU use with", output)
    resident = re.search(r"Maximum resident set size:\s*(\S+)", output)
    neighbours = re.search(r"Ave neighs/atom = (\S+)", output)
    return Sample(
        atoms=int(atoms),
        loop_s=float(seconds),
        cpu_use=float(busy[-1]) / 100,
        # LAMMPS reports the first rank's; the box divides evenly.
        rss_MB=float(resident[1]) * case.ranks if resident else float("nan"),
        gpu_MB=gpu.peak_MB,
        listed_neighbours_per_atom=float(neighbours[1]) if neighbours else float("nan"),
        command=shlex.join(command),
    )


class GpuMemory:
    """Peak memory in use on the machine's GPUs while the block runs, by nvidia-smi."""

    def __init__(self, wanted: bool) -> None:
        self.peak_MB = float("nan")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True) if wanted else None

    def __enter__(self) -> GpuMemory:
        if self._thread:
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()

    def _watch(self) -> None:
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        while not self._stop.wait(0.5):
            try:
                done = subprocess.run(query, capture_output=True, text=True, check=True)
            except (OSError, subprocess.CalledProcessError):
                return
            used_MB = sum(float(line) for line in done.stdout.split())
            self.peak_MB = float(np.fmax(self.peak_MB, used_MB))


def rows(runs: dict[Case, list[Sample]], hardware: str, version: str) -> list[Row]:
    """CSV rows; efficiency is against the same scaling series on the fewest ranks."""
    best = {case: min(samples, key=lambda s: s.loop_s) for case, samples in runs.items()}
    cpu_s = {case: min(s.loop_s * s.cpu_use for s in samples) for case, samples in runs.items()}
    found = []
    for case, sample in best.items():
        rate = sample.atoms * case.steps / sample.loop_s
        series = [c for c in best if (c.scaling, c.name) == (case.scaling, case.name)]
        base = min(series, key=lambda c: (c.ranks, -np.prod(c.cells)))
        cpu_rate = sample.atoms * case.steps / cpu_s[case] / case.ranks
        base_cpu_rate = best[base].atoms * base.steps / cpu_s[base] / base.ranks
        base_rate = best[base].atoms * base.steps / best[base].loop_s / base.ranks
        found.append(
            Row(
                scaling=case.scaling,
                model=case.name,
                dtype=case.model.dtype,
                device=case.model.device or "",
                ranks=case.ranks,
                atoms=sample.atoms,
                atoms_per_rank=sample.atoms / case.ranks,
                steps=case.steps,
                loop_s=sample.loop_s,
                slowest_loop_s=max(s.loop_s for s in runs[case]),
                repeats=len(runs[case]),
                cpu_use=sample.cpu_use,
                ms_per_step=round(1e3 * sample.loop_s / case.steps, 3),
                cpu_ms_per_step=round(1e3 * cpu_s[case] / case.steps, 3),
                atom_steps_per_s=round(rate, 1),
                atom_steps_per_s_per_rank=round(rate / case.ranks, 1),
                efficiency=round(rate / case.ranks / base_rate, 3),
                cpu_efficiency=round(cpu_rate / base_cpu_rate, 3),
                listed_neighbours_per_atom=sample.listed_neighbours_per_atom,
                peak_rss_MB=round(sample.rss_MB, 1),
                gpu_memory_MB=sample.gpu_MB,
                lammps=version,
                hardware=hardware,
                command=sample.command,
            )
        )
    return found


def memory_per_atom_kB(table: list[Row], model: str) -> float:
    """Slope of the peak memory against the number of atoms on one rank."""
    points = [(r.atoms, r.peak_rss_MB) for r in table if (r.scaling, r.model) == ("size", model)]
    atoms, megabytes = np.array(points, dtype=float).T
    return float(np.polyfit(atoms, megabytes * 1e3, 1)[0])


def main() -> None:
    """Run the benchmark and write the CSV."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", required=True, metavar="NAME=FILE")
    parser.add_argument("--structure", type=Path, help="start cell (default: cristobalite)")
    parser.add_argument("--atoms", type=int, nargs="+", default=[1500],
                        help="atoms on one rank, one number or one per model")  # fmt: skip
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, nargs="+", default=[20], help="one, or one per model")
    parser.add_argument("--warmup", type=int, nargs="+", default=[5], help="one, or one per model")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--temperature", type=float, default=300.0)
    parser.add_argument("--lmp", default="lmp")
    parser.add_argument("--flags", default="", help="flags for LAMMPS")
    parser.add_argument("--launch", default="mpirun -np {ranks}")
    parser.add_argument("--plugin", type=Path)
    parser.add_argument("--hardware", required=True, help="in words, for the CSV")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()

    models = {}
    for entry in options.model:
        name, _, path = entry.partition("=")
        models[name] = read_metadata(path)
    atoms = read_structure(options.structure).atoms if options.structure else default_structure()
    options.elements = next(iter(models.values())).lammps_types(atoms)
    version = inspect_lammps(options.lmp, options.plugin).version

    wanted = cases(models, atoms, options)
    done: dict[tuple[str, int, tuple[int, int, int]], list[Sample]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder / "structure.data", atoms, options.elements)
        for _ in range(options.repeats):
            for case in {case.run: case for case in wanted}.values():
                sample = measure(case, folder, options)
                done.setdefault(case.run, []).append(sample)
                print(
                    f"{case.name} {case.ranks} ranks {sample.atoms} atoms: {sample.loop_s:.2f} s, "
                    f"CPU use {sample.cpu_use:.2f}",
                    flush=True,
                )
            # After every round, so that a stop loses no more than one.
            table = rows({case: done[case.run] for case in wanted}, options.hardware, version)
            about = {"date": date.today().isoformat(), **describe()}
            write(options.out, [asdict(row) for row in table], about)
    for model in models:
        print(f"{model}: {memory_per_atom_kB(table, model):.1f} kB of memory per atom")
    print(f"Wrote {options.out}")


if __name__ == "__main__":
    main()
