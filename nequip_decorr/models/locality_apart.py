"""Test whether a compiled file is strictly local, also in a process of its own (``python -m``)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import ase.io
from ase import Atoms

from ..errors import UserError
from .locality import check_locality
from .metadata import NoDeviceError
from .potential import CompiledPotential

_REFUSED: Final = 3
_NOT_HERE: Final = 4


def check_file(path: Path | str, frame: Atoms) -> None:
    """Check that a compiled model is strictly local, on a structure.

    Raises:
        UserError: it is not, or does not know an element.
        NoDeviceError: the device that it was compiled for is not here.
    """
    potential = CompiledPotential(path)
    types = potential.types_of(frame)
    check_locality(potential, frame.positions, types, frame.cell.array, frame.pbc)


def check_file_apart(path: Path, frame: Atoms) -> None:
    """Do :func:`check_file` in a process of its own, which native code may end.

    Some builds of PyTorch for GPUs crash where they load a file that LAMMPS runs without fault.

    Raises:
        UserError: the model is not strictly local, or does not know an element.
        RuntimeError: that process could not tell, for instance because there is no GPU here.
    """
    with tempfile.TemporaryDirectory() as scratch:
        structure = Path(scratch) / "frame.xyz"
        ase.io.write(
            structure, Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
        )
        answer = Path(scratch) / "answer"
        command = [sys.executable, "-m", __name__, str(path), str(structure), str(answer)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = answer.read_text() if answer.is_file() else ""
    if done.returncode == _REFUSED and said:
        raise UserError(said)
    if done.returncode < 0:
        raise RuntimeError(f"it ends PyTorch with signal {-done.returncode}")
    if done.returncode:
        raise RuntimeError(said or (done.stderr.strip() or "no reason given").splitlines()[-1])


def _main(path: str, structure: str, answer: str) -> int:
    frame = ase.io.read(structure)
    assert isinstance(frame, Atoms)
    try:
        check_file(path, frame)
    except UserError as err:
        Path(answer).write_text(str(err))
        return _NOT_HERE if isinstance(err, NoDeviceError) else _REFUSED
    return 0


if __name__ == "__main__":
    raise SystemExit(_main(*sys.argv[1:]))
