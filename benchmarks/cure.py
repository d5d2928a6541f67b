"""Does the cure work? Stable, trusted and right times after labels chosen in several ways.

The protocol is ``CURE_PROTOCOL.md``; it was committed before the first comparison. Each step is
kept in the work folder and not done again, so that any stop costs one step.

    python benchmarks/cure.py run --work DIR --workers 2     # all in the order of the protocol, or
                                                             # some with --arms and --seeds
    python benchmarks/cure.py run --work DIR --horizon 10    # the bar; 100: how far it gets
    python benchmarks/cure.py rows --work DIR                # the raw rows of what is finished
    python benchmarks/cure.py summary                        # the numbers, from the raw rows alone
    python benchmarks/cure.py page                           # docs/cure_measured.md, and figures

``--lmp COMMAND`` runs the MD in a LAMMPS with pair_style allegro instead of the library engine.
Raw rows: ``results/cure_runs.csv`` (a run each), ``cure_models.csv`` (a training each) and
``cure_long.csv`` (runs of 10 and 100 ps; there the grade is that of `near`). Trusted
times are by the grade with the edge of the first data, over the labelled frames of a run: first run
``grade_added.py rows``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ase.io
import cure_summary
import numpy as np
import torch
import yaml
from ase import Atoms
from correlation_and_accuracy import BLOCK_SIZE, CONFIGS, train
from filelock import FileLock
from grade import compiled, fitted, labelled, trained
from hardware import add, describe

from nequip_decorr import stability
from nequip_decorr.campaign.times import TIMES, until
from nequip_decorr.cure.collect import _pool, collect
from nequip_decorr.cure.rules import Rules
from nequip_decorr.cure.sources import sources_of
from nequip_decorr.cure.training_config import start_from
from nequip_decorr.demo import TEMPERATURE_K, TEST_SETS
from nequip_decorr.extrapolation.added import TOLERANCE
from nequip_decorr.files import read_json, write_json
from nequip_decorr.inspection.evaluate import evaluate_files
from nequip_decorr.md.times import trusted_time_ps
from nequip_decorr.processes import call, script
from nequip_decorr.resources import configs_dir
from nequip_decorr.training.resume import go_on

RESULTS = Path(__file__).parent / "results"
GRADED = f"added {TOLERANCE:g}"
"""The way of ``grade_added.py`` that is the package's."""
FRAMES = 15
STEPS = 2400
TUNED_RATE = 0.002
HORIZON_PS = 6.0
HELDOUT = {HORIZON_PS: "heldout", **{ps: f"heldout_{ps:g}ps" for ps in cure_summary.LONG_PS}}
"""Folder of held-out MD, by its length."""
SOURCE_VELOCITIES = [1, 2]
HELDOUT_VELOCITIES = [11]
SOURCES = {"source": (2.0, 30.0), "near": (2.0, 4.0), "far": (2.0, 12.0), "near_10ps": (10.0, 4.0)}
"""Length of the MD that labels come from, and grade at which it stops."""
# MD that the grade chooses from, and the rules of the choice.
CHOICES = {
    "grade": ("source", Rules(frames=FRAMES, beyond=10.0, own_share=0.25)),
    "near": ("near", Rules(frames=FRAMES, beyond=3.0, own_share=0.0)),
    "far": ("far", Rules(frames=FRAMES, beyond=9.0, own_share=0.0)),
    "near, long": ("near_10ps", Rules(frames=FRAMES, beyond=3.0, own_share=0.0)),
}
WALL = {
    "_target_": "nequip_decorr.ShortRangeZBL",
    "chemical_species": "${chemical_symbols}",
    "units": "metal",
    "reach_A": "${training_data_stats:shortest_distances}",
}


