"""Compare a LAMMPS with a compiled model in Python: energy, forces, virial, grade at step 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ...errors import UserError
from ...models.locality import NotStrictlyLocalError
from ...models.metadata import ModelInfo, read_metadata
from ...models.potential import CompiledPotential, Evaluation
from ...structures import Reading, check_structure, read_structure
from .build import NO_COMPUTE, LammpsBuild, inspect_lammps
from .folder import check_pair
from .step_zero import evaluate_in_lammps, evaluate_in_library

if TYPE_CHECKING:
    from ase import Atoms

# By the precision inside the model: energy and virial in eV/atom, forces in eV/A; the grade
# relative to itself or 1, the larger: far below 1 it is a small difference of rounded features.
TOLERANCES: Final = {
    "float32": {"energy": 1e-5, "force": 1e-4, "virial": 1e-4, "grade": 1e-5},
    "float64": {"energy": 1e-8, "force": 1e-7, "virial": 1e-7, "grade": 1e-9},
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
        grade: largest relative difference of an extrapolation grade, as :data:`TOLERANCES` has it;
            NaN for a model without.
        agrees: whether all of them are within the tolerance; ``False`` if they were not compared.
        note: why it was not compared, if it was not.
        required: whether the check is incomplete without this way.
    """

    way: str
    energy_eV_per_atom: float = float("nan")
    force_eV_per_A: float = float("nan")
    virial_eV_per_atom: float = float("nan")
    grade: float = float("nan")
    agrees: bool = False
    note: str = ""
    required: bool = False


@dataclass(frozen=True)
class CheckReport:
    """Result of :func:`check_model`.

    Attributes:
        model: the model.
        build: the LAMMPS.
        num_atoms: atoms of the structure.
        agreements: one entry for each way into LAMMPS.
        faults: what makes the model wrong in every LAMMPS.
        warnings: what is odd about the structure.
    """

    model: ModelInfo
    build: LammpsBuild
    num_atoms: int
    agreements: list[Agreement] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        """0: all that was compared agrees. 1: something disagrees. 2: it could not be compared."""
        compared = [item for item in self.agreements if not item.note]
        if self.faults or not all(item.agrees for item in compared):
            return 1
        missing = any(item.note and item.required for item in self.agreements)
        return 2 if missing or not compared else 0

    @property
    def agrees(self) -> bool:
        """Whether something was compared, and everything that was compared agrees."""
        return self.status == 0


def compare(way: str, found: Evaluation, reference: Evaluation, dtype: str) -> Agreement:
    """Compare an evaluation with the reference, within the tolerance of a precision.

    Raises:
        UserError: a dtype without tolerances.
    """
    if dtype not in TOLERANCES:
        raise UserError(f"dtype must be one of {', '.join(TOLERANCES)}, got {dtype!r}")
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
    grade = float("nan")
    if reference.grade is not None and found.grade is not None:
        grade = grade_difference(found.grade, reference.grade)
    agrees = agrees and (reference.grade is None or grade <= tolerance["grade"])
    return Agreement(way, energy, force, virial, grade, agrees)


def grade_difference(found: np.ndarray, reference: np.ndarray) -> float:
    """Largest difference of grades, relative to the larger of the reference and 1."""
    same = found == reference  # infinite ones too
    with np.errstate(invalid="ignore"):
        relative = np.abs(found - reference) / np.maximum(reference, 1.0)
    return float(np.where(same, 0.0, relative).max())


def check_model(
    model_path: str | Path,
    structure_path: str | Path,
    command: Sequence[str],
    plugin: str | Path | None = None,
    required: bool = False,
    reading: Reading | None = None,
    checkpoint: str | Path | None = None,
) -> CheckReport:
    """Compare a compiled model in Python with a LAMMPS executable and with the library engine.

    A model for ``pair_style allegro`` is also tested for strict locality: its own inputs leave out
    the neighbours of ghost atoms, so that Python and LAMMPS would make the same mistake.

    Args:
        model_path: compiled model, ``.nequip.pt2`` or ``.nequip.pth``.
        structure_path: a structure file; its last frame, or ``FILE@INDEX``.
        command: the LAMMPS executable and its flags.
        plugin: a LAMMPS plugin that brings the pair style.
        required: whether the check is incomplete without a comparison with ``command``.
        reading: format and elements, where they cannot be told from the structure file.
        checkpoint: what the model was compiled from, with its ``.grade.npz`` beside it: the eager
            model is another way to compare.

    Raises:
        UserError: the model does not know an element, or is for ML-IAP, which is not compiled; the
            structure cannot be evaluated; LAMMPS does not run.
        FileNotFoundError: a file or the executable is missing.
    """
    model = read_metadata(model_path)
    if model.pair == "mliap":
        raise UserError(
            f"{model.path.name} is an ML-IAP file, which Python cannot evaluate outside LAMMPS; "
            "check the .nequip.pt2 compiled from the same checkpoint"
        )
    atoms = read_structure(structure_path, reading).atoms
    if not (atoms.cell.rank == 3 and atoms.pbc.all()):
        raise UserError(
            f"{structure_path}: the structure must be periodic in three directions, got pbc "
            f"{atoms.pbc.tolist()} and a cell of rank {atoms.cell.rank}; put a molecule or slab "
            "into a box with vacuum"
        )
    findings = check_structure(atoms, str(structure_path))
    if errors := [str(finding) for finding in findings if finding.severity == "error"]:
        raise UserError("\n".join(errors))
    warnings = [str(finding) for finding in findings]
    elements = model.lammps_types(atoms)
    build = inspect_lammps(command, plugin)
    potential = CompiledPotential(model.path)
    try:
        reference = evaluate_in_python(potential, atoms)
    except NotStrictlyLocalError as err:
        return CheckReport(model, build, len(atoms), faults=[str(err)], warnings=warnings)
    found = [
        _check_executable(model, atoms, elements, build, reference, required),
        _check_library(potential, model, atoms, reference),
    ]
    if checkpoint is not None:
        found.append(_check_eager(Path(checkpoint), model, atoms, reference))
    return CheckReport(model, build, len(atoms), found, warnings=warnings)


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
    required: bool,
) -> Agreement:
    kokkos = "kk" in build.command
    style = model.pair or "allegro"
    way = f"pair_style {style}{'/kk' if kokkos else ''}"
    try:
        check_pair(model, style)
    except UserError as err:
        return Agreement(way, note=str(err), required=required)
    if not build.has_pair(style):
        note = f"not in this LAMMPS; {build.advice(style)}"
        return Agreement(way, note=note, required=required)
    if model.has_grade and f"{style}/atom" not in build.compute_styles:
        return Agreement(way, note=NO_COMPUTE.format(style=f"{style}/atom"), required=required)
    try:
        found = evaluate_in_lammps(
            atoms, elements, build.command, style,
            f'* * "{model.path.resolve()}" {" ".join(elements)}', build.plugin,
            newton=style != "nequip", grade=model.has_grade,
        )  # fmt: skip
    except UserError as err:
        return Agreement(way, note=str(err), required=True)
    return compare(way, found, reference, model.dtype)


