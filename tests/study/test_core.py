"""The wall of the study against the formula of ZBL, and where it ends."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from nequip.nn.pair_potential import ZBL

from benchmarks.study.core import ShortZBL, shortest_distances

SYMBOLS = ["Si", "O"]
REACH_A = [[3.0, 1.5], [1.5, 2.4]]
CUTOFF_A = 4.0
ARGUMENTS = {
    "type_names": SYMBOLS,
    "chemical_species": SYMBOLS,
    "units": "metal",
    "irreps_in": {"normed_edge_lengths": "0e", "pos": "1o", "edge_index": None},
}


def dimer(first: int, second: int, distance_A: float) -> dict[str, torch.Tensor]:
    """Two atoms and their two edges."""
    return {
        "pos": torch.tensor([[0.0, 0.0, 0.0], [distance_A, 0.0, 0.0]], requires_grad=True),
        "atom_types": torch.tensor([first, second]),
        "edge_index": torch.tensor([[0, 1], [1, 0]]),
        "normed_edge_lengths": torch.full((2, 1), distance_A / CUTOFF_A),
    }


def universal(first: int, second: int, distance_A: float, reach_A: float) -> float:
    """Ziegler, Biersack and Littmark's repulsion (eV) times the polynomial, written down anew."""
    length = 0.4685 / (first**0.23 + second**0.23)
    weights, rates = [0.1818, 0.5099, 0.2802, 0.02817], [3.2, 0.9423, 0.4029, 0.2016]
    screening = np.dot(weights, np.exp(-np.array(rates) * distance_A / length))
    x = distance_A / reach_A
    polynomial = 1 - 28 * x**6 + 48 * x**7 - 21 * x**8
    return float(14.399645 * first * second / distance_A * screening * polynomial)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_inside_it_is_zbl_that_ends_at_the_reach_of_the_pair(first: int, second: int) -> None:
    core = ShortZBL(reach_A=REACH_A, **ARGUMENTS)
    reach, numbers = REACH_A[first][second], (14, 8)
    for fraction in (0.4, 0.7, 0.9):
        data = core(dimer(first, second, fraction * reach))
        expected = universal(numbers[first], numbers[second], fraction * reach, reach)
        assert data["atomic_energy"].sum().item() == pytest.approx(expected, rel=1e-3)


def test_beyond_its_reach_there_is_neither_energy_nor_force() -> None:
    core = ShortZBL(reach_A=REACH_A, **ARGUMENTS)
    data = dimer(0, 1, 1.5001)
    energy = core(dict(data))["atomic_energy"].sum()
    (slope,) = torch.autograd.grad(energy, data["pos"])
    assert float(energy) == 0.0 and bool((slope == 0).all())
    whole = ZBL(**ARGUMENTS)(dict(dimer(0, 1, 1.5001)))["atomic_energy"].sum()
    assert float(whole) > 1.0  # NequIP's own still pushes here


def test_the_models_own_lengths_are_left_as_they_were() -> None:
    data = ShortZBL(reach_A=REACH_A, **ARGUMENTS)(dimer(0, 1, 1.2))
    assert data["normed_edge_lengths"].flatten().tolist() == pytest.approx([0.3, 0.3])


@pytest.mark.parametrize(
    ("reach", "words"),
    [
        ([[1.0]], "symmetric 2 x 2"),
        ([[1.0, 2.0], [1.5, 1.0]], "symmetric 2 x 2"),
        ([[1.0, 0.0], [0.0, 1.0]], "positive"),
    ],
)
def test_a_reach_that_makes_no_sense_is_refused(reach: list[list[float]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ShortZBL(reach_A=reach, **ARGUMENTS)


def test_shortest_distances_are_over_all_frames_and_periodic(tmp_path: Path) -> None:
    frames = [
        Atoms("SiOO", [[0.1, 0, 0], [1.7, 0, 0], [5, 5, 5]], cell=[10] * 3, pbc=True),
        Atoms("SiOO", [[0.1, 0, 0], [9.0, 0, 0], [5, 5, 5]], cell=[10] * 3, pbc=True),
    ]
    ase.io.write(tmp_path / "train.xyz", frames)
    found = shortest_distances(tmp_path / "train.xyz", SYMBOLS)
    assert found[0][1] == found[1][0] == pytest.approx(1.1)
    assert np.isinf(found[0][0])
    assert found[1][1] == pytest.approx(np.sqrt(3.3**2 + 50), abs=1e-3)
