"""Taps of a message-passing model: what they give, and that they leave no trace."""

import copy
import zipfile

import numpy as np
import pytest
import torch
from e3nn.o3 import Irreps
from nequip.data import AtomicDataDict, from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.integrations.ase import NequIPCalculator
from nequip.scripts import _workflow_utils as workflow
from nequip.utils.global_state import set_global_state

from nequip_decorr import FeatureDecorrelation, TapFeatures
from nequip_decorr.features.taps import TAPS, invariants, scalars
from nequip_decorr.inspection.evaluate import load_model
from tests.helpers.cache import cached
from tests.helpers.forks import succeeds
from tests.helpers.tolerances import FORCE_EV_PER_A
from tests.helpers.training import (
    TYPES,
    build,
    fit,
    frames,
    module_config,
    nequip_config,
    nequip_train,
    run_config,
    tapped_config,
)

ALL = sorted(TAPS)


def batch(atoms=None):
    transforms = [
        ChemicalSpeciesToAtomTypeMapper(model_type_names=TYPES),
        NeighborListTransform(r_max=3.0),
    ]
    made = []
    for frame in atoms or frames(2):
        data = from_ase(frame)
        for transform in transforms:
            data = transform(data)
        made.append(data)
    return AtomicDataDict.batched_from_list(made)


def built(config):
    return build(module_config(model=config)).model["sole_model"]


def test_every_tap_is_a_field_of_the_right_shape_with_a_gradient():
    model, data = built(tapped_config(ALL)), batch()
    output = model(dict(data))
    atoms, edges = data["pos"].shape[0], data["edge_index"].shape[1]
    rows = {"node_invariants": atoms, "node_scalars": atoms, "messages": edges}
    for layer in range(2):
        for tap in ALL:
            field = f"layer{layer}_{tap}"
            found = output[field]
            assert found.shape == (rows.get(tap, edges), model.irreps_out[field].dim), field
            gradient = torch.autograd.grad(
                found.square().sum(), list(model.parameters()), allow_unused=True, retain_graph=True
            )
            assert any(g is not None and g.abs().sum() > 0 for g in gradient), field


def test_taps_do_not_depend_on_orientation():
    model = built(tapped_config(ALL))
    turned = frames(2)
    for atoms in turned:
        atoms.rotate(37, (1, 2, 3), rotate_cell=True)
    a, b = model(dict(batch())), model(dict(batch(turned)))
    for field in [f"layer{layer}_{tap}" for layer in range(2) for tap in ALL]:
        order_a = a[field].sort(0).values
        assert torch.allclose(order_a, b[field].sort(0).values, atol=1e-10), field


def test_invariants_are_scalars_and_norms():
    irreps = Irreps("2x0e + 1x0o + 2x1o + 1x2e")
    x = torch.randn(7, irreps.dim, dtype=torch.float64, requires_grad=True)
    found = invariants(x, irreps)
    expected = [x[:, :2], x[:, 2:3].abs(), x[:, 3:6].norm(dim=1, keepdim=True)]
    expected += [x[:, 6:9].norm(dim=1, keepdim=True), x[:, 9:].norm(dim=1, keepdim=True)]
    assert torch.allclose(found, torch.cat(expected, 1), atol=1e-9)
    assert torch.equal(scalars(x, irreps), x[:, :2])
    zero = torch.zeros(1, irreps.dim, dtype=torch.float64, requires_grad=True)
    invariants(zero, irreps).sum().backward()
    assert torch.isfinite(zero.grad).all()


def test_weights_energies_and_forces_are_those_of_the_stock_model():
    stock, tapped, data = built(nequip_config()), built(tapped_config(ALL)), batch()
    assert stock.state_dict().keys() == tapped.state_dict().keys()
    stock.load_state_dict(tapped.state_dict())
    a, b = stock(dict(data)), tapped(dict(data))
    for field in a:
        assert torch.equal(a[field], b[field]), field
    assert set(b) - set(a) == {f"layer{layer}_{tap}" for layer in range(2) for tap in ALL}


def test_a_copy_has_taps_of_its_own():
    model, data = built(tapped_config(["messages"])), batch()
    twin = copy.deepcopy(model)
    assert torch.equal(twin(dict(data))["layer0_messages"], model(dict(data))["layer0_messages"])


@pytest.mark.parametrize("state", ["package", "compile"])
def test_nothing_is_hooked_where_a_model_is_packaged_or_compiled(state, monkeypatch):
    monkeypatch.setattr(workflow, "_WORKFLOW_STATE", state)
    model = built(tapped_config(ALL))
    assert not any(module._forward_hooks for module in model.modules())
    assert set(model(dict(batch()))) == set(built(nequip_config())(dict(batch())))


