"""One runner per run: a lock for each shard of a campaign folder, and a gate for its plan."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import InUseError
from ..files import is_disk_full, read_json, write_json
from .store import now


class CampaignLock:
    """Exclusive, advisory lock on a shard of a campaign; a context manager.

    The operating system holds the lock and lets it go when the process ends, however it ends, so a
    lock is never stale: files left by a killed process are simply taken over. Shards of another
    number share runs with this one, so they exclude it as well.

    Args:
        folder: campaign folder; it must exist.
        shard: ``I/N``; ``1/1`` for all runs.
        say: receives a line where the file system has no locks, or another process is waited for.

    Raises:
        InUseError: on entering, when another process works on the same runs.
    """

    def __init__(
        self, folder: Path, shard: str = "1/1", say: Callable[[str], None] = lambda line: None
    ) -> None:
        self.folder = Path(folder)
        self.path = self.folder / f".lock-{shard.replace('/', '-of-')}"
        self.say = say
        self._lock = FileLock(self.path)

    @contextmanager
    def gate(self) -> Iterator[None]:
        """Hold the right to write the plan; wait for it where another process has it."""
        gate = FileLock(self.folder / ".lock")
        try:
            if not self._get(gate, timeout_s=5):
                self.say(f"{self.folder}: waiting for another process that plans this campaign")
                self._get(gate, timeout_s=-1)
            yield
        finally:
            gate.release()

    def __enter__(self) -> CampaignLock:
        number = self.path.name.rpartition("-")[2]
        with self.gate():
            for path in sorted(self.folder.glob(".lock-*-of-*")):
                other = FileLock(path)
                if not path.name.endswith(f"-of-{number}") and not self._get(other):
                    raise self._taken(path)
                other.release()
            if not self._get(self._lock):
                raise self._taken(self.path)
            holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": now()}
            write_json(_holder(self.path), holder, sync=False)
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def _get(self, lock: FileLock, timeout_s: float = 0) -> bool:
        try:
            lock.acquire(timeout=timeout_s)
        except Timeout:
            return False
        except (OSError, NotImplementedError) as err:
            if is_disk_full(err):
                raise
            self.say(f"{self.folder}: this file system has no locks; run one at a time")
        return True

    def _taken(self, path: Path) -> InUseError:
        by = read_json(_holder(path)) or {}
        who = f"process {by['pid']} on {by['host']} since {by['since']}" if by else "unknown"
        shard = path.name.removeprefix(".lock-").replace("-of-", "/")
        part = "" if shard == "1/1" else f"shard {shard}, "
        return InUseError(
            f"{self.folder}: another `stability run` works on this campaign ({part}{who}). "
            "Wait for it, or stop it first."
        )


def _holder(lock: Path) -> Path:
    return lock.with_name(f".holder{lock.name.removeprefix('.lock')}.json")
