"""What a person sees while a campaign runs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ..md.spec import RunSpec
from .store import count

_EVERY_S: Final = 60.0


class Watcher:
    """Is told what happens in a campaign; this one shows nothing."""

    def say(self, line: str) -> None:
        """Take a remark."""

    def begin(self, specs: list[RunSpec], todo: list[RunSpec], runs: Path) -> None:
        """Take the runs of the campaign, those left to do, and the folder that holds them."""

    def finished(self, spec: RunSpec, outcome: dict[str, Any]) -> None:
        """Take a run that has ended; ``outcome`` is what ``execute_run`` returns."""

    def tick(self) -> None:
        """Refresh; called a few times a second at most."""

    def end(self, rows: list[dict[str, Any]], message: str) -> None:
        """Take the whole table when nothing more will run, and what to do next."""


class TimeLeft:
    """Time left, from MD steps done per second so far.

    A run that ends early takes all its steps off what is left, so the estimate is for the case
    that every run still to come reaches its end: an upper bound.

    Args:
        todo: runs to do.
        runs: folder of the runs, for the steps of those under way.
        clock: seconds, monotonic.
    """

    def __init__(
        self, todo: list[RunSpec], runs: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.left = {spec.run_id: spec.steps for spec in todo}
        self.done_steps = 0
        self.runs = runs
        self.clock = clock
        self.start = clock()

    def finished(self, spec: RunSpec, steps_done: int) -> None:
        """A run has ended after ``steps_done`` steps."""
        self.left.pop(spec.run_id, None)
        self.done_steps += steps_done

    def seconds_left(self) -> float | None:
        """Seconds until the last run ends, ``None`` before anything is known."""
        under_way = sum(min(self._step(run), steps) for run, steps in self.left.items())
        elapsed_s = self.clock() - self.start
        done = self.done_steps + under_way
        if done <= 0 or elapsed_s <= 0:
            return None
        return (sum(self.left.values()) - under_way) * elapsed_s / done

    def _step(self, run: str) -> int:
        try:
            return int((self.runs / run / "progress").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0


class Printer(Watcher):
    """A :class:`Watcher` that prints a line a minute, or a live bar where it has a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(highlight=False, markup=False, soft_wrap=True)
        self.counts: Counter[str] = Counter()
        self.total = self.done = 0
        self.estimate: TimeLeft | None = None
        self._said = self._ticked = time.monotonic()
        self._live: Any = None
        self._task: Any = None

    def say(self, line: str) -> None:
        """Print a line."""
        self.console.print(line)

    def begin(self, specs: list[RunSpec], todo: list[RunSpec], runs: Path) -> None:
        """Say how much there is to do."""
        self.total, self.done = len(specs), len(specs) - len(todo)
        self.estimate = TimeLeft(todo, runs)
        kept = f", {self.done} finished before and kept" if self.done else ""
        self.say(f"{self.total} runs{kept}, {len(todo)} to do; results in {runs.parent}")
        if self.console.is_terminal and todo:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            text = TextColumn("{task.description}", markup=False)
            self._live = Progress(BarColumn(), MofNCompleteColumn(), text, console=self.console)
            self._task = self._live.add_task("starting", total=self.total, completed=self.done)
            self._live.start()

    def finished(self, spec: RunSpec, outcome: dict[str, Any]) -> None:
        """Count a run; print it where there is no bar, and always when the engine failed."""
        self.done += 1
        status, cause, message = outcome["status"], outcome["cause"], outcome["message"]
        self.counts[f"failed: {cause}" if status == "failed" else status] += 1
        if self.estimate is not None:
            self.estimate.finished(spec, outcome["last_step"])
        if self._live is None or status == "error":
            after_ps = outcome["last_step"] * spec.timestep_fs / 1000
            what = f"failed ({cause}) at {after_ps:.4g} ps" if status == "failed" else status
            tail = f": {message}" if message else ""
            self.say(f"[{self.done}/{self.total}] {spec.run_id}: {what}{tail}")
        self._show()

    def tick(self) -> None:
        """Refresh the bar, or now and then print how far it is."""
        now = time.monotonic()
        if self._live is not None:
            if now - self._ticked >= 1.0:
                self._ticked = now
                self._show()
        elif now - self._said >= _EVERY_S:
            self._said = now
            self.say(f"[{self.done}/{self.total}] {self._state()}")

    def end(self, rows: list[dict[str, Any]], message: str) -> None:
        """Stop the bar, and say how the runs ended."""
        if self._live is not None:
            self._show()
            self._live.stop()
            self._live = None
        self.say("all runs: " + count_text(count(rows)))
        if message:
            self.say(message)

    def _show(self) -> None:
        if self._live is not None:
            with suppress(OSError):
                self._live.update(self._task, completed=self.done, description=self._state())

    def _state(self) -> str:
        seconds = self.estimate.seconds_left() if self.estimate is not None else None
        left = f"at most {duration_text(seconds)} left" if seconds is not None else "starting"
        return " | ".join(part for part in (count_text(self.counts), left) if part)


def count_text(counts: Counter[str]) -> str:
    """``3 survived, 2 failed: contact, ...``, in a fixed order."""
    order = ("survived", "failed", "interrupted", "error", "running", "pending")
    keys = sorted(counts, key=lambda key: (order.index(key.split(":")[0]), key))
    return ", ".join(f"{counts[key]} {key}" for key in keys)


def duration_text(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3.5 h`` or ``2.1 d``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 129600 else f"{seconds / 86400:.1f} d"
