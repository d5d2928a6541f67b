"""Doing one run, in whatever process an executor gives it.

:func:`execute_run` needs the run's folder alone, so it can be sent to a process pool, a thread or
a cluster node that sees the same file system. This module imports nothing heavy: a fresh worker
process must be able to set itself up first.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

from ..files import (
    is_disk_full,
    read_json,
    says_disk_full,
    sha256_file,
    write_json,
)
from ..md.spec import (
    RunResult,
    RunSpec,
)
from .store import (
    MANIFEST,
    decide,
    file_sizes,
    finished_manifest,
    running_manifest,
)

_RESERVE_BYTES: Final = 1 << 16
_PROGRESS_S: Final = 1.0

logger = logging.getLogger(__name__)


class Engine(Protocol):
    """What the runner needs of an engine."""

    def run(
        self, spec: RunSpec, folder: Path, progress: Callable[[int], None] | None = None
    ) -> RunResult:
        """Do the run, leave its record in ``folder`` and say how it ended."""


EngineLookup = Callable[[str], Engine]


def default_engine(name: str) -> Engine:
    """The package's own engines, imported on first use."""
    from ..md.engines import get_engine

    return get_engine(name)


def planned(run_folder: Path) -> dict[str, Any]:
    """The plan of a run (``spec`` and ``inputs``) from its campaign's ``campaign.json``.

    Raises:
        ValueError: the campaign does not hold such a run.
    """
    campaign = read_json(run_folder.parents[1] / "campaign.json") or {}
    for plan in campaign.get("runs", []):
        if plan["spec"]["run_id"] == run_folder.name:
            return plan
    raise ValueError(f"{run_folder}: no run of this name in {run_folder.parents[1]}/campaign.json")


def execute_run(
    run_folder: str,
    engine_lookup: EngineLookup = default_engine,
    replaces: str | None = None,
    attempt: str | None = None,
) -> dict[str, Any]:
    """Do one planned run, unless its manifest says that it is finished.

    What an earlier attempt left is moved aside first and removed once the new attempt has begun.
    Every way in which an engine can fail to run ends in the status ``error``, never in a status
    that says something about the model.

    Args:
        run_folder: ``CAMPAIGN/runs/RUN_ID``.
        engine_lookup: gives the engine for a name; a function that can be pickled.
        replaces: the attempt that is to be done again even though it is finished.
        attempt: a name for this one. It makes each call unlike any before, so that an executor
            that remembers results by arguments does not answer from memory.

    Returns:
        ``status``, ``cause``, ``message``, ``last_step`` and ``disk_full``.
    """
    folder = Path(run_folder)
    plan = planned(folder)
    spec = RunSpec.from_dict(plan["spec"])
    old = read_json(folder / MANIFEST)
    if old and old["attempt"] != replaces and decide(old, spec.walltime_s) == "keep":
        return outcome_of(RunResult(**old["result"]))

    started = time.monotonic()
    manifest: dict[str, Any] = {}
    try:
        manifest = _begin(folder, spec, plan["inputs"], attempt)
        _check_inputs(spec, plan["inputs"])
        result = engine_lookup(spec.engine).run(spec, folder, _progress_writer(folder))
        _probe(folder)
        _check_record(spec, folder, result)
    except Exception as err:
        logger.debug("run %s", spec.run_id, exc_info=True)
        result = RunResult(
            status="error",
            last_step=0,
            check_every=spec.criteria.check_every,
            message=_describe(err, folder),
            wall_s=time.monotonic() - started,
        )
        return _finish(folder, manifest, result, disk_full=is_disk_full(err))
    # LAMMPS ends with the system's own words.
    full = result.status == "error" and says_disk_full(result.message)
    return _finish(folder, manifest, result, disk_full=full)


def _begin(
    folder: Path, spec: RunSpec, inputs: dict[str, str], attempt: str | None
) -> dict[str, Any]:
    manifest = running_manifest(spec, inputs, attempt)
    aside = folder.with_name(f".old-{folder.name}-{manifest['attempt'][:8]}")
    with suppress(FileNotFoundError):
        folder.rename(aside)
    folder.mkdir(parents=True)
    write_json(folder / MANIFEST, manifest)
    shutil.rmtree(aside, ignore_errors=True)
    # Space for the last words of a run that fills the disk.
    (folder / ".reserve").write_bytes(bytes(_RESERVE_BYTES))
    return manifest


