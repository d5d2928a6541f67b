"""Schedules declared with the term, other callbacks beside them, checkpoints of other trainings."""

import re

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from nequip.train.callbacks import (
    LinearLossCoefficientScheduler,
    LossCoefficientScheduler,
    SoftAdapt,
)
from omegaconf import OmegaConf

from nequip_decorr import DecorrelationScheduler
from nequip_decorr.training.callbacks import schedulers
from nequip_decorr.training.loss_config import entries_of
from tests.helpers.training import (
    DECORRELATION,
    build,
    datamodule,
    fit,
    module_config,
    trainer,
    weights,
)
from tests.training.test_training import assert_same

LINEAR = {"start": 0.0, "end": 1.0}
HALF = {"start": 0.5, "shape": "constant"}
STOCK = {"per_atom_energy_mse": 1.0, "forces_mse": 3.0}


def scheduled(schedule=LINEAR, **entry):
    metric = {**DECORRELATION["metric"], "schedule": dict(schedule)}
    coeff = schedule.get("end", DECORRELATION["coeff"])
    return {**DECORRELATION, "coeff": coeff, **entry, "metric": metric}


def coefficients(module):
    """Of each term, in the scale of the config, where the stock ones sum to four."""
    entries = {name: entry.coeff for name, entry in module.loss.entries.items()}
    total = sum(entries[name] for name in STOCK) / 4.0
    return {name: coeff / total for name, coeff in entries.items()}


@pytest.mark.parametrize(
    "schedule", [LINEAR, {"target_share": 0.2}, {**LINEAR, "interval": "epoch"}]
)
def test_a_schedule_of_the_term_is_that_of_the_callback(tmp_path, schedule):
    attached = fit(tmp_path, module_config([scheduled(schedule)]))
    term = {**DECORRELATION, "coeff": scheduled(schedule)["coeff"]}
    explicit = fit(tmp_path, module_config([term]), [DecorrelationScheduler(**schedule)])
    assert_same(weights(attached), weights(explicit))


def test_attached_schedulers_come_after_other_callbacks_and_before_checkpoints(tmp_path):
    saver = ModelCheckpoint(dirpath=tmp_path)
    explicit = DecorrelationScheduler("explicit", start=0.0)
    softadapt = SoftAdapt(beta=1.1, interval="batch", frequency=2)
    run = trainer(tmp_path, [explicit, saver, softadapt], epochs=1, checkpoint=True)
    module = build(module_config([scheduled(), {**DECORRELATION, "name": "explicit"}]))
    run.fit(module, datamodule=datamodule(tmp_path))
    assert [s.metric for s in schedulers(run)] == ["explicit", "decorrelation"]
    kinds = [type(callback) for callback in run.callbacks]
    assert kinds[-1] is ModelCheckpoint
    assert kinds.index(SoftAdapt) < kinds.index(DecorrelationScheduler)


WRONG_SCHEDULES = [
    ({"start": 0.0, "stop": 1.0}, r"`schedule` has no \['stop'\]; allowed: .*'start'"),
    ({"metric": "x", "start": 0.0}, "takes the arguments of a DecorrelationScheduler but `metric`"),
    ({"start": -1.0}, "`start` must be a finite coefficient, not negative, got -1.0"),
    ({}, "needs `start`"),
]


@pytest.mark.parametrize(("schedule", "message"), WRONG_SCHEDULES)
def test_a_wrong_schedule_is_an_error_when_the_term_is_made(schedule, message):
    from nequip_decorr import FeatureDecorrelation

    with pytest.raises(ValueError, match=message):
        FeatureDecorrelation(schedule=schedule)


def test_two_schedules_of_one_term_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="has a `schedule` and a DecorrelationScheduler"):
        fit(tmp_path, module_config([scheduled()]), [DecorrelationScheduler(start=0.1)])


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_stock_schedulers_change_the_stock_terms_and_ours_keeps_its_own(tmp_path, interval):
    stock = LossCoefficientScheduler({1: {"per_atom_energy_mse": 3.0, "forces_mse": 1.0}})
    term = scheduled({"start": 0.5, "shape": "constant", "interval": interval})
    module = fit(tmp_path, module_config([term]), [stock])
    assert coefficients(module) == pytest.approx(
        {"per_atom_energy_mse": 3.0, "forces_mse": 1.0, "decorrelation": 0.5}
    )


def test_a_linear_stock_scheduler_beside_ours(tmp_path):
    stock = LinearLossCoefficientScheduler(
        {"per_atom_energy_mse": 1.0, "forces_mse": 1.0}, transition_epochs=2
    )
    module = fit(tmp_path, module_config([scheduled(HALF)]), [stock])
    assert coefficients(module) == pytest.approx(
        {"per_atom_energy_mse": 2.0, "forces_mse": 2.0, "decorrelation": 0.5}
    )


