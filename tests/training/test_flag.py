"""``+decorr=...``: what it makes of a config, and that it means what the explicit block means."""

import csv

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from nequip_decorr.resources import configs_dir
from nequip_decorr.training.flag import add_decorrelation, register
from tests.helpers.training import module_config, nequip_config, nequip_train, run_config
from tests.training.test_killed import final_weights

GROUPS = ("default", "paper")
ALLEGRO = "allegro.model.AllegroModel"


def group(name="default"):
    from hydra import compose, initialize_config_module

    register()
    with initialize_config_module("nequip_decorr.training.groups", version_base=None):
        return compose(overrides=[f"+decorr={name}"])


def composed(model=None, loss=None, name="default", **changes):
    config = OmegaConf.create(
        {
            "training_module": {
                "model": model or {"_target_": ALLEGRO, "num_scalar_features": 8},
                "loss": loss or {"_target_": "nequip.train.EnergyForceLoss"},
            }
        }
    )
    return OmegaConf.merge(config, {"decorr": group(name).decorr}, changes)


def added(config):
    add_decorrelation(config)
    assert "decorr" not in config
    return config.training_module.loss.extra_metrics[-1]


@pytest.mark.parametrize("name", GROUPS)
def test_every_option_is_a_term_that_can_be_made(name):
    from hydra.utils import instantiate

    term = added(composed(name=name))
    metric = instantiate(term.metric, block_size=8)
    assert metric.schedule.ending_at(term.coeff).end == term.coeff == 0.05
    assert metric.penalty in ("pearson_squared", "pearson_abs")


def test_allegro_gets_a_block_per_layer():
    config = composed()
    term = added(config)
    assert OmegaConf.to_container(term)["metric"]["block_size"] == (
        "${training_module.model.num_scalar_features}"
    )
    assert term.metric.block_size == 8
    assert added(composed({"_target_": ALLEGRO})).metric.block_size == 64


def test_nequip_is_wrapped_and_keeps_its_arguments():
    config = composed(nequip_config())
    term = added(config)
    assert term.metric.field == "layer*_node_invariants"
    model = config.training_module.model
    assert model["_target_"] == "nequip_decorr.TapFeatures"
    assert model.builder == "nequip.model.NequIPGNNModel"
    assert {k: v for k, v in model.items() if k not in ("_target_", "builder", "taps")} == {
        k: v for k, v in nequip_config().items() if k != "_target_"
    }


def test_a_tapped_model_keeps_its_taps():
    model = {"_target_": "nequip_decorr.TapFeatures", "taps": ["messages"], "builder": "x"}
    assert added(composed(model)).metric.field == "layer*_messages"


def test_modifiers_are_looked_through():
    inner = {"_target_": ALLEGRO, "num_scalar_features": 16}
    model = {"_target_": "nequip.model.modify", "modifiers": [], "model": inner}
    assert added(composed(model)).metric.block_size == 16


def test_terms_of_the_users_own_stay():
    mine = {"name": "mine", "coeff": 1.0, "metric": {"_target_": "nequip.train.HuberLoss"}}
    loss = {"_target_": "nequip.train.EnergyForceLoss", "extra_metrics": [mine]}
    config = composed(loss=loss)
    assert added(config).name == "decorrelation"
    assert config.training_module.loss.extra_metrics[0] == mine
    manager = {"_target_": "nequip.train.MetricsManager", "metrics": [mine]}
    config = composed(loss=manager)
    add_decorrelation(config)
    assert [term.name for term in config.training_module.loss.metrics] == ["mine", "decorrelation"]


OURS = {"name": "x", "coeff": 1.0, "metric": {"_target_": "nequip_decorr.FeatureDecorrelation"}}
OTHER = {"name": "decorrelation", "metric": {"_target_": "nequip.train.HuberLoss"}}
EF = "nequip.train.EnergyForceLoss"
WRONG = [
    ({"loss": {"_target_": EF, "extra_metrics": [OURS]}}, r"has the decorrelation term \['x'\]"),
    ({"loss": {"_target_": EF, "extra_metrics": [OTHER]}}, "has a term `decorrelation` already"),
    ({"loss": {"_target_": "torch.nn.Identity"}}, "`torch.nn.Identity` takes no `extra_metrics`"),
    ({"loss": {"_target_": "nequip.train.Nothing"}}, "`nequip.train.Nothing` can't be found"),
    ({"model": {"_target_": "les.Model"}}, "does not know which features a model `les.Model` has"),
    (
        {"model": {"_target_": "nequip.model.ModelFromPackage", "package_path": "x"}},
        "name them: `decorr.metric.field=FIELD`",
    ),
]


@pytest.mark.parametrize(("parts", "message"), WRONG)
def test_what_can_not_be_done_is_an_error(parts, message):
    with pytest.raises(ValueError, match=message):
        add_decorrelation(composed(**parts))


