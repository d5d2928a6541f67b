"""A run's LAMMPS input: the templates of ``lammps/``, this run's values, and its data file."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from ase import Atoms, units
from ase.calculators.lammps.coordinatetransform import calc_reduced_cell, calc_rotated_cell
from ase.data import atomic_masses, atomic_numbers

from ...errors import UserError
from ...lammps_wheel import PLUGIN_VARIABLE
from ...models.metadata import read_info
from ...resources import templates_dir
from ..judge import lammps_variables
from ..spec import ModelSpec, RunSpec

INCLUDES: Final = (
    *("setup.lmp", "contact.lmp", "check.lmp", "record.lmp", "grade.lmp", "run.lmp", "resume.awk"),
)
RUN_LINE: Final = "include   ${templates}/run.lmp"
OFF: Final = 1e300


@dataclass(frozen=True)
class Pair:
    """The potential as the variables of the templates; ``grade``: whether the model has one."""

    style: str
    coeff: str
    plugin: str | None = None
    newton: str = "on"
    external: int = 0
    grade: bool = False


def template_name(spec: RunSpec) -> str:
    """Template of a run: ``in.ramp`` if the temperature or the pressure has an end."""
    if spec.temperature_end_K is not None or spec.pressure_end_GPa is not None:
        if spec.ensemble == "nve":
            raise UserError("a ramp needs ensemble nvt or npt, got nve")
        return "in.ramp"
    return f"in.{spec.ensemble}"


def pair_of(model: ModelSpec, plugin: str | None = None) -> Pair:
    """Pair style and coefficients for a LAMMPS that evaluates the model itself.

    Raises:
        UserError: the model is not one that a pair style can run.
    """
    if model.kind == "lammps":
        if not model.pair_style or not model.pair_coeff:
            raise UserError(f"model {model.name!r}: kind lammps needs pair_style and pair_coeff")
        return Pair(model.pair_style, model.pair_coeff, plugin)
    if model.kind != "nequip" or model.path is None:
        raise UserError(f"model {model.name!r}: kind {model.kind} cannot run in LAMMPS; use ase")
    info = read_info(model.path)
    if info.pair in ("allegro", "nequip"):
        coeff = f"* * {_quoted(str(Path(model.path).resolve()))} {' '.join(info.type_names or ())}"
        newton = "off" if info.pair == "nequip" else "on"
        return Pair(info.pair, coeff, plugin, newton, grade=info.has_grade)
    raise UserError(
        f"{model.path}: no LAMMPS pair style runs this compile target; allowed: compiled with "
        "--target pair_allegro or pair_nequip (or engine lammps-library, which runs all)"
    )


def variables(spec: RunSpec, atoms: Atoms, types: tuple[str, ...], pair: Pair) -> dict[str, str]:
    """Values of the templates' variables for a run, in their units."""
    criteria = spec.criteria
    given = {
        "data": "structure.data",
        "boundary": " ".join("p" if periodic else "f" for periodic in atoms.pbc),
        "elements": " ".join(types),
        "pair": pair.style,
        "newton": pair.newton,
        "external": str(pair.external),
        "temperature": _number(spec.temperature_K),
        "pressure": _number(spec.pressure_GPa),
        "timestep": _number(spec.timestep_fs),
        "steps": str(spec.steps),
        "seed": str(_lammps_seed(spec.seed)),
        "thermostat": spec.thermostat.replace("-", "_"),
        "thermostat_damping": _number(spec.thermostat_damping_fs),
        "barostat_damping": _number(spec.barostat_damping_fs),
        "check_every": str(criteria.check_every),
        "record_every": str(spec.record_every),
        "trajectory_every": str(spec.trajectory_every),
        "ring_frames": str(spec.ring_frames),
    }
    if spec.ring_frames:  # a campaign, which keeps the last frames
        given["beyond_every"] = "0"
    if template_name(spec) == "in.ramp":
        given["ensemble"] = spec.ensemble
    for name, numbers in lammps_variables(criteria, spec.ensemble, types).items():
        given[name] = " ".join(map(_number, numbers))
    if pair.grade:
        given["grade"] = "1"
    else:
        given.pop("grade_max", None)  # what is not known does not stop a run
    if spec.temperature_end_K is not None:
        given["temperature_end"] = _number(spec.temperature_end_K)
    if spec.pressure_end_GPa is not None:
        given["pressure_end"] = _number(spec.pressure_end_GPa)
    if spec.walltime_s is not None:
        given["walltime"] = _clock(spec.walltime_s)
    if pair.plugin is not None:
        given["plugin"] = _quoted(str(Path(pair.plugin).resolve()))
    lines = pair.coeff.strip().splitlines()
    if len(lines) > 1:
        given["coeff_file"] = "pair_coeff.lmp"
    else:
        given["coeff"] = lines[0]
    return given


