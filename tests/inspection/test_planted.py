"""Planted structure is found, exactly; one pass gives what a direct computation gives."""

import csv
import gc
import re
import time
import tracemalloc

import numpy as np
import pytest
import torch

from nequip_decorr import inspect_features
from nequip_decorr.correlation import merge_moments, moments
from nequip_decorr.inspection.accumulate import Accumulator
from nequip_decorr.inspection.statistics import cluster_order, duplicate_groups


def independent(samples: int, channels: int, seed: int = 0) -> torch.Tensor:
    """Channels whose sample correlation is zero to rounding."""
    noise = torch.randn(samples, channels, generator=torch.Generator().manual_seed(seed)).double()
    return torch.linalg.qr(noise - noise.mean(0))[0] * samples**0.5


@pytest.fixture(scope="module")
def planted():
    """Block 0: 16 independent channels, 3 = -2 x channel 9, channel 5 dead. Block 1: rank 4."""
    base = independent(2000, 16)
    first = base.clone() + 7.0
    first[:, 3] = -2.0 * first[:, 9]
    first[:, 5] = 1.25
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(4, 16, generator=generator).double()
    second = independent(2000, 4, seed=2) @ mix
    return torch.cat([first, second], 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_duplicates_dead_channels_and_rank_are_found_exactly(planted, dtype):
    found = inspect_features(planted.to(dtype), block_size=16)
    first, second = found.entries[0].statistics
    assert first.duplicates == ((3, 9),)
    assert first.redundant == 1
    assert first.dead == (5,)
    assert first.rank == 14
    assert first.max_abs == pytest.approx(1.0, abs=1e-6)
    # 15 live channels, 105 pairs, one of them with |R| = 1.
    assert first.mean_abs == pytest.approx(1 / 105, abs=1e-5)
    # Eigenvalues 2 and 13 times 1, out of 15.
    p = np.array([2, *[1] * 13]) / 15
    assert first.effective_rank == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-5)
    assert (second.rank, second.dead, second.duplicates) == (4, (), ())


def test_findings_are_in_the_csv(planted, tmp_path):
    paths = inspect_features(planted, block_size=16, name="m").to_csv(tmp_path / "new" / "folder")
    assert [p.name for p in paths] == ["statistics.csv", "spectrum.csv", "channels.csv"]
    rows = list(csv.DictReader(paths[2].open()))
    found = [(r["block"], r["finding"], r["channels"]) for r in rows]
    assert found == [("block_0", "dead", "5"), ("block_0", "duplicates", "3 9")]
    table = list(csv.DictReader(paths[0].open()))
    ranks = {r["block"]: int(r["rank"]) for r in table if r["group"] == "all"}
    assert ranks == {"block_0": 14, "block_1": 4}
    assert len(list(csv.DictReader(paths[1].open()))) == 32


def test_duplicate_groups_chain_and_ignore_dead_channels():
    matrix = np.eye(5)
    for i, j, value in [(0, 1, 0.995), (1, 2, -0.995), (3, 4, 1.0)]:
        matrix[i, j] = matrix[j, i] = value
    live = np.array([True, True, True, True, False])
    assert duplicate_groups(matrix, live) == ((0, 1, 2),)


def test_cluster_order_puts_groups_together_and_dead_channels_last():
    x = independent(500, 6)
    y = torch.stack([x[:, 0], x[:, 1], x[:, 0] + 0.1 * x[:, 2], x[:, 1] + 0.1 * x[:, 3]], 1)
    matrix = np.corrcoef(y.T.numpy())
    order = cluster_order(np.pad(matrix, (0, 1)), np.array([True] * 4 + [False])).tolist()
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert order[-1] == 4
    assert {frozenset(order[:2]), frozenset(order[2:4])} == {frozenset({0, 2}), frozenset({1, 3})}


def test_any_split_into_batches_gives_the_moments_of_one_pass():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, 900, 5, generator=generator).double() + 100
    kinds = torch.randint(0, 4, (900,), generator=generator)
    r = 4 * torch.rand(900, generator=generator).double()
    whole, split = Accumulator(4.0, 8), Accumulator(4.0, 8)
    whole.update(x, kinds, r)
    for part in torch.randperm(900, generator=generator).split([1, 499, 0, 400]):
        split.update(x[:, part], kinds[part], r[part])
    a, b = whole.result(), split.result()
    direct = moments(x)
    for found in (a, b):
        torch.testing.assert_close(found.total.comoment, direct.comoment, rtol=1e-10, atol=1e-8)
        torch.testing.assert_close(
            merge_moments(found.by_kind.values()).comoment, direct.comoment, rtol=1e-10, atol=1e-8
        )
    for name in ("left_given_length", "left_given_length_and_kind"):
        left, right = getattr(a, name).comoment, getattr(b, name).comoment
        torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-7)


def test_what_is_left_is_that_of_a_regression_on_the_length():
    """Against least squares on a design matrix of indicators and slopes per bin (and kind)."""
    generator = torch.Generator().manual_seed(4)
    r = 4 * torch.rand(3000, generator=generator).double()
    kinds = torch.randint(0, 3, (3000,), generator=generator)
    x = torch.randn(3000, 6, generator=generator).double()
    x[:, :3] += 3 * torch.cos(r)[:, None] * torch.tensor([1.0, -1.0, 0.5])
    x[:, 2:4] += kinds[:, None]
    accumulator = Accumulator(4.0, 10)
    accumulator.update(x[None], kinds, r)
    found = accumulator.result()
    bins = torch.bucketize(r, torch.linspace(0, 4, 11).double()[1:-1], right=True)
    for cells, left in (
        (bins, found.left_given_length),
        (kinds * 10 + bins, found.left_given_length_and_kind),
    ):
        one = torch.nn.functional.one_hot(cells).double()
        design = torch.cat([one, one * r[:, None]], 1)
        design = design[:, design.abs().sum(0) > 0]
        rest = x - design @ torch.linalg.lstsq(design, x, driver="gelsd").solution
        torch.testing.assert_close(left.comoment[0], rest.T @ rest, rtol=1e-8, atol=1e-6)


