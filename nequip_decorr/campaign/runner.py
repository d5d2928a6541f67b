"""Running a campaign: what is finished is kept, what is not is done, nothing is done twice.

The state of a campaign is its folder alone. A runner reads the manifests, gives what is left to an
executor, and can be killed at any moment; the next one goes on from the manifests.
"""

from __future__ import annotations

import shutil
import uuid
from collections import Counter, defaultdict, deque
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from ..files import read_json
from ..md.signals import StopRequest
from ..md.spec import RunResult, RunSpec
from .labels import label_runs
from .lock import CampaignLock
from .plan import Shard, plan_campaign
from .pool import LocalPool, WorkerDied, WorkerHung, available_cores
from .progress import Watcher
from .run import EngineLookup, default_engine, end_run, execute_run, outcome_of
from .schema import Campaign
from .store import MANIFEST, damage, decide, read_runs, write_runs

POLL_S: Final = 0.5
_BROKEN: Final = "The executor has broken; start the same command again."
# Beyond the walltime, which the engine itself looks at between two steps.
GRACE_S: Final = 30.0


@dataclass
class RunnerSummary:
    """What a call of :func:`run_campaign` did.

    Attributes:
        rows: the run table (of the shard), unfinished runs included.
        kept: runs that were finished before.
        done: runs that this call finished, by status.
        unlabelled: runs that could not be labelled, where the campaign has ``labels``; the next
            call tries these again.
        stopped: why it stopped early (``signal``, ``disk full``, ``executor``), or ``None``.
        message: what to do next, where it stopped early.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    kept: int = 0
    done: Counter[str] = field(default_factory=Counter)
    unlabelled: int = 0
    stopped: str | None = None
    message: str = ""


def run_campaign(
    campaign: Campaign,
    *,
    workers: int | None = None,
    retry_errors: bool = False,
    executor: Executor | None = None,
    engine_lookup: EngineLookup = default_engine,
    watcher: Watcher | None = None,
    shard: str | None = None,
) -> RunnerSummary:
    """Do every run of a campaign that is not finished.

    Args:
        campaign: what :func:`~nequip_decorr.campaign.schema.load_campaign` gave.
        workers: processes on this machine; by default one per core, and one in all where a
            model runs on a GPU.
        retry_errors: do runs again that ended in ``error``.
        executor: any ``concurrent.futures`` executor whose workers see the same files, instead of
            processes on this machine. It is left open.
        engine_lookup: gives the engine for a name; must be a top-level function.
        watcher: gets the progress, e.g. ``nequip_decorr.campaign.progress.Printer()``.
        shard: ``I/N``: do the I-th of N disjoint parts alone. The parts may run at the same time.

    Returns:
        The rows of all runs, how many could not be labelled, and what stopped the campaign early,
        if anything did.

    Raises:
        CampaignError: a model turned out not to know an element.
        RuntimeError: another runner has these runs, or a checkpoint could not be compiled.
        ValueError: ``workers`` below 1, or no such shard.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    part = Shard.parse(shard) if shard is not None else Shard()
    watcher = watcher or Watcher()
    campaign.out.mkdir(parents=True, exist_ok=True)
    with CampaignLock(campaign.out, str(part), watcher.say) as lock:
        with lock.gate():  # one process at a time compiles and writes the plan
            specs = plan_campaign(campaign, watcher.say, part)
        todo = _todo(campaign.out / "runs", specs, retry_errors)
        pool: Executor | LocalPool = executor or LocalPool(
            min(workers or _default_workers(specs), max(1, len(todo)))
        )
        with StopRequest() as stop:
            session = _Session(campaign.out / "runs", pool, engine_lookup, watcher, stop)
            session.summary.kept = len(specs) - len(todo)
            try:
                session.work(todo, specs)
            finally:
                if isinstance(pool, LocalPool):
                    pool.kill()
        if campaign.labels is not None and session.summary.stopped is None:
            unlabelled = label_runs(campaign.out, campaign.labels, watcher.say)
            session.summary.unlabelled = unlabelled
        with suppress(OSError):  # a full disk: the table can be made again from the manifests
            write_runs(campaign.out)
        mine = {spec.run_id for spec in specs}
        rows = read_runs(campaign.out, unfinished=True)
        session.summary.rows = [row for row in rows if row["run_id"] in mine]
        watcher.end(session.summary.rows, session.summary.message)
    return session.summary


def _default_workers(specs: list[RunSpec]) -> int:
    from ..models.metadata import on_gpu

    models = {spec.model.name: spec.model for spec in specs}
    return 1 if any(map(on_gpu, models.values())) else available_cores()


def _todo(runs: Path, specs: list[RunSpec], retry_errors: bool) -> list[RunSpec]:
    mine = {spec.run_id for spec in specs}
    for leftover in runs.glob(".old-*"):
        if leftover.name.removeprefix(".old-").rpartition("-")[0] in mine:
            shutil.rmtree(leftover, ignore_errors=True)
    found = []
    for spec in specs:
        folder = runs / spec.run_id
        manifest = read_json(folder / MANIFEST)
        damaged = manifest is not None and damage(manifest, folder) is not None
        if decide(manifest, spec.walltime_s, retry_errors, damaged) == "run":
            found.append(spec)
    return found


