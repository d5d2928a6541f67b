"""Pictures and numbers of the feature correlation while a model trains."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from ..errors import UserError
from ..features.fields import Blocks, read_features
from ..html import png_bytes
from ..inspection.accumulate import Accumulator
from ..inspection.entry import Entry
from ..inspection.result import Inspection

PREFIX = "correlation"
log = logging.getLogger(__name__)


class CorrelationLogger(Callback):
    """Sends heat maps, spectra and curves of the feature correlation to the loggers in use.

    Reads the features that validation computes anyway (with EMA weights where there are some), so
    no model is run twice and training is not touched: the weights are the same bits with and
    without it. What goes where:

    ===================  =======================================================================
    any logger           per block ``correlation/mean_abs/layer_1``, ``.../effective_rank/...``,
                         ``.../max_abs/...``, ``.../dead/...``
    TensorBoard          heat map and spectrum as images, eigenvalues as histograms
    Weights & Biases     heat map and spectrum as images (and other loggers with ``log_image``)
    CSV, or no logger    PNG files in ``correlation/`` beside the CSV; with no logger at all the
                         curves too, in ``correlation/correlation.csv``
    ===================  =======================================================================

    .. code-block:: yaml

        trainer:
          callbacks:
            - _target_: nequip_decorr.CorrelationLogger
              every_n_epochs: 10

    >>> from nequip_decorr import CorrelationLogger
    >>> logger = CorrelationLogger(every_n_steps=500, field="layer*_node_invariants")
    >>> logger.unit, logger.stride
    ('step', 500)

    In distributed training, rank 0 reports on its share of the validation data.

    Args:
        every_n_epochs: at most one report in so many epochs; the first validation reports.
        every_n_steps: a stride in training steps instead.
        max_edges: samples taken from a validation, its first ones; bounds the cost.
        dataset: which validation set, from 0.
        field: output field or pattern, as for :func:`nequip_decorr.inspect_model`.
        block_size: channels per block; by default what the model says (Allegro's
            ``num_scalar_features``), else one block.

    Raises:
        ValueError: a wrong argument; in the first validation, a field that is not in the output or
            a width that the blocks don't divide.
    """

    def __init__(
        self,
        every_n_epochs: int | None = None,
        every_n_steps: int | None = None,
        max_edges: int = 20_000,
        dataset: int = 0,
        field: str | None = None,
        block_size: int | None = None,
    ) -> None:
        if every_n_epochs is not None and every_n_steps is not None:
            raise UserError("give one of `every_n_epochs` and `every_n_steps`, not both")
        self.unit = "epoch" if every_n_steps is None else "step"
        given = every_n_epochs if every_n_steps is None else every_n_steps
        self.stride = _at_least(f"every_n_{self.unit}s", 10 if given is None else given, 1)
        self.max_edges = _at_least("max_edges", max_edges, 2)
        self.dataset = _at_least("dataset", dataset, 0)
        self.field = field
        self.block_size = None if block_size is None else _at_least("block_size", block_size, 1)
        self._last: int | None = None
        self._accumulator: Accumulator | None = None
        self._features: Blocks | None = None
        self._samples = 0
        self._active = False

    @property
    def state_key(self) -> str:
        """One state per field and data set in a checkpoint."""
        return f"{type(self).__qualname__}[{self.field},{self.dataset}]"

    def state_dict(self) -> dict[str, Any]:
        """When it last reported, so that a resumed training keeps the stride."""
        return {"last": self._last}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self._last = state_dict["last"]

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Decide whether this validation reports."""
        now = self._now(trainer)
        sets = len(trainer.num_val_batches)
        if self.dataset >= sets:
            raise UserError(
                f"`dataset` of CorrelationLogger must be one of the {sets} validation sets, from "
                f"0 to {sets - 1}, got {self.dataset}"
            )
        due = self._last is None or now - self._last >= self.stride
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        self._active = due and fitting and trainer.is_global_zero
        self._accumulator, self._samples = None, 0

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take the features of this batch from what the validation step returned."""
        if not self._active or dataloader_idx != self.dataset or self._samples >= self.max_edges:
            return
        data = {**(batch or {}), **_model_output(outputs, dataloader_idx)}
        module = next(iter(pl_module.model.values()))
        features = read_features(module, data, self.field, self.block_size)
        blocks = features.values[:, : self.max_edges - self._samples]
        if self._accumulator is None:
            self._accumulator, self._features = Accumulator(), features
        self._accumulator.update(blocks)
        self._samples += blocks.shape[1]

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Report."""
        if not self._active:
            return
        self._last = self._now(trainer)
        if self._accumulator is None or self._features is None or self._samples < 2:
            what = "batches" if self._features is None else "samples (edges or atoms)"
            log.warning(
                f"CorrelationLogger writes nothing at epoch {trainer.current_epoch}, step "
                f"{trainer.global_step}: validation set {self.dataset} gave {self._samples} "
                f"{what}, and a correlation needs two; choose another one with `dataset`"
            )
            return
        entry = Entry(
            model="model",
            dataset="validation",
            field=self._features.field,
            blocks=self._features.names,
            widths=self._features.widths,
            kinds={0: "all"},
            moments=self._accumulator.result(),
        )
        self._accumulator = self._features = None
        self._report(trainer, Inspection((entry,)))

    def _now(self, trainer: Trainer) -> int:
        return trainer.current_epoch if self.unit == "epoch" else trainer.global_step

    def _place(self, trainer: Trainer) -> str:
        """Where it logs: each of several loggers has a place of its own."""
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if sum(isinstance(callback, CorrelationLogger) for callback in callbacks) < 2:
            return PREFIX
        of_set = [f"set{self.dataset}"] if self.dataset else []
        of_field = [re.sub(r"\W+", "_", self.field)] if self.field else []
        return "_".join([PREFIX, *of_set, *of_field])

    @rank_zero_only
    def _report(self, trainer: Trainer, found: Inspection) -> None:
        from ..inspection.plots import heat_maps, spectra

        entry = found.entries[0]
        step, place = trainer.global_step, self._place(trainer)
        curves = _curves(entry)
        figures = {"heat_map": heat_maps(found, "validation"), "spectrum": spectra(found)}
        for logger in trainer.loggers:
            logger.log_metrics({f"{place}/{key}": value for key, value in curves.items()}, step)
            _send_pictures(logger, figures, entry, place, trainer)
        if not trainer.loggers:
            folder = Path(trainer.default_root_dir) / place
            _write_pictures(folder, figures, trainer)
            _append(
                folder / f"{PREFIX}.csv", {"epoch": trainer.current_epoch, "step": step}, curves
            )


