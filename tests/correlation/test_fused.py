"""Value and gradient that the loss takes in one go, against the plain formula in float64."""

import pytest
import torch

from nequip_decorr.correlation import average, mean_pearson_squared, moments, pearson_squared
from nequip_decorr.features.fields import split_blocks
from tests.correlation.test_correlation import DEGENERATE, features
from tests.features.test_taps import batch
from tests.helpers.training import BLOCK, build, module_config

WEIGHTS = torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64)


def blocks(num_samples=300, num_channels=8, shift=0.0, spread=1.0):
    """Blocks as an Allegro's, some with channels of very different scales."""
    scales = torch.logspace(0, spread, num_channels, dtype=torch.float64)
    x = torch.stack([features(num_samples, num_channels, seed=s) for s in range(3)])
    return (x / x.std(1, keepdim=True) + shift) * scales


def plain(x, weights=None):
    m = moments(x)
    return average(pearson_squared(m), m, weights)


def value_and_gradient(function, x, weights):
    x = x.clone().requires_grad_()
    weights = None if weights is None else weights.to(x.dtype)
    value = function(x, weights)
    return value.double(), torch.autograd.grad(value, x)[0].double()


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_gradcheck(weights):
    x = blocks(14, 4, shift=3.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: mean_pearson_squared(t, weights), x)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_float64_is_the_plain_formula(shift, weights):
    x = blocks(shift=shift)
    for ours, theirs in zip(
        value_and_gradient(mean_pearson_squared, x, weights),
        value_and_gradient(plain, x, weights),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize(("shift", "spread"), [(0.0, 0.0), (3.0, 4.0), (30.0, 1.0)])
def test_float32_is_as_good_as_its_features(shift, spread):
    """Against float64 on the same rounded features: means of many spreads, scales of 1 to 1e4."""
    x = blocks(4000, 32, shift, spread).float()
    value, gradient = value_and_gradient(mean_pearson_squared, x, None)
    exact, exact_gradient = value_and_gradient(plain, x.double(), None)
    assert abs(value / exact - 1) < 1e-6
    # By channel, since their gradients have the inverse of their scales.
    error = (gradient - exact_gradient).norm(dim=1) / exact_gradient.norm(dim=1)
    assert error.max() < 1e-5


def test_features_of_less_precision_are_summed_in_float32():
    x = blocks(200, 4).bfloat16()
    value, gradient = value_and_gradient(mean_pearson_squared, x, None)
    exact, exact_gradient = value_and_gradient(plain, x.double(), None)
    assert abs(value / exact - 1) < 1e-5
    assert (gradient - exact_gradient).norm() < 0.01 * exact_gradient.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_input_is_what_the_plain_formula_says(case, dtype):
    x = DEGENERATE[case].detach().to(dtype).unsqueeze(0)
    value, gradient = value_and_gradient(mean_pearson_squared, x, None)
    exact, exact_gradient = value_and_gradient(plain, x.double(), None)
    assert value.item() == pytest.approx(exact.item(), abs=1e-6)
    assert torch.isfinite(gradient).all()
    assert (gradient - exact_gradient).norm() <= 1e-4 * exact_gradient.norm() + 1e-7


def test_an_overflowing_channel_is_left_out():
    x = blocks(100, 4).float()[:1]
    x[..., 0] *= 1e30
    value, gradient = value_and_gradient(mean_pearson_squared, x, None)
    assert value.item() == pytest.approx(plain(x[..., 1:].double()).item(), abs=1e-6)
    assert torch.isfinite(gradient).all()


def test_the_gradient_is_laid_out_as_the_features_are():
    """Without a copy on its way through the split into blocks."""
    table = features(50, 12).requires_grad_()
    split = table.reshape(50, 3, 4).transpose(0, 1)
    strides = []
    split.register_hook(lambda gradient: strides.append(gradient.stride()))
    mean_pearson_squared(split).backward()
    assert strides == [split.stride()]


def test_weights_of_a_force_training_get_the_gradient_of_the_plain_formula():
    """Through the features alone: forces are taken before the term, by a graph of their own."""
    metric = {"_target_": "nequip_decorr.FeatureDecorrelation", "block_size": BLOCK}
    extra = [{"name": "decorrelation", "coeff": 0.5, "metric": metric}]
    module, data = build(module_config(extra)), batch()
    model = module.model["sole_model"]
    weights = [p for p in model.parameters() if p.requires_grad]

    def gradient(loss):
        found = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
        return torch.cat([g.flatten() for g in found if g is not None])

    preds = model(dict(data))
    target = {**data, "forces": torch.ones_like(data["pos"]), "total_energy": torch.ones(2, 1)}
    losses = module.loss(preds, target)
    coeffs = {name: entry.coeff for name, entry in module.loss.entries.items()}
    expected = coeffs["decorrelation"] * plain(split_blocks(preds["edge_features"], BLOCK))
    for name in coeffs.keys() - {"decorrelation"}:
        expected = expected + coeffs[name] * losses[name]
    assert gradient(losses["weighted_sum"]).numpy() == pytest.approx(
        gradient(expected).numpy(), rel=1e-9, abs=1e-12
    )