def test_the_part_that_distance_explains():
    """Channels that are curves of the length plus independent noise: all their correlation is."""
    samples = 6000
    r = 4 * torch.rand(samples, generator=torch.Generator().manual_seed(5)).double()
    fade = torch.cos(0.25 * np.pi * r)
    x = 3 * fade[:, None] + independent(samples, 4, seed=6)
    entry = inspect_features(x, lengths_A=r, cutoff_A=4.0).entries[0]
    whole, given = entry.statistics[0], entry.given_length[0]
    assert whole.mean_abs > 0.75
    assert given.mean_abs_left < 0.03
    assert given.variance == pytest.approx(whole.mean_abs, abs=0.02)
    explained_part = entry.matrices[0] - given.matrix_left
    off = ~np.eye(4, dtype=bool)
    assert np.abs(explained_part[off] - entry.matrices[0][off]).max() < 0.03


def test_nothing_is_left_of_features_that_are_functions_of_the_length():
    r = torch.linspace(0.5, 3.9, 4000).double()
    x = torch.stack([r, 2 - r, 5 * r + 1], 1)
    given = inspect_features(x, lengths_A=r).entries[0].given_length[0]
    assert given.variance == pytest.approx(1.0)
    assert given.channels_left == 0
    assert np.isnan(given.mean_abs_left)


def test_too_few_samples_give_no_explained_part():
    r = torch.linspace(0.5, 3.9, 50).double()
    entry = inspect_features(independent(50, 3), lengths_A=r).entries[0]
    assert entry.given_length is None
    assert entry.by_length


def test_100_000_edges_of_512_channels_take_less_than_ten_seconds():
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(100_000, 512, generator=generator)
    r = 5 * torch.rand(100_000, generator=generator)
    kinds = torch.randint(0, 4, (100_000,), generator=generator)
    # On one core; processor time, so that other jobs beside it don't count.
    start = time.process_time()
    entry = inspect_features(x, lengths_A=r, kinds=kinds).entries[0]
    assert entry.statistics[0].samples == 100_000
    assert entry.given_length[0].mean_abs_left < 0.01
    assert time.process_time() - start < 10


def test_memory_does_not_grow_with_the_number_of_batches():
    def peak(batches: int) -> tuple[int, int]:
        accumulator = Accumulator(4.0, 10)
        generator = torch.Generator().manual_seed(8)
        tracemalloc.start()
        for _ in range(batches):
            r = 4 * torch.rand(200, generator=generator)
            kinds = torch.randint(0, 4, (200,), generator=generator)
            accumulator.update(torch.randn(3, 200, 8, generator=generator), kinds, r)
        gc.collect()
        python = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        kept = [accumulator._by_bin, accumulator._by_kind.moments]
        sums = accumulator._sums
        tensors = [t for m in kept for t in m] + [sums.linear, sums.x, sums.xr, sums.shift]
        return python, sum(t.untyped_storage().nbytes() for t in tensors)

    # torch's own bookkeeping of calls is full after some hundred to thousand batches, at 40 to
    # 70 kB. Less than one Python float, of 24 bytes, may stay for each batch.
    few, many = peak(400), peak(2000)
    assert many[1] == few[1]
    assert many[0] < few[0] + 24 * (2000 - 400)


WRONG = [
    ({"features": torch.zeros(1, 3)}, r"two samples or more, got \(1, 3\)"),
    ({"features": torch.zeros(4)}, r"must be \[num_samples, channels\]"),
    ({"lengths_A": torch.zeros(3)}, r"`lengths_A` must be \[4\], got \(3,\)"),
    ({"lengths_A": torch.full((4,), float("nan")), "cutoff_A": 2.0}, "lengths are not finite"),
    ({"block_size": 2}, "`block_size` 2 does not divide the field's 3 channels"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        inspect_features(**{"features": torch.zeros(4, 3), **arguments})


def test_degenerate_features_are_finite_or_absent():
    for x in (torch.zeros(5, 3), torch.ones(5, 1), torch.full((5, 2), float("nan"))):
        found = inspect_features(x)
        (only,) = found.entries[0].statistics
        assert len(only.dead) == x.shape[1]
        assert only.effective_rank == 0
        assert np.isnan(only.mean_abs)
        words = re.sub(r"base64,[^\"]*", "", found._repr_html_())
        assert "mean |R| –" in words
        assert "nan" not in words


def test_kinds_of_any_name_are_drawn():
    r = torch.linspace(0.5, 3.9, 3000).double()
    kinds = torch.arange(3000) % 3
    for names in (None, {0: "near", 1: "far", 2: "other"}):
        found = inspect_features(
            independent(3000, 3), lengths_A=r, kinds=kinds, kind_names=names, cutoff_A=4.0
        )
        assert {"kinds", "shares", "length", "distance_0"} <= set(found.figures)
        assert "<img" in found._repr_html_()
