"""The term and its schedule in every way that NequIP trains (the table in docs/training.md)."""

import ase.io
import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from nequip.train.lightning import NequIPLightningModule

from tests.helpers.training import (
    BLOCK,
    DECORRELATION,
    build,
    datamodule,
    fit,
    frames,
    model_config,
    module_config,
    nequip_config,
    tapped_config,
    trainer,
    weights,
)
from tests.training.test_guard import coefficients, scheduled
from tests.training.test_training import assert_same

STRONG = {"start": 0.0, "end": 5.0}
NODES = {
    "name": "decorrelation",
    "coeff": 5.0,
    "metric": {
        "_target_": "nequip_decorr.FeatureDecorrelation",
        "field": "layer*_node_invariants",
        "schedule": STRONG,
    },
}


def adam_free(lr=0.02):
    return {"_target_": "schedulefree.AdamWScheduleFree", "lr": lr}


MODULES = {
    "NequIPLightningModule": {},
    "EMALightningModule": {"ema_decay": 0.9},
    "ScheduleFreeLightningModule": {"optimizer": adam_free()},
    "ConFIGLightningModule": {},
    "EMAConFIGLightningModule": {"ema_decay": 0.9},
}


def of_module(name, extra, **changes):
    if "ScheduleFree" in name:
        pytest.importorskip("schedulefree", reason="ScheduleFree needs the package schedulefree")
    options = {"_target_": f"nequip.train.{name}", **MODULES[name], **changes}
    return module_config(extra, **options)


def penalty(module):
    return module.loss.metrics_values_epoch["decorrelation"]


@pytest.mark.parametrize("name", MODULES)
def test_every_training_module_lowers_the_penalty_on_schedule(tmp_path, name):
    off = fit(
        tmp_path, of_module(name, [scheduled({"start": 0.0, "shape": "constant"})]), epochs=15
    )
    on = fit(tmp_path, of_module(name, [scheduled(STRONG)]), epochs=15)
    assert coefficients(on)["decorrelation"] == pytest.approx(5.0 * 44 / 45)
    assert penalty(on) < 0.8 * penalty(off)
    assert all(torch.isfinite(value).all() for value in weights(on).values())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["allegro", "nequip"])
def test_both_precisions_and_kinds_of_model(tmp_path, dtype, kind):
    models = {
        "allegro": (model_config(dtype), [scheduled(STRONG)]),
        "nequip": (tapped_config(["node_invariants"], model_dtype=dtype), [NODES]),
    }
    model, terms = models[kind]
    assert all(
        value.dtype == getattr(torch, dtype)
        for name, value in build(module_config(model=model)).named_parameters()
    )
    off = [
        {
            **terms[0],
            "metric": {**terms[0]["metric"], "schedule": {"start": 0.0, "shape": "constant"}},
        }
    ]
    without = fit(tmp_path, module_config(off, model=model), epochs=15)
    on = fit(tmp_path, module_config(terms, model=model), epochs=15)
    assert penalty(on) < 0.8 * penalty(without)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["allegro", "nequip"])
def test_compiled_training_follows_eager_training(tmp_path, kind):
    models = {
        "allegro": (model_config(), [scheduled(STRONG)]),
        "nequip": (tapped_config(["node_invariants", "messages"]), [NODES]),
    }
    model, terms = models[kind]
    eager = fit(tmp_path, module_config(terms, model=model))
    compiled = fit(tmp_path, module_config(terms, model={**model, "compile_mode": "compile"}))
    assert compiled.model["sole_model"].is_compile_graph_model
    a, b = weights(eager), weights(compiled)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.allclose(a[name], b[name], atol=1e-8), name
    assert penalty(compiled) == pytest.approx(penalty(eager), rel=1e-6)


def checkpoint(folder, config):
    """The last checkpoint of a short training."""
    fit(folder, config, [ModelCheckpoint(dirpath=folder, filename="base")], 
        epochs=1, checkpoint=True)  # fmt: skip
    return folder / "base.ckpt"