def _check_inputs(spec: RunSpec, inputs: dict[str, str]) -> None:
    for name, path in (("model", spec.model.path), ("structure", spec.structure_file)):
        wanted = inputs.get(f"{name}_file")
        if path and wanted and sha256_file(path) != wanted:
            raise ValueError(
                f"{name} file {path} has changed since the campaign was planned; start "
                "`stability run` again, which plans anew"
            )


def _probe(folder: Path) -> None:
    """An engine may not notice that its record could not be written; this does."""
    probe = folder / ".probe"
    try:
        with probe.open("wb") as file:
            file.write(bytes(_RESERVE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    finally:
        with suppress(OSError):
            probe.unlink()


def _check_record(spec: RunSpec, folder: Path, result: RunResult) -> None:
    """A run counts as long as its record goes, so a run that got to a step must have it."""
    if result.status != "survived" and not _by_walltime(spec, result):
        return
    from ..md.record import read_record

    record = read_record(folder)
    last = int(record["step"][-1]) if len(record["step"]) else -1
    if record.truncated or last <= result.last_step - spec.record_every:
        raise ValueError(
            f"the record is cut short: the run is said to have got to step {result.last_step}, "
            f"thermo.csv ends at step {last}"
        )


def _finish(
    folder: Path, manifest: dict[str, Any], result: RunResult, disk_full: bool = False
) -> dict[str, Any]:
    for scratch in (".reserve", "progress"):
        with suppress(OSError):
            (folder / scratch).unlink()
    current = read_json(folder / MANIFEST)
    if not manifest or not current or current.get("attempt") != manifest["attempt"]:
        # Another attempt owns the folder now, or the disk was full from the start.
        return outcome_of(result, disk_full)
    try:
        files = file_sizes(folder)
        _sync(folder, files)
        redo = result.status == "interrupted" and not _by_walltime(
            RunSpec.from_dict(manifest["spec"]), result
        )
        write_json(folder / MANIFEST, finished_manifest(manifest, result, files, redo))
    except OSError as err:
        if not is_disk_full(err):
            raise
        result = replace(result, status="error", cause=None, message=_describe(err, folder))
        disk_full = True
        with suppress(OSError):
            write_json(folder / MANIFEST, finished_manifest(manifest, result))
    return outcome_of(result, disk_full)


def _by_walltime(spec: RunSpec, result: RunResult) -> bool:
    """Whether the walltime ended a run; a signal may end it too, sooner."""
    allowed_s = spec.walltime_s
    return result.status == "interrupted" and allowed_s is not None and result.wall_s >= allowed_s


def _sync(folder: Path, files: dict[str, int]) -> None:
    for name in files:
        descriptor = os.open(folder / name, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def outcome_of(result: RunResult, disk_full: bool = False) -> dict[str, Any]:
    """What the runner needs to know of a result, in plain types."""
    return {
        "status": result.status,
        "cause": result.cause,
        "message": result.message,
        "last_step": result.last_step,
        "disk_full": disk_full,
    }


def _describe(err: Exception, folder: Path) -> str:
    if is_disk_full(err):
        return f"disk full at {folder.parents[1]}: {err.strerror}"  # type: ignore[attr-defined]
    return " ".join(f"{type(err).__name__}: {err}".split())[:500]


def _progress_writer(folder: Path) -> Callable[[int], None]:
    """Notes the step now and then, for ``stability status`` and the time estimate."""
    last = time.monotonic()

    def progress(step: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _PROGRESS_S:
            last = time.monotonic()
            with suppress(OSError):
                (folder / "progress").write_text(str(int(step)), encoding="ascii")

    return progress


def setup_worker() -> None:
    """Make a pool's process a good citizen.

    It leads its own process group, so that an engine's child processes can be ended with it;
    Ctrl-C is left to the main process; and it ends at once when the main process is gone, so that
    ``kill -9`` leaves nobody computing.
    """
    if os.name == "posix":
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    if os.name == "posix":
        os.killpg(os.getpgid(0), signal.SIGKILL)
    os._exit(1)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes started inside use one thread each, unless the user has said otherwise."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    added = [name for name in names if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