def write_input(
    spec: RunSpec, folder: Path, atoms: Atoms, types: tuple[str, ...], pair: Pair
) -> Path:
    """Write the templates with this run's values, and the data file, into ``folder``.

    The input needs no ``-var`` then: ``lmp -in in.nvt`` in that folder does the same run.

    Args:
        spec: the run.
        folder: the run's folder.
        atoms: start frame with momenta.
        types: element of each atom type.
        pair: the potential.

    Returns:
        Path of the input file.
    """
    source = templates_dir()
    folder.mkdir(parents=True, exist_ok=True)
    for name in INCLUDES:
        shutil.copyfile(source / name, folder / name)
    lines = pair.coeff.strip().splitlines()
    if len(lines) > 1:
        text = "".join(f"pair_coeff {line}\n" for line in lines)
        (folder / "pair_coeff.lmp").write_text(text)
    given = variables(spec, atoms, types, pair)
    header = "".join(f"variable  {name} index {_value(text)}\n" for name, text in given.items())
    path = folder / template_name(spec)
    path.write_text(f"{header}\n{(source / path.name).read_text()}")
    write_data(folder / "structure.data", atoms, types)
    return path


def write_data(path: Path, atoms: Atoms, types: tuple[str, ...]) -> None:
    """Write a LAMMPS data file (atomic, metal units) with masses and velocities.

    The cell is turned into LAMMPS's form (:func:`lammps_cell`) and its skew reduced; positions
    are wrapped. ``ase.io.lammpsdata`` wraps velocities as well.

    Args:
        path: file to write.
        atoms: configuration with momenta, as :func:`~nequip_decorr.md.start.engine_frame` returns.
        types: element of each atom type, also of those that the configuration has none of.

    Raises:
        UserError: atoms of one element have different masses, or the cell is flat.
    """
    cell, rotation = lammps_cell(atoms)
    frame = Atoms(atoms.numbers, atoms.positions @ rotation, pbc=atoms.pbc)
    frame.cell = calc_reduced_cell(cell, atoms.pbc)
    frame.wrap()
    velocities = atoms.get_velocities() @ rotation * (1e3 * units.fs)  # A/ps
    lengths = np.diag(frame.cell)
    tilt = [frame.cell[1, 0], frame.cell[2, 0], frame.cell[2, 1]]
    symbols = atoms.get_chemical_symbols()

    lines = [f"{atoms.get_chemical_formula()}, types {' '.join(types)}", ""]
    lines += [f"{len(atoms)} atoms", f"{len(types)} atom types", ""]
    lines += [f"0 {x:.17g} {d}lo {d}hi" for x, d in zip(lengths, "xyz", strict=True)]
    if np.abs(tilt).max() > 1e-9:
        lines.append("{:.17g} {:.17g} {:.17g} xy xz yz".format(*tilt))
    lines += ["", "Masses", ""]
    for i, symbol in enumerate(types):
        lines.append(f"{i + 1} {_mass(atoms, symbol):.17g}  # {symbol}")
    lines += ["", "Atoms # atomic", ""]
    for i, (symbol, x) in enumerate(zip(symbols, frame.positions, strict=True)):
        lines.append(f"{i + 1} {types.index(symbol) + 1} {_row(x)}")
    lines += ["", "Velocities", ""]
    lines += [f"{i + 1} {_row(v)}" for i, v in enumerate(velocities)]
    path.write_text("\n".join(lines) + "\n")


def lammps_cell(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Return the cell in LAMMPS's form, and the rotation into its frame.

    Three vectors that are left-handed span the same lattice as their opposites, which are
    right-handed. Mapping back is the inverse rotation: ``vector @ rotation.T``.

    Returns:
        The lower-triangular cell ``[3, 3]``, and the rotation ``[3, 3]``: a row vector times it
        is the vector in LAMMPS's frame.

    Raises:
        UserError: the cell is flat, or left-handed in an open direction.
    """
    cell = np.asarray(atoms.cell, dtype=np.float64)
    volume_A3 = np.linalg.det(cell)
    if volume_A3 < 0 and atoms.pbc.all():
        cell, volume_A3 = -cell, -volume_A3
    if volume_A3 <= 0:
        raise UserError(f"LAMMPS needs a right-handed cell, got the vectors {cell.tolist()}")
    rotated = calc_rotated_cell(cell)
    return rotated, np.linalg.solve(cell, rotated)


def _mass(atoms: Atoms, symbol: str) -> float:
    masses = atoms.get_masses()[np.array(atoms.symbols) == symbol]
    if len(masses) == 0:
        return float(atomic_masses[atomic_numbers[symbol]])
    if np.ptp(masses) > 1e-9:
        raise UserError(f"atoms of {symbol} have different masses, which one LAMMPS type cannot")
    return float(masses[0])


def _row(vector: np.ndarray) -> str:
    return " ".join(f"{x:.17g}" for x in vector)


def _number(value: float) -> str:
    return f"{OFF if math.isinf(value) else value:.15g}"


def _value(text: str) -> str:
    if '"' in text:
        return f"'{text}'"
    return f'"{text}"' if " " in text else text


def _quoted(path: str) -> str:
    return f'"{path}"' if any(c.isspace() for c in path) else path


def _lammps_seed(seed: int) -> int:
    """LAMMPS takes seeds from 1 on."""
    return seed % 900_000_000 + 1


def _clock(seconds: float) -> str:
    whole = max(1, math.ceil(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def plugin_from_environment() -> str | None:
    """``NEQUIP_DECORR_LMP_PLUGIN``: a plugin with the pair style, to load first."""
    return os.environ.get(PLUGIN_VARIABLE) or None