def _model_output(outputs: Any, dataloader_idx: int) -> Mapping[str, Tensor]:
    key = f"val_{dataloader_idx}_output"
    if not isinstance(outputs, Mapping) or key not in outputs:
        raise UserError(
            f"CorrelationLogger needs a validation step that returns the model's output as "
            f"{key!r}, as NequIP's training modules do; got {type(outputs).__name__}"
        )
    found: Mapping[str, Tensor] = outputs[key]
    return found


def _curves(entry: Entry) -> dict[str, float]:
    curves = {}
    for block, s in zip(entry.blocks, entry.statistics, strict=True):
        for name in ("mean_abs", "max_abs", "effective_rank"):
            curves[f"{name}/{block}"] = float(getattr(s, name))
        curves[f"dead/{block}"] = float(len(s.dead))
    return curves


def _send_pictures(
    logger: Any, figures: dict[str, Any], entry: Entry, place: str, trainer: Trainer
) -> None:
    """To TensorBoard, or a logger with ``log_image``; else to files beside the logger's own."""
    experiment, step = logger.experiment, trainer.global_step
    if hasattr(experiment, "add_figure"):
        for name, fig in figures.items():
            experiment.add_figure(f"{place}/{name}", fig, step, close=False)
        for block, values in zip(entry.blocks, entry.spectra, strict=True):
            experiment.add_histogram(f"{place}/spectrum/{block}", torch.tensor(values), step)
    elif hasattr(logger, "log_image"):
        from PIL import Image

        for name, fig in figures.items():
            image = Image.open(io.BytesIO(png_bytes(fig, dpi=100)))
            logger.log_image(f"{place}/{name}", [image], step)
    else:
        folder = logger.log_dir or logger.save_dir or trainer.default_root_dir
        _write_pictures(Path(folder) / place, figures, trainer)


def _write_pictures(folder: Path, figures: dict[str, Any], trainer: Trainer) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    when = f"epoch{trainer.current_epoch:05d}_step{trainer.global_step:08d}"
    for name, fig in figures.items():
        (folder / f"{name}_{when}.png").write_bytes(png_bytes(fig, dpi=100))


def _append(path: Path, key: dict[str, int], curves: dict[str, float]) -> None:
    """Add a row; where an earlier training left other columns, in a file beside it."""
    header = [*key, *curves]
    number, first = 1, path
    while path.is_file() and _header(path) != header:
        number += 1
        path = first.with_stem(f"{first.stem}_{number}")
    new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(header)
        writer.writerow([*key.values(), *curves.values()])


def _header(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file), [])


def _at_least(name: str, value: Any, low: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise UserError(f"`{name}` must be an integer of at least {low}, got {value!r}")
    return value