def _check_library(
    potential: CompiledPotential, model: ModelInfo, atoms: Atoms, reference: Evaluation
) -> Agreement:
    way = "library engine (fix external)"
    try:
        found = evaluate_in_library(potential, atoms)
    except ModuleNotFoundError as err:
        return Agreement(way, note=str(err))
    return compare(way, found, reference, model.dtype)


def _check_eager(
    checkpoint: Path, model: ModelInfo, atoms: Atoms, reference: Evaluation
) -> Agreement:
    """The model before it was compiled."""
    from ...extrapolation.beside import grade_of
    from ...features.frames import load_model, outputs

    eager = load_model(checkpoint)
    grade = next(grade_of(checkpoint).score(eager, [atoms])) if model.has_grade else None
    data, _ = next(outputs(eager, [atoms], batch_size=1))
    forces, stress = (data[name].detach().double().numpy() for name in ("forces", "stress"))
    virial = -stress.reshape(3, 3) * atoms.get_volume()
    found = Evaluation(float(data["total_energy"].detach()), forces, virial, grade)
    return compare("eager model", found, reference, model.dtype)


def render(report: CheckReport) -> None:
    """Print a report."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(soft_wrap=True, highlight=False)
    build, model = report.build, report.model
    elements = " ".join(model.type_names or ())
    console.print(f"[bold]{escape(model.path.name)}[/]: {elements}, r_max {model.r_max_A:g} A, "
                  f"{model.dtype}, for {model.device or 'any device'}, "
                  f"pair_style {model.pair or 'none'}")  # fmt: skip
    console.print(f"[bold]LAMMPS[/] {build.version}: {len(build.packages)} packages, "
                  f"{len(build.pair_styles)} pair styles")  # fmt: skip
    for pair in PAIRS:
        mark = "[green]yes[/]" if build.has_pair(pair) else f"[yellow]no[/]: {build.advice(pair)}"
        console.print(f"  pair_style {pair}: {mark}", markup=True)
    tolerance = TOLERANCES[model.dtype]
    table = Table(title=f"Step 0 against Python, {report.num_atoms} atoms")
    units = {"energy": " (eV/atom)", "force": " (eV/A)", "virial": " (eV/atom)", "grade": ""}
    shown = [name for name in units if name != "grade" or model.has_grade]
    for name in ("way", *(f"{name}{units[name]}" for name in shown), ""):
        table.add_column(name)
    table.add_row("allowed", *(f"{tolerance[name]:.0e}" for name in shown), "")
    for item in report.agreements:
        if item.note:
            table.add_row(item.way, *("-" for _ in shown), "not compared")
            continue
        values = [item.energy_eV_per_atom, item.force_eV_per_A, item.virial_eV_per_atom]
        values += [item.grade] if model.has_grade else []
        verdict = "[green]agrees[/]" if item.agrees else "[red]DISAGREES[/]"
        table.add_row(item.way, *(f"{value:.1e}" for value in values), verdict)
    console.print(table)
    lines = [f"{item.way}: {item.note}" for item in report.agreements if item.note]
    lines = [f"warning: {text}" for text in report.warnings] + lines
    for line in [*lines, *(f"DISAGREES: {text}" for text in report.faults), _conclusion(report)]:
        console.print(line, markup=False)


def _conclusion(report: CheckReport) -> str:
    if report.status == 1:
        return "Result: DISAGREES. Do not run this model in this LAMMPS."
    ways = [item.way for item in report.agreements if not item.note]
    if report.status == 2:
        return f"Result: not checked. Compared: {', '.join(ways) or 'nothing'}."
    other = "".join(f"; {item.way} not compared" for item in report.agreements if item.note)
    return f"Result: agrees ({', '.join(ways)}){other}."
