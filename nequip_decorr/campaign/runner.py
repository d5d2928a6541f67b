"""Running a campaign: what is finished is kept, what is not is done, nothing is done twice.

The state of a campaign is its folder alone. A runner reads the manifests, gives what is left to an
executor, and can be killed at any moment; the next one goes on from the manifests.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path

from ..files import read_json
from ..md.signals import StopRequest
from ..md.spec import RunSpec
from ..models.compiling import on_gpu
from .lock import CampaignLock
from .plan import plan_campaign
from .pool import (
    LocalPool,
    available_cores,
)
from .progress import (
    Silent,
    Watcher,
)
from .schema import Campaign
from .session import (
    Session,
    Summary,
)
from .store import (
    MANIFEST,
    damage,
    decide,
)
from .table import (
    read_runs,
    write_runs,
)
from .worker import (
    EngineLookup,
    default_engine,
    execute_run,
)

__all__ = ["Summary", "execute_run", "run_campaign"]


def run_campaign(
    campaign: Campaign,
    executor: Executor | None = None,
    workers: int | None = None,
    retry_errors: bool = False,
    engine_lookup: EngineLookup = default_engine,
    watcher: Watcher | None = None,
) -> Summary:
    """Do every run of a campaign that is not finished.

    Args:
        campaign: what :func:`~nequip_decorr.campaign.schema.load_campaign` gave.
        executor: any ``concurrent.futures`` executor whose workers see the same files; ``None``
            for processes on this machine. It is left open.
        workers: processes on this machine; by default one per core, and one in all where a
            model runs on a GPU.
        retry_errors: do runs again that ended in ``error``.
        engine_lookup: gives the engine for a name; must be a top-level function.
        watcher: is told what happens, e.g. to show progress.

    Raises:
        CampaignError: a model turned out not to know an element.
        RuntimeError: another runner holds the campaign, or a checkpoint could not be compiled.
        ValueError: ``workers`` below 1.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    watcher = watcher or Silent()
    campaign.out.mkdir(parents=True, exist_ok=True)
    with CampaignLock(campaign.out) as lock, StopRequest() as stop:
        if not lock.supported:
            watcher.say(f"{campaign.out}: this file system has no locks; run one at a time")
        specs = plan_campaign(campaign, watcher.say)
        todo = _todo(campaign.out / "runs", specs, retry_errors)
        if executor is None and workers is None:
            workers = (
                1
                if any(map(on_gpu, {spec.model.name: spec.model for spec in specs}.values()))
                else available_cores()
            )
        pool = executor or LocalPool(min(workers or 1, max(1, len(todo))))
        session = Session(campaign.out, pool, engine_lookup, watcher, stop)
        session.summary.kept = len(specs) - len(todo)
        try:
            session.work(todo, specs)
        finally:
            if isinstance(pool, LocalPool):
                pool.kill()
        with suppress(OSError):  # a full disk: the table can be made again from the manifests
            write_runs(campaign.out)
        session.summary.rows = read_runs(campaign.out, unfinished=True)
        watcher.end(session.summary.rows, session.summary.message)
    return session.summary


def _todo(runs: Path, specs: Iterable[RunSpec], retry_errors: bool) -> list[RunSpec]:
    for leftover in runs.glob(".old-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    found = []
    for spec in specs:
        folder = runs / spec.run_id
        manifest = read_json(folder / MANIFEST)
        damaged = manifest is not None and damage(manifest, folder) is not None
        if decide(manifest, spec.walltime_s, retry_errors, damaged) == "run":
            found.append(spec)
    return found
