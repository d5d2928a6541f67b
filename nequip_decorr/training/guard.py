"""Setting up the decorrelation terms of a loss, and keeping them in it.

:class:`LossGuard` is attached to the trainers of a process that trains with NequIP (entry point
``lightning.pytorch.callbacks_factory``), and does nothing where no loss asks for it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint
from nequip.train.callbacks import LinearLossCoefficientScheduler, LossCoefficientScheduler
from nequip.utils import RankedLogger

from ..errors import UserError
from .callbacks import DecorrelationScheduler, schedulers
from .loss_config import (
    check_term,
    coefficient_in_loss,
    decorrelation_terms,
    entries_of,
    loss_names,
    stock_coefficients,
    type_names,
)
from .metric import bind_irreps
from .request import check_request, differences

logger = RankedLogger(__name__, rank_zero_only=True)


class LossGuard(Callback):
    """Sets up every :class:`~nequip_decorr.FeatureDecorrelation` in a loss and keeps it there.

    - What the config or the command line asks for is in the loss, or training does not start.
    - A wrong coefficient, field or block is an error.
    - A term that carries a ``schedule`` gets its :class:`~nequip_decorr.DecorrelationScheduler`.
    - Right before the loss is computed, each coefficient is the wanted one: a scheduled one is put
      back, any other stops training, with the callback that changed it named.
    - A resumed training keeps term and schedule, or stops.

    Raises:
        UserError: naming the term and what is allowed; the message is logged, too.
    """

    def __init__(self) -> None:
        self._wanted: dict[str, float | None] = {}
        self._scale: dict[str, tuple[list[str], float]] = {}
        self._changed_by = ""
        self._undo: list[Callable[[], Any]] = []

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Check and attach before anything long begins."""
        bind_irreps(pl_module)
        if stage != "fit":
            return
        terms = decorrelation_terms(pl_module)
        _warn_of_differences(check_request(terms), pl_module)
        if not loss_names(pl_module):
            return
        for name, term in terms.items():
            check_term(pl_module, name, term)
        own = _attach_schedules(trainer, terms)
        _check_other_callbacks(trainer, terms)
        for scheduler in own:
            scheduler.setup(trainer, pl_module, stage)
        if terms:
            self._watch(trainer, pl_module, [*terms])

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Check that a schedule that the checkpoint was trained with is still there."""
        if decorrelation_terms(pl_module):
            _restore_shuffling(getattr(trainer, "datamodule", None))
        have = {s.state_key for s in schedulers(trainer)}
        prefix = f"{DecorrelationScheduler.__qualname__}["
        for key in checkpoint.get("callbacks") or {}:
            name = key.removeprefix(prefix).removesuffix("]")
            if key.startswith(prefix) and key not in have and name in loss_names(pl_module):
                raise UserError(
                    f"the checkpoint was trained with a schedule of loss term `{name}`, but the "
                    "config has none; add its DecorrelationScheduler to `trainer.callbacks` (to "
                    "hold a coefficient, one with `start` and `shape: constant`)"
                )

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """After a resume, the config's coefficients to the last bit.

        Loading a checkpoint normalises them once more, and what rounding that adds would tell a
        resumed training from one in one go. A term that the checkpoint did not have was dropped
        by loading it, and comes back.
        """
        terms = decorrelation_terms(pl_module)
        if not terms:
            return
        _restore_coefficients(pl_module, [*terms])
        for name in self._scale:
            self._wanted[name] = pl_module.loss.entries[name].coeff
            found = coefficient_in_loss(pl_module, name, *self._scale[name])
            say = logger.info if found else logger.warning
            say(f"loss term `{name}`: coefficient {found or 0.0:.3g} throughout (no schedule)")
        self._changed_by = ""

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Put the message of an expected error into the log, too."""
        if isinstance(exception, UserError):
            logger.error(str(exception))

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Take the hooks off the loss."""
        while self._undo:
            self._undo.pop()()

    def _watch(self, trainer: Trainer, pl_module: Any, names: list[str]) -> None:
        """Hook the loss: who sets coefficients, and what they are when it is computed."""
        loss = pl_module.loss
        scheduled = {s.metric for s in schedulers(trainer)}
        for name in names:
            if name not in scheduled:
                stock, scale = stock_coefficients(pl_module, name, scheduled)
                self._scale[name] = ([n for n in stock if n not in names], scale)
        set_coeffs = loss.set_coeffs

        def recorded(coeffs: dict[str, float | None]) -> None:
            set_coeffs(coeffs)
            self._record(pl_module, coeffs, sys._getframe(1), scheduled)

        def before_loss(module: Any, arguments: Any) -> None:
            self._check_coefficients(trainer, pl_module)

        loss.set_coeffs = recorded
        hook = loss.register_forward_pre_hook(before_loss)
        self._undo = [hook.remove, lambda: vars(loss).pop("set_coeffs", None)]

    def _record(
        self, pl_module: Any, coeffs: dict[str, float | None], frame: FrameType, scheduled: set[str]
    ) -> None:
        """Who set the coefficients, and of which of our terms they did so on purpose."""
        owner = frame.f_locals.get("self")
        ours = isinstance(owner, DecorrelationScheduler)
        stock = type(owner).__module__.startswith("nequip.train.")
        if not ours:
            where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            name = frame.f_code.co_name if owner is None else (
                f"{type(owner).__qualname__}.{frame.f_code.co_name}")  # fmt: skip
            who = f"{name} ({where})"
            left_out = [n for n in scheduled if coeffs.get(n) is None]
            if left_out and who != self._changed_by and not stock:
                logger.warning(
                    f"{who} sets loss coefficients and leaves out {left_out}; the schedule puts "
                    "them back before every step"
                )
            self._changed_by = who
        for name in self._wanted:
            coeff = pl_module.loss.entries[name].coeff
            named = coeffs.get(name) is not None and (coeff or stock)
            if coeff is not None and (named or ours):
                self._wanted[name] = coeff

    def _check_coefficients(self, trainer: Trainer, pl_module: Any) -> None:
        for scheduler in schedulers(trainer):
            scheduler.hold(pl_module)
        for name, wanted in self._wanted.items():
            coeff = pl_module.loss.entries[name].coeff
            if coeff != wanted and not _close(coeff, wanted):
                raise UserError(
                    f"loss term `{name}` has coefficient {coeff} at step {trainer.global_step} and "
                    f"should have {wanted}: {self._suspects(trainer)} changed it. Name the term "
                    "there, or give it a `schedule`, which puts its coefficient back every step"
                )
            found = coefficient_in_loss(pl_module, name, *self._scale[name])
            pl_module.log(f"decorrelation_coeff/{name}", found or 0.0)

    def _suspects(self, trainer: Any) -> str:
        if self._changed_by:
            return self._changed_by
        known = ("lightning.", "nequip.", "nequip_decorr.")
        kinds = [type(callback) for callback in trainer.callbacks]
        others = sorted({k.__qualname__ for k in kinds if not k.__module__.startswith(known)})
        return f"one of {others}" if others else "the training module or a callback"


def _warn_of_differences(asked: list[dict[str, Any]], pl_module: Any) -> None:
    if not asked:
        return
    trained = {entry["name"]: entry for entry in entries_of(pl_module.hparams.get("loss"))}
    for entry in asked:
        found = differences(entry, trained.get(entry["name"], entry))
        if found:
            logger.warning(
                f"loss term `{entry['name']}` is that of the checkpoint, not of the config: "
                f"{'; '.join(found)}"
            )


def _restore_coefficients(pl_module: Any, terms: list[str]) -> None:
    config = pl_module.hparams.get("loss")
    if config is None:
        return
    entries = pl_module.loss.entries
    fresh = instantiate(config, type_names=type_names(pl_module)).entries
    wanted = {name: fresh[name].coeff for name in entries}
    dropped = [n for n in terms if entries[n].coeff is None and wanted[n] is not None]
    if dropped:
        logger.warning(
            f"the checkpoint was trained without the loss terms {dropped}; they start now, "
            f"with the config's coefficients"
        )
    elif not all(_close(entries[name].coeff, coeff) for name, coeff in wanted.items()):
        return
    for name, coeff in wanted.items():
        entries[name].coeff = coeff


def _attach_schedules(trainer: Any, terms: dict[str, Any]) -> list[DecorrelationScheduler]:
    """Schedulers for the terms that carry a schedule; returns the new ones."""
    configured = {s.metric for s in schedulers(trainer)}
    new = []
    for name, term in terms.items():
        if term.schedule is None:
            continue
        if name in configured:
            raise UserError(
                f"loss term `{name}` has a `schedule` and a DecorrelationScheduler in "
                "`trainer.callbacks`; give one of the two"
            )
        new.append(DecorrelationScheduler(metric=name, **term.schedule.described()))
    last = [c for c in trainer.callbacks if isinstance(c, Checkpoint)]
    ours = [*schedulers(trainer), *new]
    others = [c for c in trainer.callbacks if c not in [*ours, *last]]
    # A new list: Lightning is going through the old one.
    trainer.callbacks = [*others, *ours, *last]
    return new


def _check_other_callbacks(trainer: Any, terms: dict[str, Any]) -> None:
    """Stop before training where NequIP's own callbacks will drop a term or set a scheduled one."""
    scheduled = {s.metric for s in schedulers(trainer)}
    for callback in trainer.callbacks:
        for where, coeffs in _coefficients_set_by(callback):
            for name in terms:
                kind = type(callback).__name__
                if name in scheduled and name in coeffs:
                    raise UserError(
                        f"{kind} ({where}) and a decorrelation schedule would both set the "
                        f"coefficient of loss term `{name}`; take it out of one of the two"
                    )
                if name not in scheduled and name not in coeffs:
                    raise UserError(
                        f"{kind} ({where}) sets {sorted(coeffs)} and would drop loss term "
                        f"`{name}`; name it there, or give the term a `schedule`"
                    )


def _coefficients_set_by(callback: Callback) -> list[tuple[str, dict[str, float]]]:
    if isinstance(callback, LossCoefficientScheduler):
        return [(f"epoch {epoch}", coeffs) for epoch, coeffs in callback.schedule.items()]
    if isinstance(callback, LinearLossCoefficientScheduler):
        return [("final_coeffs", callback.final_coeffs)]
    return []


def _restore_shuffling(datamodule: Any) -> None:
    """Go on with the order of frames where the checkpoint was.

    NequIP keeps the generator's state in a checkpoint, but loads it after it has set up the
    generator (0.19.1), so that a resumed training would see the first epochs' order again.
    """
    generator = getattr(datamodule, "train_generator", None)
    state = getattr(datamodule, "train_generator_state", None)
    if generator is not None and state is not None:
        generator.set_state(state)


def _close(a: float | None, b: float | None) -> bool:
    return a is not None and b is not None and math.isclose(a, b, rel_tol=1e-12)
