"""Compiled NequIP-framework models as plain functions of positions.

A compiled model takes the inputs of the program it was compiled for; :class:`CompiledPotential`
serves them all from positions, types and cell. This is the hot path of the library engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.geometry import complete_cell
from ase.stress import full_3x3_to_voigt_6_stress
from matscipy.neighbours import neighbour_list

from ..errors import UserError
from .locality import check_locality
from .metadata import GRADE, LOCAL_INPUTS, PERIODIC_INPUTS, check_device, check_elements, read_info


@dataclass(frozen=True)
class Evaluation:
    """Energy, forces and virial of a configuration.

    Attributes:
        energy_eV: potential energy.
        forces_eV_per_A: ``[num_atoms, 3]``.
        virial_eV: ``-dE/d(strain)``, ``[3, 3]``: the sum of ``r_i f_i``, positive for repulsion,
            as in LAMMPS. ASE's stress is ``-virial / volume``.
        grade: extrapolation grade, ``[num_atoms]``; ``None`` for a model without.
    """

    energy_eV: float
    forces_eV_per_A: np.ndarray
    virial_eV: np.ndarray
    grade: np.ndarray | None = None


class CompiledPotential:
    """A ``.nequip.pt2`` or ``.nequip.pth`` of any single-frame compile target.

    With the inputs of ``ase`` and ``pair_nequip`` (a cell and cell shifts) a neighbour list is
    passed as it is. With those of ``pair_allegro`` (positions alone) periodic neighbours become
    ghost atoms, and the forces on ghosts are added to the atoms that they are images of.

    Loading a compiled file runs the native code in it: open only those that you trust.

    Args:
        path: the compiled model.
        device: where it was compiled for; by default what its metadata says.

    Attributes:
        type_names: names of the atom types, in the model's order.
        r_max_A: cutoff radius.
        dtype: precision inside the model.
        metadata: the metadata that NequIP's loader found.
        has_grade: whether the extrapolation grade is among the outputs.

    Raises:
        UserError: inputs that are neither of the above (e.g. target ``batch``).
        NoDeviceError: the device is not here.
    """

    def __init__(self, path: str | Path, device: str | None = None) -> None:
        from nequip.model.inference_models import load_compiled_model

        self.path = Path(path)
        device = device or read_info(self.path).device or "cpu"
        check_device(device)
        self.model, self.metadata = load_compiled_model(str(path), device)
        self.device = torch.device(device)
        self.type_names: tuple[str, ...] = tuple(self.metadata["type_names"])
        self.r_max_A = float(self.metadata["r_max"])
        self.dtype = str(self.metadata.get("model_dtype", "float32"))
        listed = str(self.metadata.get("nequip_aoti_inputs", "")).split()
        inputs = frozenset(listed) or PERIODIC_INPUTS
        if inputs not in (PERIODIC_INPUTS, LOCAL_INPUTS):
            raise UserError(
                f"{path}: compiled for the inputs {sorted(inputs)}; allowed: compile targets "
                "ase, pair_nequip or pair_allegro"
            )
        self.has_grade = GRADE in str(self.metadata.get("nequip_aoti_outputs", "")).split()
        self._ghosts = inputs == LOCAL_INPUTS
        self._probed = not self._ghosts

    def types_of(self, atoms: Atoms) -> np.ndarray:
        """Type indices ``[num_atoms]``.

        Raises:
            UserError: an element that the model does not know.
        """
        check_elements(self.path.name, self.type_names, atoms.symbols)
        index = {name: i for i, name in enumerate(self.type_names)}
        return np.array([index[symbol] for symbol in atoms.symbols], dtype=np.int64)

    def evaluate(
        self, positions_A: np.ndarray, types: np.ndarray, cell_A: np.ndarray, pbc: Any
    ) -> Evaluation:
        """Energy, forces and virial.

        Args:
            positions_A: ``[num_atoms, 3]``, not necessarily inside the cell.
            types: indices into ``type_names``, ``[num_atoms]``, int64.
            cell_A: cell vectors in rows, ``[3, 3]``, not singular.
            pbc: which directions are periodic, ``[3]``.

        Returns:
            All NaN where a position is not finite.

        Raises:
            NotStrictlyLocalError: the inputs hold no cell, and the model passes messages; checked
                at the first call.
        """
        num_atoms = len(positions_A)
        if not np.isfinite(positions_A).all():
            grade = np.full(num_atoms, np.nan) if self.has_grade else None
            return Evaluation(
                np.nan, np.full((num_atoms, 3), np.nan), np.full((3, 3), np.nan), grade
            )
        if not self._probed:
            check_locality(self, positions_A, types, cell_A, pbc)
            self._probed = True
        i, j, shift = neighbour_list(
            "ijS", positions=positions_A, cell=cell_A, pbc=pbc, cutoff=self.r_max_A
        )
        if len(i) == 0:
            # Compiled models want two edges; beyond the cutoff these add nothing.
            i, j, shift = np.array([0, 1]), np.array([1, 0]), np.zeros((2, 3), dtype=np.int64)
        positions = np.ascontiguousarray(positions_A, dtype=np.float64)
        edges = np.stack([i, j]).astype(np.int64, copy=False)
        if self._ghosts:
            crossing = np.flatnonzero(shift.any(axis=1))
            images = edges[1, crossing]
            ghosts = positions[images] + shift[crossing] @ cell_A
            edges[1, crossing] = np.arange(num_atoms, num_atoms + len(crossing))
            out = self.call(
                pos=np.concatenate([positions, ghosts]),
                edge_index=edges,
                atom_types=np.concatenate([types, types[images]]),
            )
            on_ghosts = out["forces"][num_atoms:]
            forces = out["forces"][:num_atoms].index_add(0, self.tensor(images), on_ghosts)
        else:
            out = self.call(
                pos=positions,
                edge_index=edges,
                atom_types=types,
                cell=np.asarray(cell_A, dtype=np.float64)[None],
                edge_cell_shift=shift.astype(np.float64),
            )
            forces = out["forces"]
        if "virial" in out:
            virial = _array(out["virial"]).reshape(3, 3)
        else:
            virial = -abs(float(np.linalg.det(cell_A))) * _array(out["stress"]).reshape(3, 3)
        total = out.get("total_energy")
        energy = out["atomic_energy"][:num_atoms].sum() if total is None else total
        grade = _array(out[GRADE]).reshape(-1)[:num_atoms] if GRADE in out else None
        return Evaluation(float(energy), _array(forces), virial, grade)

    def call(self, **inputs: np.ndarray) -> dict[str, torch.Tensor]:
        """Return the model's output for its own input fields."""
        fields = {name: self.tensor(array) for name, array in inputs.items()}
        output: dict[str, torch.Tensor] = self.model(fields)
        return output

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        """Return the array on the device of the model."""
        return torch.from_numpy(array).to(self.device)


