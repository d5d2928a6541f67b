"""The Lightning callback that follows a schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from nequip.utils import RankedLogger

from ..errors import UserError
from .horizon import check_length, length_in_steps, progress, shorter, span
from .loss_config import (
    coefficient_in_loss,
    config_coefficient,
    decorrelation_terms,
    loss_names,
    loss_share,
    stock_coefficients,
)
from .schedule import ALIASES, Schedule

logger = RankedLogger(__name__, rank_zero_only=True)
REACHED: Final = 0.9


class DecorrelationScheduler(Callback):
    """Schedule the coefficient of one loss term and keep the ratios of all others.

    Two modes. The open loop is a pure function of progress, so a resumed run follows the same
    curve. Coefficients are on the scale of the config's ``coeffs``, as written there (NequIP
    normalises the sum to one). The curve ends at the term's own ``coeff``.

    .. code-block:: yaml

        trainer:
          callbacks:
            - _target_: nequip_decorr.DecorrelationScheduler
              metric: decorrelation
              start: 0.0
              finish: 0.5

    The closed loop holds the term at a share of the total loss, with running means of the loss
    terms kept in the checkpoint:

    .. code-block:: yaml

            - _target_: nequip_decorr.DecorrelationScheduler
              metric: decorrelation
              target_share: 0.1
              coeff_bounds: [0.0, 10.0]

    >>> from nequip_decorr import DecorrelationScheduler
    >>> DecorrelationScheduler("decorrelation", shape="linar")
    Traceback (most recent call last):
    UserError: `shape` must be one of [...], got 'linar'

    Instead of a callback of its own, a term can carry these arguments but ``metric`` as its
    ``schedule`` (:class:`~nequip_decorr.FeatureDecorrelation`); it means the same.

    Args:
        metric: name of the term in the loss.
        **schedule: arguments of :class:`~nequip_decorr.training.schedule.Schedule`: ``start``,
            ``end``, ``shape``, ``begin``, ``finish``, ``interval``, ``unit``; or ``target_share``,
            ``coeff_bounds``, ``ema_decay``, ``interval``.

    Raises:
        UserError: on a wrong argument; at the start of training, if ``metric`` is not in the loss.
    """

    def __init__(self, metric: str = "decorrelation", **schedule: Any) -> None:
        if not isinstance(metric, str) or not metric:
            raise UserError(f"`metric` must be the name of a term in the loss, got {metric!r}")
        self.metric = metric
        self.schedule = Schedule.read(schedule)
        self._stock: dict[str, float | None] = {}
        self._others: set[str] = set()
        self._scale = 1.0
        self._epoch: int | None = None
        self._value: float | None = None
        self._means = {"weight": 0.0, "stock_mean": 0.0, "term_mean": 0.0}
        self._length: float | None = None
        self._length_before: float | None = None
        self._reported = False
        self._last = 0.0

    @property
    def state_key(self) -> str:
        """One state per scheduled term in a checkpoint."""
        return f"{type(self).__qualname__}[{self.metric}]"

    def state_dict(self) -> dict[str, Any]:
        """Return what the schedule is, its length in steps, and the closed loop's running means."""
        state = {"schedule": self.schedule.described(), "length": self._length}
        return state if self.schedule.target_share is None else {**state, **self._means}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`; a checkpoint of an open loop starts the means from zero.

        A schedule other than the checkpoint's is followed from here on, with a warning.
        """
        now = self.schedule.described()
        stored = state_dict.get("schedule", now)
        before = {ALIASES.get(name, name): value for name, value in stored.items()}
        if before != now:
            logger.warning(
                f"the schedule of loss term `{self.metric}` was {before} in the checkpoint and is "
                f"{now} now"
            )
        self._length_before = state_dict.get("length")
        if self.schedule.target_share is not None and "weight" in state_dict:
            self._means = {name: state_dict[name] for name in self._means}

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Check the loss before anything long begins."""
        if stage != "fit":
            return
        names = loss_names(pl_module)
        if self.metric not in names:
            raise UserError(
                f"`metric` {self.metric!r} of DecorrelationScheduler is not in the loss; "
                f"its terms are {names}"
            )
        if len(names) < 2:
            raise UserError(f"the loss has no term beside `{self.metric}` to weigh it against")
        self._others = _scheduled(trainer, pl_module) - {self.metric}
        if self._others >= set(names) - {self.metric}:
            raise UserError(
                f"every term of the loss has a schedule, got {names}; leave one without"
            )
        self._stock, self._scale = stock_coefficients(pl_module, self.metric, self._others)
        coeff = config_coefficient(pl_module, self.metric)
        self.schedule = self.schedule.ending_at(coeff, self.metric)
        term = decorrelation_terms(pl_module).get(self.metric)
        if term is not None:
            term.is_scheduled = True

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Say from what to what the coefficient goes, over which length."""
        if self.schedule.target_share is not None:
            low, high = self.schedule.coeff_bounds
            logger.info(
                f"loss term `{self.metric}`: held at {self.schedule.target_share:.3g} of the loss, "
                f"by a coefficient between {low:g} and {high:g}"
            )
            return
        if not self.schedule.moves:
            say = logger.info if self.schedule.start else logger.warning
            say(f"loss term `{self.metric}`: coefficient {self.schedule.start:g} throughout")
            return
        check_length(self.schedule, trainer)
        self._length = length_in_steps(self.schedule, trainer)
        logger.info(
            f"loss term `{self.metric}`: coefficient from {self.schedule.start:g} to "
            f"{self.schedule.end:g} ({self.schedule.shape}) over {span(self.schedule, trainer)}. "
            "If training ends earlier (patience, `max_time`), the coefficient stops on the way"
            f"{shorter(self.schedule, trainer, trainer.estimated_stepping_batches)}"
        )
        before = self._length_before
        if before is not None and self._length is not None and before != self._length:
            logger.warning(
                f"the schedule of loss term `{self.metric}` is complete after {self._length:.0f} "
                f"steps now and was after {before:.0f} in the checkpoint: the curve moved, and at "
                f"step {trainer.global_step} the coefficient is {self._scheduled(trainer):.3g}"
            )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Set the coefficient for a step, or at the first step of an epoch for all of it.

        Other callbacks change coefficients when an epoch starts, in an order nobody promises.
        """
        by_step = self.schedule.interval == "step"
        if by_step or self._epoch != trainer.current_epoch or self._value is None:
            self._epoch = trainer.current_epoch
            loss = pl_module.loss
            values = loss.metrics_values_step if by_step else loss.metrics_values_epoch
            share = self.schedule.target_share
            self._value = (
                self._scheduled(trainer)
                if share is None
                else self._controlled(share, self._current(pl_module)[0], values)
            )
            self._put(pl_module, self._value)
        self.hold(pl_module)
        found = coefficient_in_loss(pl_module, self.metric, self._stock, self._scale)
        self._last = found or 0.0
        pl_module.log(f"decorrelation_coeff/{self.metric}", self._last)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Say how far the coefficient got."""
        if self._value is None or self._reported:
            return
        self._reported = True
        text = f"loss term `{self.metric}`: coefficient {self._last:.3g} in the loss at the end"
        share = loss_share(pl_module, self.metric)
        text += "" if share is None else f", the term is {100 * share:.2g} % of the loss"
        start, end = self.schedule.start, self.schedule.end
        if not self.schedule.moves or start is None or end is None:
            logger.info(text)
            return
        done = (self._scheduled(trainer) - start) / (end - start)
        planned = "" if self._length is None else f" of {self._length:.0f}"
        text += f" (step {trainer.global_step}{planned}), {100 * done:.3g} % of the way to {end:g}"
        if done >= REACHED:
            logger.info(text)
            return
        logger.warning(f"{text}{shorter(self.schedule, trainer, trainer.global_step)}")

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Say the same where training was interrupted."""
        self.on_train_end(trainer, pl_module)

    def hold(self, pl_module: Any) -> None:
        """Put the coefficient back into the loss, unless it is there."""
        found = coefficient_in_loss(pl_module, self.metric, self._stock, self._scale)
        if self._value is not None and (
            found is None or not math.isclose(found, self._value, rel_tol=1e-9)
        ):
            self._put(pl_module, self._value)

    def _put(self, pl_module: Any, value: float) -> None:
        stock, others = self._current(pl_module)
        pl_module.loss.set_coeffs({**stock, **others, self.metric: value / self._scale})

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
        return self.schedule.at(progress(self.schedule, trainer) if self.schedule.moves else 0.0)

    def _controlled(
        self, share: float, stock: Mapping[str, float | None], values: Mapping[str, Any]
    ) -> float:
        """Coefficient that gives the term its share, from running means of the last values."""
        term = values.get(self.metric)
        # A batch without a sample has penalty 0, which says nothing about the term's size.
        if term and all(values.get(n) is not None for n in stock):
            stock_loss = self._scale * sum(c * values[n] for n, c in stock.items() if c is not None)
            if math.isfinite(stock_loss) and math.isfinite(term):
                keep = self.schedule.ema_decay
                now = {"weight": 1.0, "stock_mean": stock_loss, "term_mean": term}
                for name, value in now.items():
                    self._means[name] = keep * self._means[name] + (1 - keep) * value
        low, high = self.schedule.coeff_bounds
        if self._means["weight"] == 0.0 or self._means["term_mean"] == 0.0:
            return low
        wanted = share / (1 - share) * self._means["stock_mean"] / self._means["term_mean"]
        return min(max(wanted, low), high)


def schedulers(trainer: Any) -> list[DecorrelationScheduler]:
    """Return the schedulers of decorrelation terms, configured or attached."""
    return [c for c in trainer.callbacks if isinstance(c, DecorrelationScheduler)]


def _scheduled(trainer: Any, pl_module: Any) -> set[str]:
    """Names of all loss terms with a schedule, whether it is attached yet or not."""
    terms = decorrelation_terms(pl_module)
    attached = {s.metric for s in schedulers(trainer)}
    return attached | {n for n, t in terms.items() if t.schedule is not None}
