"""One runner per campaign folder."""

from __future__ import annotations

import errno
import json
import os
import socket
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import IO

from ..errors import InUseError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class CampaignLock:
    """Exclusive, advisory lock on a campaign folder; a context manager.

    The operating system holds the lock (``flock``) and lets it go when the process ends, however
    it ends, so a lock is never stale: a file left by a killed process is simply taken over.
    The file's text (host, process, time) serves the error message alone.

    Args:
        folder: campaign folder; it must exist.

    Raises:
        InUseError: on entering, when another process holds the lock.

    Attributes:
        supported: False after entering where the file system knows no locks; the caller should
            say so.
    """

    def __init__(self, folder: Path) -> None:
        self.path = Path(folder) / ".lock"
        self.supported = fcntl is not None
        self._file: IO[str] | None = None

    def __enter__(self) -> CampaignLock:
        self._file = self.path.open("a+", encoding="utf-8")
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as err:
                if err.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    holder = self._holder()
                    self._file.close()
                    raise InUseError(
                        f"{self.path.parent}: another `stability run` works on this campaign "
                        f"({holder}). Wait for it, or stop it first."
                    ) from None
                self.supported = False
        self._file.truncate(0)
        json.dump(
            {
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            },
            self._file,
        )
        self._file.flush()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _holder(self) -> str:
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
            return f"process {data['pid']} on {data['host']} since {data['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "holder unknown"
