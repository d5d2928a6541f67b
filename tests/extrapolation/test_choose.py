"""The greedy choice against a direct recomputation, on planted grade vectors."""

import numpy as np
import pytest
import torch

from nequip_decorr.correlation import grouped_moments
from nequip_decorr.extrapolation.choose import Candidate, LabelledSoFar, choose
from nequip_decorr.extrapolation.statistics import Gaussians

WIDTH, TYPES = 6, 2


def candidates(number, seed=0, scale=2.0, **kwargs):
    rng = torch.Generator().manual_seed(seed)
    return [
        Candidate(
            scale * torch.randn(9, WIDTH, generator=rng, dtype=torch.float64),
            torch.arange(9) % TYPES,
            **kwargs,
        )
        for _ in range(number)
    ]


def direct(pool, chosen, k):
    """Grades of structure k after the chosen ones, with explicit inverses."""
    found = []
    for g, t in zip(pool[k].vectors, pool[k].types, strict=True):
        m = torch.eye(WIDTH, dtype=torch.float64)
        for c in chosen:
            for h, s in zip(pool[c].vectors, pool[c].types, strict=True):
                if s == t:
                    m += torch.outer(h, h)
        found.append(float((g @ torch.linalg.inv(m) @ g).sqrt()))
    return np.array(found)


def test_each_choice_is_the_largest_of_a_direct_recomputation():
    pool = candidates(12)
    found = choose(pool, TYPES, 12, per_type=0, own_share=0.0)
    assert 2 < len(found) < 12
    chosen = []
    for choice in found:
        grades = np.array([direct(pool, chosen, k) for k in range(len(pool))])
        assert np.unravel_index(grades.argmax(), grades.shape) == (choice.index, choice.atom)
        assert choice.grade == pytest.approx(grades.max())
        chosen.append(choice.index)
    left = np.array([direct(pool, chosen, k) for k in range(len(pool))])
    assert left.max() <= 1.0


def test_the_number_of_frames_bounds_the_choice():
    pool = candidates(12)
    assert choose(pool, TYPES, 2) == choose(pool, TYPES, 12)[:2]
    assert choose(candidates(12, scale=0.1), TYPES, 5) == []
    assert choose([], TYPES, 5) == []


def test_a_structure_nearly_equal_to_a_chosen_one_is_left_out():
    (one,) = candidates(1)
    other = Candidate(one.vectors + 1e-3, one.types)
    assert [c.index for c in choose([one, other, one], TYPES, 3)] in ([0], [1], [2])


def test_a_labelled_atom_is_inside_the_edge_and_no_grade_rises():
    pool = candidates(6, scale=30.0)
    labelled = LabelledSoFar(TYPES, WIDTH)
    before = [labelled.grade(c) for c in pool]
    for c, g in zip(pool, before, strict=True):
        torch.testing.assert_close(g, c.vectors.norm(dim=1))
    labelled.add(pool[0])
    after = [labelled.grade(c) for c in pool]
    assert (after[0] < 1).all()
    assert all((a <= b).all() for a, b in zip(after, before, strict=True))


def test_floors_per_type_and_a_share_for_own_cells():
    pool = candidates(4, scale=50.0) + candidates(2, seed=1, scale=1.0, own=True)
    for c in pool[:4]:
        c.vectors[c.types == 1] *= 1e-3
    rare = candidates(1, seed=2, scale=1.0)[0]
    rare.vectors[rare.types == 0] *= 1e-3
    found = choose([*pool, rare], TYPES, 4, own_share=0.25)
    assert found[0].why == "own cells" and pool[found[0].index].own
    pool = [*pool[:4], rare]
    kinds = {n: [int(pool[c.index].types[c.atom]) for c in choose(pool, TYPES, 2, per_type=n)]
             for n in (0, 1)}  # fmt: skip
    assert kinds == {0: [0, 0], 1: [0, 1]}


def test_a_floor_per_composition_counts_formula_units():
    """Frames of the second composition are the nearer ones, one of them in twice the cell."""
    pool = candidates(3, scale=50.0) + candidates(2, seed=1, scale=9.0)
    for c in pool[:3]:
        c.types[:] = torch.arange(len(c.types)) % 2
    for c in pool[3:]:
        c.types[:] = 0
    double = Candidate(pool[4].vectors.repeat(2, 1), pool[4].types.repeat(2))
    assert double.composition(TYPES) == pool[4].composition(TYPES) == (1, 0)
    pool[4] = double
    chosen = {
        n: [(c.index >= 3, c.why) for c in choose(pool, TYPES, 2, per_type=0, per_composition=n)]
        for n in (0, 1)
    }
    assert chosen[0] == [(False, "largest grade")] * 2
    assert sorted(chosen[1]) == [(False, "composition"), (True, "composition")]


def test_the_length_of_a_vector_is_the_distance():
    rng = torch.Generator().manual_seed(3)
    x = torch.randn(80, WIDTH, generator=rng, dtype=torch.float64)
    types = torch.arange(80) % TYPES
    found = Gaussians.of_moments(grouped_moments(x, types, TYPES))
    vector = found.vector(3 * x, types)
    assert vector.shape == (80, WIDTH)
    torch.testing.assert_close(vector.norm(dim=1), found.distance(3 * x, types))
