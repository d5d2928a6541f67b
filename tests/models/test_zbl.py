"""The wall at short distances: where it ends, its formula, and a training that needs no numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.neighborlist import neighbor_list
from nequip.data import AtomicDataDict, from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.nn.pair_potential import ZBL
from nequip.scripts._package_utils import _EXTERNAL_MODULES, _INTERNAL_MODULES, _MOCK_MODULES
from nequip.utils.compile import conditional_torchscript_mode
from nequip.utils.global_state import set_global_state

from nequip_decorr import DistanceStatisticsManager, ShortRangeZBL
from nequip_decorr.errors import UserError
from nequip_decorr.inspection.evaluate import load_model
from tests.helpers.training import frames, module_config, nequip_train, run_config

SYMBOLS = ["Si", "O", "H"]
CUTOFF_A = 3.0
REACH_A = [[2.6, 1.9, 1.0], [1.9, 2.2, 1.0], [1.0, 1.0, 1.0]]
ARGUMENTS = {
    "type_names": SYMBOLS,
    "chemical_species": SYMBOLS,
    "units": "metal",
    "irreps_in": {"normed_edge_lengths": "0e", "pos": "1o", "edge_index": None},
}


@pytest.fixture(autouse=True)
def float64():
    set_global_state()


def graph(atoms: Atoms) -> dict[str, torch.Tensor]:
    """A frame as NequIP's data pipeline gives it."""
    data = ChemicalSpeciesToAtomTypeMapper(model_type_names=SYMBOLS)(from_ase(atoms))
    return NeighborListTransform(r_max=CUTOFF_A)(data)


def energy(core: torch.nn.Module, atoms: Atoms) -> tuple[float, np.ndarray]:
    """Energy (eV) and forces (eV/A)."""
    data = graph(atoms)
    positions = data["pos"].requires_grad_(True)
    vectors = positions[data["edge_index"][1]] - positions[data["edge_index"][0]]
    vectors = vectors + data["edge_cell_shift"] @ data["cell"].view(3, 3)
    data["normed_edge_lengths"] = vectors.norm(dim=-1, keepdim=True) / CUTOFF_A
    total = core(data)["atomic_energy"].sum()
    (slope,) = torch.autograd.grad(total, positions)
    return total.item(), -slope.numpy()


def universal(atoms: Atoms, reach_A: list[list[float]]) -> float:
    """Ziegler, Biersack and Littmark's repulsion (eV) times the polynomial, from ase's pairs."""
    total = 0.0
    for i, j, distance in zip(*neighbor_list("ijd", atoms, CUTOFF_A), strict=True):
        reach = reach_A[SYMBOLS.index(atoms[i].symbol)][SYMBOLS.index(atoms[j].symbol)]
        x = distance / min(reach, CUTOFF_A)
        if x < 1:
            first, second = (int(n) for n in atoms.numbers[[i, j]])
            length = 0.4685 / (first**0.23 + second**0.23)
            weights, rates = (
                [0.18175, 0.50986, 0.28022, 0.02817],
                [3.1998, 0.94229, 0.4029, 0.20162],
            )
            screening = np.dot(weights, np.exp(-np.array(rates) * distance / length))
            polynomial = 1 - 28 * x**6 + 48 * x**7 - 21 * x**8
            total += 0.5 * 14.399645 * first * second / distance * screening * polynomial
    return total


def shortest(all_frames: list[Atoms]) -> dict[str, float]:
    """Shortest distance (A) of each pair, by ase."""
    found = {f"{a}_{b}": math.inf for a in SYMBOLS for b in SYMBOLS}
    for atoms in all_frames:
        for i, j, distance in zip(*neighbor_list("ijd", atoms, CUTOFF_A), strict=True):
            pair = f"{atoms[i].symbol}_{atoms[j].symbol}"
            found[pair] = min(found[pair], float(distance))
    return found


def computed(all_frames: list[Atoms]) -> dict[str, Any]:
    """All statistics, over one batch of frames after the other."""
    graphs = [graph(atoms) for atoms in all_frames]
    batches = [AtomicDataDict.batched_from_list(graphs[i : i + 2]) for i in (0, 2, 4)]
    return DistanceStatisticsManager(type_names=SYMBOLS).get_statistics(batches)


