"""The schedule as a function, its arguments, and what it does to a loss."""

import math
import re
from types import SimpleNamespace

import pytest
import torch
from nequip.train import EnergyForceLoss

from nequip_decorr import DecorrelationScheduler, FeatureDecorrelation
from nequip_decorr.training.horizon import shorter
from nequip_decorr.training.loss_config import loss_share
from nequip_decorr.training.schedule import SHAPES, Schedule, coefficient


@pytest.mark.parametrize("shape", SHAPES)
def test_ends_of_the_curve(shape):
    end = 0.2 if shape == "constant" else 0.8
    values = [coefficient(p, 0.2, end, shape, 0.25, 0.75) for p in (0.0, 0.25, 0.75, 1.0)]
    assert values == pytest.approx([0.2, 0.2, end, end], abs=1e-15)


def test_middle_of_the_curve():
    assert coefficient(0.5, 0.0, 1.0, "linear", 0.25, 0.75) == pytest.approx(0.5)
    assert coefficient(0.375, 0.0, 1.0, "cosine", 0.25, 0.75) == pytest.approx(0.14644660940672624)
    assert coefficient(0.5, 0.01, 1.0, "exponential", 0.0, 1.0) == pytest.approx(0.1)
    assert coefficient(0.5, 1.0, 0.01, "exponential", 0.0, 1.0) == pytest.approx(0.1)


def test_a_step():
    assert coefficient(0.499, 0.0, 1.0, "linear", 0.5, 0.5) == 0.0
    assert coefficient(0.5, 0.0, 1.0, "linear", 0.5, 0.5) == 1.0