def test_other_models_work_with_a_field_by_name():
    config = composed({"_target_": "les.Model"}, decorr={"metric": {"field": "latent_charges"}})
    assert added(config).metric.field == "latent_charges"


def test_checkpoints_say_what_is_inside_them(tmp_path):
    def checkpoint(name, model, loss):
        path = tmp_path / name
        torch.save({"hyper_parameters": {"model": model, "loss": loss}}, path)
        return str(path)

    stock = {"_target_": EF}
    allegro = {"_target_": ALLEGRO, "num_scalar_features": 12}
    plain = checkpoint("plain.ckpt", allegro, stock)
    model = {"_target_": "nequip.model.ModelFromCheckpoint", "checkpoint_path": plain}
    assert added(composed(model)).metric.block_size == 12
    with pytest.raises(ValueError, match=r"has no decorrelation term, so that .* no effect"):
        add_decorrelation(composed(ckpt_path=plain))
    bare = checkpoint("bare.ckpt", {"_target_": ALLEGRO}, stock)
    model = {"_target_": "nequip.model.ModelFromCheckpoint", "checkpoint_path": bare}
    assert added(composed(model)).metric.block_size == 64
    ours = checkpoint("ours.ckpt", allegro, {"_target_": EF, "extra_metrics": [OURS]})
    config = composed(ckpt_path=ours)
    add_decorrelation(config)
    assert "extra_metrics" not in config.training_module.loss


@pytest.mark.slow
def test_the_flag_on_a_stock_config_is_the_explicit_block(tmp_path):
    term = {
        "name": "decorrelation", "coeff": 0.05,
        "metric": {
            "_target_": "nequip_decorr.FeatureDecorrelation",
            "block_size": 4, "schedule": {"start": 0.0, "end": 0.05},
        },
    }  # fmt: skip
    logger = {"_target_": "lightning.pytorch.loggers.CSVLogger", "save_dir": str(tmp_path / "logs")}
    explicit = run_config(tmp_path, module_config([term]), epochs=2)
    stock = run_config(tmp_path, module_config(), epochs=2)
    stock["trainer"] |= {"logger": {**logger, "name": "flag", "version": ""}}
    stock["trainer"] |= {"log_every_n_steps": 1}
    done = nequip_train(tmp_path, explicit, "explicit")
    assert done.returncode == 0, done.stdout[-3000:]
    done = nequip_train(tmp_path, stock, "flag", "+decorr=default")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "+decorr: added to the loss:\nname: decorrelation\ncoeff: 0.05" in done.stdout
    a, b = final_weights(tmp_path, "explicit"), final_weights(tmp_path, "flag")
    assert not [name for name in a if not torch.equal(a[name], b[name])]
    with (tmp_path / "logs" / "flag" / "metrics.csv").open(newline="") as file:
        found = [row["decorrelation_coeff/decorrelation"] for row in csv.DictReader(file)]
    assert [float(value) for value in found if value] == pytest.approx(
        [0.05 * step / 6 for step in range(6)]
    )
    saved = yaml.safe_load((tmp_path / "runs" / "flag" / ".hydra" / "config.yaml").read_text())
    assert saved["training_module"]["loss"]["extra_metrics"][0]["name"] == "decorrelation"
    assert "decorr" not in saved

    # A restart takes the checkpoint's loss; a block in the config can't add to it.
    plain = nequip_train(tmp_path, run_config(tmp_path, module_config(), epochs=1), "plain")
    assert plain.returncode == 0, plain.stdout[-3000:]
    last = tmp_path / "runs" / "plain" / "last.ckpt"
    left = nequip_train(tmp_path, explicit, "explicit", f"++ckpt_path={last}")
    assert left.returncode != 0
    assert "the config has the loss terms ['decorrelation'], but the loss comes from" in left.stdout


@pytest.mark.slow
def test_a_sweep_over_the_flag_is_an_error_and_not_a_stock_training(tmp_path):
    stock = run_config(tmp_path, module_config(), epochs=1)
    sweep = f"hydra.sweep.dir={tmp_path / 'sweep'}"
    done = nequip_train(tmp_path, stock, "sweep", "+decorr=default,paper", sweep, flags=["-m"])
    assert done.returncode != 0
    assert "`+decorr` has no effect in a multirun" in done.stdout


def test_the_flag_keeps_to_the_words_of_the_example_configs():
    explicit = yaml.safe_load((configs_dir() / "siox_allegro_decorr.yaml").read_text())
    block = explicit["training_module"]["loss"]["extra_metrics"]
    term = OmegaConf.to_container(added(composed()))
    defaults = {"penalty": "pearson_squared", "max_samples": 2048}
    block[0]["metric"] = {**defaults, **block[0]["metric"]}
    schedule = block[0]["metric"]["schedule"]
    assert schedule.pop("end", 0.05) == term["coeff"]
    assert [term] == block
