"""Worker processes on this machine: one per slot, each with a pipe and a deadline.

A slot is a thread that sends one run at a time to its own process. When that process dies, ends
itself or does not answer in time, the run that it had is known, nobody else's is touched, and the
slot starts another process. Only processes of this module, and what they started, get signals.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

_POLL_S: Final = 0.2
_PATIENCE_S: Final = 10.0
_THREADS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Outcome = dict[str, Any]


class WorkerDied(Exception):
    """The process of a slot is gone; the text is how, or empty."""

    def __init__(self, exit_code: int | None) -> None:
        how = "" if exit_code is None else f" (exit code {exit_code})"
        with suppress(ValueError):
            if exit_code is not None and exit_code < 0:
                how = f" (signal {-exit_code}, {signal.Signals(-exit_code).name})"
        super().__init__(how)


class WorkerHung(Exception):
    """The process of a slot had not answered by its deadline, and was ended."""

    def __init__(self, wall_s: float) -> None:
        self.wall_s = wall_s
        super().__init__(f"no answer after {wall_s:.0f} s")


class LocalPool:
    """Spawned, single-threaded processes that are kept from run to run.

    Args:
        workers: number of slots.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="slot")
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._lock = threading.Lock()
        self._closed = False

    def submit(self, task: Callable[[], Outcome], limit_s: float | None = None) -> Future[Outcome]:
        """Run ``task`` in a process.

        Args:
            task: can be pickled; returns a dictionary with a ``status``. After an ``error`` the
                process is replaced, since it may be in no state to run anything else.
            limit_s: seconds from the begin of the task to its deadline.

        Returns:
            A future of what the task returns. It raises :class:`WorkerDied`, :class:`WorkerHung`,
            or ``RuntimeError`` where the task raised.
        """
        return self._threads.submit(self._call, task, limit_s)

    def _call(self, task: Callable[[], Outcome], limit_s: float | None) -> Outcome:
        worker = self._take()
        outcome: Outcome = {}
        try:
            outcome = worker.call(task, limit_s)
        finally:
            if outcome.get("status", "error") == "error":
                worker.kill()
                self._all.discard(worker)
            else:
                self._idle.append(worker)
        return outcome

    def _take(self) -> _Worker:
        with self._lock:  # the environment is changed while a process starts
            if self._closed:
                raise WorkerDied(None)
            if self._idle:
                return self._idle.pop()
            worker = _Worker()
            self._all.add(worker)
            return worker

    def kill(self) -> None:
        """End every process, and what it has started, at once."""
        with self._lock:
            self._closed = True
        for worker in list(self._all):
            worker.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)


class _Worker:
    """One process and the pipe to it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._lock, self._ended = threading.Lock(), False
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,))
        with one_thread_each():
            self.process.start()
        theirs.close()

    def call(self, task: Callable[[], Outcome], limit_s: float | None) -> Outcome:
        try:
            self.connection.send(task)
            self._receive(None)  # it has begun
            kind, value = self._receive(limit_s)
        except (EOFError, OSError):
            raise WorkerDied(self.kill()) from None
        if kind == "raised":
            raise RuntimeError(value)
        outcome: Outcome = value
        return outcome

    def _receive(self, limit_s: float | None) -> Any:
        started = time.monotonic()
        while not self.connection.poll(_POLL_S):
            if not self.process.is_alive():  # a child of its may hold the pipe open
                raise EOFError
            elapsed_s = time.monotonic() - started
            if limit_s is not None and elapsed_s > limit_s:
                self.kill()
                raise WorkerHung(elapsed_s)
        return self.connection.recv()

    def kill(self) -> int | None:
        """End the process and what it has started; its exit code."""
        with self._lock:  # once only: later, its number may be that of a stranger
            if not self._ended and self.process.pid is not None:
                self._ended = True
                kill_session(self.process.pid)
                self.process.kill()
                self.process.join(_PATIENCE_S)
        return self.process.exitcode


def _serve(connection: Connection) -> None:
    """Main loop of a worker process.

    It leads its own session, so that all that an engine starts can be ended with it; Ctrl-C is
    left to the main process; and it ends at once when the main process is gone, so that
    ``kill -9`` leaves nobody computing.
    """
    if os.name == "posix":
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(("begun", None))
        try:
            reply = ("done", task())
        except BaseException as err:  # whatever it is, the main process has to know
            reply = ("raised", f"{type(err).__name__}: {err}")
        connection.send(reply)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    kill_session(os.getpid())
    os._exit(1)


def kill_session(leader: int) -> None:
    """Kill every process of the session that ``leader`` began, the caller last.

    A program that an engine starts, such as ``mpirun``, may put its own children into other
    process groups; they stay in the session.
    """
    if os.name != "posix":
        return
    if not Path("/proc/self/stat").exists():
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
        return
    for _ in range(10):  # one of them may start another meanwhile
        found = [pid for pid in _session_of(leader) if pid != os.getpid()]
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            break


def _session_of(leader: int) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError, ValueError):
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                yield int(path.parent.name)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes started inside use one thread each, unless the user has said otherwise."""
    added = [name for name in _THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def available_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