@pytest.mark.parametrize("trained_with", [None, [scheduled(STRONG)]], ids=["added", "dropped"])
def test_fine_tuning_adds_or_drops_the_term(tmp_path, trained_with):
    base = checkpoint(tmp_path, module_config(trained_with))
    terms = [scheduled(STRONG)] if trained_with is None else None
    model = {"_target_": "nequip.model.ModelFromCheckpoint", "checkpoint_path": str(base)}
    tuned = build(module_config(terms, model=model))
    start = torch.load(base, weights_only=False)["state_dict"]
    assert_same(weights(tuned), {k[6:]: v for k, v in start.items() if k.startswith("model.")})
    trainer(tmp_path, epochs=2).fit(tuned, datamodule=datamodule(tmp_path))
    assert ("decorrelation" in tuned.loss.entries) == (trained_with is None)
    assert any(not torch.equal(v, start[f"model.{k}"]) for k, v in weights(tuned).items())


def test_a_tapped_checkpoint_loads_into_the_stock_builder_and_back(tmp_path):
    tapped = tapped_config(["node_invariants"])
    base = checkpoint(tmp_path, module_config([NODES], model=tapped))
    stock = NequIPLightningModule.load_from_checkpoint(
        base, weights_only=False, model=nequip_config(), loss=module_config()["loss"]
    )
    state = torch.load(base, weights_only=False)["state_dict"]
    assert_same(weights(stock), {k[6:]: v for k, v in state.items() if k.startswith("model.")})
    untapped = checkpoint(tmp_path, module_config(model=nequip_config()))
    around = {
        "_target_": "nequip_decorr.TapFeatures",
        "builder": "nequip.model.ModelFromCheckpoint",
        "taps": ["node_invariants"],
        "checkpoint_path": str(untapped),
    }
    tuned = fit(tmp_path, module_config([NODES], model=around), epochs=1)
    assert penalty(tuned) > 0


def test_several_validation_sets(tmp_path):
    ase.io.write(tmp_path / "train.xyz", frames())
    ase.io.write(tmp_path / "val.xyz", frames(2, seed=1))
    ase.io.write(tmp_path / "val2.xyz", frames(3, seed=2))
    monitor = {"_target_": "nequip_decorr.FeatureCorrelation", "block_size": BLOCK}
    metrics = {
        "_target_": "nequip.train.EnergyForceMetrics",
        "coeffs": {"forces_mae": 1.0},
        "extra_metrics": [{"name": "correlation", "metric": monitor}],
    }
    config = module_config([scheduled(STRONG)], val_metrics=metrics)
    data = datamodule(tmp_path, val=["val.xyz", "val2.xyz"])
    lightning.seed_everything(7, verbose=False)
    module = build(config, val=2)
    run = trainer(tmp_path, epochs=2)
    run.fit(module, datamodule=data)
    found = [float(run.callback_metrics[f"val{k}_epoch/correlation"]) for k in (0, 1)]
    assert found[0] != found[1]
    assert all(0 < value < 1 for value in found)


def test_gradient_accumulation_counts_optimiser_steps(tmp_path):
    module = fit(tmp_path, module_config([scheduled(STRONG)]), epochs=15, accumulate_grad_batches=3)
    # 15 epochs of one step; the last one starts after 14 of 15.
    assert coefficients(module)["decorrelation"] == pytest.approx(5.0 * 14 / 15)
    off = fit(
        tmp_path,
        module_config([scheduled({"start": 0.0, "shape": "constant"})]),
        epochs=15,
        accumulate_grad_batches=3,
    )
    assert penalty(module) < penalty(off)


def test_models_of_other_extensions_need_a_field_of_edges_or_nodes(tmp_path):
    model = {**model_config(), "_target_": "tests.helpers.extension.model_with_charges"}
    metric = {"_target_": "nequip_decorr.FeatureDecorrelation", "field": "latent_charges"}
    term = {"name": "decorrelation", "coeff": 1.0, "metric": metric}
    module = fit(tmp_path, module_config([term], model=model), epochs=2)
    assert 0 < penalty(module) <= 1
    wrong = {**term, "metric": {**metric, "field": "charges"}}
    message = r"`field` 'charges' .* is not in the model's output; fields there: .*latent_charges"
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, module_config([wrong], model=model))


def test_a_term_alone_of_its_kind_in_a_metrics_manager(tmp_path):
    metrics = [
        {"name": "forces", "field": "forces", "coeff": 1.0,
         "metric": {"_target_": "nequip.train.MeanSquaredError"}},
        DECORRELATION,
    ]  # fmt: skip
    loss = {"_target_": "nequip.train.MetricsManager", "metrics": metrics}
    module = fit(tmp_path, module_config(loss=loss), epochs=2)
    assert penalty(module) > 0
