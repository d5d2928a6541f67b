"""The steps of an improvement: commands that are printed, run once and noted as done."""

from __future__ import annotations

import filecmp
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import ase.io
from ase import Atoms

from ..campaign.progress import duration_text
from ..processes import pasteable, script
from .labelling import Run


class Steps:
    """Runs commands; each leaves ``NAME.done`` with its words, and is not run again.

    Args:
        say: receives each command.
        run: runs a command into a log.

    Attributes:
        printed: what the last command printed, also where it failed.
    """

    def __init__(self, say: Callable[[str], None], run: Run) -> None:
        self.say, self.run, self.printed = say, run, ""

    def do(self, folder: Path, name: str, command: Sequence[str]) -> None:
        """Run a step into ``NAME.log``, or say with which command it was done before."""
        done, log = folder / f"{name}.done", folder / f"{name}.log"
        if done.is_file():
            self.say(f"$ {done.read_text() or pasteable(command)}   (done before)")
            return
        self.say(f"$ {pasteable(command)}   > {folder.name}/{log.name}")
        began, earlier = time.monotonic(), _text(log)
        try:
            self.run([script(command[0]), *command[1:]], log)
        finally:
            self.printed = _text(log).removeprefix(earlier)
        done.write_text(pasteable(command))
        if (took_s := time.monotonic() - began) > 10:
            self.say(f"  took {duration_text(took_s)}")


def update_frames(path: Path, frames: Sequence[Atoms]) -> bool:
    """Write frames, or remove the file where there are none; returns whether it has changed."""
    if not frames:
        there = path.is_file()
        path.unlink(missing_ok=True)
        return there
    new = path.with_name(f"new_{path.name}")
    ase.io.write(new, list(frames), format="extxyz")
    same = path.is_file() and filecmp.cmp(new, path, shallow=False)
    new.replace(path)
    return not same


def _text(log: Path) -> str:
    return log.read_text(errors="replace") if log.is_file() else ""