def test_shortest_distances_are_those_of_ase_and_the_common_statistics_stay() -> None:
    found = computed(frames())
    assert found["shortest_distances"] == pytest.approx(shortest(frames()), rel=1e-12)
    assert math.isinf(found["shortest_distances"]["H_O"])
    assert found["shortest_distances"]["Si_O"] < 2.1  # the spacing of the grid
    assert found["forces_rms"] > 0 and len(found["per_type_forces_rms"]) == 3


def test_energies_per_type_are_those_of_a_least_squares_fit() -> None:
    oxides = frames()
    for atoms, number in zip(oxides, (1, 14, 8, 8, 1, 14), strict=True):
        labels = atoms.calc.results
        atoms.numbers[:3] = [14, number, number]
        atoms.calc = SinglePointCalculator(atoms, **labels)
    energies = np.array([atoms.get_potential_energy() / len(atoms) for atoms in oxides])
    shares = np.array([[np.mean(atoms.symbols == s) for s in SYMBOLS] for atoms in oxides])
    found = computed(oxides)["per_type_energy_fit"]
    expected = np.linalg.lstsq(shares, energies - energies.mean(), rcond=1e-3)[0] + energies.mean()
    assert list(found) == SYMBOLS
    assert list(found.values()) == pytest.approx(list(expected), rel=1e-9)
    assert np.ptp(list(found.values())) > 1e-3


def test_one_composition_gives_each_type_the_mean_energy() -> None:
    found = computed(frames())
    each = list(found["per_type_energy_fit"].values())
    assert each == pytest.approx(3 * [found["per_atom_energy_mean"]], rel=1e-9)


@pytest.mark.parametrize("energy", [math.nan, None])
def test_frames_without_an_energy_are_named(energy: float | None) -> None:
    bad = frames()
    labels = dict(bad[3].calc.results)
    del labels["energy"]
    bad[3].calc = SinglePointCalculator(bad[3], **labels, **({"energy": energy} if energy else {}))
    manager = DistanceStatisticsManager(type_names=SYMBOLS)
    with pytest.raises(UserError) as error:
        manager.get_statistics([graph(atoms) for atoms in bad])
    x, y, z = bad[3].positions[0]
    counts = {s: list(bad[3].symbols).count(s) for s in ("Si", "O")}
    formula = f"Si{counts['Si']}O{counts['O']}"
    named = f"{formula} with its first atom at ({x:.4f}, {y:.4f}, {z:.4f}): nan"
    assert str(error.value).splitlines()[1:] == [named]
    manager.reset()
    good = manager.get_statistics([graph(atoms) for atoms in frames()])
    assert math.isfinite(good["per_type_energy_fit"]["Si"])


def test_a_periodic_cell_has_zbl_below_the_reach_of_each_pair() -> None:
    core = ShortRangeZBL(reach_A=REACH_A, **ARGUMENTS)
    atoms = frames(1)[0]
    found, forces = energy(core, atoms)
    assert found == pytest.approx(universal(atoms, REACH_A), rel=1e-5)
    assert found > 0.1
    step = 1e-5
    atoms.positions[0, 0] += step
    right = energy(core, atoms)[0]
    atoms.positions[0, 0] -= 2 * step
    assert forces[0, 0] == pytest.approx((energy(core, atoms)[0] - right) / (2 * step), rel=1e-5)
    scripted = torch.jit.script(core)
    assert energy(scripted, frames(1)[0])[0] == pytest.approx(found, rel=1e-12)


