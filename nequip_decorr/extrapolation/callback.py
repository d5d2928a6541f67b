""":class:`FitExtrapolationGrade`: the grade of the best checkpoint, made at the end of training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from ..errors import UserError
from ..features.frames import load_model
from .beside import grade_file
from .grade import DEFAULT_QUANTILE, ExtrapolationGrade
from .quantile import check_quantile

log = logging.getLogger(__name__)


class FitExtrapolationGrade(Callback):
    """Fit the extrapolation grade of the best checkpoint and keep it beside the checkpoint.

    ``best.grade.npz`` lies beside ``best.ckpt`` then, where ``nequip-decorr extrapolation score``
    and ``nequip-decorr compile`` look for it. The grade is that of ``nequip-decorr extrapolation
    fit`` with the same structures: all of the training set and the validation sets, whatever share
    of them a rank trains on, and the weights that NequIP takes from the checkpoint (EMA, where the
    training keeps an average). Rank 0 does it. A failure is a warning; the training is kept.

    .. code-block:: yaml

        trainer:
          callbacks:
            - _target_: lightning.pytorch.callbacks.ModelCheckpoint
              monitor: val0_epoch/weighted_sum
              filename: best
            - _target_: nequip_decorr.FitExtrapolationGrade

    >>> from nequip_decorr import FitExtrapolationGrade
    >>> FitExtrapolationGrade(quantile=99)
    Traceback (most recent call last):
    nequip_decorr.errors.UserError: `quantile` must be at least 0.5 and below 1, got 99

    Args:
        quantile: share of unseen atoms below gamma = 1.
        added: files of those training structures that were collected from MD of an earlier model;
            they do not move the edge (:mod:`nequip_decorr.extrapolation.added`).
    """

    def __init__(self, quantile: float = DEFAULT_QUANTILE, added: str | Sequence[str] = ()) -> None:
        self.quantile = check_quantile(quantile)
        self.files = [added] if isinstance(added, str) else list(added)
        self.added: list[Atoms] = []

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Check that there will be a checkpoint, and read the added structures."""
        if stage != "fit":
            return
        if trainer.checkpoint_callback is None:
            raise UserError(
                "FitExtrapolationGrade needs a checkpoint to fit the grade of; add a "
                "lightning.pytorch.callbacks.ModelCheckpoint to `trainer.callbacks`"
            )
        missing = [file for file in self.files if not Path(file).is_file()]
        if missing:
            raise UserError(
                f"FitExtrapolationGrade, `added`: no such file: {', '.join(missing)} (relative to "
                f"{Path.cwd()})"
            )
        self.added = [atoms for file in self.files for atoms in ase.io.read(file, ":")]

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Fit the grade and write it."""
        if not trainer.is_global_zero:
            return
        saver: Any = trainer.checkpoint_callback
        path = saver.best_model_path or getattr(saver, "last_model_path", "")
        try:
            if not path:
                raise UserError("the training wrote no checkpoint")
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            model = load_model(path)
            sets = data.train_dataset, data.val_dataset
            training, validation = (_structures(each, model.type_names) for each in sets)
            added = {_key(atoms) for atoms in self.added}
            first = [atoms for atoms in training if _key(atoms) not in added]
            if len(training) - len(first) < len(added):
                raise UserError(
                    f"{len(training) - len(first)} of {len(added)} structures of `added` are in "
                    "the training set; all must be"
                )
            log.info(f"fitting the extrapolation grade of {path}")
            grade = ExtrapolationGrade.fit(
                model, first, validation, self.added, quantile=self.quantile
            )
            grade.save(grade_file(Path(path)))
        except Exception as error:
            log.warning(
                f"no extrapolation grade was made ({type(error).__name__}: {error}); make it with "
                f"`nequip-decorr extrapolation fit {path or 'CHECKPOINT'} TRAINING_FILE`"
            )


def _structures(datasets: Sequence[Any], type_names: Sequence[str]) -> list[Atoms]:
    """The structures of data sets of NequIP's, by index and so without sampler or batches."""
    from nequip.data import AtomicDataDict, to_ase

    single = (s[k] for s in datasets for k in range(len(s)))
    batches = (AtomicDataDict.batched_from_list([data]) for data in single)
    return [atoms for batch in batches for atoms in to_ase(batch, list(type_names))]


def _key(atoms: Atoms) -> bytes:
    """The same for a structure in the precision of the training and in that of its file."""
    numbers = (atoms.positions, atoms.cell.array[atoms.pbc])
    rounded = (x.astype(np.float32).tobytes() for x in numbers)
    return b"".join((atoms.numbers.tobytes(), atoms.pbc.tobytes(), *rounded))
