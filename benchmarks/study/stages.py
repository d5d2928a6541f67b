"""Which models a stage needs, and running them side by side; what is finished is kept."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from nequip_decorr.files import write_atomic
from nequip_decorr.processes import CommandError, call

from . import why
from .data import make_cells, make_frames, whole_cells
from .declared import DECLARED, SIOX, Study
from .model import REFERENCE, Model, simulate

PAPER = "paper"
COMMAND = (sys.executable, "-m", "benchmarks.study.model")


@dataclass(frozen=True)
class Job:
    """A model and the half that its MD runs on."""

    model: Model
    half: str

    @property
    def label(self) -> str:
        """For progress lines."""
        m = self.model
        return f"{m.regime} {m.condition} seed {m.seed} ({self.half})"


def jobs(
    study: Study,
    work: Path,
    regimes: Sequence[str],
    conditions: Sequence[str],
    seeds: Iterable[int],
    half: str,
) -> list[Job]:
    """All that can be trained, the first seed of everything before the second of anything."""
    return [
        Job(Model(work, regime, condition, seed), study.half_of(regime, half))
        for seed in seeds
        for regime in regimes
        for condition in conditions
        if study.trainable(regime, condition)
    ]


def prepare(study: Study, todo: Sequence[Job], work: Path, workers: int, console: Console) -> None:
    """Data, start cells and the reference's runs, before anything is trained."""
    needed = {job.model.regime for job in todo}
    needed |= {r for job in todo if (r := study.condition(job.model.condition).regime)}
    for name in sorted(needed):
        make_frames(study, study.regime(name), work / "data" / name)
    for name in sorted({job.half for job in todo}):
        half = study.halves[name]
        make_cells(half, work / "cells" / name)
        if half.system != SIOX:
            continue
        out = work / REFERENCE / name
        if not (out / "runs.csv").is_file():
            console.print(f"reference potential: MD of the {name} half")
            simulate(half, work, {"reference": "siox"}, REFERENCE, out, workers)
        barriers = work / REFERENCE / "barriers.json"
        if not barriers.is_file():
            found = why.barriers(whole_cells(half, work))
            write_atomic(barriers, json.dumps(found, indent=1) + "\n")


def run_jobs(
    study: Study,
    listed: Sequence[Job],
    work: Path,
    workers: int,
    console: Console,
    declared: Path = DECLARED,
    after: Callable[[], None] = lambda: None,
) -> list[str]:
    """Do what is not finished, ``workers`` side by side.

    Args:
        study: what is declared in ``declared``.
        listed: the models that the stage needs, in order.
        work: folder of everything heavy.
        workers: processes side by side, one core each.
        console: for progress.
        declared: the YAML file, handed to the processes.
        after: called after each model.

    Returns:
        What went wrong, a text per model; the other models are done all the same.
    """
    todo = [job for job in listed if not job.model.finished(job.half)]
    console.print(f"{len(listed)} models, {len(listed) - len(todo)} of them done before")
    if not todo:
        return []
    prepare(study, todo, work, workers, console)
    started, failures = time.monotonic(), []
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(_run, job, declared): job for job in todo}
        for number, future in enumerate(as_completed(futures), 1):
            job, problem = futures[future], future.result()
            elapsed = time.monotonic() - started
            left = elapsed / number * (len(todo) - number)
            state = "failed" if problem else "done"
            console.print(
                f"[{number}/{len(todo)}] {job.label}: {state}; {elapsed / 60:.0f} min, about "
                f"{left / 60:.0f} min left"
            )
            if problem:
                failures.append(f"{job.label}: {problem}")
                console.print(problem, style="red", markup=False)
            after()
    return failures


def _run(job: Job, declared: Path) -> str | None:
    m = job.model
    m.folder.mkdir(parents=True, exist_ok=True)
    command = [*COMMAND, "--work", str(m.work), "--regime", m.regime, "--condition", m.condition]
    command += ["--seed", str(m.seed), "--half", job.half, "--declared", str(declared)]
    try:
        call(command, m.folder / "model.log")
    except CommandError as error:
        return str(error)
    return None
