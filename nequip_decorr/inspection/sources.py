"""Models and data to inspect: opened and looked through before anything long begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ase.io
import numpy as np
from ase import Atoms

from ..features.taps import (
    TAPS,
    attach_taps,
    interaction_layers,
)
from .evaluate import load_model

COMPILED: Final = (".pt2", ".pth", ".pt")


@dataclass(frozen=True)
class Model:
    """An eager model and what inspecting it needs to know.

    Attributes:
        module: takes and returns a dictionary of tensors.
        type_names: elements, in the order of the atom types.
        cutoff_A: largest edge length.
    """

    module: Any
    type_names: list[str]
    cutoff_A: float


def open_model(model: Any) -> Model:
    """A checkpoint, a package, or a module that is loaded already.

    The layers of a message-passing model from a file are tapped, whether or not it was trained so.

    Opening a checkpoint runs code that it names: open only files whose maker you trust.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a compiled model, or a file or module that is no model.
    """
    if isinstance(model, (str, Path)):
        model = _open_file(Path(model))
    metadata = getattr(model, "metadata", None)
    if not isinstance(metadata, Mapping) or "type_names" not in metadata:
        raise ValueError(
            "a model must be a checkpoint, a package, or a module as "
            f"`nequip_decorr.inspection.evaluate.load_model` gives it, got {type(model).__name__}"
        )
    return Model(model, metadata["type_names"].split(" "), float(metadata["r_max"]))


def _open_file(path: Path) -> Any:
    if path.name.endswith(COMPILED):
        raise ValueError(
            f"{path} is a compiled model: it gives energies and forces, its features are not in "
            "the file. Give the checkpoint (.ckpt) or package (.nequip.zip) it was compiled from"
        )
    try:
        return _tapped(load_model(path))
    except (FileNotFoundError, ModuleNotFoundError):
        raise
    except Exception as err:
        text = str(err).strip().splitlines() or [""]
        raise ValueError(
            f"{path} cannot be opened as a checkpoint or package of the NequIP framework "
            f"({type(err).__name__}: {text[0]})"
        ) from err


def _tapped(module: Any) -> Any:
    missing = [tap for tap in TAPS if f"layer0_{tap}" not in module.irreps_out]
    if any(True for _ in interaction_layers(module)):
        attach_taps(module, missing, "its training")
    return module


@dataclass(frozen=True)
class FrameSet:
    """Structures to inspect a model on; a file is read anew for each pass.

    Attributes:
        source: a file, or the structures themselves.
        chosen: which of its frames are used, ascending.
        elements: of all of its frames.
    """

    source: Path | Sequence[Atoms]
    chosen: tuple[int, ...]
    elements: frozenset[str]

    def __iter__(self) -> Iterator[Atoms]:
        wanted = set(self.chosen)
        return (frame for k, frame in enumerate(_frames(self.source)) if k in wanted)

    def __len__(self) -> int:
        return len(self.chosen)


def open_frames(
    source: str | Path | Atoms | Sequence[Atoms], max_frames: int | None = None
) -> FrameSet:
    """Look through a file (any that ase reads) or structures, without keeping them.

    Args:
        source: a file, a structure or a sequence of structures. No labels are needed.
        max_frames: use at most this many, evenly spaced over all.

    Raises:
        FileNotFoundError: no such file.
        ValueError: ase cannot read it, or it holds no atoms.
    """
    if isinstance(source, Atoms):
        source = [source]
    if isinstance(source, (str, Path)):
        source = Path(source)
        if not source.is_file():
            raise FileNotFoundError(f"no file of structures at {source}")
    elements: set[str] = set()
    number = 0
    try:
        for frame in _frames(source):
            elements.update(frame.get_chemical_symbols())
            number += 1
    except Exception as err:
        raise ValueError(
            f"ase cannot read {source} (frame {number}): {type(err).__name__}: {err}"
        ) from err
    if not elements:
        raise ValueError(f"no atoms in {source if isinstance(source, Path) else 'the structures'}")
    chosen = range(number)
    if max_frames is not None and max_frames < number:
        chosen = np.unique(np.linspace(0, number - 1, max_frames).round().astype(int)).tolist()
    return FrameSet(source, tuple(chosen), frozenset(elements))


def _frames(source: Path | Sequence[Atoms]) -> Iterable[Atoms]:
    return ase.io.iread(source, ":") if isinstance(source, Path) else source
