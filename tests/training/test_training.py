"""The term and the schedule in real training."""

import pytest
import torch
from hydra.errors import InstantiationException
from lightning.pytorch.callbacks import ModelCheckpoint

from nequip_decorr import DecorrelationScheduler
from tests.helpers.training import DECORRELATION, fit, module_config, weights


def assert_same(a, b):
    assert a.keys() == b.keys()
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert not different


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return weights(fit(tmp_path_factory.mktemp("stock"), module_config()))


def test_coefficient_zero_gives_the_stock_weights(tmp_path, stock):
    module = fit(tmp_path, module_config([{**DECORRELATION, "coeff": 0.0}]))
    assert_same(weights(module), stock)


def test_scheduled_zero_gives_the_stock_weights(tmp_path, stock):
    scheduler = DecorrelationScheduler(start=0.0, shape="constant")
    module = fit(tmp_path, module_config([{**DECORRELATION, "coeff": 0.3}]), [scheduler])
    assert_same(weights(module), stock)


def test_the_term_changes_the_weights_and_lowers_the_penalty(tmp_path, stock):
    zero = fit(tmp_path, module_config([{**DECORRELATION, "coeff": 0.0}]), epochs=20)
    on = fit(tmp_path, module_config([{**DECORRELATION, "coeff": 3.0}]), epochs=20)
    penalty = "decorrelation"
    assert on.loss.metrics_values_epoch[penalty] < 0.7 * zero.loss.metrics_values_epoch[penalty]


SCHEDULES = {
    "none": lambda: [],
    "linear": lambda: [DecorrelationScheduler(start=0.0, end=0.1)],
    "share": lambda: [DecorrelationScheduler(target_share=0.3)],
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_resumed_training_gives_the_weights_of_training_in_one_go(tmp_path, schedule):
    config = module_config([DECORRELATION])
    whole = fit(tmp_path, config, SCHEDULES[schedule](), epochs=4, checkpoint=True)
    saver = ModelCheckpoint(
        dirpath=tmp_path, every_n_train_steps=6, filename="{step}", save_top_k=-1
    )
    fit(tmp_path, config, [*SCHEDULES[schedule](), saver], epochs=4, checkpoint=True)
    resumed = fit(
        tmp_path,
        config,
        SCHEDULES[schedule](),
        ckpt_path=str(tmp_path / "step=6.ckpt"),
        epochs=4,
        checkpoint=True,
    )
    assert_same(weights(resumed), weights(whole))


WRONG = [
    ({"coeff": -0.1}, {}, "`coeff` of loss term `decorrelation` must be finite and not negative"),
    ({"coeff": float("inf")}, {}, "must be finite and not negative, got inf"),
    ({}, {"field": "edge_feature"}, "'edge_feature' of loss term `decorrelation` is not in the"),
    ({}, {"block_size": 5}, "`block_size` 5 does not divide the field's 12 channels"),
    ({}, {"block_weights": [1.0]}, "`block_weights` of loss term `decorrelation` has 1 entries"),
]


@pytest.mark.parametrize(("entry", "metric", "message"), WRONG)
def test_a_wrong_term_is_an_error_before_the_first_step(tmp_path, entry, metric, message):
    term = {**DECORRELATION, **entry, "metric": {**DECORRELATION["metric"], **metric}}
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, module_config([term]))


def test_an_unknown_metric_name_is_an_error_before_the_first_step(tmp_path):
    with pytest.raises(ValueError, match=r"not in the loss; its terms are .*'decorrelation'"):
        fit(tmp_path, module_config([DECORRELATION]), [DecorrelationScheduler("x", start=0.1)])


def test_an_unknown_penalty_is_an_error_before_the_first_step(tmp_path):
    metric = {**DECORRELATION["metric"], "penalty": "pearson"}
    with pytest.raises(InstantiationException, match=r"`penalty` must be one of .*pearson_squared"):
        fit(tmp_path, module_config([{**DECORRELATION, "metric": metric}]))
