"""One call at a time in an output folder, and always with the same settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import InUseError, UserError
from .files import read_json, write_json


@contextmanager
def alone(folder: Path, what: str) -> Iterator[tuple[int, ...]]:
    """Keep other calls out of a folder, also while a command of a killed call goes on there.

    Args:
        folder: it must exist.
        what: the command, for the message.

    Yields:
        Open files that hold the lock, for :func:`call`; none where there are no locks.

    Raises:
        InUseError: another call, or a command of one, works there.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield ()
        return
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUseError(
                f"{folder}: another `{what}` works there, or a command that one began and that "
                "outlived it. Wait for it, or stop it first."
            ) from None
        except OSError:
            print(f"{folder}: this file system has no locks; run one `{what}` at a time")
        yield (file.fileno(),)


def same_settings(path: Path, wanted: Mapping[str, Any]) -> None:
    """Note the settings of a folder in a file; refuse others once it is there.

    Raises:
        UserError: the folder was begun with other settings.
    """
    found = read_json(path)
    if found is not None and found != wanted:
        changed = {k: (found.get(k), v) for k, v in wanted.items() if found.get(k) != v}
        raise UserError(
            f"{path.parent} was begun with other settings (was, is): {changed}; "
            "choose another folder"
        )
    write_json(path, wanted)
