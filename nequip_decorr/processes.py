"""Run commands, alone or side by side, each with a log."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

POLL_S: Final = 0.5
PLAIN_EVERY_S: Final = 15.0
_TAIL: Final = 15
_PATIENCE_S: Final = 10.0


class CommandError(RuntimeError):
    """A command failed; the message says which, with the end of its log."""


def script(name: str) -> str:
    """Return a command of this Python's environment, whether or not it is on the path."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.is_file() else name


def pasteable(command: Sequence[str]) -> str:
    """Return a command as text; one of ours names files below the working directory without it."""
    here = f"{Path.cwd()}/" if command[0] == "nequip-decorr" else ""
    return shlex.join(word.removeprefix(here) for word in command)


def call(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    *,
    holds: Sequence[int] = (),
) -> None:
    """Run one command, its output at the end of a log; it ends with this process.

    Args:
        command: its words.
        log: the file, which may be there.
        environment: variables to add.
        holds: what :func:`.folders.alone` gave, where the command works in that folder.

    Raises:
        CommandError: it failed.
    """
    variables = {**os.environ, **(environment or {})}
    with log.open("a") as file, _sigterm_raises():
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=variables, pass_fds=holds
        )
        try:
            process.wait()
        except BaseException as error:
            # Ctrl-C in a terminal reaches the command itself.
            _stop(process, terminate=not isinstance(error, KeyboardInterrupt))
            raise
    _require(command[0], process.returncode, log)


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Let SIGTERM end the commands too."""

    def end(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def together(
    jobs: dict[str, list[str]],
    folder: Path,
    log: str,
    console: Console,
    fraction: Callable[[str], float] | None = None,
    holds: Sequence[int] = (),
) -> None:
    """Run commands side by side, with progress.

    Args:
        jobs: command by name.
        folder: holds a folder per name.
        log: name of each one's log there.
        console: shows the progress.
        fraction: gives what is done of a job, 0 to 1, or ``None`` where nobody knows.
        holds: as for :func:`call`.

    Raises:
        CommandError: one of them failed.
    """
    columns = (TextColumn("{task.description:>14}"), BarColumn(), TimeElapsedColumn())
    with _sigterm_raises(), ExitStack() as stack:
        progress = stack.enter_context(Progress(*columns, console=console))
        running = {name: _start(jobs[name], folder / name, log, stack, holds) for name in jobs}
        tasks = {name: progress.add_task(name, total=1.0 if fraction else None) for name in jobs}
        last_line = time.monotonic()
        while any(process.poll() is None for process in running.values()):
            time.sleep(POLL_S)
            done = {name: fraction(name) for name in tasks} if fraction else {}
            for name, share in done.items():
                progress.update(tasks[name], completed=share)
            if not console.is_terminal and time.monotonic() - last_line > PLAIN_EVERY_S:
                last_line = time.monotonic()
                console.print(
                    ", ".join(f"{n}: {done[n]:.0%}" if done else f"{n}: ..." for n in tasks)
                )
    for name, process in running.items():
        _require(jobs[name][0], process.returncode, folder / name / log)


def _start(
    command: list[str], folder: Path, log: str, stack: ExitStack, holds: Sequence[int]
) -> subprocess.Popen[bytes]:
    """Start a command whose log is closed, and which is stopped, with ``stack``."""
    folder.mkdir(exist_ok=True)
    file = stack.enter_context((folder / log).open("w"))
    # Two compilers that share a cache can read each other's half-written files.
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor_cache")}
    environment = {"OMP_NUM_THREADS": "1", **os.environ, **cache}
    process = subprocess.Popen(
        command, stdout=file, stderr=subprocess.STDOUT, env=environment, pass_fds=holds
    )
    stack.callback(_stop, process)
    return process


def _stop(process: subprocess.Popen[bytes], terminate: bool = True) -> None:
    if process.poll() is not None:
        return
    if terminate:
        process.terminate()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _require(command: str, status: int, log: Path) -> None:
    if status:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-_TAIL:])
        raise CommandError(
            f"`{Path(command).name}` ended with code {status}; the end of {log}:\n{tail}"
        )
