"""The parts and the reading of the term's open questions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk

from benchmarks import term_parts, term_summary
from nequip_decorr.models.potential import CompiledCalculator, CompiledPotential


def test_edges_that_point_one_way_are_alike() -> None:
    centres = torch.tensor([0, 0, 1, 1])
    assert term_parts.alike(torch.rand(4, 1) + 0.1, centres) == pytest.approx((1, 1))
    rows = torch.eye(2)[[0, 0, 1, 1]]  # alike within a centre, not between the two
    assert term_parts.alike(rows, centres) == pytest.approx((1 / 3, 1))


def test_the_nearest_neighbours_of_each_centre_are_kept() -> None:
    centre, length = np.array([1, 0, 1, 0, 1]), np.array([3.0, 1.0, 1.0, 2.0, 2.0])
    assert term_parts.nearest(centre, length, 2).tolist() == [False, True, True, True, True]
    assert term_parts.nearest(centre, length, 1).tolist() == [False, True, True, False, False]


def test_the_transform_cuts_the_list_of_nequip() -> None:
    from nequip.data import from_ase

    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.05, seed=1)
    data = term_parts.NearestNeighbours(neighbours=4, r_max=4.0)(from_ase(atoms))
    assert torch.bincount(data["edge_index"][0]).tolist() == [4] * 8
    assert len(data["edge_cell_shift"]) == 32
    shift = data["edge_cell_shift"] @ data["cell"].reshape(3, 3)
    ends = data["pos"][data["edge_index"]]
    assert float((ends[1] - ends[0] + shift).norm(dim=1).max()) < 2.7  # the first shell


def test_md_sees_the_cut_list(compiled_model: Path) -> None:
    atoms = bulk("Si", cubic=True).repeat(2)
    atoms.rattle(0.05, seed=1)
    whole = CompiledCalculator(CompiledPotential(compiled_model)).get_potential_energy(atoms)
    of = {
        n: term_parts.Truncated(str(compiled_model), n).get_potential_energy(atoms)
        for n in (None, 1000, 4)
    }
    assert of[None] == of[1000] == pytest.approx(whole)
    assert abs(of[4] - whole) > 1e-4


def test_the_gradient_is_that_of_the_worst_point_near_by() -> None:
    curvature = torch.tensor([1.0, 9.0], dtype=torch.float64)
    start = torch.tensor([3.0, 1.0], dtype=torch.float64)
    weights = torch.nn.Parameter(start.clone())
    optimiser = term_parts.SharpnessAwareAdam([weights], radius=0.5, lr=0.0)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = (curvature * weights**2).sum() / 2
        loss.backward()
        return loss

    first = optimiser.step(closure)
    assert float(first.detach()) == pytest.approx(9.0)
    there = start + 0.5 * curvature * start / (curvature * start).norm()
    assert weights.grad is not None
    torch.testing.assert_close(weights.grad, curvature * there)
    torch.testing.assert_close(weights.detach(), start)


def test_a_planted_ratio_is_read_again() -> None:
    rows = [
        {"model": m, "seed": s, "stable_ps": s * r}
        for m, r in (("stock", 1.0), ("decorrelated", 2.0))
        for s in (1, 2, 3)
        for _ in range(2)
    ]
    reading = term_summary.paired(term_summary.means(rows, "stable_ps"), "stock", "decorrelated")
    assert reading is not None and reading.ratio.value == pytest.approx(2.0)
    assert len(reading.logs) == 3
