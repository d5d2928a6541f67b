"""Write files in one piece, read JSON that may be cut short, and hash content."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def write_atomic(path: Path, text: str, sync: bool = True) -> None:
    """Write ``text`` so that ``path`` holds all of it or is untouched, through a power cut too.

    Args:
        path: the file; its folder must exist.
        text: written as UTF-8.
        sync: wait for the disk. Without it, a power cut may lose the file.

    Raises:
        OSError: the file system refused (``ENOSPC`` when it is full); ``path`` is as before.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        _sync_folder(path.parent)


def copy_atomic(source: Path, target: Path) -> None:
    """Copy a file so that ``target`` holds all of it or is untouched."""
    part = target.with_name(f".{target.name}.part")
    shutil.copy(source, part)
    part.replace(target)


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_json(path: Path, data: Any, sync: bool = True) -> None:
    """Write JSON in one piece, as :func:`json_text` has it."""
    write_atomic(path, json_text(data), sync)


def json_text(data: Any) -> str:
    """Return data as JSON, as :func:`plain` has them."""
    return json.dumps(plain(data), indent=1, allow_nan=False) + "\n"


def read_json(path: Path) -> Any | None:
    """Parse a JSON file; ``None`` where it is missing, cut short or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def csv_text(rows: Iterable[Mapping[str, Any]], columns: Iterable[str] = ()) -> str:
    """Return rows as CSV, numbers with all their digits, ``None`` as nothing.

    Args:
        rows: mappings of column to value.
        columns: those to write; by default all, in the order in which they first come.
    """
    rows, text = list(rows), io.StringIO()
    names = list(columns) or list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def plain(data: Any) -> Any:
    """Return plain JSON types of arrays and of what has ``to_dict``; not finite is ``None``."""
    if hasattr(data, "to_dict"):
        return data.to_dict()
    if hasattr(data, "tolist"):
        data = data.tolist()
    if isinstance(data, dict):
        return {str(key): plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [plain(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_json(data: Any) -> str:
    """Return the SHA-256 of plain data, independent of the order of keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def is_disk_full(err: BaseException) -> bool:
    """Tell whether an error says that a disk or a quota is full."""
    return isinstance(err, OSError) and err.errno in _DISK_FULL


def says_disk_full(message: str) -> bool:
    """Tell whether another program's message holds the system's words for a full disk."""
    return any(os.strerror(number) in message for number in _DISK_FULL)
