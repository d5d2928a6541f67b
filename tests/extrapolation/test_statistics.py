"""Distances from Gaussians of atom features, against numpy and scipy."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis

from nequip_decorr.correlation import grouped_moments, merge_moments
from nequip_decorr.extrapolation.statistics import Gaussians, select_channels

RIDGE = 1e-2


def sample(number=400, width=6, seed=0):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(2, width, width))
    types = rng.integers(0, 2, number)
    x = np.einsum("nij,nj->ni", mixing[types], rng.normal(size=(number, width)))
    return torch.tensor(x + 3.0 * types[:, None]), torch.tensor(types)


def fitted(x, types, num_types=2, **options):
    return Gaussians.of_moments(grouped_moments(x, types, num_types), RIDGE, **options)


def reference(x, types, query, query_types, shrinkage):
    """The same distances from the definition, one atom at a time."""
    x, query = x.numpy(), query.numpy()
    means = {t: x[types == t].mean(0) for t in (0, 1)}
    centred = np.concatenate([x[types == t] - means[t] for t in (0, 1)])
    deviation = np.sqrt((centred**2).sum(0) / (len(x) - 2))
    pooled = (centred / deviation).T @ (centred / deviation) / (len(x) - 2)
    inverse = {}
    for t in (0, 1):
        y = (x[types == t] - means[t]) / deviation
        covariance = (y.T @ y + shrinkage * pooled) / (len(y) + shrinkage)
        inverse[t] = np.linalg.inv(covariance + RIDGE * np.eye(x.shape[1]))
    return np.array(
        [
            mahalanobis(q / deviation, means[t] / deviation, inverse[t])
            for q, t in zip(query, query_types.tolist(), strict=True)
        ]
    )


@pytest.mark.parametrize("shrinkage", [0.0, 50.0])
def test_the_distance_is_that_of_mahalanobis(shrinkage):
    x, types = sample()
    query, query_types = sample(50, seed=1)
    got = fitted(x, types, shrinkage=shrinkage).distance(query, query_types)
    np.testing.assert_allclose(got, reference(x, types, query, query_types, shrinkage), rtol=1e-9)


def test_batches_in_any_order_give_the_same_distances():
    x, types = sample()
    parts = [grouped_moments(x[i::7], types[i::7], 2) for i in range(7)]
    one, other = fitted(x, types), Gaussians.of_moments(merge_moments(parts[::-1]), RIDGE)
    torch.testing.assert_close(one.distance(x, types), other.distance(x, types))


def test_units_do_not_matter():
    x, types = sample()
    factors = torch.tensor([1e-3, 1.0, 1e4, 1.0, 7.0, 1e-6], dtype=x.dtype)
    plain = fitted(x, types).distance(x, types)
    torch.testing.assert_close(fitted(x * factors, types).distance(x * factors, types), plain)


def test_channels_that_others_give_are_left_out():
    x, types = sample(width=4)
    dead = torch.full((len(x), 1), 5.0, dtype=x.dtype)
    twin, sum_of_all = -2e3 * x[:, :1], x.sum(1, keepdim=True)
    every = torch.cat([dead, x, twin, sum_of_all], 1)
    chosen = select_channels(grouped_moments(every, types, 2))
    assert len(chosen) == 4 and 0 not in chosen
    assert not {1, 5} <= set(chosen.tolist())
    kept = every[:, chosen]
    left = torch.linalg.lstsq(kept - kept.mean(0), every - every.mean(0)).solution
    torch.testing.assert_close((kept - kept.mean(0)) @ left, every - every.mean(0))
    two = select_channels(grouped_moments(every, types, 2), 2)
    assert len(two) == 2 and set(two.tolist()) <= set(chosen.tolist())


def test_single_precision_gives_the_same_distances():
    x, types = sample(width=32)
    gaussians = fitted(x + 100.0, types)
    exact = gaussians.distance((x + 100.0).float().double(), types)
    single = gaussians.distance((x + 100.0).float(), types)
    assert single.dtype == torch.float64
    torch.testing.assert_close(single, exact, rtol=2e-6, atol=0)


def test_a_type_without_data_is_outside_and_a_rare_one_is_not_singular():
    x, types = sample()
    rare = torch.cat([x, x[:1] + 10]), torch.cat([types, torch.tensor([2])])
    gaussians = fitted(*rare, num_types=4)
    distance = gaussians.distance(x[:3], torch.tensor([0, 2, 3]))
    assert torch.isfinite(distance[:2]).all()
    assert distance[2] == torch.inf
    assert gaussians.distance(x[:1] + 10, torch.tensor([2])) < 1e-6


def test_features_that_do_not_vary_are_an_error():
    with pytest.raises(ValueError, match="features do not vary"):
        select_channels(
            grouped_moments(torch.ones(8, 3).double(), torch.zeros(8, dtype=torch.long), 2)
        )