@dataclass
class _Session:
    """Gives runs to an executor until all are done or it has to stop."""

    runs: Path
    executor: Executor | LocalPool
    engine_lookup: EngineLookup
    watcher: Watcher
    stop: StopRequest
    summary: RunnerSummary = field(default_factory=RunnerSummary)
    queue: deque[RunSpec] = field(default_factory=deque)
    alone: deque[RunSpec] = field(default_factory=deque)  # runs that have lost their process once
    active: dict[Future[Any], RunSpec] = field(default_factory=dict)
    attempts: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def work(self, todo: list[RunSpec], specs: list[RunSpec]) -> None:
        """Do the runs of ``todo``; returns when all are done or the session has to stop."""
        self.watcher.begin(specs, todo, self.runs)
        self.queue.extend(todo)
        slots = self.executor.workers if isinstance(self.executor, LocalPool) else len(todo)
        while (self.queue or self.alone or self.active) and not self.stop.requested:
            while self.queue and len(self.active) < slots:
                self._send(self.queue.popleft())
            if self.alone and not self.active:
                self._send(self.alone.popleft())
            for future in wait(self.active, POLL_S, FIRST_COMPLETED).done:
                self._finished(self.active.pop(future), future)
            self.watcher.tick()
        if self.stop.requested:
            self._stopped()

    def _send(self, spec: RunSpec) -> None:
        folder = self.runs / spec.run_id
        attempt = uuid.uuid4().hex
        task = partial(
            execute_run,
            str(folder),
            engine_lookup=self.engine_lookup,
            replaces=(read_json(folder / MANIFEST) or {}).get("attempt"),
            attempt=attempt,
        )
        try:
            if isinstance(self.executor, LocalPool):
                limit_s = None if spec.walltime_s is None else spec.walltime_s + GRACE_S
                future = self.executor.submit(task, limit_s)
            else:
                future = self.executor.submit(task)
        except BrokenExecutor:
            self._halt("executor", _BROKEN)
            return
        self.attempts[spec.run_id].append(attempt)
        self.active[future] = spec

    def _finished(self, spec: RunSpec, future: Future[Any]) -> None:
        err = future.exception()
        if err is None:
            self._count(spec, future.result())
        elif isinstance(err, BrokenExecutor):
            self._halt("executor", _BROKEN)
        elif isinstance(err, WorkerHung):
            why = f"walltime; a call had not returned {GRACE_S:g} s later, its process was ended"
            folder = self.runs / spec.run_id
            self._count(spec, end_run(folder, spec, "interrupted", why, err.wall_s))
        else:
            self._lost(spec, err)

    def _lost(self, spec: RunSpec, err: BaseException) -> None:
        """A run whose process is gone is tried once more, at the end and with nothing beside it."""
        manifest = read_json(self.runs / spec.run_id / MANIFEST) or {}
        attempts = self.attempts[spec.run_id]
        if manifest.get("result") and manifest["attempt"] == attempts[-1]:
            # It had ended before its process died.
            self._count(spec, outcome_of(RunResult(**manifest["result"])))
        elif len(attempts) == 1:
            if self.summary.stopped is None:
                self.watcher.say(f"{spec.run_id}: its worker process died{_how(err)}")
                self.alone.append(spec)
        else:
            what = "the engine's process died twice, the second time with nothing beside it"
            folder = self.runs / spec.run_id
            self._count(spec, end_run(folder, spec, "error", f"{what}{_how(err)}"))

    def _count(self, spec: RunSpec, outcome: dict[str, Any]) -> None:
        if outcome["disk_full"]:
            self._halt(
                "disk full",
                f"{outcome['message']}. Finished runs are kept. Free some space, then start the "
                "same command again with --retry-errors.",
            )
        self.summary.done[outcome["status"]] += 1
        self.watcher.finished(spec, outcome)

    def _halt(self, why: str, message: str) -> None:
        if self.summary.stopped is None:
            self.summary.stopped, self.summary.message = why, message
        self.queue.clear()
        self.alone.clear()
        self.active = {future: spec for future, spec in self.active.items() if not future.cancel()}

    def _stopped(self) -> None:
        """A signal: no more runs; those under way here are ended and will be done again."""
        if isinstance(self.executor, LocalPool):
            self.executor.kill()
            lost = []
            for future, spec in self.active.items():
                if not future.cancelled() and future.exception() is None:
                    self._count(spec, future.result())
                else:
                    lost.append(spec)
            for spec in lost:
                folder = self.runs / spec.run_id
                if (read_json(folder / MANIFEST) or {}).get("status") == "running":
                    why = f"stopped by {self.stop.name}; to be done again"
                    end_run(folder, spec, "interrupted", why)
            note = f"{len(lost)} runs under way were ended and will be done again."
            self.active.clear()
        else:
            left = sum(not future.cancel() and not future.done() for future in self.active)
            note = f"{left} runs may still be under way in the executor."
        self._halt(
            "signal",
            f"Stopped by {self.stop.name}; finished runs are kept. {note} Start the same command "
            "again to go on.",
        )


def _how(err: BaseException) -> str:
    if isinstance(err, WorkerDied):
        return str(err)
    return f" ({type(err).__name__}: {' '.join(str(err).split())[:300]})"
