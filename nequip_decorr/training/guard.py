"""What watches over the decorrelation terms of a loss: set-up, other callbacks, resuming.

:class:`LossGuard` is attached to every trainer through Lightning's ``callbacks_factory`` entry
point, and does nothing where no loss asks for it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint
from nequip.train.callbacks import LinearLossCoefficientScheduler, LossCoefficientScheduler
from nequip.utils import RankedLogger
from omegaconf import OmegaConf

from .loss_config import (
    check_term,
    decorrelation_terms,
    entries_of,
    loss_names,
    type_names,
)
from .metric import bind_irreps
from .scheduler import (
    DecorrelationScheduler,
    schedulers,
)

logger = RankedLogger(__name__, rank_zero_only=True)


class LossGuard(Callback):
    """Sets up every :class:`~nequip_decorr.FeatureDecorrelation` in a loss, before the first step.

    - A wrong coefficient, field or block is an error.
    - A term that carries a ``schedule`` gets its :class:`~nequip_decorr.DecorrelationScheduler`.
    - Schedulers run after the other callbacks, so that theirs is the last word on their term.
    - A callback that would change or drop a term behind its schedule is an error.
    - A resumed training keeps term and schedule, or says that it can't.

    Raises:
        ValueError: at the start of training, naming the term and what is allowed.
    """

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Check and attach before anything long begins."""
        bind_irreps(pl_module)
        if stage != "fit" or not loss_names(pl_module):
            return
        terms = decorrelation_terms(pl_module)
        _check_not_left_behind(terms)
        for name, term in terms.items():
            check_term(pl_module, name, term)
        own = _attach_schedules(trainer, terms)
        _check_other_callbacks(trainer, terms)
        for scheduler in own:
            scheduler.setup(trainer, pl_module, stage)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """A schedule that the checkpoint was trained with must still be there."""
        if decorrelation_terms(pl_module):
            _restore_shuffling(getattr(trainer, "datamodule", None))
        have = {s.state_key for s in schedulers(trainer)}
        prefix = f"{DecorrelationScheduler.__qualname__}["
        for key in checkpoint.get("callbacks") or {}:
            name = key.removeprefix(prefix).removesuffix("]")
            if key.startswith(prefix) and key not in have and name in loss_names(pl_module):
                raise ValueError(
                    f"the checkpoint was trained with a schedule of loss term `{name}`, but the "
                    "config has none; add its DecorrelationScheduler to `trainer.callbacks` (to "
                    "hold a coefficient, one with `start` alone)"
                )

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """After a resume, the config's coefficients to the last bit.

        Loading a checkpoint normalises them once more, and what rounding that adds would tell a
        resumed training from one in one go. A term that the checkpoint did not have was dropped
        by loading it, and comes back.
        """
        config = pl_module.hparams.get("loss")
        terms = decorrelation_terms(pl_module)
        if config is None or not terms:
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
            raise ValueError(
                f"loss term `{name}` has a `schedule` and a DecorrelationScheduler in "
                "`trainer.callbacks`; give one of the two"
            )
        logger.info(f"loss term `{name}`: schedule {term.schedule}")
        new.append(DecorrelationScheduler(metric=name, **term.schedule))
    last = [c for c in trainer.callbacks if isinstance(c, Checkpoint)]
    ours = [*schedulers(trainer), *new]
    others = [c for c in trainer.callbacks if c not in [*ours, *last]]
    # A new list: Lightning is going through the old one.
    trainer.callbacks = [*others, *ours, *last]
    return new


def _check_other_callbacks(trainer: Any, terms: dict[str, Any]) -> None:
    """NequIP drops every term that a coefficient callback does not name."""
    scheduled = {s.metric for s in schedulers(trainer)}
    for callback in trainer.callbacks:
        for where, coeffs in _coefficients_set_by(callback):
            for name in terms:
                kind = type(callback).__name__
                if name in scheduled and name in coeffs:
                    raise ValueError(
                        f"{kind} ({where}) and a decorrelation schedule would both set the "
                        f"coefficient of loss term `{name}`; take it out of one of the two"
                    )
                if name not in scheduled and name not in coeffs:
                    raise ValueError(
                        f"{kind} ({where}) sets {sorted(coeffs)} and would drop loss term "
                        f"`{name}`; name it there, or give the term a `schedule`"
                    )


def _restore_shuffling(datamodule: Any) -> None:
    """Go on with the order of frames where the checkpoint was.

    NequIP keeps the generator's state in a checkpoint, but loads it after it has set up the
    generator (0.19.1), so that a resumed training would see the first epochs' order again.
    """
    generator = getattr(datamodule, "train_generator", None)
    state = getattr(datamodule, "train_generator_state", None)
    if generator is not None and state is not None:
        generator.set_state(state)


def _coefficients_set_by(callback: Callback) -> list[tuple[str, dict[str, float]]]:
    if isinstance(callback, LossCoefficientScheduler):
        return [(f"epoch {epoch}", coeffs) for epoch, coeffs in callback.schedule.items()]
    if isinstance(callback, LinearLossCoefficientScheduler):
        return [("final_coeffs", callback.final_coeffs)]
    return []


def _check_not_left_behind(terms: dict[str, Any]) -> None:
    """What this run's config asks for must be in the loss that is trained."""
    config = _config_of_this_run()
    if "decorr" in config:
        raise ValueError(
            "`+decorr` has no effect in a multirun: Hydra runs no callback of a swept config. Put "
            "the explicit block into the config and sweep over its values, e.g. "
            "`training_module.loss.extra_metrics.0.coeff=0.01,0.1`"
        )
    loss = OmegaConf.select(config, "training_module.loss", throw_on_resolution_failure=False)
    wanted = entries_of(loss)
    missing = [name for name in (entry["name"] for entry in wanted) if name not in terms]
    if missing:
        raise ValueError(
            f"the config has the loss terms {missing}, but the loss comes from the checkpoint "
            "(`ckpt_path`), which was trained without them; start a new training from its weights "
            "with `nequip.model.ModelFromCheckpoint`, or take the terms out"
        )


def _config_of_this_run() -> Any:
    """As Hydra saved it; empty where training was not started through Hydra."""
    if not HydraConfig.initialized():
        return OmegaConf.create()
    hydra = HydraConfig.get()
    path = Path(hydra.runtime.output_dir) / str(hydra.output_subdir) / "config.yaml"
    return OmegaConf.load(path) if path.is_file() else OmegaConf.create()


def _close(a: float | None, b: float | None) -> bool:
    return a is not None and b is not None and math.isclose(a, b, rel_tol=1e-12)
