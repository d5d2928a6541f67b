"""How far a training is on its schedule, and how long the schedule is."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch.callbacks import Timer

from ..errors import UserError
from .schedule import Schedule


def progress(schedule: Schedule, trainer: Any) -> float:
    """Return how far training is, in the schedule's ``unit``, at the resolution of ``interval``."""
    if by_time(schedule, trainer):
        timer = _timer(trainer)
        elapsed, left = timer.time_elapsed(), timer.time_remaining()
        return float(trainer.strategy.broadcast(min(elapsed / (elapsed + left), 1.0)))
    step = trainer.global_step
    if schedule.interval == "epoch":
        step = trainer.current_epoch * _epoch_steps(trainer)
    if schedule.unit == "step":
        return float(step)
    if schedule.unit == "epoch":
        return float(step / max(_epoch_steps(trainer), 1))
    return float(step / trainer.estimated_stepping_batches)


def by_time(schedule: Schedule, trainer: Any) -> bool:
    """Return whether progress is that of ``max_time``: where steps and epochs are endless, too."""
    if schedule.unit != "fraction":
        return schedule.unit == "time"
    return _endless(trainer) and _timer(trainer) is not None


def check_length(schedule: Schedule, trainer: Any) -> None:
    """Check that the training has the length that the schedule's unit needs.

    Raises:
        UserError: saying which option of the trainer or the schedule to set.
    """
    unit = schedule.unit
    if unit == "time" and _timer(trainer) is None:
        raise UserError("`unit: time` is a fraction of the trainer's `max_time`: set that, too")
    if unit == "fraction" and _endless(trainer) and _timer(trainer) is None:
        raise UserError(
            "`begin` and `finish` are fractions of training, but its length is "
            f"{trainer.estimated_stepping_batches} steps; set `max_epochs`, `max_steps` or "
            "`max_time`, or use `unit: epoch` or `unit: step`"
        )
    counts_epochs = unit == "epoch" or (schedule.interval == "epoch" and unit != "time")
    if counts_epochs and not math.isfinite(trainer.num_training_batches):
        raise UserError(
            "the training data have no length, so that a schedule can't count epochs; use "
            "`unit: step`, `interval: step` and `max_steps`"
        )


def length_in_steps(schedule: Schedule, trainer: Any) -> float | None:
    """Return the optimiser steps after which the schedule is complete; ``None`` if time counts."""
    if by_time(schedule, trainer):
        return None
    finish = schedule.finish or 0.0
    if schedule.unit == "step":
        return finish
    if schedule.unit == "epoch":
        return finish * _epoch_steps(trainer)
    return float(finish * trainer.estimated_stepping_batches)


def span(schedule: Schedule, trainer: Any) -> str:
    """Return the length of the schedule in words."""
    length = length_in_steps(schedule, trainer)
    if length is None:
        return f"{100 * (schedule.finish or 1.0):g} % of `max_time`"
    per_epoch = _steps_per_epoch(trainer)
    epochs = f" ({length / per_epoch:.3g} epochs)" if math.isfinite(per_epoch) else ""
    return f"{length:.0f} steps{epochs}"


def shorter(schedule: Schedule, trainer: Any, steps: float) -> str:
    """Return how to have a schedule of half a training's steps, in words.

    Nothing where that is not shorter, and where it would take more than a new end.

    Args:
        schedule: what there is.
        trainer: that trains.
        steps: of the training; endless ones count as a hundred epochs.
    """
    per_epoch = _steps_per_epoch(trainer)
    if not 0 < steps < math.inf:
        steps = 100 * per_epoch if math.isfinite(per_epoch) else 100_000
    unit, finish = "epoch", int(steps / 2 // math.ceil(per_epoch)) if per_epoch < math.inf else 0
    if not finish:
        unit, finish = "step", int(steps // 2)
    now = length_in_steps(schedule, trainer)
    longer = now is not None and finish * (per_epoch if unit == "epoch" else 1) >= now
    if not finish or longer or schedule.begin:
        return ""
    return (
        f". A shorter schedule: `{{unit: {unit}, finish: {finish}}}` in the term's schedule (with "
        f"the flag: `decorr.metric.schedule.unit={unit} decorr.metric.schedule.finish={finish}`)"
    )


def _endless(trainer: Any) -> bool:
    total = trainer.estimated_stepping_batches
    return not math.isfinite(total) or total < 1


def _timer(trainer: Any) -> Any:
    """Lightning's own clock, where ``max_time`` is set."""
    timers = [c for c in trainer.callbacks if isinstance(c, Timer)]
    return next((timer for timer in timers if timer.time_remaining() is not None), None)


def _epoch_steps(trainer: Any) -> int:
    """Optimiser steps in an epoch, gradient accumulation included."""
    return math.ceil(_steps_per_epoch(trainer))


def _steps_per_epoch(trainer: Any) -> float:
    """The same, not rounded up; infinite where the data have no length."""
    steps: float = trainer.num_training_batches / trainer.accumulate_grad_batches
    return steps