def test_layers_of_different_widths_are_blocks_of_one_term():
    output = built(tapped_config(["node_invariants"]))(dict(batch()))
    both = FeatureDecorrelation(field="layer*_node_invariants")(output, {})
    each = [FeatureDecorrelation(field=f"layer{k}_node_invariants")(output, {}) for k in (0, 1)]
    widths = [output[f"layer{k}_node_invariants"].shape[1] for k in (0, 1)]
    assert widths[0] != widths[1]
    assert both.item() == pytest.approx(torch.stack(each).mean().item(), rel=1e-12)


def test_wrong_taps():
    set_global_state()
    with pytest.raises(ValueError, match=r"`taps` must be a list of some of .*'messages'.*'edges'"):
        TapFeatures(taps=["edges"], **nequip_config(target="builder"))
    with pytest.raises(ValueError, match="must be a list"):
        TapFeatures(taps="messages", **nequip_config(target="builder"))
    allegro = module_config()["model"]
    builder = allegro.pop("_target_")
    with pytest.raises(ValueError, match=r"has no interaction layers of NequIP.*`edge_features`"):
        TapFeatures(builder=builder, taps=["messages"], **allegro)


def test_penalties_that_need_equal_widths_say_so_before_training(tmp_path):
    term = {
        "name": "decorrelation",
        "coeff": 0.1,
        "metric": {
            "_target_": "nequip_decorr.FeatureDecorrelation",
            "field": "layer*_node_invariants",
            "penalty": "log_det",
        },
    }
    message = (
        r"'log_det' of loss term `decorrelation` needs blocks of equal width, .* gives \[4, 8\]"
    )
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, module_config([term], model=tapped_config(["node_invariants"])))


@pytest.mark.slow
def test_packaged_and_compiled_models_are_those_of_stock_training(tmp_path):
    """A training with taps, and the term at zero, against the stock training."""
    off = {
        "name": "decorrelation",
        "coeff": 0.0,
        "metric": {"_target_": "nequip_decorr.FeatureDecorrelation", "field": "layer*_messages"},
    }
    configs = {
        "stock": module_config(model=nequip_config(model_dtype="float32")),
        "tapped": module_config([off], model=tapped_config(["messages"], model_dtype="float32")),
    }

    def make(folder):
        for name, config in configs.items():
            done = nequip_train(folder, run_config(folder, config, epochs=1), name)
            assert done.returncode == 0, done.stdout[-3000:]
            checkpoint = folder / "runs" / name / "last.ckpt"
            package = folder / f"{name}.nequip.zip"
            succeeds("nequip-package", "build", checkpoint, package, cwd=str(folder))
        succeeds(
            "nequip-compile", checkpoint, folder / "tapped.nequip.pt2",
            "--mode", "aotinductor", "--device", "cpu", "--target", "ase",
        )  # fmt: skip

    rooms = ("correlation", "features", "training")
    made = cached("taps", make, *(f"nequip_decorr/{room}" for room in rooms))
    outputs = {}
    for name in configs:
        package = made / f"{name}.nequip.zip"
        assert not [n for n in zipfile.ZipFile(package).namelist() if "nequip_decorr" in n]
        model = load_model(package)
        assert not any(module._forward_hooks for module in model.modules())
        outputs[name] = model(dict(batch()))
    assert outputs["stock"].keys() == outputs["tapped"].keys()
    for field, value in outputs["stock"].items():
        assert torch.equal(value, outputs["tapped"][field]), field

    # A package of either is fine-tuned with the term on its own copies of NequIP's layers.
    around = {
        "_target_": "nequip_decorr.TapFeatures",
        "builder": "nequip.model.ModelFromPackage",
        "taps": ["messages"],
        "package_path": str(made / "stock.nequip.zip"),
    }
    on = {**off, "coeff": 5.0}
    tuned = fit(tmp_path, module_config([on], model=around), epochs=8)
    reference = fit(tmp_path, module_config([off], model=around), epochs=8)
    after = [m.loss.metrics_values_epoch["decorrelation"] for m in (tuned, reference)]
    assert after[0] < 0.9 * after[1]

    compiled = made / "tapped.nequip.pt2"
    atoms = frames(1)[0]
    atoms.calc = NequIPCalculator.from_compiled_model(compiled, device="cpu")
    expected = outputs["stock"]["forces"][: len(atoms)]
    assert np.abs(atoms.get_forces() - expected.detach().numpy()).max() < FORCE_EV_PER_A["float32"]