@pytest.mark.parametrize("interval", ["batch", "epoch"])
def test_softadapt_weighs_the_stock_terms_and_ours_keeps_its_own(tmp_path, interval):
    softadapt = SoftAdapt(beta=1.1, interval=interval, frequency=2)
    module = fit(tmp_path, module_config([scheduled(HALF)]), [softadapt], epochs=4)
    found = coefficients(module)
    assert found["decorrelation"] == pytest.approx(0.5)
    assert abs(found["forces_mse"] - 3.0) > 1e-3


def test_softadapt_may_weigh_an_unscheduled_term(tmp_path):
    softadapt = SoftAdapt(beta=1.1, interval="batch", frequency=2)
    module = fit(tmp_path, module_config([DECORRELATION]), [softadapt])
    assert coefficients(module)["decorrelation"] > 0


FIGHTS = [
    (scheduled(), LossCoefficientScheduler({2: {**STOCK, "decorrelation": 1.0}}),
     r"LossCoefficientScheduler \(epoch 2\) and a decorrelation schedule would both set"),
    (scheduled(), LinearLossCoefficientScheduler({**STOCK, "decorrelation": 1.0}, 2),
     r"LinearLossCoefficientScheduler \(final_coeffs\) and a decorrelation schedule"),
    (DECORRELATION, LossCoefficientScheduler({2: STOCK}),
     r"sets \['forces_mse', 'per_atom_energy_mse'\] and would drop loss term `decorrelation`"),
    (DECORRELATION, LinearLossCoefficientScheduler(STOCK, 2), "would drop loss term"),
]  # fmt: skip


@pytest.mark.parametrize(("term", "callback", "message"), FIGHTS)
def test_callbacks_that_would_fight_over_a_coefficient_are_an_error(
    tmp_path, term, callback, message
):
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, module_config([term]), [callback])


def saved(folder, terms, callbacks=()):
    """A checkpoint of the second step of twelve."""
    saver = ModelCheckpoint(dirpath=folder, every_n_train_steps=3, filename="early")
    fit(folder, module_config(terms), [*callbacks, saver], epochs=1, checkpoint=True)
    return str(folder / "early.ckpt")


def test_a_checkpoint_from_before_the_term_starts_it_with_a_warning(tmp_path, caplog):
    before = saved(tmp_path, None)
    with caplog.at_level("WARNING"):
        module = fit(tmp_path, module_config([DECORRELATION]), ckpt_path=before, epochs=2)
    assert "was trained without the loss terms ['decorrelation']" in caplog.text
    assert coefficients(module)["decorrelation"] == pytest.approx(0.1)
    assert module.loss.metrics_values_epoch["decorrelation"] > 0


def test_a_checkpoint_with_a_schedule_needs_it_again(tmp_path):
    before = saved(tmp_path, [{**DECORRELATION, "coeff": 1.0}], [DecorrelationScheduler(**LINEAR)])
    message = "was trained with a schedule of loss term `decorrelation`, but the config has none"
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, module_config([DECORRELATION]), ckpt_path=before, epochs=2)
    module = fit(tmp_path, module_config(None), ckpt_path=before, epochs=2)
    assert "decorrelation" not in module.loss.entries


def test_another_schedule_than_the_checkpoints_is_followed_with_a_warning(tmp_path, caplog):
    before = saved(tmp_path, [scheduled()])
    with caplog.at_level("WARNING"):
        module = fit(
            tmp_path,
            module_config([scheduled({"start": 0.7, "shape": "constant"})]),
            ckpt_path=before,
            epochs=2,
        )
    assert re.search("the schedule of loss term `decorrelation` was .*'end': 1", caplog.text)
    assert coefficients(module)["decorrelation"] == pytest.approx(0.7)


def test_a_trainer_without_our_term_is_left_alone(tmp_path):
    run = trainer(tmp_path, [SoftAdapt(beta=1.1, interval="epoch", frequency=2)], epochs=1)
    before = list(run.callbacks)
    run.fit(build(module_config()), datamodule=datamodule(tmp_path))
    assert run.callbacks == before
    assert torch.isfinite(torch.tensor(run.callback_metrics["train_loss_epoch/weighted_sum"]))


def test_references_that_can_not_be_resolved_are_left_alone():
    loss = {"coeffs": "${nowhere:x}", "extra_metrics": [{**DECORRELATION, "coeff": "${y:z}"}]}
    found = list(entries_of(OmegaConf.create(loss)))
    assert [entry["name"] for entry in found] == ["decorrelation"]
    assert list(entries_of(None)) == []
