"""Prototypes of terms that look into the model: what they read there, by independent means."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.study.metrics import BindModel
from nequip_decorr import FeatureDecorrelation
from tests.features.test_taps import batch
from tests.helpers.training import BLOCK, build, module_config

PLACE = "benchmarks.study.metrics."


def bound(name: str, **arguments: Any) -> tuple[Any, Any]:
    """A training module with a prototype as its loss term, bound as at the start of training."""
    metric = {"_target_": PLACE + name, "block_size": BLOCK, **arguments}
    module = build(module_config([{"name": "decorrelation", "coeff": 0.1, "metric": metric}]))
    BindModel().on_fit_start(None, module)  # type: ignore[arg-type]
    (term,) = [m for m in module.loss.modules() if isinstance(m, FeatureDecorrelation)]
    return module, term


def output(module: Any) -> dict[str, torch.Tensor]:
    return module.model["sole_model"](dict(batch()))


def mean_square_correlation(x: torch.Tensor) -> float:
    """By numpy, over pairs of different channels of ``[num_samples, channels]``."""
    matrix = np.corrcoef(x.detach().double().numpy().T)
    return float((matrix[~np.eye(len(matrix), dtype=bool)] ** 2).mean())


def test_a_copy_that_is_not_rattled_is_the_batch() -> None:
    module, term = bound("RattledDecorrelation", rattle_A=0.0)
    preds = output(module)
    plain = FeatureDecorrelation(block_size=BLOCK)(preds, preds)
    assert float(term(preds, preds)) == pytest.approx(float(plain), rel=1e-9)


def test_a_rattled_copy_is_the_models_own_output_there() -> None:
    module, term = bound("RattledDecorrelation", rattle_A=0.3)
    preds = output(module)
    value = term(preds, preds)
    assert float(value) == float(term(preds, preds)), "the same frame is rattled the same way"
    assert float(value) != pytest.approx(
        float(FeatureDecorrelation(block_size=BLOCK)(preds, preds))
    )
    value.backward()
    reached = [p.grad is not None and bool(p.grad.abs().max() > 0) for p in module.parameters()]
    assert any(reached)


def test_channels_that_the_read_out_ignores_do_not_count() -> None:
    module, term = bound("ReadoutDecorrelation")
    model = module.model["sole_model"]
    readout = next(m.edge_readout for m in model.modules() if hasattr(m, "edge_readout"))
    weight = next(iter(readout.parameters()))
    preds = output(module)
    features = preds["edge_features"].detach()
    inputs = features.shape[1]
    assert inputs == 3 * BLOCK and inputs in weight.shape
    before = float(term({**preds, "edge_features": features}, preds))
    with torch.no_grad():
        weight.zero_()
        used = [0, 2]  # of each block
        for start in range(0, inputs, BLOCK):
            for channel in used:
                weight.select(0 if weight.shape[0] == inputs else 1, start + channel).fill_(1.0)
    got = float(term({**preds, "edge_features": features}, preds))
    blocks = features.reshape(-1, 3, BLOCK)[:, :, used]
    wanted = np.mean([mean_square_correlation(blocks[:, b]) for b in range(3)])
    assert got == pytest.approx(wanted, rel=1e-6)
    assert got != pytest.approx(before, rel=1e-3)


def test_the_tensor_track_is_that_of_the_last_call() -> None:
    module, term = bound("TensorDecorrelation")
    track = next(m for m in module.model.modules() if type(m).__name__ == "Allegro_Module").tps[0]
    seen: list[torch.Tensor] = []
    track.register_forward_hook(lambda *call: seen.append(call[2]))
    preds = output(module)
    norms = seen[-1].square().sum(-1).sqrt()
    assert norms.shape == (preds["edge_features"].shape[0], 2)
    # The norms are small here, so that the floor under the variance is felt.
    assert float(term(preds, preds)) == pytest.approx(mean_square_correlation(norms), rel=1e-4)


def test_a_model_without_the_part_is_an_error() -> None:
    module, term = bound("TensorDecorrelation")
    module.model = torch.nn.ModuleDict({"sole_model": torch.nn.Linear(1, 1)})
    with pytest.raises(ValueError, match="the model has no Allegro_Module"):
        term.bind(module)
