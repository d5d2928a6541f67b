"""Rounds of training, MD that leaves its data, and labels: ``nequip-decorr improve``.

Every step is a command, printed before it runs, and leaves a file that says it is done: an
interrupted improvement goes on where it was, and no label is lost.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import ase.io
import numpy as np
import yaml

from .. import html
from ..campaign.labels import TIMES, runs_by_time
from ..errors import UserError
from ..files import read_json, write_json
from ..md.record import read_extxyz
from ..processes import CommandError, call, script
from ..style import figure, grid, style
from .improve_file import Plan, absolute

HALT: Final = 3.0
"""MD stops at so many times the grade from which a frame is wreckage."""
Run = Callable[[Sequence[str], Path], None]


class WaitingError(UserError):
    """Report labels that are not complete yet; the next call goes on."""


class Improve:
    """The rounds; each step skips itself when its result is there.

    Args:
        plan: a checked ``improve.yaml``.
        say: receives each command and what was found.
        run: runs a command into a log.
    """

    def __init__(self, plan: Plan, say: Callable[[str], None] = print, run: Run = call) -> None:
        self.plan, self.say, self._run = plan, say, run
        self.rows: list[dict[str, Any]] = []

    def run(self) -> Path:
        """All rounds; returns the page.

        Raises:
            WaitingError: labels are missing still.
            UserError: the folder holds an improvement with other settings.
            CommandError: a step failed.
        """
        self.plan.out.mkdir(parents=True, exist_ok=True)
        self._same_settings()
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
            if not self._collect(folder, left):
                why = "no frame is beyond the edge of the data"
                break
            self._label(folder)
            labels += len(list(read_extxyz(folder / "labelled.xyz")))
        self.say(f"finished: {why}; {self.plan.out / 'index.html'}")
        return self.plan.out / "index.html"

    def _same_settings(self) -> None:
        path, wanted = self.plan.out / "improve.json", self.plan.file.model_dump(mode="json")
        free = ("rounds", "max_labels")  # may grow
        old = read_json(path)
        changed = [k for k in wanted if old and k not in free and old.get(k) != wanted[k]]
        if changed:
            raise UserError(
                f"{self.plan.out} was begun with other settings of {', '.join(changed)}; choose "
                "another folder with --out"
            )
        write_json(path, wanted)

    def _step(self, folder: Path, name: str, command: Sequence[str]) -> None:
        done = folder / f"{name}.done"
        self.say(f"$ {shlex.join(command)}" + ("   (done before)" if done.is_file() else ""))
        if not done.is_file():
            self._run([script(command[0]), *command[1:]], folder / f"{name}.log")
            done.touch()

    def _train(self, folder: Path, number: int) -> None:
        train, checkpoint = self.plan.file.train, folder / self.plan.file.train.checkpoint
        earlier = [self.plan.out / f"round_{k}" / "labelled.xyz" for k in range(number)]
        data = folder / "train.xyz"
        if not (folder / "train.done").is_file():
            parts = [*(self.plan.folder / name for name in train.data), *earlier]
            frames = [atoms for part in parts for atoms in ase.io.iread(part, ":")]
            ase.io.write(data, frames, format="extxyz")
        config = (self.plan.folder / train.config).resolve()
        command = ["nequip-train", "-cp", str(config.parent), "-cn", config.stem, *train.overrides]
        command += [f"++data.train_file_path={data}", f"hydra.run.dir={folder / 'training'}"]
        self._step(folder, "train", [*command, "++trainer.enable_progress_bar=false"])
        if not checkpoint.is_file():
            found = sorted((folder / "training").rglob(checkpoint.name))
            if not found:
                raise UserError(
                    f"the training left no {checkpoint.name} in {folder / 'training'}; set "
                    "`train.checkpoint` to the name that its ModelCheckpoint gives"
                )
            shutil.copy(found[0], checkpoint)
        ours = "nequip-decorr"
        first = [str((self.plan.folder / name).resolve()) for name in train.data]
        fit = [ours, "extrapolation", "fit", str(checkpoint), *first]
        fit += ["--added", *map(str, earlier)] if earlier else []
        self._step(folder, "fit", fit)
        model, target = str(folder / "model.nequip.pt2"), self.plan.file.target
        self._step(folder, "compile", [ours, "compile", str(checkpoint), model, "--target", target])

    def _simulate(self, folder: Path) -> None:
        file = self.plan.file
        md = {"ring_frames": 20, **file.md, "models": {"model": str(folder / "model.nequip.pt2")}}
        md["structures"] = absolute(file.md["structures"], self.plan.folder)
        criteria = {"extrapolation_grade": HALT * file.beyond, **(md.get("criteria") or {})}
        md |= {"criteria": criteria, "out": str(folder / "md")}
        if not self.plan.command:
            md["labels"] = absolute(file.labels, self.plan.folder)
        path = folder / "md.yaml"
        path.write_text(yaml.safe_dump(md, sort_keys=False))
        self._step(folder, "md", ["nequip-decorr", "stability", "run", str(path)])

    def _collect(self, folder: Path, frames: int) -> bool:
        out, checkpoint = folder / "to_label.xyz", folder / self.plan.file.train.checkpoint
        command = ["nequip-decorr", "stability", "collect", str(folder / "md"), "--out", str(out)]
        command += ["--model", str(checkpoint), "--frames", str(frames)]
        try:
            self._step(folder, "collect", [*command, "--beyond", str(self.plan.file.beyond)])
        except CommandError:
            if "nothing to label" in (folder / "collect.log").read_text():
                return False
            raise
        return True

    def _label(self, folder: Path) -> None:
        frames, labelled = folder / "to_label.xyz", folder / "labelled.xyz"
        wanted = len(list(read_extxyz(frames)))
        if _labelled(labelled) >= wanted:  # a command may have come back since the last call
            return
        if self.plan.command:
            words = shlex.split(self.plan.command)
            command = [w.format(frames=frames, labelled=labelled) for w in words]
        else:
            labels = absolute(self.plan.file.labels, self.plan.folder)
            entry = yaml.safe_dump(labels, default_flow_style=True).strip()
            command = ["nequip-decorr", "label", str(frames), "--with", entry.removesuffix("\n...")]
            command += ["--out", str(labelled)]
        for _ in range(2):
            self.say(f"$ {shlex.join(command)}")
            try:
                self._run([script(command[0]), *command[1:]], folder / "label.log")
            except CommandError as err:
                self.say(str(err))
            if (have := _labelled(labelled)) >= wanted:
                return
            self.say(f"{have} of {wanted} frames have labels")
        raise WaitingError(
            f"{labelled}: {have} of {wanted} frames have labels. Start the same command again "
            f"when it is complete, or to try again; or remove frames from {frames} that cannot be "
            "labelled"
        )

    def _page(self, number: int, labels: int) -> None:
        row: dict[str, Any] = {"round": number, "labels": labels}
        row["force_mae_eV_per_A"] = self._errors(self.plan.out / f"round_{number}")
        for time in TIMES:
            try:
                runs = runs_by_time(self.plan.out / f"round_{number}" / "md", time)
                row[time] = float(np.mean([r["stable_time_ps"] for r in runs]))
            except UserError:
                row[time] = None
        self.rows.append(row)
        shown = {t: f"{row[t]:.3g} ps" if row[t] is not None else "unknown" for t in TIMES}
        self.say(", ".join(f"{time}: {text}" for time, text in shown.items()))
        write_json(self.plan.out / "rounds.json", self.rows)
        errors = list(self.rows[0]["force_mae_eV_per_A"])
        page = html.render(
            "improve.html",
            title=f"Improvement: {self.plan.out.name}",
            headline=_headline(self.rows),
            head=["round", "labels", *TIMES],
            rows=[[str(r["round"]), str(r["labels"]),
                   *(f"{r[t]:.3g}" if r[t] is not None else "" for t in TIMES)] for r in self.rows],
            error_head=["round", *errors],
            error_rows=[[str(r["round"]), *(f"{r['force_mae_eV_per_A'][k]:.3g}" for k in errors)]
                        for r in self.rows if errors],
            picture=html.png_bytes(_figure(self.rows)),
        )  # fmt: skip
        (self.plan.out / "index.html").write_text(page, encoding="utf-8")

    def _errors(self, folder: Path) -> dict[str, float]:
        """Force error of a round's model on each test file."""
        train, kept = self.plan.file.train, folder / "errors.json"
        if train.test and not kept.is_file():
            import torch

            from ..features.frames import load_model, outputs

            model, found = load_model(folder / train.checkpoint), {}
            for name in train.test:
                pairs = outputs(model, [*ase.io.iread(self.plan.folder / name, ":")])
                off = [(got["forces"] - true["forces"]).abs().flatten() for got, true in pairs]
                found[Path(name).stem] = float(torch.cat(off).mean())
            write_json(kept, found)
        return read_json(kept) or {}


