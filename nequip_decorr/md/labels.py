"""Label structures with energies and forces of a potential, and keep what is labelled already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ..errors import UserError
from ..models.compiling import compile_model, content_hash, is_compiled
from .engines.ase import make_calculator
from .engines.base import model_types
from .engines.model_checks import unknown_elements
from .record import read_extxyz
from .spec import ModelSpec

FRAME_KEY: Final = "frame_hash"
SOURCE_KEY: Final = "labelled_by"


class Labeller:
    """Give structures the energy, forces and, where there is one, stress of a potential.

    Args:
        model: a LAMMPS potential, an ASE calculator or a model of the NequIP framework. A
            checkpoint or package is compiled first.
        say: receives a line before something that takes time.
    """

    def __init__(self, model: ModelSpec, say: Callable[[str], None] = lambda line: None) -> None:
        model = replace(model, grade=None)  # a label needs none
        self.source = content_hash(model)
        if model.path is not None and not is_compiled(model.path):
            model = compile_model(model, "ase", "cpu", say)
        self.model = model
        self._calculator: Any = None
        self._of: tuple[str, ...] = ()

    def __call__(self, atoms: Atoms) -> Atoms:
        """A copy with labels.

        Raises:
            UserError: an element that the potential does not know, or a label that is not finite.
            Exception: whatever a calculator raises.
        """
        if found := unknown_elements(self.model, "frame", atoms):
            raise UserError(str(found[0]))
        frame: Atoms = atoms.copy()
        frame.calc = self._calculator_for(frame)
        results = {"energy": float(frame.get_potential_energy()), "forces": frame.get_forces()}
        try:
            if frame.pbc.all():
                results["stress"] = frame.get_stress()
        except NotImplementedError:
            pass
        for name, value in results.items():
            if not np.isfinite(value).all():
                raise UserError(f"the {name} is not finite")
        frame.calc = SinglePointCalculator(frame, **results)
        return frame

    def _calculator_for(self, atoms: Atoms) -> Any:
        # LAMMPS inside ASE holds one set of atoms.
        kinds = tuple(atoms.symbols) if self.model.kind == "lammps" else ("any",)
        if self._calculator is None or self._of != kinds:
            self._calculator = make_calculator(self.model, model_types(self.model, atoms))
            self._of = kinds
        return self._calculator


@dataclass
class Labelled:
    """What a call of :func:`label_file` did.

    Attributes:
        kept: frames that had their label before.
        done: frames labelled now.
        others: labels of other frames that the file had, and keeps at its end.
        failed: index and reason of each frame without a label.
    """

    kept: int = 0
    done: int = 0
    others: int = 0
    failed: list[tuple[int, str]] = field(default_factory=list)


def hash_of(atoms: Atoms) -> str:
    """Name a structure by what it is, to 6 decimals."""
    parts = [atoms.numbers.tolist(), atoms.pbc.tolist()]
    parts += [(np.round(x, 6) + 0.0).tolist() for x in (atoms.positions, atoms.cell.array)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def label_file(
    frames: Sequence[Atoms], labeller: Labeller, out: Path, progress: Any = lambda x, _: x
) -> Labelled:
    """Label frames into an extended XYZ file that a later call goes on with.

    Each frame is on disk when the next begins. A frame that fails is left out and tried again by
    the next call. In the end the file has the order of ``frames``.

    Args:
        frames: to label.
        labeller: gives the labels.
        out: the file; labels of the same potential in it are kept. There is none without a label.
        progress: wraps an iterable, with a description.

    Raises:
        UserError: ``out`` holds labels of another potential.
    """
    old = list(read_extxyz(out)) if out.is_file() else []
    if {atoms.info.get(SOURCE_KEY) for atoms in old} - {labeller.source}:
        raise UserError(
            f"{out} holds labels that another potential gave (or that no `nequip-decorr label` "
            "wrote); choose another --out"
        )
    known = {atoms.info[FRAME_KEY] for atoms in old}
    temporary = out.with_name(f".{out.name}.new")
    ase.io.write(temporary, old, format="extxyz")  # without what a killed call left half-written
    replaced = temporary.replace(out)
    found = Labelled()
    for index, atoms in enumerate(progress(frames, "labelling")):
        name = hash_of(atoms)
        if name in known:
            found.kept += 1
            continue
        try:
            labelled = labeller(atoms)
        except Exception as err:  # a calculator may raise what it likes
            reason = f"{type(err).__name__}: {err}" if not isinstance(err, UserError) else str(err)
            found.failed.append((index, " ".join(reason.split())[:300]))
            continue
        labelled.info |= {FRAME_KEY: name, SOURCE_KEY: labeller.source}
        ase.io.write(replaced, labelled, format="extxyz", append=True)
        known.add(name)
        found.done += 1
    if not known:
        replaced.unlink()
        return found
    by_name = {atoms.info[FRAME_KEY]: atoms for atoms in read_extxyz(replaced)}
    order = dict.fromkeys(name for name in map(hash_of, frames) if name in by_name)
    found.others = len(by_name.keys() - order.keys())
    order |= dict.fromkeys(by_name)
    ase.io.write(temporary, [by_name[name] for name in order], format="extxyz")
    temporary.replace(replaced)
    return found