@dataclass(frozen=True)
class Arm:
    """A way to train.

    Attributes:
        source: who chooses the labels: ``grade``, ``near``, ``far``, ``random``, ``near random``,
            ``reference``, ``rattled`` or nobody; ``near`` is the grade among frames just beyond
            the edge, in 2 ps of MD (``near, long`` in 10 ps), ``far`` up to three times as far,
            and ``near random`` takes frames of the MD of ``near`` at random.
        after: the arm whose model runs the MD and whose labels are kept.
        config: ``stock`` or ``decorrelated``.
        wall: whether ShortRangeZBL is added.
        nonlinearity: of all hidden layers; with ``tanh`` the features are bounded.
        steps: of training.
        energy_weight: coefficient of the energy in the loss; that of the forces is 1.
        energy_per_type: whether each type has its own shift of the energy, by least squares.
        tuned: whether training starts from the model of ``after``, not from the beginning.
        first_copies: how often the first data stand in the training data.
        learnt: whether labels count in the grade as far as the model has learnt them; else like
            all other training data.
    """

    source: str = ""
    after: str = "baseline"
    config: str = "stock"
    wall: bool = False
    nonlinearity: str = "silu"
    steps: int = STEPS
    energy_weight: float = 1.0
    energy_per_type: bool = False
    tuned: bool = False
    first_copies: int = 1
    learnt: bool = False


ARMS = {
    "baseline": Arm(),
    "ours": Arm("grade"),
    "random": Arm("random"),
    "ours, 2 rounds": Arm("grade", after="ours"),
    "wall": Arm(wall=True),
    "term": Arm(config="decorrelated"),
    "random, 2 rounds": Arm("random", after="random"),
    "ours, 20 x energy": Arm("grade", energy_weight=20.0),
    "ours, 3 x steps": Arm("grade", steps=3 * STEPS),
    "ours + term": Arm("grade", after="term", config="decorrelated"),
    "ours + wall": Arm("grade", after="wall", wall=True),
    "near": Arm("near", steps=3 * STEPS, energy_per_type=True),
    "near, 2 rounds": Arm("near", after="near", steps=3 * STEPS, energy_per_type=True),
    "near, 3 rounds": Arm("near", after="near, 2 rounds", steps=3 * STEPS, energy_per_type=True),
}
NEAR = {"steps": 3 * STEPS, "energy_per_type": True, "learnt": True}
for _choice, _source in (("learnt", "near"), ("learnt, random", "near random")):
    _after = "baseline"
    for _round in ("1 round", "2 rounds", "3 rounds"):
        ARMS[f"{_choice}, {_round}"] = Arm(_source, after=_after, **NEAR)
        _after = f"{_choice}, {_round}"
ARMS |= {
    "far, 2 rounds": Arm("far", after="learnt, 1 round", **NEAR),
    "far, 3 rounds": Arm("far", after="far, 2 rounds", **NEAR),
    "near, random": replace(ARMS["near"], source="near random"),
    "near, random, 2 rounds": replace(
        ARMS["near, 2 rounds"], source="near random", after="near, random"
    ),
    "near, random, 3 rounds": replace(
        ARMS["near, 3 rounds"], source="near random", after="near, random, 2 rounds"
    ),
}
PRICE = ("near, 3 rounds, tuned", "near, 3 rounds, first x 3")
ARMS |= {
    PRICE[0]: replace(ARMS["near, 3 rounds"], steps=STEPS, tuned=True),
    PRICE[1]: replace(ARMS["near, 3 rounds"], first_copies=3),
}
_after, *TERM = cure_summary.rounds_of(f"near{cure_summary.WITH_TERM}")
for _name in TERM:
    _plain = ARMS[_name.removesuffix(cure_summary.WITH_TERM)]
    ARMS[_name] = replace(_plain, after=_after, config="decorrelated")
    _after = _name
ARMS[cure_summary.ADVERSARY] = Arm(nonlinearity="tanh")
LONGER, FURTHER, WITHOUT = cure_summary.LONGER, cure_summary.FURTHER, cure_summary.WITHOUT
ARMS[LONGER] = replace(ARMS[TERM[1]], steps=6 * STEPS, first_copies=3)
ARMS[WITHOUT] = replace(ARMS[LONGER], after="near", config="stock")
ARMS[FURTHER] = replace(ARMS[LONGER], source="near, long", after=LONGER)
for _source in cure_summary.TODAY:
    ARMS[_source] = replace(ARMS[LONGER], source=_source, after="baseline")
