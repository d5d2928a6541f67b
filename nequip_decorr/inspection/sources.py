"""Structures to inspect a model on: looked through before anything long begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms

from ..errors import UserError
from ..structures import READ_ALL, Reading, check_structure, iter_frames, refuse


@dataclass(frozen=True)
class FrameSet:
    """Structures to inspect a model on; a file is read again for each pass.

    Attributes:
        source: a file, or the structures themselves.
        chosen: which of its frames are used, ascending.
        elements: of all of its frames.
        warnings: what the check of the chosen frames found, one line each.
        reading: how a file is read.
    """

    source: Path | Sequence[Atoms]
    chosen: tuple[int, ...]
    elements: frozenset[str]
    warnings: tuple[str, ...] = ()
    reading: Reading | None = None

    def __iter__(self) -> Iterator[Atoms]:
        wanted = set(self.chosen)
        return (frame for k, frame in enumerate(_frames(self.source, self.reading)) if k in wanted)

    def __len__(self) -> int:
        return len(self.chosen)


def open_frames(
    source: str | Path | Atoms | Sequence[Atoms],
    max_frames: int | None = None,
    name: str = "the structures",
    reading: Reading | None = None,
) -> FrameSet:
    """Look through a file (any that ASE reads) or structures, without keeping them.

    Args:
        source: a file, a structure or a sequence of structures. No labels are needed.
        max_frames: use at most this many, evenly spaced over all.
        name: of the data set.
        reading: how a file is read, where that cannot be told from the file.

    Raises:
        FileNotFoundError: no such file.
        UserError: ASE cannot read it, it holds no atoms, or no model can be evaluated on a frame.
    """
    if isinstance(source, Atoms):
        source = [source]
    if isinstance(source, (str, Path)):
        source = Path(source)
        if not source.is_file():
            raise FileNotFoundError(f"no file of structures at {source}")
    elements: set[str] = set()
    number = 0
    for frame in _frames(source, reading):
        elements.update(frame.get_chemical_symbols())
        number += 1
    if not elements:
        raise UserError(f"no atoms in {source if isinstance(source, Path) else name}")
    chosen = tuple(range(number))
    if max_frames is not None and max_frames < number:
        spaced = np.linspace(0, number - 1, max_frames).round().astype(int)
        chosen = tuple(np.unique(spaced).tolist())
    found = FrameSet(source, chosen, frozenset(elements), reading=reading)
    return replace(found, warnings=_checked(found, name))


def _checked(frames: FrameSet, name: str) -> tuple[str, ...]:
    """Check every chosen frame; returns the first warning of each kind, with a count."""
    errors: list[str] = []
    warnings: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for index, frame in zip(frames.chosen, frames, strict=True):
        for finding in check_structure(frame, f"frame {index} of {name}"):
            kind = finding.message.split(": ", 1)[1].split(":")[0]
            if finding.severity == "error":
                errors.append(str(finding))
            else:
                counts[kind] += 1
                warnings.setdefault(kind, str(finding))
    refuse(errors)
    return tuple(
        text + (f" (and {counts[kind] - 1} frames more)" if counts[kind] > 1 else "")
        for kind, text in warnings.items()
    )


def _frames(source: Path | Sequence[Atoms], reading: Reading | None) -> Iterable[Atoms]:
    if not isinstance(source, Path):
        return source
    return (frame for _, frame in iter_frames(source, READ_ALL, reading))
