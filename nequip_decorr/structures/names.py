"""Names of structures, and which files and frames a text means."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..errors import UserError

_COMPRESSED: Final = (".gz", ".bz2", ".xz")
# The ending of a file's name starts with a letter: `.xyz`, not the `.55` of SiO1.55.
_ENDING: Final = re.compile(r"(?<=.)\.[A-Za-z][A-Za-z0-9_-]{0,11}$")
_FRAMES: Final = re.compile(r"^(?P<file>.+)@(?P<frames>-?\d+|-?\d*:-?\d*(?::-?\d*)?)$")


def name_structure(path: str | Path, frame: str | int | None = None) -> str:
    """Name a structure after its file, without the ending: ``SiO1.55.xyz`` is ``SiO1.55``.

    A chosen frame stands behind an ``@``. Velocities are drawn by this name.

    Args:
        path: the file.
        frame: index of the frame, where one was chosen.
    """
    name = Path(path).name
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    name = _ENDING.sub("", name)
    return name if frame is None else f"{name}@{frame}"


def shortest_names(paths: Sequence[str | Path]) -> list[str]:
    """Name files after the shortest ends of their paths that differ, e.g. ``relax_A/POSCAR``."""
    parts = [(*Path(p).absolute().parts[1:-1], name_structure(p)) for p in paths]
    names = []
    for mine in parts:
        others = [other for other in parts if other != mine]
        length = 1
        while length < len(mine) and any(other[-length:] == mine[-length:] for other in others):
            length += 1
        names.append("/".join(mine[-length:]))
    return names


def find_files(text: str, folder: str | Path = ".") -> tuple[list[Path], str | None]:
    """Split ``FILE``, a glob, ``FILE@INDEX`` or ``FILE@START:STOP:STEP`` into files and frames.

    A file that exists under the whole text is that file, whatever characters its name has.

    Args:
        text: what the user wrote.
        folder: what a relative path starts from.

    Returns:
        The files, sorted, and the text after ``@``.

    Raises:
        UserError: no file has this name.
    """
    whole, frames = _below(folder, text), None
    if not whole.exists() and (match := _FRAMES.match(text)):
        whole, frames = _below(folder, match["file"]), match["frames"]
    if whole.is_file():
        return [whole], frames
    pattern = str(Path(text if frames is None else text.rpartition("@")[0]).expanduser())
    found = sorted(Path(folder) / name for name in glob.glob(pattern, root_dir=folder))
    files = [path for path in found if path.is_file()]
    if not files:
        raise UserError(
            f"{whole} is a folder, not a file" if whole.is_dir() else f"no such file: {whole}"
        )
    return files, frames


def _below(folder: str | Path, text: str) -> Path:
    return Path(folder) / Path(text).expanduser()
