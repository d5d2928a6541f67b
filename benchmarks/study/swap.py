"""Compile once per architecture: the weights of another training put into a compiled model.

Compiling takes as long as a training here, and differs between the models of a study by nothing
but numbers. A compiled file holds the parameters as they lie in memory, so those of one checkpoint
are replaced by those of another, each found by its bytes. :func:`check` then holds the result
against the eager model; where anything is not as expected the caller compiles.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, Final

import ase.io
import numpy as np

from nequip_decorr.inspection.evaluate import load_model, outputs
from nequip_decorr.models.potential import CompiledPotential

FORCE_TOLERANCE: Final = 1e-4  # eV/A in float32, the bar of the agreement test
ENERGY_TOLERANCE: Final = 1e-5  # eV/atom


def swap_weights(compiled: Path, source: Path, target: Path, out: Path) -> None:
    """Write ``compiled``, made of checkpoint ``source``, with the weights of ``target``.

    Raises:
        ValueError: other tensors, or one that is not found exactly once.
    """
    old, new = _tensors(load_model(source)), _tensors(load_model(target))
    if {k: v.shape for k, v in old.items()} != {k: v.shape for k, v in new.items()}:
        raise ValueError("the two checkpoints have different tensors")
    changed = [k for k in old if not np.array_equal(old[k], new[k])]
    with zipfile.ZipFile(compiled) as archive:
        files = {info: archive.read(info) for info in archive.infolist()}
    library = next(i for i in files if i.filename.endswith(".so"))
    code = files[library]
    patches = []
    for name in changed:
        data = old[name].tobytes()
        if code.count(data) != 1:
            raise ValueError(f"{name} is {code.count(data)} times in {compiled.name}, not once")
        patches.append((code.index(data), new[name].tobytes()))
    patched = bytearray(code)
    for start, data in patches:
        patched[start : start + len(data)] = data
    files[library] = bytes(patched)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for info, content in files.items():
            archive.writestr(info, content)


def _tensors(model: Any) -> dict[str, np.ndarray]:
    both = [*model.named_parameters(), *model.named_buffers()]
    return {name: np.ascontiguousarray(t.detach().numpy()) for name, t in both if t.numel()}


def check(compiled: Path, checkpoint: Path, frames: Path) -> None:
    """Energy and forces of the compiled file are those of the eager model.

    Raises:
        ValueError: they differ.
    """
    potential, model = CompiledPotential(compiled), load_model(checkpoint)
    chosen = list(ase.io.iread(frames, "::7"))
    for atoms, (eager, _) in zip(chosen, outputs(model, chosen, batch_size=1), strict=True):
        found = potential.evaluate(
            atoms.positions, potential.types_of(atoms), atoms.cell.array, atoms.pbc
        )
        force = np.abs(found.forces_eV_per_A - eager["forces"].numpy()).max()
        energy = abs(found.energy_eV - float(eager["total_energy"])) / len(atoms)
        if not (force < FORCE_TOLERANCE and energy < ENERGY_TOLERANCE):
            raise ValueError(
                f"{compiled}: differs from its checkpoint by {force:.2g} eV/A, {energy:.2g} eV/atom"
            )
