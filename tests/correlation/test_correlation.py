"""The maths against plain numpy, and the contract on degenerate input."""

import math

import numpy as np
import pytest
import torch

from nequip_decorr.correlation import (
    PENALTIES,
    STATISTICS,
    Moments,
    average,
    correlation_matrix,
    effective_rank,
    frobenius,
    grouped_moments,
    log_det,
    max_abs,
    merge_moments,
    moments,
    pearson_abs,
    pearson_squared,
    spectrum,
)
from tests.helpers.tolerances import CORRELATION, MERGE


def features(num_samples=200, num_channels=6, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(num_channels, num_channels, generator=generator, dtype=dtype)
    return torch.randn(num_samples, num_channels, generator=generator, dtype=dtype) @ mixing


def off_diagonal(matrix):
    return matrix[~np.eye(len(matrix), dtype=bool)]


def test_penalties_match_numpy():
    x = features()
    r = np.corrcoef(x.numpy().T)
    cov = np.cov(x.numpy().T)
    m = moments(x)
    assert pearson_squared(m).item() == pytest.approx(np.mean(off_diagonal(r) ** 2), abs=1e-12)
    assert pearson_abs(m).item() == pytest.approx(np.mean(np.abs(off_diagonal(r))), abs=1e-12)
    assert max_abs(m).item() == pytest.approx(np.max(np.abs(off_diagonal(r))), abs=1e-12)
    decorr = np.linalg.norm(cov / np.linalg.norm(cov) - np.eye(6) / math.sqrt(6))
    assert frobenius(m).item() == pytest.approx(decorr, abs=1e-12)
    shrunk = 0.95 * r + 0.05 * np.eye(6)
    assert log_det(m).item() == pytest.approx(-np.linalg.slogdet(shrunk)[1] / 6, abs=1e-12)


def test_effective_rank_of_planted_rank():
    base = torch.linalg.qr(features(400, 3) - features(400, 3).mean(0)).Q
    assert effective_rank(moments(base)).item() == pytest.approx(3.0, abs=1e-8)
    doubled = torch.cat([base, base], dim=1)
    assert effective_rank(moments(doubled)).item() == pytest.approx(3.0, abs=1e-8)
    assert spectrum(moments(doubled))[3:].abs().max() < 1e-10


@pytest.mark.parametrize("name", PENALTIES)
def test_gradcheck(name):
    x = features(12, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: PENALTIES[name](moments(t)), x)


@pytest.mark.parametrize("name", PENALTIES)
def test_gradcheck_blocks_and_groups(name):
    x = torch.stack([features(14, 3, seed=s) for s in (2, 3)]).requires_grad_()
    group = torch.tensor([0, 1, 2] * 4 + [1, 1])  # group 3 is absent
    weights = torch.tensor([1.0, 0.5], dtype=torch.float64)

    def loss(t):
        m = grouped_moments(t, group, 4)
        return average(PENALTIES[name](m), m, weights)

    assert torch.autograd.gradcheck(loss, x)


@pytest.mark.parametrize("splits", [(200,), (1, 199), (50, 0, 100, 49, 1), tuple([1] * 200)])
def test_batch_split_and_merge_order(splits):
    x = features() + 3.0
    whole = moments(x)
    parts = [moments(part) for part in x.split(splits)]
    order = np.random.default_rng(0).permutation(len(parts))
    for merged in (merge_moments(parts), merge_moments([parts[i] for i in order])):
        assert merged.count.item() == 200
        assert torch.allclose(merged.mean, whole.mean, rtol=0, atol=MERGE[torch.float64])
        for penalty in PENALTIES.values():
            difference = (penalty(merged) - penalty(whole)).abs().item()
            assert difference <= MERGE[torch.float64]


def test_merge_is_associative_like_a_tree():
    parts = [moments(p) for p in features().split(40)]
    left = merge_moments(parts)
    right = merge_moments([merge_moments(parts[:2]), merge_moments(parts[2:])])
    for a, b in zip(left, right, strict=True):
        assert torch.allclose(a, b, rtol=MERGE[torch.float64], atol=0)


@pytest.mark.parametrize("batches", [1, 7])
def test_float32_with_mean_a_thousand_times_the_spread(batches):
    x = features(5000, 8, seed=4)
    x = (x / x.std(0) + 1000.0).float()
    reference, _ = correlation_matrix(moments(x.double()))
    merged = merge_moments([moments(p) for p in x.tensor_split(batches)])
    ours, _ = correlation_matrix(merged)
    relative = ((ours - reference).abs() / reference.abs()).max().item()
    assert relative < CORRELATION[torch.float32]


DEGENERATE = {
    "no sample": torch.zeros(0, 4),
    "one sample": torch.randn(1, 4, generator=torch.Generator().manual_seed(0)),
    "two equal samples": torch.ones(2, 4),
    "all dead": torch.zeros(10, 4),
    "constant channel": torch.cat([torch.full((10, 1), 1e3), features(10, 3).float()], dim=1),
    "dead channel": torch.cat([torch.zeros(10, 1), features(10, 3).float()], dim=1),
    "identical channels": features(10, 2).float().repeat(1, 2),
    "opposite channels": torch.cat([features(10, 2).float(), -features(10, 2).float()], dim=1),
    "tiny": features(10, 4).float() * 1e-12,
    "huge": features(10, 4).float() * 1e12,
    "one channel": features(10, 1).float(),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("name", PENALTIES)
def test_degenerate_input_is_finite(name, case, dtype):
    x = DEGENERATE[case].detach().clone().to(dtype).requires_grad_()
    value = PENALTIES[name](moments(x))
    value.backward()
    assert torch.isfinite(value)
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_degenerate_values():
    assert pearson_squared(moments(DEGENERATE["one sample"])).item() == 0.0
    assert pearson_squared(moments(DEGENERATE["all dead"])).item() == 0.0
    alive = DEGENERATE["dead channel"].double()
    expected = pearson_abs(moments(alive[:, 1:])).item()
    assert pearson_abs(moments(alive)).item() == pytest.approx(expected, abs=1e-12)
    assert max_abs(moments(DEGENERATE["identical channels"])).item() == pytest.approx(1.0, abs=1e-6)
    assert effective_rank(moments(DEGENERATE["all dead"])).item() == 0.0


@pytest.mark.parametrize("name", ["mean_abs", "mean_squared", "max_abs", "effective_rank"])
def test_statistics_do_not_depend_on_scale_or_shift(name):
    x = features()
    scaled = x * torch.logspace(-3, 3, 6, dtype=x.dtype) + torch.linspace(-5, 5, 6, dtype=x.dtype)
    a, b = (STATISTICS[name](moments(t)).item() for t in (x, scaled))
    assert a == pytest.approx(b, abs=1e-9)


def test_grouped_moments_match_each_group():
    x = features(30, 3).unsqueeze(0)
    group = torch.arange(30) % 3
    grouped = grouped_moments(x, group, 4)
    for g in range(3):
        alone = moments(x[:, group == g])
        for a, b in zip(grouped, alone, strict=True):
            assert torch.allclose(a[g], b, atol=1e-14)
    assert grouped.count[3].item() == 0
    values = pearson_squared(grouped)
    assert average(values, grouped).item() == pytest.approx(values[:3].mean().item(), abs=1e-14)


def test_average_weights_blocks():
    values = torch.tensor([1.0, 3.0], dtype=torch.float64)
    m = Moments(torch.full((2,), 5.0), torch.zeros(2, 1), torch.zeros(2, 1, 1))
    assert average(values, m).item() == 2.0
    assert average(values, m, torch.tensor([0.0, 2.0])).item() == 3.0
