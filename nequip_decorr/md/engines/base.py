"""What all engines share: the start frame, the element check, stopping on a signal."""

from __future__ import annotations

import importlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, Protocol

import ase.io
import numpy as np
from ase import Atoms

from ...models.compiling import type_names
from ..findings import Finding
from ..spec import (
    ModelSpec,
    RunResult,
    RunSpec,
)

Progress = Callable[[int], None]
_MARGIN_A: Final = 10.0


class Engine(Protocol):
    """An MD engine."""

    name: str

    def check(
        self, model: ModelSpec, structures: Mapping[str, Atoms], settings: Mapping[str, Any]
    ) -> list[Finding]:
        """Find what the engine would refuse, without running MD or loading a model's code.

        Args:
            model: the model, compiled or not.
            structures: start structures by name.
            settings: the fields of :class:`~nequip_decorr.md.spec.RunSpec` that all runs share, as
                in ``Campaign.run``.

        Returns:
            Errors (no run can be made) and warnings, each with its remedy; empty if all is well.
        """

    def run(self, spec: RunSpec, folder: Path, progress: Progress | None = None) -> RunResult:
        """Do a run, leave its record in ``folder``, and say how it ended.

        Args:
            spec: the run.
            folder: where the record goes; made if it is not there.
            progress: called with the step now and then.

        Raises:
            ValueError: the run asks for what the engine or the model cannot do, such as an element
                that the model does not know.
        """


def read_start(spec: RunSpec) -> Atoms:
    """The start frame; a direction without a cell vector gets one, 10 A beyond the atoms.

    Raises:
        ValueError: a position or velocity is not a finite number.
    """
    atoms = ase.io.read(spec.structure_file, index=0)
    assert isinstance(atoms, Atoms)
    atoms.set_constraint()
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.get_momenta()).all()):
        raise ValueError(f"{spec.structure_file}: a position or momentum is not a finite number")
    bare = ~atoms.cell.any(1)
    if bare.any():
        atoms.pbc[bare] = False
        axes = tuple(np.flatnonzero(bare))
        atoms.center(vacuum=_MARGIN_A, axis=axes)
    return atoms


def model_types(model: ModelSpec, atoms: Atoms) -> tuple[str, ...]:
    """Elements of the model's atom types, in its order; the structure's own where it has none.

    Raises:
        ValueError: the structure has an element that the model does not know.
    """
    known = type_names(model) if model.kind != "ase" else None
    present = sorted(set(atoms.symbols))
    if known is None:
        return tuple(present)
    unknown = [symbol for symbol in present if symbol not in known]
    if unknown:
        raise ValueError(
            f"model {model.name!r} does not know {', '.join(unknown)}; it knows {', '.join(known)}"
        )
    return known


def import_calculator(model: ModelSpec) -> Any:
    """The ASE calculator that a model of kind ``ase`` names.

    Raises:
        ValueError: it cannot be imported.
    """
    module, _, name = (model.calculator or "").rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as err:
        raise ValueError(
            f"model {model.name!r}: calculator {model.calculator!r} cannot be imported ({err})"
        ) from None
    return found(**model.arguments)


def check_elements(model: ModelSpec, structures: Mapping[str, Atoms]) -> list[Finding]:
    """Find structures with an element that the model does not know."""
    found = []
    for name, atoms in structures.items():
        try:
            model_types(model, atoms)
        except ValueError as err:
            found.append(Finding(f"structure {name!r}: {err}"))
    return found


class StopSignal:
    """Notes SIGTERM while it is entered, so that a run can end at a step and keep its record.

    Does nothing outside the main thread, where Python has no signals.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True


@contextmanager
def working_directory(folder: Path) -> Iterator[None]:
    """Make ``folder`` the process's working directory for a while (of all its threads)."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
