"""Files are written in one piece and hashed by content."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from nequip_decorr.files import (
    is_disk_full,
    read_json,
    says_disk_full,
    sha256_file,
    sha256_json,
    write_atomic,
    write_json,
)


def test_atomic_write_leaves_the_old_text_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_json_survives_infinities_and_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"value": float("inf"), "list": [float("nan"), 1.5]})
    assert read_json(path) == {"value": None, "list": [None, 1.5]}
    path.write_text(path.read_text()[:10])
    assert read_json(path) is None
    assert read_json(tmp_path / "missing.json") is None


def test_hashes_depend_on_content_alone(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"weights")
    digest = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    assert sha256_file(tmp_path / "model") == digest
    assert sha256_json({"a": 1, "b": 2}) == sha256_json({"b": 2, "a": 1})


def test_a_full_disk_is_known_by_number_and_by_words() -> None:
    assert is_disk_full(OSError(errno.EDQUOT, "quota"))
    assert not is_disk_full(OSError(errno.EACCES, "no"))
    assert says_disk_full("ERROR: cannot write dump: No space left on device")