def _labelled(path: Path) -> int:
    """How many frames of a file have energy and forces."""
    if not path.is_file():
        return 0
    results = [atoms.calc.results for atoms in read_extxyz(path) if atoms.calc is not None]
    return sum({"energy", "forces"} <= set(found) for found in results)


def _headline(rows: Sequence[dict[str, Any]]) -> str:
    """First and last round in a sentence: of the right time, else of the trusted or stable one."""
    first, last = rows[0], rows[-1]
    known = [t for t in TIMES if first[t] is not None and last[t] is not None]
    if not known:
        return "No run has ended."
    time = known[-1]
    if len(rows) == 1:
        return f"Without labels of its MD the model is {time} for {first[time]:.3g} ps."
    return (
        f"{last['labels']} labels took the mean {time} time from {first[time]:.3g} to "
        f"{last[time]:.3g} ps."
    )


def _figure(rows: Sequence[dict[str, Any]]) -> Any:
    with style():
        fig, grid_of = figure(5.8, 3.4)
        axes = grid_of[0, 0]
        styles = zip(TIMES, ("#0072B2", "#D55E00", "#009E73"), "os^", strict=True)
        for time, colour, marker in styles:
            known = [(r["labels"], r[time]) for r in rows if r[time] is not None]
            if known:
                axes.plot(*zip(*known, strict=True), marker=marker, color=colour, label=time)
        axes.set(xlabel="labels", ylabel="mean time of the runs (ps)", ylim=(0, None))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
        grid(axes)
    return fig