NAMES = list(ARMS)
FIRST, THEN, WHY, LAST, NEXT = NAMES[:3], NAMES[3:7], NAMES[7:9], NAMES[9:11], NAMES[11:14]
LEARNT, CONTROL = NAMES[14:22], NAMES[22:25]
BLOCKS = [
    *(((1, 2), FIRST), ((1, 2), WHY), ((1, 2), NEXT), ((3, 4), FIRST)),
    *(((3, 4), NEXT), ((1, 2), LEARNT), ((1, 2), CONTROL), ((3, 4), CONTROL)),
    *(((1, 2), PRICE), ((3, 4), PRICE)),
    *(((1, 2), THEN), ((3, 4), THEN)),
    *(((5, 6), FIRST), ((7, 8), FIRST), ((3, 4), WHY), ((1, 2), LAST), ((3, 4), LAST)),
    *(((5, 6), NEXT + CONTROL), ((7, 8), NEXT + CONTROL), ((3, 4), LEARNT)),
    *(((5, 6), THEN + WHY + LAST), ((7, 8), THEN + WHY + LAST)),
    ((1, 2, 3, 4), (cure_summary.ADVERSARY, *TERM)),
]
QUEUE = [(arm, seed) for seeds, arms in BLOCKS for arm in arms for seed in seeds]
TEN, HUNDRED = cure_summary.LONG_PS
QUEUES = {
    HORIZON_PS: QUEUE,
    TEN: [
        (arm, seed)
        for seed in range(1, 9)
        for arm in (LONGER, WITHOUT, TERM[1], "baseline", *cure_summary.TODAY)
    ],
    HUNDRED: [(FURTHER, seed) for seed in range(1, 9)],
}
assert set(ARMS) == {arm for queue in QUEUES.values() for arm, _ in queue}, "an arm never run"


