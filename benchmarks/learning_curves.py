"""On real DFT data, do labels that the grade chooses teach more than random ones?

Learning curves on hafnium oxide: a model of perturbed crystals gets labels from a pool of hot melt
and of vacancy frames, and is tested on melts and vacancies of other trajectories. No MD is run. The
protocol is in ``CURE_PROTOCOL.md``; the data are optional (``study/hfo2.py``). Each step is kept in
the work folder and not done again.

    python benchmarks/learning_curves.py run --work DIR --workers 2
    python benchmarks/learning_curves.py rows --work DIR   # the raw rows of what is finished
    python benchmarks/learning_curves.py summary           # the numbers, from the raw rows alone
    python benchmarks/learning_curves.py page              # table, figure of docs/cure_measured.md

Raw rows: ``results/learning_curves.csv``, a training and test set each.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pages
import torch
import yaml
from ase import Atoms
from cure_summary import first
from filelock import FileLock
from grade import fitted, interval
from hardware import describe, read, write
from nequip.data import AtomicDataDict
from study.declared import read_study
from study.hfo2 import TEST_SETS, data_folder, stock_config
from study.paired import Paired

from nequip_decorr.cure.collect import collect
from nequip_decorr.cure.rules import Rules
from nequip_decorr.features.frames import outputs
from nequip_decorr.files import read_json, write_json
from nequip_decorr.processes import call, script
from nequip_decorr.training.resume import go_on

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs"
SEEDS = (1, 2, 3, 4)
ARMS = {"random": "#D55E00", "grade": "#0072B2", "composition": "#009E73"}
"""Ways to choose, with their colours."""
AGAINST_RANDOM = tuple(arm for arm in ARMS if arm != "random")
LABELS = (0, 8, 16, 32)
"""Labels after each round."""
STEPS = 2400
FIRST, VALIDATION, POOL, TEST = 40, 20, 100, 40
"""Frames of each set; a pool and a test set of melts, and one of vacancies."""
HELD_OUT = {"ood_melt": (62, 67, 68), "ood_vacancy": range(29, 60, 3)}
"""Trajectories (``init.00NN``) whose frames are for tests alone."""
OOD = tuple(HELD_OUT)
NAMES = {"test_id": "in distribution", "ood_melt": "melt", "ood_vacancy": "vacancies"}


def make_data(work: Path) -> Path:
    """First data, pool and test sets, evenly strided, made once."""
    folder, source = work / "data", data_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(work / "data.lock"):
        if (folder / "pool.xyz").is_file():
            return folder
        for name, number in (("train", FIRST), ("val", VALIDATION), ("test_id", TEST)):
            _write(
                folder / f"{name}.xyz", strided(ase.io.read(source / f"{name}.xyz", ":"), number)
            )
        pool = []
        for name, held_out in HELD_OUT.items():
            frames = ase.io.read(source / f"{name}.xyz", ":")
            tests = [trajectory(frame) in held_out for frame in frames]
            pool += strided([f for f, test in zip(frames, tests, strict=True) if not test], POOL)
            _write(
                folder / f"{name}.xyz",
                strided([f for f, test in zip(frames, tests, strict=True) if test], TEST),
            )
        _write(folder / "pool.xyz", pool)
    return folder


def trajectory(frame: Atoms) -> int:
    """Number of the ab initio trajectory that a frame is of."""
    found = re.match(r"init\.(\d+)", frame.info["source"])
    if not found:
        raise ValueError(f"no trajectory in {frame.info['source']}")
    return int(found[1])


def strided(frames: Sequence[Atoms], number: int) -> list[Atoms]:
    """As many frames, evenly distributed."""
    return [frames[k] for k in np.linspace(0, len(frames) - 1, number).round().astype(int)]


def _write(path: Path, frames: Sequence[Atoms]) -> None:
    ase.io.write(path, list(frames), format="extxyz")


@dataclass(frozen=True)
class Unit:
    """One of the :data:`ARMS` after some rounds with one training seed."""

    work: Path
    arm: str
    seed: int
    rounds: int

    @property
    def folder(self) -> Path:
        """Of everything that is made; without labels the arms are the same."""
        arm = self.arm if self.rounds else "first"
        return self.work / arm / f"{LABELS[self.rounds]}" / str(self.seed)

    @property
    def earlier(self) -> Unit:
        """The round before."""
        return Unit(self.work, self.arm, self.seed, self.rounds - 1)

    def chosen(self) -> list[int]:
        """Places in the pool of all labelled frames."""
        if not self.rounds:
            return []
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "chosen.json"
        with FileLock(self.folder / "chosen.lock"):
            if not path.is_file():
                have = self.earlier.chosen()
                write_json(path, have + self._choose(have))
        found: list[int] = read_json(path)
        return found

    def _choose(self, have: Sequence[int]) -> list[int]:
        pool = ase.io.read(make_data(self.work) / "pool.xyz", ":")
        left = [k for k in range(len(pool)) if k not in have]
        if self.arm == "random":
            number = len(Unit(self.work, "grade", self.seed, self.rounds).chosen()) - len(have)
            rng = np.random.default_rng([self.seed, self.rounds])
            return [int(k) for k in rng.choice(left, number, replace=False)]
        # The user's way: unlabelled frames in a file, the default rules.
        for k in left:
            pool[k].info, pool[k].calc = {}, None
        _write(self.folder / "pool.xyz", [pool[k] for k in left])
        frames = LABELS[self.rounds] - len(have)
        rules = Rules(frames, per_composition=frames // 2 if self.arm == "composition" else 0)
        found = collect([self.folder / "pool.xyz"], self.earlier.model(), rules=rules)
        print(self.arm, self.seed, self.rounds, found, flush=True)
        # The frames of a file are numbered.
        return [left[frame.info["step"]] for frame in found.frames]

    def model(self) -> Path:
        """The checkpoint, trained from the beginning on first data and labels."""
        self.folder.mkdir(parents=True, exist_ok=True)
        checkpoint, data = self.folder / "best.ckpt", make_data(self.work)
        with FileLock(self.folder / "model.lock"):
            if checkpoint.is_file():
                return checkpoint
            pool = ase.io.read(data / "pool.xyz", ":")
            frames = ase.io.read(data / "train.xyz", ":") + [pool[k] for k in self.chosen()]
            _write(self.folder / "train.xyz", frames)
            shutil.copy(data / "val.xyz", self.folder)
            epochs = round(STEPS / len(frames))
            (self.folder / "train.yaml").write_text(yaml.safe_dump(self._config(epochs)))
            command = [script("nequip-train"), "-cp", str(self.folder), "-cn", "train"]
            command += [f"hydra.run.dir={self.folder / 'training'}"]
            command += go_on(self.folder / "training", self.folder / "train.yaml", [])
            call(command, self.folder / "train.log", {"OMP_NUM_THREADS": "1"})
            shutil.copy(self.folder / "training" / "best.ckpt", checkpoint)
        return checkpoint

    def _config(self, epochs: int) -> dict[str, Any]:
        config = stock_config(self.folder) | {"run": ["train"], "seed": self.seed}
        config |= {"test_files": None, "epochs": epochs, "batch_size": 1, "cutoff_radius": 4.0}
        small = read_study().regime("hfo2_few").config["training_module"]["model"]
        config["training_module"]["model"] |= small
        config["training_module"]["model"]["per_type_energy_shifts"] = (
            "${training_data_stats:per_type_energy_fit}"
        )
        config["data"]["stats_manager"]["_target_"] = "nequip_decorr.DistanceStatisticsManager"
        config["data"].pop("test_file_path")
        config["trainer"] |= {
            "check_val_every_n_epoch": max(1, round(epochs / 30)), "enable_progress_bar": False,
        }  # fmt: skip
        return config

    def run(self) -> None:
        """Rows of the results: errors of each test set, and of the labels themselves."""
        if (self.folder / "rows.json").is_file():
            return
        data, checkpoint = make_data(self.work), self.model()
        model, _ = fitted(checkpoint, self.folder)
        pool = ase.io.read(data / "pool.xyz", ":")
        sets = {name: ase.io.read(data / f"{name}.xyz", ":") for name in TEST_SETS}
        if self.rounds:
            sets["labels"] = [pool[k] for k in self.chosen()]
        about = {
            "arm": self.arm if self.rounds else "first", "seed": self.seed,
            "rounds": self.rounds, "labels": len(self.chosen()),
            "labels_melt": sum(k < POOL for k in self.chosen()),
        }  # fmt: skip
        rows = [{**about, "set": name, **errors(model, frames)} for name, frames in sets.items()]
        write_json(self.folder / "rows.json", rows)


def errors(model: Any, frames: Sequence[Atoms]) -> dict[str, float]:
    """Of the forces of all atoms, and of the energies per atom."""
    forces, energies = [], []
    for data, target in outputs(model, frames):
        forces.append((data["forces"] - target["forces"]).norm(dim=-1))
        off = (data["total_energy"] - target["total_energy"]).abs().flatten()
        energies.append(off / target[AtomicDataDict.NUM_NODES_KEY].flatten())
    force = torch.cat(forces).numpy()
    return {
        "force_error_eV_per_A": float(force.mean()),
        "force_error_99_eV_per_A": float(np.quantile(force, 0.99)),
        "energy_mae_eV_per_atom": float(torch.cat(energies).mean()),
    }


def _run(work: Path, seed: int) -> str:
    torch.set_num_threads(1)
    for rounds in range(len(LABELS)):
        for arm in ARMS if rounds else ("random",):
            Unit(work, arm, seed, rounds).run()
            print(time.strftime("%H:%M:%S"), arm, seed, rounds, flush=True)
    return f"seed {seed}"


def run(work: Path, workers: int) -> None:
    """All trainings that are not finished, a training seed after the other on each worker."""
    make_data(work)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        for future in as_completed([pool.submit(_run, work, seed) for seed in SEEDS]):
            print(future.result(), "done", flush=True)


def rows(work: Path) -> None:
    """Raw rows of all finished trainings into the results."""
    kept = [
        path
        for arm in ("first", *ARMS)
        for path in sorted(work.glob(f"{arm}/*/*/rows.json"), key=_labels_and_seed)
    ]
    table = [row for path in kept for row in read_json(path)]
    record = {**describe(), "steps": STEPS, "first": FIRST, "pool": 2 * POOL, "test": TEST}
    write(RESULTS / "learning_curves.csv", table, record)
    print(f"{len(kept)} of {len(SEEDS) * (1 + len(ARMS) * (len(LABELS) - 1))} trainings")


def _labels_and_seed(path: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in path.parts[-3:-1])


Rows = list[dict[str, Any]]


def curves(found: Rows, sets: Sequence[str], column: str) -> dict[tuple[str, int, int], float]:
    """Mean of a column over test sets, by arm, seed and round.

    All arms begin with the model without labels.
    """
    values: dict[tuple[str, int, int], list[float]] = {}
    for row in found:
        for arm in ARMS if row["arm"] == "first" else (row["arm"],):
            if row["set"] in sets:
                values.setdefault((arm, row["seed"], row["rounds"]), []).append(row[column])
    return {key: float(np.mean(values[key])) for key in sorted(values)}


def labels_needed(found: Rows, sets: Sequence[str], chosen: str = "grade") -> list[float]:
    """Labels that an arm needs over those at random, for the same force error; a whole seed each.

    The logarithm of the error against labels is the running minimum over the rounds, linear in
    between; the error is the smallest that both reach.
    """
    force = curves(found, sets, "force_error_eV_per_A")
    number = curves(found, ["ood_melt"], "labels")
    ratios = []
    rounds = max(k for _, _, k in force)
    for seed in sorted({s for a, s, k in force if (a, k) == (chosen, rounds)}):
        reached = {}
        for arm in (chosen, "random"):
            every = [k for a, s, k in sorted(force) if (a, s) == (arm, seed)]
            fell = np.maximum.accumulate([-np.log(force[arm, seed, k]) for k in every])
            reached[arm] = np.array([number[arm, seed, k] for k in every]), fell
        target = min(fell[-1] for _, fell in reached.values())
        ratios.append(first(*reached[chosen], target) / first(*reached["random"], target))
    return ratios


def table_rows(found: Rows) -> list[list[str]]:
    """Cells of the table, a row per arm and round."""
    kinds = [(s, "force_error_eV_per_A") for s in ("test_id", *OOD)]
    kinds += [(s, "energy_mae_eV_per_atom") for s in OOD] + [("labels", "force_error_eV_per_A")]
    cells = [
        (curves(found, [name], column), 1000 if column.startswith("energy") else 1)
        for name, column in kinds
    ]
    both = curves(found, OOD, "force_error_eV_per_A")
    number, melts = (curves(found, ["ood_melt"], k) for k in ("labels", "labels_melt"))
    lines = []
    for k in range(len(LABELS)):
        for arm in ARMS if k else ("grade",):
            seeds = [s for a, s, j in both if (a, j) == (arm, k)]
            if len(seeds) < 2:
                continue

            def over_seeds(values: dict, arm: str = arm, k: int = k) -> list[float]:
                return [v for (a, _, j), v in values.items() if (a, j) == (arm, k)]

            line = [arm if k else "none", str(len(seeds)), f"{np.mean(over_seeds(number)):.0f}"]
            line += [f"{np.mean(over_seeds(melts)):.0f}"]
            line += [interval([scale * v for v in over_seeds(c)], 3 if scale == 1 else 1)
                     if over_seeds(c) else "" for c, scale in cells]  # fmt: skip
            logs = [np.log(both["grade", s, k] / both["random", s, k]) for s in seeds
                    if ("random", s, k) in both]  # fmt: skip
            shown = arm == "grade" and k and len(logs) > 2
            lines.append([*line, _ratio(logs) if shown else ""])
    return lines


def _ratio(logs: Sequence[float]) -> str:
    found = Paired(np.array(logs))
    r = found.ratio
    return f"{r.value:.2f} [{r.low:.2f}, {r.high:.2f}] p={found.p_value:.3f}"


HEAD = (
    "labels chosen by", "seeds", "labels", "of them melts", "in distribution", "melts", "vacancies",
    "energy, melts", "energy, vacancies", "on the labels", "melts and vacancies, grade / random",
)  # fmt: skip


def summary() -> None:
    """Print the numbers."""
    found = read(RESULTS / "learning_curves.csv")
    for line in (HEAD, *table_rows(found)):
        print(" | ".join(line))
    for arm in AGAINST_RANDOM:
        for name, sets in {**{n: (n,) for n in OOD}, "both": OOD}.items():
            needed = labels_needed(found, sets, arm)
            print(f"labels for the same force error, {arm} over random, {name}:", needed)
            if len(needed) > 2:
                print("  geometric mean", _ratio(np.log(needed)))
    for column in ("force_error_eV_per_A", "force_error_99_eV_per_A", "energy_mae_eV_per_atom"):
        for name in ("test_id", *OOD):
            values = curves(found, [name], column)
            for arm, k in ((a, k) for a in AGAINST_RANDOM for k in range(1, len(LABELS))):
                logs = [
                    np.log(v / values["random", s, k])
                    for (a, s, j), v in values.items()
                    if (a, j) == (arm, k) and ("random", s, k) in values
                ]
                if len(logs) > 2:
                    print(f"  {column} {name}, round {k}: {arm} / random {_ratio(logs)}")


def page() -> None:
    """Write the table of docs/cure_measured.md and its figure."""
    found = read(RESULTS / "learning_curves.csv")
    pages.fill(DOCS / "cure_measured.md", {"hfo2": pages.table(HEAD, table_rows(found))})
    draw(found, DOCS / "learning_curves.png")


def draw(found: Rows, path: Path) -> None:
    """Force error of each test set against labels; thin lines are training seeds."""
    from nequip_decorr.style import figure, grid, style

    number = curves(found, ["ood_melt"], "labels")
    with style():
        fig, axes = figure(9.4, 3.2, 1, 3)
        for axis, name in zip(axes[0], NAMES, strict=True):
            force = curves(found, [name], "force_error_eV_per_A")
            for arm, colour in ARMS.items():
                seeds = sorted({s for a, s, _ in force if a == arm})
                lines = [
                    [(number[key], force[key]) for key in sorted(force) if key[:2] == (arm, seed)]
                    for seed in seeds
                ]
                for line in lines:
                    axis.plot(*zip(*line, strict=True), color=colour, linewidth=0.6, alpha=0.4)
                whole = [line for line in lines if len(line) == len(LABELS)]
                if len(whole) < 2:
                    continue
                mean = np.exp(np.log(np.array(whole)[:, :, 1]).mean(0))
                x = np.array(whole)[:, :, 0].mean(0)
                axis.plot(x, mean, "o-", color=colour, markersize=4, linewidth=1.6, label=arm)
            axis.set(title=NAMES[name], xlabel="labelled frames")
            grid(axis)
        axes[0][0].set(ylabel="mean force error (eV/Å)")
        axes[0][0].legend(title="labels chosen by")
        fig.savefig(path, dpi=130)


def main(words: Sequence[str] | None = None) -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="what", required=True)
    for name in ("run", "rows"):
        command = commands.add_parser(name)
        command.add_argument("--work", type=Path, required=True, help="folder of everything made")
    commands.choices["run"].add_argument("--workers", type=int, default=2)
    for name in ("summary", "page"):
        commands.add_parser(name)
    given = parser.parse_args(words)
    if given.what == "run":
        run(given.work.resolve(), given.workers)
    elif given.what == "rows":
        rows(given.work.resolve())
    else:
        {"summary": summary, "page": page}[given.what]()


if __name__ == "__main__":
    main()