class CalculatorPotential:
    """Any ASE calculator as a function of positions, like :class:`CompiledPotential`.

    Args:
        calculator: the calculator; without a stress the virial is NaN. One whose implemented
            properties have ``extrapolation_grade``, ``[num_atoms]``, has a grade.
        type_names: chemical symbol of each type index.
    """

    def __init__(self, calculator: Any, type_names: tuple[str, ...]) -> None:
        self.calculator = calculator
        self.type_names = type_names
        self.has_grade = GRADE in getattr(calculator, "implemented_properties", ())
        self._atoms = Atoms()

    def evaluate(
        self, positions_A: np.ndarray, types: np.ndarray, cell_A: np.ndarray, pbc: Any
    ) -> Evaluation:
        """Energy, forces and virial; see :meth:`CompiledPotential.evaluate`."""
        if len(self._atoms) != len(positions_A):
            self._atoms = Atoms([self.type_names[i] for i in types])
            self._atoms.calc = self.calculator
        atoms = self._atoms
        atoms.pbc, atoms.cell, atoms.positions = pbc, cell_A, positions_A
        energy, forces = float(atoms.get_potential_energy()), atoms.get_forces()
        try:
            virial = -atoms.get_stress(voigt=False) * atoms.get_volume()
        except NotImplementedError:
            virial = np.full((3, 3), np.nan)
        grade = self.calculator.results[GRADE] if self.has_grade else None
        return Evaluation(energy, forces, virial, grade)


class CompiledCalculator(Calculator):
    """:class:`CompiledPotential` as an ASE calculator."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, potential: CompiledPotential, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.potential = potential
        if potential.has_grade:
            self.implemented_properties = [*self.implemented_properties, GRADE]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """Fill ``results``; the stress only for a periodic cell."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        assert self.atoms is not None
        cell = complete_cell(self.atoms.cell)
        types = self.potential.types_of(self.atoms)
        found = self.potential.evaluate(self.atoms.positions, types, cell, self.atoms.pbc)
        self.results = {
            "energy": found.energy_eV,
            "free_energy": found.energy_eV,
            "forces": found.forces_eV_per_A,
        }
        if found.grade is not None:
            self.results[GRADE] = found.grade
        if self.atoms.pbc.all():
            stress = -found.virial_eV / abs(float(np.linalg.det(cell)))
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(np.float64, copy=False)