def test_it_is_zero_on_the_training_data_and_a_wall_below() -> None:
    data = frames()
    core = ShortRangeZBL(reach_A=computed(data)["shortest_distances"], **ARGUMENTS)
    for atoms in data:
        found, forces = energy(core, atoms)
        assert found == pytest.approx(0.0, abs=1e-12)
        assert np.abs(forces).max() < 1e-9
    reach = shortest(data)["Si_O"]
    walls = []
    for fraction in (0.9, 0.7, 0.5, 0.1, 0.01):
        found, forces = energy(core, Atoms("SiO", [[0, 0, 0], [fraction * reach, 0, 0]]))
        walls.append(found)
        assert np.isfinite(forces).all() and forces[1, 0] > 0 > forces[0, 0]
    assert walls == sorted(walls) and walls[2] > 10


def test_a_pair_that_the_data_do_not_have_gets_the_wall_of_nequip() -> None:
    core = ShortRangeZBL(reach_A=[[math.inf] * 3] * 3, **ARGUMENTS)
    atoms = Atoms("SiOH", [[0, 0, 0], [1.8, 0, 0], [0, 2.5, 0]])
    ours, theirs = energy(core, atoms), energy(ZBL(**ARGUMENTS), atoms)
    assert ours[0] == pytest.approx(theirs[0], rel=1e-12)
    assert ours[1] == pytest.approx(theirs[1], rel=1e-12)


def test_a_reach_beyond_the_cutoff_ends_at_the_cutoff() -> None:
    core = ShortRangeZBL(reach_A=[[9.0] * 3] * 3, **ARGUMENTS)
    at_cutoff = energy(core, Atoms("SiO", [[0, 0, 0], [CUTOFF_A - 1e-4, 0, 0]]))[0]
    assert at_cutoff == pytest.approx(0.0, abs=1e-9)


def test_a_package_holds_it(tmp_path: Path) -> None:
    """With the modules that `nequip-package` takes in, leaves out and replaces."""
    with conditional_torchscript_mode(False):
        core = ShortRangeZBL(reach_A=REACH_A, **ARGUMENTS)
    with torch.package.PackageExporter(tmp_path / "core.zip") as package:
        package.mock([f"{name}.**" for name in _MOCK_MODULES])
        package.extern([f"{name}.**" for name in _EXTERNAL_MODULES])
        package.intern([f"{name}.**" for name in _INTERNAL_MODULES])
        package.save_pickle("core", "core.pkl", core)
    loaded = torch.package.PackageImporter(tmp_path / "core.zip").load_pickle("core", "core.pkl")
    assert type(loaded) is not ShortRangeZBL
    atoms = frames(1)[0]
    assert energy(loaded, atoms)[0] == pytest.approx(energy(core, atoms)[0], rel=1e-12)


@pytest.mark.parametrize(
    ("reach", "words"),
    [
        ([[1.0]], "symmetric 3 x 3"),
        ([[1.0, 2.0, 1.0], [1.5, 1.0, 1.0], [1.0, 1.0, 1.0]], "symmetric 3 x 3"),
        ([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]], "positive"),
        ({"Si_O": 1.5, "Si_Si": 2.0, "O_O": 2.0}, "no distance for the pair Si_H"),
    ],
)
def test_a_reach_that_makes_no_sense_is_refused(reach: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ShortRangeZBL(reach_A=reach, **ARGUMENTS)


def test_a_training_finds_the_distances_itself(tmp_path: Path) -> None:
    module = module_config()
    module["model"]["pair_potential"] = {
        "_target_": "nequip_decorr.ShortRangeZBL",
        "chemical_species": "${training_module.model.type_names}",
        "units": "metal",
        "reach_A": "${training_data_stats:shortest_distances}",
    }
    config = run_config(tmp_path, module, epochs=1)
    config["data"]["stats_manager"] = {
        "_target_": "nequip_decorr.DistanceStatisticsManager",
        "type_names": "${training_module.model.type_names}",
    }
    done = nequip_train(tmp_path, config, "wall")
    assert done.returncode == 0, done.stdout[-3000:]
    model = load_model(tmp_path / "runs" / "wall" / "last.ckpt")
    found = next(value for name, value in model.named_buffers() if name.endswith("reach"))
    distances = shortest(frames())
    expected = [[distances[f"{a}_{b}"] for b in ("Si", "O")] for a in ("Si", "O")]
    assert found.numpy() == pytest.approx(np.array(expected), abs=1e-6)
