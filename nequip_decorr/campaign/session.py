"""One call of the runner: the queue, what is under way, and what to do when something breaks."""

from __future__ import annotations

import signal
import uuid
from collections import Counter, deque
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future
from concurrent.futures import wait as wait_for
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from ..files import (
    is_disk_full,
    read_json,
    write_json,
)
from ..md.signals import StopRequest
from ..md.spec import (
    RunResult,
    RunSpec,
)
from .pool import LocalPool
from .progress import Watcher
from .store import (
    MANIFEST,
    finished_manifest,
    running_manifest,
)
from .worker import (
    EngineLookup,
    execute_run,
    outcome_of,
)

_POLL_S: Final = 0.5


@dataclass
class Summary:
    """What a call of :func:`run_campaign` did.

    Attributes:
        rows: the run table, unfinished runs included.
        kept: runs that were finished before.
        done: runs that this call finished, by status.
        stopped: why it stopped early (``signal``, ``disk full``, ``executor``), or ``None``.
        message: what to do next, where it stopped early.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    kept: int = 0
    done: Counter[str] = field(default_factory=Counter)
    stopped: str | None = None
    message: str = ""


class Session:
    """Gives the runs of a campaign to an executor until they are done or it has to stop.

    Args:
        out: folder of the campaign.
        executor: where runs are submitted; a ``LocalPool`` is killed and rebuilt as needed.
        engine_lookup: gives the engine for a name.
        watcher: is told what happens.
        stop: says that the user wants to stop.
    """

    def __init__(
        self,
        out: Path,
        executor: Executor,
        engine_lookup: EngineLookup,
        watcher: Watcher,
        stop: StopRequest,
    ) -> None:
        self.runs = out / "runs"
        self.own = executor if isinstance(executor, LocalPool) else None
        self.executor = executor
        self.engine_lookup = engine_lookup
        self.watcher = watcher
        self.stop = stop
        self.summary = Summary()
        self.queue: deque[RunSpec] = deque()
        self.suspects: deque[RunSpec] = deque()
        self.active: dict[Future[Any], RunSpec] = {}
        self.crashes: Counter[str] = Counter()
        self.before: dict[str, str | None] = {}

    def work(self, todo: list[RunSpec], specs: list[RunSpec]) -> None:
        """Do the runs of ``todo``; returns when all are done or the session has to stop."""
        self.runs.mkdir(exist_ok=True)
        self.watcher.begin(specs, todo, self.runs)
        self.queue.extend(todo)
        while self._unfinished() and not self.stop.requested:
            self._submit()
            if not self.active:
                continue
            done, _ = wait_for(self.active, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            for future in done:
                self._finished(future)
            self.watcher.tick()
        if self.stop.requested:
            self._stopped()

    def _unfinished(self) -> bool:
        return bool(self.active or self.queue or self.suspects)

    def _submit(self) -> None:
        # A run that may have killed its worker runs alone: if it dies again, it is the one.
        if self.suspects:
            if self.own is None or not self.active:
                self._send(self.suspects.popleft(), self.suspects)
            return
        limit = self.own.workers if self.own is not None else len(self.queue) + len(self.active)
        for _ in range(min(len(self.queue), limit - len(self.active))):
            if self.queue and self.summary.stopped is None:
                self._send(self.queue.popleft(), self.queue)

    def _send(self, spec: RunSpec, source: deque[RunSpec]) -> None:
        folder = self.runs / spec.run_id
        self.before[spec.run_id] = _attempt(folder)
        task = partial(
            execute_run,
            str(folder),
            engine_lookup=self.engine_lookup,
            replaces=self.before[spec.run_id],
            attempt=uuid.uuid4().hex,
        )
        try:
            self.active[self.executor.submit(task)] = spec
        except BrokenExecutor:
            source.appendleft(spec)
            if self.own is None:
                self._halt("executor", "The executor has broken; start the same command again.")
            elif not self.active:
                self.own.rebuild()

    def _finished(self, future: Future[Any]) -> None:
        spec = self.active.pop(future, None)
        if spec is None or future.cancelled():  # drained after a crash, or halted
            return
        try:
            outcome = future.result()
        except Exception as err:
            if self.own is not None and isinstance(err, BrokenExecutor):
                self._crashed([spec, *self._drain()])
            else:
                self._crashed([spec], err)
            return
        if outcome["disk_full"]:
            self._halt(
                "disk full",
                f"{outcome['message']}. Finished runs are kept. Free some space, then start the "
                "same command again with --retry-errors.",
            )
        self._count(spec, outcome)

    def _count(self, spec: RunSpec, outcome: dict[str, Any]) -> None:
        self.summary.done[outcome["status"]] += 1
        self.watcher.finished(spec, outcome)

    def _drain(self) -> list[RunSpec]:
        """All active runs that have no result: the pool has died under them."""
        lost = []
        for future, spec in list(self.active.items()):
            if future.done() and not future.cancelled() and future.exception() is None:
                continue
            del self.active[future]
            lost.append(spec)
        return lost

    def _crashed(self, lost: list[RunSpec], err: BaseException | None = None) -> None:
        """Runs whose worker died. Those that shared its pool are lost too, and not to blame.

        Each is tried again with nothing beside it; one that dies then as well is an error.
        """
        pids = {spec.run_id: _pid(self.runs / spec.run_id) for spec in lost}
        if err is None and self.own is not None:
            self.own.rebuild()
        for spec in lost:
            manifest = read_json(self.runs / spec.run_id / MANIFEST) or {}
            if manifest.get("result") and manifest["attempt"] != self.before[spec.run_id]:
                # It had ended when the pool died.
                self._count(spec, outcome_of(RunResult(**manifest["result"])))
                continue
            self.crashes[spec.run_id] += 1
            if self.crashes[spec.run_id] > 1:
                code = self.own.exit_code(pids[spec.run_id]) if self.own is not None else None
                self._give_up(spec, _died(code, err))
            else:
                self.watcher.say(f"{spec.run_id}: its worker process died")
                if self.summary.stopped is None:
                    self.suspects.append(spec)

    def _give_up(self, spec: RunSpec, message: str) -> None:
        folder = self.runs / spec.run_id
        result = RunResult("error", 0, spec.criteria.check_every, message=message)
        try:
            folder.mkdir(exist_ok=True)
            manifest = read_json(folder / MANIFEST) or running_manifest(spec, {})
            write_json(folder / MANIFEST, finished_manifest(manifest, result))
        except OSError as error:
            if not is_disk_full(error):
                raise
            self._halt("disk full", f"disk full at {self.runs.parent}; free some space")
        self._count(spec, outcome_of(result))

    def _halt(self, why: str, message: str) -> None:
        self.summary.stopped = self.summary.stopped or why
        self.summary.message = self.summary.message or message
        self.queue.clear()
        self.suspects.clear()
        for future in self.active:
            future.cancel()

    def _stopped(self) -> None:
        """A signal: no more runs; those under way here are ended and will be done again."""
        running = [
            spec
            for future, spec in self.active.items()
            if not future.cancel() and not future.done()
        ]
        if self.own is not None:
            self.own.kill()
            for spec in running:
                self._mark_redo(spec)
            note = f"{len(running)} runs under way were ended and will be done again."
        else:
            note = f"{len(running)} runs may still be under way in the executor."
        self._halt(
            "signal",
            f"Stopped by {self.stop.name}; finished runs are kept. {note} Start the same "
            "command again to go on.",
        )

    def _mark_redo(self, spec: RunSpec) -> None:
        path = self.runs / spec.run_id / MANIFEST
        manifest = read_json(path)
        if manifest and manifest["status"] == "running":
            message = f"stopped by {self.stop.name}; to be done again"
            result = RunResult("interrupted", 0, spec.criteria.check_every, message=message)
            with suppress(OSError):
                write_json(path, finished_manifest(manifest, result, redo=True))


def _attempt(folder: Path) -> str | None:
    manifest = read_json(folder / MANIFEST)
    return manifest["attempt"] if manifest else None


def _pid(folder: Path) -> int | None:
    manifest = read_json(folder / MANIFEST)
    return manifest["pid"] if manifest and manifest["status"] == "running" else None


def _died(exit_code: int | None, err: BaseException | None) -> str:
    if err is not None:
        return f"the worker failed twice: {type(err).__name__}: {' '.join(str(err).split())[:300]}"
    how = "" if exit_code is None else f" (exit code {exit_code})"
    if exit_code is not None and exit_code < 0:
        how = f" (signal {-exit_code}, {_signal_name(-exit_code)})"
    return f"the engine's process died twice, the second time with nothing beside it{how}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
