"""Does a LAMMPS give what the compiled model gives? Energy, forces and virial at step 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ...models.metadata import (
    ModelInfo,
    read_metadata,
)
from ...models.potential import (
    CompiledPotential,
    Evaluation,
)
from .build import (
    LammpsBuild,
    inspect_lammps,
)
from .folder import (
    check_pair,
    read_structure,
)
from .step_zero import (
    evaluate_in_lammps,
    evaluate_in_library,
)

if TYPE_CHECKING:
    from ase import Atoms

# By the precision inside the model: energy and virial in eV/atom, forces in eV/A.
TOLERANCES: Final = {
    "float32": {"energy": 1e-5, "force": 1e-4, "virial": 1e-4},
    "float64": {"energy": 1e-8, "force": 1e-7, "virial": 1e-7},
}
PAIRS: Final = ("allegro", "allegro/kk", "nequip", "mliap")


@dataclass(frozen=True)
class Agreement:
    """How far one way into LAMMPS is from the compiled model in Python.

    Attributes:
        way: ``pair_style allegro``, ``library engine``, ...
        energy_eV_per_atom: difference of the energies per atom.
        force_eV_per_A: largest difference of a force component.
        virial_eV_per_atom: largest difference of a virial component, per atom.
        agrees: whether all three are within the tolerance.
        note: why it was not compared, if it was not; then ``agrees`` says whether that is fine.
    """

    way: str
    energy_eV_per_atom: float = float("nan")
    force_eV_per_A: float = float("nan")
    virial_eV_per_atom: float = float("nan")
    agrees: bool = True
    note: str = ""


@dataclass(frozen=True)
class CheckReport:
    """What :func:`check_model` found."""

    model: ModelInfo
    build: LammpsBuild
    num_atoms: int
    agreements: list[Agreement] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether everything that was compared agrees."""
        return all(item.agrees for item in self.agreements)


def compare(way: str, found: Evaluation, reference: Evaluation, dtype: str) -> Agreement:
    """How far an evaluation is from the reference, and whether that is within the tolerance.

    Raises:
        ValueError: a dtype without tolerances.
    """
    if dtype not in TOLERANCES:
        raise ValueError(f"dtype must be one of {', '.join(TOLERANCES)}, got {dtype!r}")
    tolerance = TOLERANCES[dtype]
    num_atoms = len(reference.forces_eV_per_A)
    energy = abs(found.energy_eV - reference.energy_eV) / num_atoms
    force = float(np.abs(found.forces_eV_per_A - reference.forces_eV_per_A).max())
    virial = float(np.abs(found.virial_eV - reference.virial_eV).max()) / num_atoms
    # Written so that NaN does not agree.
    agrees = (
        energy <= tolerance["energy"]
        and force <= tolerance["force"]
        and virial <= tolerance["virial"]
    )
    return Agreement(way, energy, force, virial, agrees)


def check_model(
    model_path: str | Path,
    structure_path: str | Path,
    command: Sequence[str] = ("lmp",),
    plugin: str | Path | None = None,
) -> CheckReport:
    """Compare a compiled model in Python with a LAMMPS executable and with the library engine.

    Args:
        model_path: compiled model, ``.nequip.pt2`` or ``.nequip.pth``.
        structure_path: anything ase reads; the last frame is compared.
        command: the LAMMPS executable and its flags.
        plugin: a LAMMPS plugin that brings the pair style.

    Raises:
        ValueError: the model does not know an element, or is for ML-IAP, which is not compiled.
        FileNotFoundError: a file or the executable is missing.
        RuntimeError: LAMMPS ended with an error; the message has its words.
    """
    model = read_metadata(model_path)
    if model.pair == "mliap":
        raise ValueError(
            f"{model.path.name} is an ML-IAP file, which Python cannot evaluate outside LAMMPS; "
            "check the .nequip.pt2 compiled from the same checkpoint"
        )
    atoms = read_structure(structure_path)
    if not (atoms.cell.rank == 3 and atoms.pbc.all()):
        raise ValueError(
            f"{structure_path}: the structure must be periodic in three directions, got pbc "
            f"{atoms.pbc.tolist()} and a cell of rank {atoms.cell.rank}; put a molecule or slab "
            "into a box with vacuum"
        )
    elements = model.lammps_types(atoms)
    build = inspect_lammps(command, plugin)
    potential = CompiledPotential(model.path)
    reference = evaluate_in_python(potential, atoms)
    found = [
        _check_executable(model, atoms, elements, build, reference),
        _check_library(potential, model, atoms, reference),
    ]
    return CheckReport(model, build, len(atoms), found)