WRONG = [
    ({}, "needs `start`"),
    ({"start": 0.0, "shape": "sigmoid", "end": 1.0}, "`shape` must be one of .*linear.*'sigmoid'"),
    ({"start": -0.1}, "`start` must be a finite coefficient, not negative, got -0.1"),
    ({"start": 0.0, "end": math.nan}, "`end` must be a finite coefficient, not negative, got nan"),
    ({"start": math.inf}, "`start` must be a finite coefficient, not negative, got inf"),
    (
        {"start": 0, "end": 1, "begin": 0.8, "finish": 0.2},
        r"`begin` \(0.8\) must not come after `finish` \(0.2\)",
    ),
    ({"start": 0, "end": 1, "finish": 2}, "`finish` must be between 0 and 1.0 for unit `fraction`"),
    ({"start": 0, "end": 1, "unit": "epoch"}, "`finish` must be given for unit `epoch`"),
    ({"start": 0, "end": 1, "shape": "exponential"}, "needs `start` and `end` above 0"),
    ({"start": 0.1, "end": 1, "shape": "constant"}, "shape `constant` holds `start`"),
    ({"start": 0.1, "interval": "batch"}, r"`interval` must be one of \['step', 'epoch'\]"),
    (
        {"start": 0.1, "unit": "steps"},
        r"`unit` must be one of \['fraction', 'epoch', 'step', 'time'\]",
    ),
    ({"start": 0.1, "metric": ""}, "`metric` must be the name of a term"),
    ({"target_share": 1.0}, "`target_share` must be between 0 and 1, both excluded, got 1.0"),
    ({"target_share": 0.1, "start": 1.0}, r"takes no \['start'\]"),
    ({"target_share": 0.1, "coeff_bounds": [2.0, 1.0]}, "`coeff_bounds` must be"),
    ({"target_share": 0.1, "ema_decay": 1.0}, r"`ema_decay` must be in \[0, 1\), got 1.0"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        DecorrelationScheduler(**arguments)


class Module:
    """What the scheduler sees of a training module."""

    def __init__(self, *more, coeff=1.0):
        terms = ("decorrelation", *more)
        self.coeff = coeff
        self.config = {
            "_target_": "nequip.train.EnergyForceLoss",
            "coeffs": {"total_energy": 1.0, "forces": 3.0},
            "extra_metrics": [
                {
                    "name": name,
                    "coeff": coeff,
                    "metric": {"_target_": "nequip_decorr.FeatureDecorrelation"},
                }
                for name in terms
            ],
        }
        self.hparams = {"loss": self.config}
        self.loss = EnergyForceLoss(
            coeffs=self.config["coeffs"],
            extra_metrics=[
                {"name": name, "coeff": coeff, "metric": FeatureDecorrelation()} for name in terms
            ],
        )
        self.model = {"sole_model": SimpleNamespace(type_names=["Si", "O"])}
        self.logged = {}

    def log(self, name, value):
        self.logged[name] = value


def trainer(step=0, total=100, per_epoch=10):
    return SimpleNamespace(
        global_step=step,
        current_epoch=step // per_epoch,
        estimated_stepping_batches=total,
        num_training_batches=per_epoch,
        accumulate_grad_batches=1,
        callbacks=[],
    )


def ratios(module):
    c = {name: entry.coeff for name, entry in module.loss.entries.items()}
    stock = c["per_atom_energy_mse"] + c["forces_mse"]
    return c["forces_mse"] / c["per_atom_energy_mse"], 4.0 * c["decorrelation"] / stock


def test_coefficient_means_what_it_means_in_the_config():
    module = Module(coeff=0.5)
    scheduler = DecorrelationScheduler(start=0.5)
    before = ratios(module)
    scheduler.setup(trainer(), module, "fit")
    scheduler.on_train_batch_start(trainer(), module, None, 0)
    assert ratios(module) == pytest.approx(before, rel=1e-12)
    assert before == pytest.approx((3.0, 0.5))


def test_open_loop_keeps_stock_ratios_and_logs():
    module = Module()
    scheduler = DecorrelationScheduler(start=0.0, end=1.0, finish=0.5)
    scheduler.setup(trainer(), module, "fit")
    for step in (0, 13, 25, 50, 99):
        scheduler.on_train_batch_start(trainer(step), module, None, 0)
        expected = min(step / 50, 1.0)
        assert ratios(module) == pytest.approx((3.0, expected), rel=1e-9)
        assert module.logged["decorrelation_coeff/decorrelation"] == pytest.approx(expected)


@pytest.mark.parametrize(("unit", "finish"), [("fraction", 1.0), ("epoch", 10.0)])
def test_epoch_interval_moves_in_epochs(unit, finish):
    module = Module()
    scheduler = DecorrelationScheduler(
        start=0.0, end=1.0, interval="epoch", unit=unit, finish=finish
    )
    scheduler.setup(trainer(), module, "fit")
    for step in (0, 9, 35, 39):
        scheduler.on_train_batch_start(trainer(step), module, None, step % 10)
        assert ratios(module)[1] == pytest.approx(step // 10 / 10, abs=1e-12)


def test_two_terms_each_follow_their_own_schedule():
    module, both = Module("second"), trainer()
    first = DecorrelationScheduler(start=0.0, end=1.0)
    second = DecorrelationScheduler("second", start=2.0, end=1.0)
    both.callbacks = [first, second]
    for scheduler in both.callbacks:
        scheduler.setup(both, module, "fit")
    for step in (0, 20, 21, 99):
        both.global_step = step
        for scheduler in both.callbacks:
            scheduler.on_train_batch_start(both, module, None, 0)
        c = {name: entry.coeff for name, entry in module.loss.entries.items()}
        assert ratios(module) == pytest.approx((3.0, step / 100), rel=1e-9)
        stock = c["per_atom_energy_mse"] + c["forces_mse"]
        assert 4.0 * c["second"] / stock == pytest.approx(2.0 - step / 100, rel=1e-9)


def test_a_loss_of_scheduled_terms_alone_is_an_error():
    module, only = Module(), trainer()
    scheduler = DecorrelationScheduler(start=0.1)
    only.callbacks = [
        scheduler,
        *(DecorrelationScheduler(n, start=1.0, shape="constant") for n in module.loss),
    ]
    with pytest.raises(ValueError, match="every term of the loss has a schedule"):
        scheduler.setup(only, module, "fit")


def test_share_is_held():
    module = Module()
    scheduler = DecorrelationScheduler(target_share=0.2, coeff_bounds=(0.0, 100.0), ema_decay=0.0)
    scheduler.setup(trainer(), module, "fit")
    module.loss.metrics_values_step = {
        "per_atom_energy_mse": 0.5, "forces_mse": 0.1, "decorrelation": 0.3,
    }  # fmt: skip
    scheduler.on_train_batch_start(trainer(1), module, None, 0)
    c = {name: entry.coeff for name, entry in module.loss.entries.items()}
    terms = {name: c[name] * v for name, v in module.loss.metrics_values_step.items()}
    assert terms["decorrelation"] / sum(terms.values()) == pytest.approx(0.2, rel=1e-9)
    assert loss_share(module, "decorrelation") == pytest.approx(0.2, rel=1e-9)


def test_share_at_the_end_is_of_the_last_epoch_and_left_out_where_it_is_unknown():
    module = Module(coeff=0.25)  # in the loss: 1/17, beside 4/17 and 12/17
    assert loss_share(module, "decorrelation") is None
    values = {"per_atom_energy_mse": 0.5, "forces_mse": 0.5, "decorrelation": 24.0}
    module.loss.metrics_values_epoch = values
    module.loss.metrics_values_step = dict.fromkeys(values, 1.0)
    assert loss_share(module, "decorrelation") == pytest.approx(0.75, rel=1e-9)
    module.loss.metrics_values_epoch = module.loss.metrics_values_step = {
        **values, "forces_mse": math.nan,
    }  # fmt: skip
    assert loss_share(module, "decorrelation") is None


def test_share_stays_within_bounds_and_survives_a_checkpoint():
    module = Module()
    scheduler = DecorrelationScheduler(target_share=0.5, coeff_bounds=(0.1, 2.0), ema_decay=0.9)
    scheduler.setup(trainer(), module, "fit")
    scheduler.on_train_batch_start(trainer(0), module, None, 0)
    assert module.logged["decorrelation_coeff/decorrelation"] == 0.1
    module.loss.metrics_values_step = {
        "per_atom_energy_mse": 5.0, "forces_mse": 5.0, "decorrelation": 1e-9,
    }  # fmt: skip
    scheduler.on_train_batch_start(trainer(1), module, None, 0)
    assert module.logged["decorrelation_coeff/decorrelation"] == 2.0
    other = DecorrelationScheduler(target_share=0.5, coeff_bounds=(0.1, 2.0), ema_decay=0.9)
    other.load_state_dict(scheduler.state_dict())
    assert other.state_dict() == scheduler.state_dict()
    assert other.state_key == scheduler.state_key == "DecorrelationScheduler[decorrelation]"


def test_unknown_metric_lists_the_names():
    message = r"'decor' .* not in the loss; its terms are .*per_atom_energy_mse.*decorrelation"
    with pytest.raises(ValueError, match=message):
        DecorrelationScheduler("decor", start=0.1).setup(trainer(), Module(), "fit")


def test_endless_training_has_no_fractions():
    scheduler = DecorrelationScheduler(start=0.0, end=0.1)
    with pytest.raises(ValueError, match="its length is inf steps"):
        scheduler.on_train_start(trainer(total=torch.inf), Module())


def test_the_curve_ends_at_the_terms_own_coefficient():
    module = Module(coeff=0.3)
    scheduler = DecorrelationScheduler(start=0.0)
    scheduler.setup(trainer(), module, "fit")
    for step in (0, 50, 100):
        scheduler.on_train_batch_start(trainer(step), module, None, 0)
        assert ratios(module)[1] == pytest.approx(0.3 * step / 100)


@pytest.mark.parametrize("coeff", [0.5, 0.0])
def test_an_end_that_differs_from_the_coefficient_is_an_error(coeff):
    module = Module(coeff=coeff)
    with pytest.raises(ValueError, match=f"is {coeff}, but its schedule has `end` 0.05; leave"):
        DecorrelationScheduler(start=0.0, end=0.05).setup(trainer(), module, "fit")


def test_batches_without_a_sample_do_not_drive_the_closed_loop_to_its_bound():
    module = Module()
    scheduler = DecorrelationScheduler(target_share=0.5, coeff_bounds=(0.1, 2.0))
    scheduler.setup(trainer(), module, "fit")
    none = {"per_atom_energy_mse": 5.0, "forces_mse": 5.0, "decorrelation": 0.0}
    for step in range(3):
        scheduler.on_train_batch_start(trainer(step), module, None, 0)
        assert module.logged["decorrelation_coeff/decorrelation"] == pytest.approx(0.1)
        module.loss.metrics_values_step = none
    module.loss.metrics_values_step = {**none, "decorrelation": 20.0}
    scheduler.on_train_batch_start(trainer(3), module, None, 0)
    kept = module.logged["decorrelation_coeff/decorrelation"]
    assert kept == pytest.approx(1.0)
    module.loss.metrics_values_step = none
    scheduler.on_train_batch_start(trainer(4), module, None, 0)
    assert module.logged["decorrelation_coeff/decorrelation"] == pytest.approx(kept)


def test_old_names_of_arguments_count_and_say_the_new_ones():
    with pytest.warns(FutureWarning, match="`share` .* is now called `target_share`"):
        old = DecorrelationScheduler(share=0.2, bounds=[0.0, 1.0], smoothing=0.5)
    new = DecorrelationScheduler(target_share=0.2, coeff_bounds=(0.0, 1.0), ema_decay=0.5)
    assert old.schedule == new.schedule
    with pytest.raises(ValueError, match="`share` is the old name of `target_share`"):
        DecorrelationScheduler(share=0.2, target_share=0.2)


def test_units_of_progress():
    for unit, finish, expected in [("step", 50, 0.4), ("epoch", 4, 0.5), ("fraction", 0.4, 0.5)]:
        module = Module()
        scheduler = DecorrelationScheduler(start=0.0, unit=unit, finish=finish)
        scheduler.setup(trainer(), module, "fit")
        scheduler.on_train_batch_start(trainer(20), module, None, 0)
        assert ratios(module)[1] == pytest.approx(expected)
    scheduler = DecorrelationScheduler(start=0.0, end=1.0, unit="time")
    with pytest.raises(ValueError, match="`max_time`"):
        scheduler.on_train_start(trainer(), Module())


@pytest.mark.parametrize(
    ("steps", "batches", "unit", "finish"),
    [
        (600, 10, "epoch", 30),
        (15, 10, "step", 7),
        (2, 10, "step", 1),
        (1, 10, "", 0),
        (math.inf, 10, "epoch", 50),
        (300, math.inf, "step", 150),
        (math.inf, math.inf, "step", 50_000),
        (600, 20, "epoch", 30),
    ],
)
def test_the_shorter_schedule_is_half_of_the_training_however_short_that_is(
    steps, batches, unit, finish
):
    schedule = Schedule.read({"start": 0.0, "unit": "step", "finish": 1_000_000})
    assert advice(schedule, steps, batches) == ([(unit, str(finish))] if unit else [])


@pytest.mark.parametrize(
    "schedule",
    [
        {"unit": "epoch", "finish": 30},
        {"unit": "step", "finish": 200},
        {"finish": 0.5},
        {"unit": "step", "begin": 100, "finish": 500},
    ],
)
def test_no_advice_where_it_is_not_shorter_or_takes_more_than_a_new_end(schedule):
    assert advice(Schedule.read({"start": 0.0, **schedule}), 600, 10) == []
    assert advice(Schedule.read({"start": 0.0}), 600, 10) == [("epoch", "30")]


def advice(schedule, steps, batches):
    """Unit and end of the schedule that is recommended."""
    it = SimpleNamespace(
        num_training_batches=batches,
        accumulate_grad_batches=2 if batches == 20 else 1,
        estimated_stepping_batches=steps,
        callbacks=[],
    )
    text = shorter(schedule, it, steps)
    return re.findall(r"schedule\.unit=(\w+) decorr\.metric\.schedule\.finish=(\d+)`", text)
