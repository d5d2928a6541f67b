"""Distributed training: the correlation of the global batch, and its gradient."""

import datetime
import os
import socket
from itertools import product
from pathlib import Path

import ase.io
import pytest
import torch
from nequip.train import SimpleDDPStrategy

from nequip_decorr import FeatureCorrelation, FeatureDecorrelation
from nequip_decorr.correlation import PENALTIES
from tests.helpers.forks import spawn
from tests.helpers.training import (
    build,
    data_config,
    datamodule,
    frames,
    module_config,
    trainer,
    weights,
)
from tests.training.test_guard import scheduled

WIDTH, BLOCK = 12, 4
SPLITS = {"halves": [40, 40], "uneven": [57, 23], "none": [80, 0], "one": [1, 79]}
OPTIONS = {"all": {}, "per_edge_type": {"per_edge_type": True}}
# Edges of the first rank are all between silicons, so that the ranks see other types of pairs.
TYPES = torch.tensor([0, 0, 1, 1])


def whole():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64)
    features = torch.randn(80, WIDTH, generator=generator, dtype=torch.float64) @ mixing
    index = torch.randint(4, (2, 80), generator=generator)
    index[:, :40] %= 2
    return features, index


def dictionary(features, index):
    return {"edge_features": features, "edge_index": index, "atom_types": TYPES}


def on_rank(rank, size, port, folder):
    """One rank: value and gradient of every penalty, as NequIP's training step has them."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", rank=rank, world_size=size, timeout=datetime.timedelta(seconds=120)
    )
    features, index = whole()
    found = {}
    for (split, splits), (kind, options) in product(SPLITS.items(), OPTIONS.items()):
        mine = slice(sum(splits[:rank]), sum(splits[: rank + 1]))
        for penalty in PENALTIES:
            term = FeatureDecorrelation(penalty, block_size=BLOCK, **options)
            term.dist_sync_on_step = True
            local = features[mine].clone().requires_grad_()
            data = dictionary(local, index[:, mine])
            value = term(data, data)
            value.backward()
            term(data, data)
            found[split, kind, penalty] = (value.item(), local.grad, term.compute().item())
        monitor = FeatureCorrelation(block_size=BLOCK, **options)
        monitor.update(dictionary(features[mine], index[:, mine]), {})
        found[split, kind, "monitor"] = monitor.compute().item()
    torch.save(found, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("ranks"))
    spawn(on_rank, (2, free_port(), folder), nprocs=2)
    return [torch.load(f"{folder}/{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("split", SPLITS)
def test_two_ranks_give_value_and_gradient_of_one(ranks, split, kind, penalty):
    features, index = whole()
    features.requires_grad_()
    term = FeatureDecorrelation(penalty, block_size=BLOCK, **OPTIONS[kind])
    expected = term(dictionary(features, index), {})
    expected.backward()
    found = [rank[split, kind, penalty] for rank in ranks]
    for value, _, mean in found:
        assert value == pytest.approx(expected.item(), abs=1e-12)
        assert mean == pytest.approx(expected.item(), abs=1e-12)
    gradient = torch.cat([gradient for _, gradient, _ in found])
    assert torch.allclose(gradient, features.grad, rtol=0, atol=1e-10)
    assert features.grad.abs().max() > 1e-6


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("split", SPLITS)
def test_two_ranks_monitor_what_one_does(ranks, split, kind):
    features, index = whole()
    monitor = FeatureCorrelation(block_size=BLOCK, **OPTIONS[kind])
    monitor.update(dictionary(features, index), {})
    expected = monitor.compute().item()
    assert [rank[split, kind, "monitor"] for rank in ranks] == pytest.approx([expected] * 2)


def train_on_rank(rank, size, port, folder):
    """A training as ``nequip-train`` runs it on one of several ranks."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), LOCAL_RANK=str(rank))
    torch.set_num_threads(1)
    folder = Path(folder)
    strategy = SimpleDDPStrategy(process_group_backend="gloo") if size > 1 else "auto"
    run = trainer(folder, epochs=2, devices=size, strategy=strategy, use_distributed_sampler=False)
    module = build(module_config([scheduled({"start": 5.0, "shape": "constant"})]))
    module.world_size = run.world_size
    # Two frames a step, whether one rank takes both or two take one each.
    data = datamodule(folder, train=f"train_{rank}_of_{size}.xyz", batch_size=2 // size)
    run.fit(module, datamodule=data)
    torch.save((weights(module), module.loss.metrics_values_epoch), folder / f"{size}_{rank}.pt")


@pytest.mark.slow
def test_training_on_two_ranks_is_training_on_one(tmp_path):
    data_config(tmp_path)
    for rank, size in ((0, 1), (0, 2), (1, 2)):
        ase.io.write(tmp_path / f"train_{rank}_of_{size}.xyz", frames()[rank::size])
    spawn(train_on_rank, (1, free_port(), str(tmp_path)), nprocs=1)
    spawn(train_on_rank, (2, free_port(), str(tmp_path)), nprocs=2)
    expected, losses = torch.load(tmp_path / "1_0.pt")
    for rank in (0, 1):
        found, on_rank = torch.load(tmp_path / f"2_{rank}.pt")
        assert on_rank == pytest.approx(losses, rel=1e-9)
        for name, value in expected.items():
            assert torch.allclose(found[name], value, rtol=0, atol=1e-10), name