def evaluate_in_python(potential: CompiledPotential, atoms: Atoms) -> Evaluation:
    """The reference: the compiled model called from Python."""
    types = potential.types_of(atoms)
    return potential.evaluate(atoms.positions, types, atoms.cell.array, atoms.pbc)


def _check_executable(
    model: ModelInfo,
    atoms: Atoms,
    elements: Sequence[str],
    build: LammpsBuild,
    reference: Evaluation,
) -> Agreement:
    kokkos = "kk" in build.command
    style = model.pair or "allegro"
    way = f"pair_style {style}{'/kk' if kokkos else ''}"
    try:
        check_pair(model, style)
    except ValueError as err:
        return Agreement(way, note=str(err))
    if not build.has_pair(style):
        return Agreement(way, note=f"not in this LAMMPS; {build.advice(style)}")
    found = evaluate_in_lammps(
        atoms,
        elements,
        build.command,
        style,
        f'* * "{model.path.resolve()}" {" ".join(elements)}',
        build.plugin,
        newton=style != "nequip",
    )
    return compare(way, found, reference, model.dtype)


def _check_library(
    potential: CompiledPotential,
    model: ModelInfo,
    atoms: Atoms,
    reference: Evaluation,
) -> Agreement:
    way = "library engine (fix external)"
    try:
        found = evaluate_in_library(potential, atoms)
    except ModuleNotFoundError as err:
        return Agreement(way, note=str(err))
    return compare(way, found, reference, model.dtype)


def render(report: CheckReport) -> None:
    """Print a report."""
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True, highlight=False)
    build, model = report.build, report.model
    elements = " ".join(model.type_names or ())
    console.print(f"[bold]{model.path.name}[/]: {elements}, r_max {model.r_max_A:g} A, "
                  f"{model.dtype}, for {model.device or 'any device'}, "
                  f"pair_style {model.pair or 'none'}")  # fmt: skip
    console.print(f"[bold]LAMMPS[/] {build.version}: {len(build.packages)} packages, "
                  f"{len(build.pair_styles)} pair styles")  # fmt: skip
    for pair in PAIRS:
        mark = "[green]yes[/]" if build.has_pair(pair) else f"[yellow]no[/]: {build.advice(pair)}"
        console.print(f"  pair_style {pair}: {mark}", markup=True)
    tolerance = TOLERANCES[model.dtype]
    table = Table(title=f"Step 0 against Python, {report.num_atoms} atoms")
    for name in ("way", "energy (eV/atom)", "force (eV/A)", "virial (eV/atom)", ""):
        table.add_column(name)
    table.add_row("allowed", *(f"{tolerance[k]:.0e}" for k in ("energy", "force", "virial")), "")
    for item in report.agreements:
        if item.note:
            table.add_row(item.way, "-", "-", "-", "not compared")
            continue
        values = (item.energy_eV_per_atom, item.force_eV_per_A, item.virial_eV_per_atom)
        verdict = "[green]agrees[/]" if item.agrees else "[red]DISAGREES[/]"
        table.add_row(item.way, *(f"{value:.1e}" for value in values), verdict)
    console.print(table)
    for item in report.agreements:
        if item.note:
            console.print(f"{item.way}: {item.note}", markup=False)
