"""One run, in whatever process an executor gives it.

:func:`execute_run` needs the run's folder alone, so it can be sent to a process, a thread or a
cluster node that sees the same file system. This module imports nothing heavy: a fresh worker
process must be able to set itself up first.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from ..files import is_disk_full, read_json, says_disk_full, sha256_file, write_json
from ..md.spec import RunResult, RunSpec
from .store import MANIFEST, SPEC, decide, file_sizes, finished_manifest, running_manifest

if TYPE_CHECKING:
    from ..md.engines import Engine

_RESERVE_BYTES: Final = 1 << 16
_PROGRESS_S: Final = 1.0

logger = logging.getLogger(__name__)


EngineLookup = Callable[[str], "Engine"]


def default_engine(name: str) -> Engine:
    """The package's own engines, imported on first use."""
    from ..md.engines import get_engine

    return get_engine(name)


def planned(run_folder: Path) -> dict[str, Any]:
    """Read ``run.json`` of a planned run: its ``spec``, and SHA-256 of its ``inputs``.

    Raises:
        ValueError: no such run has been planned.
    """
    run = read_json(run_folder / SPEC)
    if not isinstance(run, dict) or not {"spec", "inputs"} <= run.keys():
        raise ValueError(
            f"{run_folder}: no run of this name ({SPEC} is missing or unreadable; `stability run` "
            "writes it)"
        )
    return run


def execute_run(
    run_folder: str,
    engine_lookup: EngineLookup = default_engine,
    replaces: str | None = None,
    attempt: str | None = None,
) -> dict[str, Any]:
    """Do one planned run, unless its manifest says that it is finished.

    What an earlier attempt left is moved aside first and removed once the new attempt has begun.
    Every way in which an engine can fail to run, ``SystemExit`` of a calculator included, ends in
    the status ``error``, never in a status that says something about the model.

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
        manifest = _begin(folder, spec, plan, attempt)
        _check_inputs(spec, plan["inputs"])
        result = engine_lookup(spec.engine).run(spec, folder, _progress_writer(folder))
        _probe(folder)
        _check_record(spec, folder, result)
        if spec.model.grade is not None:
            from .grades import grade_frames

            result = grade_frames(spec, folder, result)
    except BaseException as err:  # a calculator may call sys.exit, or raise what it likes
        ctrl_c_is_ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        if isinstance(err, KeyboardInterrupt) and not ctrl_c_is_ignored:
            raise
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


def end_run(
    run_folder: Path,
    spec: RunSpec,
    status: Literal["error", "interrupted"],
    message: str,
    wall_s: float = 0.0,
) -> dict[str, Any]:
    """Note how a run ended whose process is gone; it counts up to its last recorded step.

    One that is ``interrupted`` before its walltime is done again. Arguments are those of a
    ``RunResult``, the return value is that of :func:`execute_run`.
    """
    from ..md.record import last_step

    step = last_step(run_folder) if status == "interrupted" else 0
    result = RunResult(status, step, spec.criteria.check_every, message=message, wall_s=wall_s)
    try:
        run_folder.mkdir(parents=True, exist_ok=True)
        manifest = read_json(run_folder / MANIFEST)
        if not manifest:
            manifest = running_manifest(spec, {})
            write_json(run_folder / MANIFEST, manifest)
    except OSError as err:
        if not is_disk_full(err):
            raise
        return outcome_of(result, disk_full=True)
    return _finish(run_folder, manifest, result)


def _begin(
    folder: Path, spec: RunSpec, plan: dict[str, Any], attempt: str | None
) -> dict[str, Any]:
    manifest = running_manifest(spec, plan["inputs"], attempt)
    aside = folder.with_name(f".old-{folder.name}-{manifest['attempt'][:8]}")
    with suppress(FileNotFoundError):
        folder.rename(aside)
    folder.mkdir(parents=True)
    write_json(folder / SPEC, plan, sync=False)
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
                "`stability run` again, which makes a new plan"
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
        for name in files:
            with (folder / name).open("rb") as file:
                os.fsync(file.fileno())
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


def outcome_of(result: RunResult, disk_full: bool = False) -> dict[str, Any]:
    """What the runner needs to know of a result, in plain types."""
    return {
        "status": result.status,
        "cause": result.cause,
        "message": result.message,
        "last_step": result.last_step,
        "disk_full": disk_full,
    }


def _describe(err: BaseException, folder: Path) -> str:
    if isinstance(err, OSError) and is_disk_full(err):
        return f"disk full at {folder.parents[1]}: {err.strerror}"
    if isinstance(err, SystemExit):
        return f"the engine or the calculator called sys.exit({err.code!r})"[:500]
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