@dataclass(frozen=True)
class Unit:
    """An arm with one training seed; makes what it needs, each thing once."""

    work: Path
    arm: str
    seed: int
    lmp: str | None = None
    horizon_ps: float = HORIZON_PS

    @property
    def folder(self) -> Path:
        """Of everything that is made."""
        return self.work / "arms" / self.arm.replace(", ", "_").replace(" ", "") / str(self.seed)

    @property
    def finished(self) -> bool:
        """Whether its held-out MD is done."""
        return (self.folder / HELDOUT[self.horizon_ps] / "done").is_file()

    def other(self, arm: str) -> Unit:
        """Another arm of the same seed."""
        return Unit(self.work, arm, self.seed, self.lmp)

    def lock(self, name: str) -> FileLock:
        """Nobody else makes it meanwhile."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / f"{name}.lock")

    def model(self) -> Path:
        """The checkpoint, with its grade and its compiled file beside it."""
        checkpoint = self.folder / "best.ckpt"
        with self.lock("model"):
            if (self.folder / "model.json").is_file():
                return checkpoint
            arm, data, seconds = ARMS[self.arm], self.work / "data", {}
            frames = ase.io.read(data / "train.xyz", ":") * arm.first_copies + self.labels()
            epochs = round(arm.steps / len(frames))
            for path in ("train.xyz", "val.xyz"):
                shutil.copy(data / path, self.folder / path)
            ase.io.write(self.folder / "train.xyz", frames, format="extxyz")
            began = time.perf_counter()
            if Arm(config=arm.config) == arm:
                for path in train(arm.config, self.seed, self.work).parent.iterdir():
                    if path.name in ("best.ckpt", "best.grade.npz", "graded.nequip.pt2"):
                        shutil.copy(path, self.folder / path.name)
            elif not checkpoint.is_file():
                self._train(arm, epochs)
            seconds["train_s"] = time.perf_counter() - began
            added = self.labels() if arm.learnt else []
            fitted(checkpoint, data if added else self.folder, added)
            began = time.perf_counter()
            compiled(checkpoint)
            seconds["compile_s"] = time.perf_counter() - began
            errors = evaluate_files(
                checkpoint, {k: self.work / "heldout" / f"{k}.xyz" for k in TEST_SETS}, BLOCK_SIZE
            )
            about = {
                "arm": self.arm, "seed": self.seed, "labels": len(self.labels()),
                "steps": epochs * len(frames), **seconds,
                **{f"force_mae_{k}_eV_per_A": e.force_mae_eV_per_A for k, e in errors.items()},
                "commit": _commit(),
            }  # fmt: skip
            write_json(self.folder / "model.json", about)
        return checkpoint

    def _train(self, arm: Arm, epochs: int) -> None:
        config = yaml.safe_load((configs_dir() / f"{CONFIGS[arm.config]}.yaml").read_text())
        config |= {"run": ["train"], "data_dir": str(self.work / "data"), "seed": self.seed}
        config["epochs"] = epochs
        config["data"]["train_file_path"] = str(self.folder / "train.xyz")
        # As often in steps as the demo's config.
        config["trainer"] |= {"check_val_every_n_epoch": max(1, round(epochs / 30))}
        config["trainer"] |= {"enable_progress_bar": False}
        config["training_module"]["loss"]["coeffs"]["total_energy"] = arm.energy_weight
        model = config["training_module"]["model"]
        if arm.wall or arm.energy_per_type:
            config["data"]["stats_manager"]["_target_"] = "nequip_decorr.DistanceStatisticsManager"
        if arm.wall:
            model["pair_potential"] = WALL
        for part in ("scalar_embed", "allegro", "readout"):
            model[f"{part}_mlp_nonlinearity"] = arm.nonlinearity
        if arm.energy_per_type:
            model["per_type_energy_shifts"] = "${training_data_stats:per_type_energy_fit}"
        (self.folder / "train.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        command = [script("nequip-train"), "-cp", str(self.folder)]
        command += ["-cn", "train", f"hydra.run.dir={self.folder / 'training'}"]
        words: list[str] = []
        if arm.tuned:
            words = [*start_from(self.other(arm.after).model()), f"learning_rate={TUNED_RATE}"]
        command += [*words, *go_on(self.folder / "training", self.folder / "train.yaml", words)]
        call(command, self.folder / "train.log")
        shutil.copy(self.folder / "training" / "best.ckpt", self.folder / "best.ckpt")

    def md(self, half: str) -> Path:
        """MD of the start cells: one of :data:`HELDOUT`, labelled, or one that halts itself.

        The latter are the :data:`SOURCES`.
        """
        out = self.folder / half
        checkpoint = self.model()
        with self.lock(half):
            model = {"model": str(checkpoint.with_name("graded.nequip.pt2"))}
            if half not in SOURCES:
                self._campaign(model, half, out, labels={"reference": "siox"})
            else:
                self._campaign(model, half, out, criteria={"extrapolation_grade": SOURCES[half][1]})
        return out

    def _campaign(self, models: dict, half: str, out: Path, **more: Any) -> None:
        if (out / "done").is_file():
            return
        source = half in SOURCES
        cells = self.work / ("data" if source else "heldout") / "md"
        every = {"source": 20}.get(half, 5) if source else 10
        campaign = {
            "models": models,
            "structures": {p.stem: str(p) for p in sorted(cells.glob("*.xyz"))},
            "temperatures_K": [TEMPERATURE_K],
            "seeds": SOURCE_VELOCITIES if source else HELDOUT_VELOCITIES,
            "length_ps": SOURCES[half][0] if source else self.horizon_ps,
            "record_every": min(10, every), "trajectory_every": every, "ring_frames": 20,
            "out": str(out), **more,
        }  # fmt: skip
        if self.lmp and "reference" not in models:
            campaign |= {"engine": "lammps", "lammps_command": self.lmp}
        with ThreadPoolExecutor(1) as here:  # a process would import everything again
            found = stability.run(stability.load(campaign), executor=here)
        if found.stopped or any(row["status"] == "error" for row in found.rows):
            raise RuntimeError(f"{out}: {found.stopped or 'a run ended in error'}")
        (out / "done").touch()

    def labels(self) -> list[Atoms]:
        """All labelled frames beyond the first data, those of earlier rounds first."""
        arm = ARMS[self.arm]
        if not arm.source:
            return []
        earlier = self.other(arm.after)
        return earlier.labels() + self._new(arm.source, earlier)

    def _new(self, source: str, earlier: Unit) -> list[Atoms]:
        path = earlier.folder / f"{source.replace(',', '').replace(' ', '_')}.xyz"
        with earlier.lock(f"labels {source}"):
            if not path.is_file():
                ase.io.write(path, labelled(self._chosen(source, earlier)), format="extxyz")
        return ase.io.read(path, ":") if path.stat().st_size else []

    def _chosen(self, source: str, earlier: Unit) -> list[Atoms]:
        if source in CHOICES:
            half, rules = CHOICES[source]
            found = collect([earlier.md(half)], earlier.model(), rules=rules)
            print(self.arm, self.seed, found, flush=True)
            return [_plain(frame) for frame in found.frames]
        # As many as the grade chose in the same rounds of the same seed.
        near = source == "near random"
        if source in cure_summary.TODAY:
            number = len(self.other(LONGER).labels())
        else:
            name = earlier.arm.replace(", random", "")
            rival = self.other("ours" if name == "random" else name)
            number = len(self._new("near" if near else "grade", rival))
        rng = np.random.default_rng([self.seed, len(source), len(earlier.labels())])
        if source in ("random", "near random"):
            half, rules = CHOICES["near" if near else "grade"]
            pool = _sane(earlier.md(half), earlier.model(), rules)
        else:
            pool = self._reference() if source == "reference" else self._rattled(rng, number)
        chosen = rng.choice(len(pool), min(number, len(pool)), replace=False)
        return [_plain(pool[k]) for k in chosen]

    def _reference(self) -> list[Atoms]:
        shared, out = self.other("baseline"), self.work / "reference"
        with FileLock(self.work / "reference.lock"):
            shared._campaign({"reference": {"reference": "siox"}}, "source", out)
        return [frame for item in sources_of(out) for frame in item.frames]

    def _rattled(self, rng: np.random.Generator, number: int) -> list[Atoms]:
        cells = [ase.io.read(p) for p in sorted((self.work / "data" / "md").glob("*.xyz"))]
        found = [cells[k % len(cells)].copy() for k in range(number)]
        for atoms in found:
            atoms.set_cell(atoms.cell * rng.uniform(0.95, 1.05), scale_atoms=True)
            atoms.positions += rng.normal(0, rng.uniform(0.05, 0.15), atoms.positions.shape)
        return found

    def run(self) -> None:
        """Everything of the unit."""
        began = time.perf_counter()
        self.md(HELDOUT[self.horizon_ps])
        about = read_json(self.folder / "model.json") | {"wall_s": time.perf_counter() - began}
        if self.horizon_ps == HORIZON_PS:
            write_json(self.folder / "unit.json", {"models": [about]})

    def long_rows(self) -> list[dict[str, Any]]:
        """Rows of longer MD, with what the model is."""
        about = read_json(self.folder / "model.json") or {}
        out = self.folder / HELDOUT[self.horizon_ps]
        model = {k: v for k, v in about.items() if not k.startswith("energy")}
        return [
            {
                **{"arm": self.arm, "seed": self.seed, "horizon_ps": self.horizon_ps},
                "structure": row["structure"],
                **{"status": row["status"], "cause": row["cause"]},
                **{f"{t}_ps": until(out / "runs" / row["run_id"], row, t)[0] for t in TIMES},
                **model,
            }
            for row in stability.read(out)
        ]

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """Rows of the results, by the name of their file."""
        out, runs = self.folder / "heldout", []
        graded = read_json(self.folder / "grades.json") or []
        for row in stability.read(out):
            folder = out / "runs" / row["run_id"]
            key = {"arm": self.arm, "seed": self.seed, "structure": row["structure"]}
            times = {f"{t}_ps": until(folder, row, t)[0] for t in TIMES}
            mine = [r for r in graded if r["structure"] == row["structure"]]
            times["trusted_ps"] = trusted_ps(mine, GRADED)
            runs.append({**key, "status": row["status"], "cause": row["cause"], **times})
        (about,) = (read_json(self.folder / "unit.json") or {})["models"]
        whole = [f for f in self.labels() if f.info.get("structure", "").endswith("siox2")]
        return {"runs": runs, "models": [{**about, "labels_siox2": len(whole), **self.fit()}]}

    def fit(self) -> dict[str, float]:
        """Errors on the labelled frames themselves: whether the training has learnt them."""
        kept, path = self.folder / "fit.json", self.folder / "labels.xyz"
        if not kept.is_file() and (labels := self.labels()):
            ase.io.write(path, labels, format="extxyz")
            (found,) = evaluate_files(self.model(), {"own": path}, BLOCK_SIZE).values()
            errors = found.energy_mae_eV_per_atom, found.force_mae_eV_per_A
            names = "energy_mae_labels_eV_per_atom", "force_mae_labels_eV_per_A"
            write_json(kept, dict(zip(names, errors, strict=True)))
        return read_json(kept) or {}


def _plain(frame: Atoms) -> Atoms:
    info = {k: frame.info[k] for k in ("run", "structure", "step") if k in frame.info}
    return Atoms(frame.symbols, frame.positions, cell=frame.cell, pbc=True, info=info)


def _sane(folder: Path, checkpoint: Path, rules: Rules) -> list[Atoms]:
    """Start cells and frames of MD up to the last that is worth a label, as `collect` has it."""
    model, grade = fitted(checkpoint, checkpoint.parent)
    sources = sources_of(folder)
    pool, _ = _pool(model, grade, sources, rules, lambda x, _: x)
    last: dict[str, int] = {}
    for atoms, candidate in pool:
        if not candidate.own:
            last[atoms.info["run"]] = max(last.get(atoms.info["run"], 0), atoms.info["step"])
    starts = {s.start.info["structure"]: s.start for s in sources}
    frames = [f for s in sources for f in s.frames if f.info["step"] <= last.get(s.name, 0)]
    return [*starts.values(), *frames]


def trusted_ps(frames: list[dict[str, Any]], way: str, **bounds: float) -> float:
    """Trusted time of a run from its rows of ``grade_added.py``, graded in one of its ways."""
    columns = [
        np.array([r[k] for r in frames]) for k in ("time_ps", f"largest {way}", f"share {way}")
    ]
    passage = trusted_time_ps(*columns, **bounds)
    return min(frames[0]["stable_ps"], np.inf if passage is None else passage)


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _run(unit: Unit) -> str:
    torch.set_num_threads(1)
    unit.run()
    return f"{unit.arm}, seed {unit.seed}"


def run(
    work: Path,
    lmp: str | None,
    workers: int,
    arms: Sequence[str],
    seeds: Sequence[int],
    horizon_ps: float,
) -> None:
    """All units (of some arms and seeds) that are not finished."""
    trained(work, [], [], 1)  # the data alone
    todo = [Unit(work, *item, lmp, horizon_ps) for item in QUEUES[horizon_ps]]
    todo = [u for u in todo if u.arm in arms and u.seed in seeds and not u.finished]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        for future in as_completed([pool.submit(_run, unit) for unit in todo]):
            try:
                print(time.strftime("%H:%M:%S"), future.result(), "done", flush=True)
            except Exception as err:  # the other units go on
                print("FAILED", repr(err), flush=True)


def rows(work: Path) -> None:
    """Raw rows of all finished units into the results."""
    units = [Unit(work, *item) for item in QUEUE]
    units = [unit for unit in units if (unit.folder / "grades.json").is_file()]
    found = [unit.rows() for unit in units]
    record = {**describe(), "horizon_ps": HORIZON_PS, "frames": FRAMES, "steps": STEPS}
    for name in ("runs", "models"):
        table = [row for unit in found for row in unit[name]]
        add(
            RESULTS / f"cure_{name}.csv", table, record if name == "runs" else None, ("arm", "seed")
        )
    longer = [Unit(work, *k, horizon_ps=h) for h in cure_summary.LONG_PS for k in QUEUES[h]]
    longer = [unit for unit in longer if unit.finished]
    table = [row for unit in longer for row in unit.long_rows()]
    keys = "arm", "seed", "horizon_ps"
    add(RESULTS / "cure_long.csv", table, {**record, "horizon_ps": cure_summary.LONG_PS}, keys)
    print(f"{len(found)} and {len(longer)} units of the work folder; those of others stay")


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
    commands.choices["run"].add_argument("--lmp", help="LAMMPS command with pair_style allegro")
    commands.choices["run"].add_argument("--arms", nargs="+", default=NAMES, choices=NAMES)
    commands.choices["run"].add_argument("--seeds", type=int, nargs="+", default=range(1, 9))
    commands.choices["run"].add_argument(
        "--horizon", type=float, default=HORIZON_PS, choices=QUEUES, help="ps of held-out MD"
    )
    for name in ("summary", "page"):
        commands.add_parser(name)
    given = parser.parse_args(words)
    if given.what == "run":
        run(given.work.resolve(), given.lmp, given.workers, given.arms, given.seeds, given.horizon)
    elif given.what == "rows":
        rows(given.work.resolve())
    else:
        getattr(cure_summary, given.what)()


if __name__ == "__main__":
    main()
