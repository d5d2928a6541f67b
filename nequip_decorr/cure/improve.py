"""Rounds of training, MD that leaves its data, and labels: ``nequip-decorr improve``.

Every step is a command, printed before it runs, and leaves a file that says it is done: an
interrupted improvement goes on where it was, and no label is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import ase.io
import yaml
from ase import Atoms

from ..errors import UserError
from ..files import copy_atomic, read_json, write_json
from ..folders import alone
from ..md.record import read_extxyz
from ..processes import CommandError, call
from ..training.resume import go_on, set_aside
from . import page
from .begun import begin
from .collect import LOOKED_AT, NOTHING
from .improve_file import Plan, absolute
from .labelling import Run, label, labelled_frames, only_unlabelled
from .steps import Steps, update_frames
from .training_config import start_from

HALT: Final = 4 / 3
"""MD stops at so many times the grade from which a frame is wreckage."""
DENSE: Final = {"record_every": 5, "trajectory_every": 5, "ring_frames": 20}
"""Steps between stored frames: MD is beyond the edge for some 50 fs before it stops."""
FINE: Final = {"trajectory_every": 10}
"""The right time is as coarse as the stored frames."""
MODEL: Final = "model.nequip.pt2"
COPIES: Final = "train_copies.xyz"
"""Training file with the first data several times."""


class Improve:
    """The rounds; each step skips itself when its result is there.

    Args:
        plan: a checked ``improve.yaml``.
        say: receives each command and what was found.
        run: runs a command into a log.
    """

    def __init__(
        self, plan: Plan, say: Callable[[str], None] = print, run: Run | None = None
    ) -> None:
        self.plan, self.say, self._run = plan, say, run
        self.steps = Steps(say, run or call)
        self.rows: list[dict[str, Any]] = []
        self.judged: dict[str, dict[str, Any]] = {}

    def run(self) -> Path:
        """All rounds; returns the page.

        Raises:
            WaitingError: labels are missing still.
            UserError: the folder holds an improvement with other settings or files, or another
                call works there.
            CommandError: a step failed.
        """
        self.plan.out.mkdir(parents=True, exist_ok=True)
        with alone(self.plan.out, "improve") as holds:
            begin(self.plan)
            if self._run is None:
                self.steps.run = partial(call, holds=holds)
            return self._rounds()

    def _rounds(self) -> Path:
        file, labels = self.plan.file, 0
        for number in range(file.rounds + 1):
            folder = self.plan.out / f"round_{number}"
            folder.mkdir(exist_ok=True)
            self.say(f"--- round {number}, {labels} labels")
            self._train(folder, number)
            self._simulate(folder)
            self._page(number, labels)
            left = min(file.frames, file.max_labels - labels)
            if number == file.rounds or left < 1:
                why = "all rounds are done" if number == file.rounds else "all labels are spent"
                break
            if why := self._collect(folder, left):
                break
            # A command that submits leaves something behind, which must not hold the folder.
            run = self._run or call if self.plan.submits else self.steps.run
            label(self.plan, folder, self.say, run)
            labels += len(labelled_frames(folder / "labelled.xyz"))
        best = self._best()
        if best < number:
            self.say(f"round {best} came farther than round {number}, so its model is taken")
        made = self._finish(best) if best else self.plan.out / "round_0" / MODEL
        copy_atomic(made, self.plan.out / MODEL)
        path = self._write()
        self.say(f"finished: {why}")
        self.say(page.headline(self.rows, self._best(), self.judged))
        if errors := page.errors_in_words(self.rows, self._best()):
            self.say(errors)
        self.say(f"model: {self.plan.out / MODEL}, page: {path}")
        return path

    def _best(self) -> int:
        """The round whose MD was right for longest; where that is unknown, inside its data."""
        known = all(row["right"] is not None for row in self.rows)
        which = "right" if known else "stable"
        best = max(self.rows, key=lambda row: (row[which] or 0.0, row["round"]))
        return int(best["round"])

    def _train(self, folder: Path, number: int) -> None:
        train, checkpoint = self.plan.file.train, folder / self.plan.file.train.checkpoint
        data = folder / "train.xyz"
        if not any((folder / f"{step}.done").is_file() for step in ("train", "fit")):
            first = [atoms for part in self._first() for atoms in ase.io.iread(part, ":")]
            labels = [atoms for added in self._added() for atoms in labelled_frames(added)]
            labels += self._labels(number)
            # The grade takes each frame once: what is learnt three times is not three frames.
            copies = first * train.first_copies + labels
            several = train.first_copies > 1 and bool(labels)
            changed = [
                update_frames(data, first + labels),
                update_frames(folder / COPIES, copies if several else []),
            ]
            if any(changed):
                set_aside(folder / "training", self.say)
        if number == 0 and train.start:
            self.say(f"round 0 is the model {train.start}")
            if not checkpoint.is_file():
                copy_atomic(self.plan.folder / train.start, checkpoint)
        else:
            self._new_model(folder, number)
        # Labels count like all other data here, so that MD explores farther in each round.
        fit = ["nequip-decorr", "extrapolation", "fit", str(checkpoint), str(data)]
        self.steps.do(folder, "fit", fit)
        self._compile(folder, str(checkpoint), folder / MODEL)

    def _new_model(self, folder: Path, number: int) -> None:
        train, checkpoint = self.plan.file.train, folder / self.plan.file.train.checkpoint
        config = (self.plan.folder / train.config).resolve()
        command = ["nequip-train", "-cp", str(config.parent), "-cn", config.stem, *train.overrides]
        if train.fine_tune and number:
            before = self.plan.out / f"round_{number - 1}" / train.checkpoint
            command += [*start_from(before), *train.fine_tune]
        copies = folder / COPIES
        data = copies if copies.is_file() else folder / "train.xyz"
        command += [f"++data.train_file_path={data}", "++trainer.enable_progress_bar=false"]
        training = folder / "training"
        again = not (folder / "train.done").is_file()
        if again:
            command += go_on(training, config, command[5:], self.say)
        self.steps.do(folder, "train", [*command, f"hydra.run.dir={training}"])
        if again or not checkpoint.is_file():
            found = sorted(training.rglob(checkpoint.name))
            if not found:
                (folder / "train.done").unlink()
                raise UserError(
                    f"the training left no {checkpoint.name} in {training}; set "
                    "`train.checkpoint` to the name that its ModelCheckpoint gives, or train "
                    "until it has validated once"
                )
            copy_atomic(found[0], checkpoint)

    def _simulate(self, folder: Path) -> None:
        """MD that stops where the model has left its data."""
        halt = {"extrapolation_grade": HALT * self.plan.file.beyond}
        self._md(folder, {"model": folder / MODEL}, DENSE, halt)

    def _finish(self, best: int) -> Path:
        """Compile a round's model with the grade of the first data; judge it and the first one.

        Returns:
            The better of both, as far as that is known.
        """
        folder = self.plan.out / f"final_{best}"
        folder.mkdir(exist_ok=True)
        self.say(f"--- the model of round {best}, with the edge of the first data")
        rounds = [self.plan.out / f"round_{k}" for k in range(best + 1)]
        checkpoint = str(rounds[best] / self.plan.file.train.checkpoint)
        grade, model = folder / "model.grade.npz", folder / MODEL
        fit = ["nequip-decorr", "extrapolation", "fit", checkpoint, *map(str, self._first())]
        labelled = [*self._added(), *(each / "labelled.xyz" for each in rounds[:-1])]
        fit += ["--added", *map(str, labelled)]
        self.steps.do(folder, "fit", [*fit, "--out", str(grade)])
        self._compile(folder, checkpoint, model, "--grade", str(grade))
        if not self.plan.file.judge:
            return model
        self.say(f"--- MD of the models of round 0 and {best}, without a halt at the grade")
        models = {"round_0": rounds[0] / MODEL, f"round_{best}": model}
        self._md(folder, models, FINE, {})
        self.judged = {
            name.replace("_", " "): page.times_by_structure(folder / "md", name) for name in models
        }
        write_json(folder / "times.json", self.judged)
        self.say(f"both in detail: nequip-decorr stability report {folder / 'md'}")
        better = page.is_better(self.judged, self.rows[0], self.rows[best])
        return model if better else rounds[0] / MODEL

    def _first(self) -> list[Path]:
        """The user's own training files."""
        return [self.plan.folder / name for name in self.plan.file.train.data]

    def _added(self) -> list[Path]:
        """Labelled frames of an earlier improvement."""
        return [self.plan.folder / name for name in self.plan.file.train.added]

    def _labels(self, number: int) -> list[Atoms]:
        """All labelled frames of the rounds before."""
        files = [self.plan.out / f"round_{k}" / "labelled.xyz" for k in range(number)]
        return [frame for file in files for frame in labelled_frames(file)]

    def _compile(self, folder: Path, checkpoint: str, model: Path, *options: str) -> None:
        words = ["nequip-decorr", "compile", checkpoint, str(model), *options]
        target = self.plan.file.target
        self.steps.do(folder, "compile", [*words, *(["--target", target] if target else [])])

    def _md(
        self,
        folder: Path,
        models: dict[str, Path],
        defaults: dict[str, Any],
        criteria: dict[str, float],
    ) -> None:
        file = self.plan.file
        md = {**defaults, **file.md, "models": {key: str(path) for key, path in models.items()}}
        md["structures"] = absolute(file.md["structures"], self.plan.folder)
        if criteria := criteria | (md.get("criteria") or {}):
            md["criteria"] = criteria
        md["out"] = str(folder / "md")
        if not self.plan.command:
            md["labels"] = self.plan.potential
        path = folder / "md.yaml"
        path.write_text(yaml.safe_dump(md, sort_keys=False))
        command = ["nequip-decorr", "stability", "run", str(path)]
        try:
            self.steps.do(folder, "md", command)
        except CommandError as error:
            if not only_unlabelled(self.steps.printed, folder / "md"):
                raise
            self.say(str(error))

    def _collect(self, folder: Path, frames: int) -> str:
        """Choose frames; returns why there are none."""
        out, checkpoint = folder / "to_label.xyz", folder / self.plan.file.train.checkpoint
        command = ["nequip-decorr", "stability", "collect", str(folder / "md"), "--out", str(out)]
        command += ["--model", str(checkpoint), "--frames", str(frames)]
        try:
            self.steps.do(folder, "collect", [*command, "--beyond", str(self.plan.file.beyond)])
        except CommandError:
            lines = self.steps.printed.splitlines()
            found = [line for line in lines if line.startswith(NOTHING)]
            if not found:
                raise
            return found[-1]
        log = folder / "collect.log"
        lines = log.read_text().splitlines() if log.is_file() else []
        for line in [line for line in lines if LOOKED_AT in line][-1:]:
            self.say(line)
        return ""

    def _page(self, number: int, labels: int) -> None:
        folder = self.plan.out / f"round_{number}"
        row: dict[str, Any] = {"round": number, "labels": labels, **page.times(folder / "md")}
        kept, train = folder / "errors.json", self.plan.file.train
        if not kept.is_file():
            sets = {
                str(Path(x).with_suffix("")): [*ase.io.iread(self.plan.folder / x, ":")]
                for x in train.test
            }
            if earlier := self._labels(number):
                sets["the labels"] = earlier
            write_json(kept, page.force_errors(folder / train.checkpoint, sets))
        row["force_mae_eV_per_A"] = read_json(kept)
        self.rows.append(row)
        self.say(page.in_words(row))
        write_json(self.plan.out / "rounds.json", self.rows)
        self._write()

    def _write(self) -> Path:
        folders = [self.plan.out / f"round_{row['round']}" for row in self.rows]
        files = [folder / "to_label.xyz" for folder in folders]
        text = page.render(
            self.plan.out.name,
            self.rows,
            self._best(),
            self.judged,
            HALT * self.plan.file.beyond,
            self.plan.md,
            self.plan.length_ps,
            [list(read_extxyz(file)) if file.is_file() else [] for file in files],
        )
        path = self.plan.out / "index.html"
        path.write_text(text, encoding="utf-8")
        return path
