"""The default executor: processes on this machine, rebuilt when one of them dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import suppress
from typing import Any

from .worker import (
    one_thread_each,
    setup_worker,
)


class LocalPool(Executor):
    """A ``ProcessPoolExecutor`` of spawned, single-threaded workers that can be killed and rebuilt.

    Args:
        workers: number of processes.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._exit_codes: dict[int, int | None] = {}
        self._processes: dict[int, Any] = {}
        self._strangers = {child.pid for child in multiprocessing.active_children()}
        self._pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, mp_context=context, initializer=setup_worker)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As ``Executor.submit``."""
        with one_thread_each():
            future = self._pool.submit(fn, *args, **kwargs)
        self._note()
        return future

    def _note(self) -> None:
        for child in multiprocessing.active_children():
            if child.pid is not None and child.pid not in self._strangers:
                self._processes[child.pid] = child

    def exit_code(self, pid: int | None) -> int | None:
        """Exit code of a worker that has died (negative: the signal), ``None`` if unknown."""
        if pid not in self._processes:
            return self._exit_codes.get(pid) if pid is not None else None
        child = self._processes[pid]
        child.join(timeout=5)
        return child.exitcode

    def kill(self) -> None:
        """End every worker, and what its engine has started, at once."""
        self._note()
        for pid in self._processes:
            if os.name == "posix":
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
        for child in self._processes.values():
            with suppress(ValueError):
                child.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def rebuild(self) -> None:
        """New workers, after one has died and taken the pool with it."""
        self.kill()
        self._exit_codes.update({pid: child.exitcode for pid, child in self._processes.items()})
        self._processes.clear()
        self._pool = self._new()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As ``Executor.shutdown``."""
        self._pool.shutdown(wait=wait, cancel_futures=cancel_futures)


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
