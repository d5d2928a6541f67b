"""The coefficient of the decorrelation term over training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from .loss_config import (
    decorrelation_terms,
    loss_names,
    stock_coefficients,
)
from .schedule import (
    SHAPES,
    coefficient,
)

INTERVALS: Final = ("step", "epoch")
UNITS: Final = ("fraction", "epoch")
OPEN_LOOP: Final = ("start", "end", "shape", "begin", "finish", "unit")


class DecorrelationScheduler(Callback):
    """Schedule the coefficient of one loss term and keep the ratios of all others.

    Two modes. The open loop is a pure function of progress, so a resumed run follows the same
    curve. Coefficients mean what they mean in the config: ``end: 0.05`` is ``coeff: 0.05`` in the
    block, beside stock coefficients as written there (NequIP normalises the sum to one).

    .. code-block:: yaml

        trainer:
          callbacks:
            - _target_: nequip_decorr.DecorrelationScheduler
              metric: decorrelation
              start: 0.0
              end: 0.05
              shape: linear
              begin: 0.0
              finish: 0.5

    The closed loop holds the term at a share of the total loss, with running means of the loss
    terms kept in the checkpoint:

    .. code-block:: yaml

            - _target_: nequip_decorr.DecorrelationScheduler
              metric: decorrelation
              share: 0.1
              bounds: [0.0, 10.0]

    Instead of a callback of its own, a term can carry these arguments but ``metric`` as its
    ``schedule`` (:class:`~nequip_decorr.FeatureDecorrelation`); it means the same.

    Args:
        metric: name of the term in the loss.
        start: coefficient up to ``begin``.
        end: coefficient from ``finish`` on (default: ``start``).
        shape: ``constant``, ``linear``, ``cosine`` or ``exponential`` (both ends above zero).
        begin: where the change begins, in ``unit``.
        finish: where it is complete, in ``unit``.
        interval: set the coefficient every ``step`` or every ``epoch``.
        unit: ``fraction`` of training (0 to 1; needs a finite length) or ``epoch``.
        share: closed loop: share of the term in the total loss, between 0 and 1.
        bounds: closed loop: smallest and largest coefficient.
        smoothing: closed loop: decay of the running means, in [0, 1).

    Raises:
        ValueError: on a wrong argument; at the start of training, if ``metric`` is not in the loss.
    """

    def __init__(
        self,
        metric: str = "decorrelation",
        start: float | None = None,
        end: float | None = None,
        shape: str | None = None,
        begin: float = 0.0,
        finish: float | None = None,
        interval: str = "step",
        unit: str = "fraction",
        share: float | None = None,
        bounds: tuple[float, float] = (0.0, 10.0),
        smoothing: float = 0.95,
    ) -> None:
        if not isinstance(metric, str) or not metric:
            raise ValueError(f"`metric` must be the name of a term in the loss, got {metric!r}")
        self.metric = metric
        self.interval = _one_of("interval", interval, INTERVALS)
        self.unit = _one_of("unit", unit, UNITS)
        self.share = share
        if share is None:
            self._init_open_loop(start, end, shape, begin, finish)
        else:
            given = {"start": start, "end": end, "shape": shape, "finish": finish}
            wrong = sorted(name for name, value in given.items() if value is not None)
            if wrong or begin != 0.0:
                raise ValueError(
                    f"`share` is a closed loop and takes no {wrong or ['begin']}; "
                    "allowed beside it: bounds, smoothing, interval"
                )
            self._init_closed_loop(share, bounds, smoothing)
        self._stock: dict[str, float | None] = {}
        self._others: set[str] = set()
        self._scale = 1.0
        self._epoch: int | None = None

    def _init_open_loop(
        self,
        start: float | None,
        end: float | None,
        shape: str | None,
        begin: float,
        finish: float | None,
    ) -> None:
        if start is None:
            raise ValueError("`DecorrelationScheduler` needs `start` (and `end`), or `share`")
        shape = shape or ("constant" if end is None else "linear")
        self.shape = _one_of("shape", shape, tuple(SHAPES))
        self.start = _coefficient("start", start)
        self.end = self.start if end is None else _coefficient("end", end)
        if shape == "constant" and self.end != self.start:
            raise ValueError(
                f"shape `constant` holds `start` ({self.start}), but `end` is {self.end}; "
                "leave `end` out or choose linear, cosine or exponential"
            )
        if shape == "exponential" and min(self.start, self.end) <= 0:
            raise ValueError(
                "shape `exponential` needs `start` and `end` above 0, "
                f"got start={self.start} and end={self.end}"
            )
        if finish is None:
            finish = 1.0 if self.unit == "fraction" else math.inf
        upper = 1.0 if self.unit == "fraction" else math.inf
        for name, value in (("begin", begin), ("finish", finish)):
            if not 0 <= value <= upper:
                raise ValueError(
                    f"`{name}` must be between 0 and {upper} for unit `{self.unit}`, got {value}"
                )
        if begin > finish:
            raise ValueError(f"`begin` ({begin}) must not come after `finish` ({finish})")
        if math.isinf(finish) and shape != "constant":
            raise ValueError(f"`finish` must be given for unit `epoch` and shape `{shape}`")
        self.begin, self.finish = float(begin), float(finish)

    def _init_closed_loop(self, share: float, bounds: Any, smoothing: float) -> None:
        if not 0 < share < 1:
            raise ValueError(f"`share` must be between 0 and 1, both excluded, got {share}")
        low, high = (_coefficient("bounds", b) for b in bounds)
        if low > high or high == 0:
            raise ValueError(f"`bounds` must be [low, high], low <= high, high > 0, got {bounds}")
        if not 0 <= smoothing < 1:
            raise ValueError(f"`smoothing` must be in [0, 1), got {smoothing}")
        self.bounds, self.smoothing = (low, high), float(smoothing)
        self._weight = self._stock_mean = self._term_mean = 0.0

    @property
    def state_key(self) -> str:
        """One state per scheduled term in a checkpoint."""
        return f"{type(self).__qualname__}[{self.metric}]"

    def state_dict(self) -> dict[str, Any]:
        """What the schedule is, and the running means of the closed loop."""
        if self.share is None:
            return {"schedule": self._described()}
        return {
            "schedule": self._described(),
            "weight": self._weight,
            "stock_mean": self._stock_mean,
            "term_mean": self._term_mean,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`; a checkpoint of an open loop starts the means afresh.

        A schedule other than the checkpoint's is followed from here on, with a warning.
        """
        before = state_dict.get("schedule", self._described())
        if before != self._described():
            rank_zero_warn(
                f"the schedule of loss term `{self.metric}` was {before} in the checkpoint and is "
                f"{self._described()} now"
            )
        if self.share is not None and "weight" in state_dict:
            self._weight = state_dict["weight"]
            self._stock_mean = state_dict["stock_mean"]
            self._term_mean = state_dict["term_mean"]

    def _described(self) -> dict[str, Any]:
        names = ("share", "bounds", "smoothing") if self.share is not None else OPEN_LOOP
        return {name: getattr(self, name) for name in names} | {"interval": self.interval}

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Check the loss before anything long begins."""
        if stage != "fit":
            return
        names = loss_names(pl_module)
        if self.metric not in names:
            raise ValueError(
                f"`metric` {self.metric!r} of DecorrelationScheduler is not in the loss; "
                f"its terms are {names}"
            )
        if len(names) < 2:
            raise ValueError(f"the loss has no term beside `{self.metric}` to weigh it against")
        self._others = _scheduled(trainer, pl_module) - {self.metric}
        if self._others >= set(names) - {self.metric}:
            raise ValueError(
                f"every term of the loss has a schedule, got {names}; leave one without"
            )
        self._stock, self._scale = stock_coefficients(pl_module, self.metric, self._others)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """An endless training has no fractions."""
        if self.share is None and self.unit == "fraction" and self.shape != "constant":
            total = trainer.estimated_stepping_batches
            if not math.isfinite(total) or total < 1:
                raise ValueError(
                    "`begin` and `finish` are fractions of training, but its length is "
                    f"{total} steps; set `max_epochs` or `max_steps`, or use `unit: epoch`"
                )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Set the coefficient for a step, or at the first step of an epoch for all of it.

        Other callbacks change coefficients when an epoch starts, in an order nobody promises.
        """
        if self.interval == "step":
            self._set(trainer, pl_module, pl_module.loss.metrics_values_step)
        elif self._epoch != trainer.current_epoch:
            self._epoch = trainer.current_epoch
            self._set(trainer, pl_module, pl_module.loss.metrics_values_epoch)

    def progress(self, trainer: Trainer) -> float:
        """How far training is, in ``unit``, at the resolution of ``interval``."""
        if self.interval == "epoch" or self.unit == "epoch":
            epoch = float(trainer.current_epoch)
            if self.interval == "step":
                epoch = trainer.global_step / max(_steps_per_epoch(trainer), 1.0)
            if self.unit == "epoch":
                return epoch
            return epoch * _steps_per_epoch(trainer) / trainer.estimated_stepping_batches
        return trainer.global_step / trainer.estimated_stepping_batches

    def _set(self, trainer: Trainer, pl_module: Any, values: Mapping) -> None:
        stock, others = self._current(pl_module)
        open_loop = self.share is None
        value = self._scheduled(trainer) if open_loop else self._controlled(stock, values)
        pl_module.loss.set_coeffs({**stock, **others, self.metric: value / self._scale})
        pl_module.log(f"decorrelation_coeff/{self.metric}", value)

    def _current(self, pl_module: Any) -> tuple[dict[str, float | None], dict[str, float | None]]:
        """Coefficients of the stock terms (they sum to one) and, beside them, other schedules'."""
        entries = pl_module.loss.entries
        total = sum(entries[name].coeff or 0.0 for name in self._stock) or 1.0
        now, others = (
            {n: None if entries[n].coeff is None else entries[n].coeff / total for n in names}
            for names in (self._stock, self._others)
        )
        # Unless another callback has changed them, the config's own numbers: rounding must not
        # tell a resumed training from one in one go.
        same = all(
            math.isclose(now[n] or 0.0, c or 0.0, rel_tol=1e-9, abs_tol=1e-12)
            for n, c in self._stock.items()
        )
        return (self._stock if same else now), others

    def _scheduled(self, trainer: Trainer) -> float:
        if self.shape == "constant":
            return self.start
        return coefficient(
            self.progress(trainer), self.start, self.end, self.shape, self.begin, self.finish
        )

    def _controlled(self, stock: Mapping[str, float | None], values: Mapping) -> float:
        """Coefficient that gives the term its share, from running means of the last values."""
        term = values.get(self.metric)
        if term is not None and all(values.get(n) is not None for n in stock):
            stock_loss = self._scale * sum(c * values[n] for n, c in stock.items() if c is not None)
            if math.isfinite(stock_loss) and math.isfinite(term):
                keep = self.smoothing
                self._weight = keep * self._weight + (1 - keep)
                self._stock_mean = keep * self._stock_mean + (1 - keep) * stock_loss
                self._term_mean = keep * self._term_mean + (1 - keep) * term
        low, high = self.bounds
        if self._weight == 0.0:
            return low
        if self._term_mean <= 0.0:
            return high
        assert self.share is not None
        wanted = self.share / (1 - self.share) * self._stock_mean / self._term_mean
        return min(max(wanted, low), high)


def schedulers(trainer: Any) -> list[DecorrelationScheduler]:
    """The schedulers of decorrelation terms, configured or attached."""
    return [c for c in trainer.callbacks if isinstance(c, DecorrelationScheduler)]


def _scheduled(trainer: Any, pl_module: Any) -> set[str]:
    """Names of all loss terms with a schedule, whether it is attached yet or not."""
    terms = decorrelation_terms(pl_module)
    attached = {s.metric for s in schedulers(trainer)}
    return attached | {n for n, t in terms.items() if t.schedule is not None}


def _steps_per_epoch(trainer: Trainer) -> float:
    """Optimiser steps in an epoch, gradient accumulation included."""
    return math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"`{name}` must be one of {list(allowed)}, got {value!r}")
    return value


def _coefficient(name: str, value: float) -> float:
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"`{name}` must be a finite coefficient, not negative, got {value}")
    return number
