"""Start frames: the same for every model, exact on disk, Maxwell-Boltzmann."""

from __future__ import annotations

import io

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from scipy import stats

from nequip_decorr.md.start import draw_momenta, extxyz_text, start_frame, velocity_rng


def crystal() -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(2)
    atoms.rattle(0.1, seed=3)
    return atoms


def test_momenta_have_the_exact_temperature_and_no_drift() -> None:
    frame = start_frame(crystal(), "salt", 300.0, 1)
    assert np.abs(frame.get_momenta().sum(axis=0)).max() < 1e-12
    kinetic_eV = frame.get_kinetic_energy()
    assert kinetic_eV == pytest.approx(0.5 * (3 * 64 - 3) * units.kB * 300.0, rel=1e-13)


def test_momenta_are_maxwell_boltzmann() -> None:
    masses = np.repeat([1.0, 16.0], 20_000)
    momenta = draw_momenta(masses, 500.0, velocity_rng("x", 500.0, 0))
    scaled = momenta / np.sqrt(masses[:, None] * units.kB * 500.0)
    for part in (scaled[:20_000], scaled[20_000:]):
        assert stats.kstest(part.ravel(), "norm").pvalue > 0.01


def test_each_key_has_velocities_of_its_own() -> None:
    def momenta(name: str, temperature_K: float, seed: int) -> np.ndarray:
        return start_frame(crystal(), name, temperature_K, seed).get_momenta()

    first = momenta("salt", 300.0, 1)
    np.testing.assert_array_equal(first, momenta("salt", 300, 1))
    for other in (momenta("salt", 300.0, 2), momenta("melt", 300.0, 1), momenta("salt", 310.0, 1)):
        assert np.abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.3


def test_velocities_do_not_change_between_versions() -> None:
    draws = velocity_rng("quartz", 300.0, 1).standard_normal(3)
    np.testing.assert_allclose(
        draws, [0.5289707221819061, -2.101933206428358, 0.9905958792961701], rtol=0, atol=0
    )


def test_the_file_gives_back_the_same_bits() -> None:
    atoms = crystal()
    masses = atoms.get_masses()
    masses[0] = 2.014
    atoms.set_masses(masses)
    atoms.info["energy"] = 1.0
    frame = start_frame(atoms, "salt", 300.0, 1)
    again = ase.io.read(io.StringIO(extxyz_text(frame)), format="extxyz")
    np.testing.assert_array_equal(again.positions, atoms.positions)
    np.testing.assert_array_equal(np.asarray(again.cell), np.asarray(atoms.cell))
    np.testing.assert_array_equal(again.get_momenta(), frame.get_momenta())
    np.testing.assert_array_equal(again.get_masses(), masses)
    assert again.pbc.all() and list(again.symbols) == list(atoms.symbols)


def test_a_single_atom_has_no_temperature() -> None:
    with pytest.raises(ValueError, match="at least 2 atoms, got 1"):
        draw_momenta(np.array([1.0]), 300.0, velocity_rng("x", 300.0, 0))
    with pytest.raises(ValueError, match="finite and at least 0, got nan"):
        draw_momenta(np.ones(2), float("nan"), velocity_rng("x", 300.0, 0))
