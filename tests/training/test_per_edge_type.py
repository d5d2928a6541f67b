"""Categories that could occur cost nothing; a set without samples has no value."""

import math
import time

import pytest
import torch

from nequip_decorr import FeatureCorrelation, FeatureDecorrelation
from nequip_decorr.correlation import STATISTICS


def batch(top, edges=3000, atoms=64, width=128, seed=0):
    """Two types that occur, the second with the highest index of ``top + 1``."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "edge_features": torch.randn(edges, width, generator=generator, requires_grad=True),
        "edge_index": torch.randint(0, atoms, (2, edges), generator=generator),
        "atom_types": torch.randint(0, 2, (atoms,), generator=generator) * top,
    }


def test_of_89_types_two_cost_what_two_of_two_do():
    values, seconds = {}, {}
    for top in (1, 1, 88):
        data = batch(top)
        term = FeatureDecorrelation(block_size=64, per_edge_type=True)
        monitor = FeatureCorrelation(block_size=64, per_edge_type=True)
        start = time.process_time()
        value = term.batch_penalty(data)
        value.backward()
        monitor.update(data, data)
        seconds[top] = time.process_time() - start
        values[top] = (value.item(), monitor.compute().item(), data["edge_features"].grad)
        assert monitor.comoment.shape == (4, 2, 64, 64)
    assert values[88][:2] == values[1][:2]
    assert torch.equal(values[88][2], values[1][2])
    assert seconds[88] < 10 * seconds[1]


def test_batches_of_other_types_merge_as_one_set():
    parts = [batch(top, edges=300, width=6, seed=top) for top in (1, 40, 88)]
    offset, index = 0, []
    for part in parts:
        index.append(part["edge_index"] + offset)
        offset += len(part["atom_types"])
    whole = {
        "edge_features": torch.cat([p["edge_features"] for p in parts]),
        "edge_index": torch.cat(index, 1),
        "atom_types": torch.cat([p["atom_types"] for p in parts]),
    }
    one, streamed = (FeatureCorrelation(per_edge_type=True) for _ in range(2))
    one.update(whole, {})
    for part in parts:
        streamed.update(part, {})
    assert streamed.labels.tolist() == one.labels.tolist()
    assert len(one.labels) == 1 + 3 * 3
    assert streamed.compute().item() == pytest.approx(one.compute().item(), abs=1e-12)


@pytest.mark.parametrize("per_edge_type", [False, True])
@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("edges", [0, 1])
def test_a_set_without_two_samples_is_nan_and_its_penalty_zero(statistic, per_edge_type, edges):
    data = batch(1, edges=edges, width=6)
    monitor = FeatureCorrelation(statistic, block_size=3, per_edge_type=per_edge_type)
    monitor.update(data, {})
    assert math.isnan(monitor.compute().item())
    assert monitor.per_block().isnan().all()
    assert math.isnan(monitor(data, {}).item())
    penalty = FeatureDecorrelation(block_size=3, per_edge_type=per_edge_type)(data, {})
    penalty.backward()
    assert penalty.item() == 0
    assert data["edge_features"].grad.abs().sum() == 0


def test_channels_that_never_vary_do_not_read_as_decorrelated():
    dead = {**batch(1, edges=50, width=4), "edge_features": torch.ones(50, 4)}
    monitor = FeatureCorrelation()
    monitor.update(dead, {})
    assert math.isnan(monitor.compute().item())
    # A dead block beside a live one leaves the value of the live one.
    half = {**dead, "edge_features": torch.cat([torch.ones(50, 4), torch.rand(50, 4)], 1)}
    both, live = FeatureCorrelation(block_size=4), FeatureCorrelation()
    both.update(half, {})
    live.update({**half, "edge_features": half["edge_features"][:, 4:]}, {})
    assert both.compute().item() == pytest.approx(live.compute().item(), abs=1e-14)


def test_fields_without_scalars_are_refused_and_of_others_the_scalars_taken():
    from e3nn.o3 import Irreps

    data = batch(1, edges=50, width=8)
    terms = [FeatureDecorrelation(), FeatureCorrelation()]
    for term in terms:
        term.irreps = {"edge_features": Irreps("2x1o + 2x0e")}
        scalars = {**data, "edge_features": data["edge_features"][:, 6:]}
        plain = type(term)()
        assert term(data, {}).item() == plain(scalars, {}).item()
        term.irreps = {"edge_features": Irreps("1x3o + 1x0e")}
        with pytest.raises(ValueError, match="blocks of one scalar channel"):
            term(data, {})
        term.irreps = {"edge_features": Irreps("1x1o + 1x2e")}
        with pytest.raises(ValueError, match="holds no features of scalar channels"):
            term(data, {})
    forces = {**data, "forces": torch.rand(64, 3)}
    with pytest.raises(ValueError, match="`forces` holds no features of scalar channels"):
        FeatureDecorrelation(field="forces")(forces, {})
