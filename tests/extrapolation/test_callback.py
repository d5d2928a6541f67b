"""The grade at the end of a training, beside its best checkpoint."""

import logging
import os

import ase.io
import numpy as np
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from nequip.train import SimpleDDPStrategy

from nequip_decorr import ExtrapolationGrade, FitExtrapolationGrade
from nequip_decorr.errors import UserError
from nequip_decorr.features.frames import load_model
from tests.helpers.forks import spawn
from tests.helpers.training import (
    build,
    datamodule,
    fit,
    frames,
    module_config,
    nequip_train,
    run_config,
    trainer,
)
from tests.training.test_distributed import free_port

EMA = {"_target_": "nequip.train.EMALightningModule", "ema_decay": 0.9}


def same(found, checkpoint, data):
    """Whether a grade is the one of ``extrapolation fit`` with the files of the training."""
    model = load_model(checkpoint)
    training, validation = (ase.io.read(data / f"{name}.xyz", ":") for name in ("train", "val"))
    expected = ExtrapolationGrade.fit(model, training, validation)
    assert found.about == expected.about
    assert found.threshold == pytest.approx(expected.threshold, rel=1e-9)
    for a, b in zip(found.score(model, frames(3, seed=8)), expected.score(model, frames(3, seed=8)),
                    strict=True):  # fmt: skip
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_one_line_of_yaml_makes_the_grade_of_the_best_checkpoint(tmp_path):
    config = run_config(
        tmp_path, module_config(**EMA), [{"_target_": "nequip_decorr.FitExtrapolationGrade"}],
        epochs=2, filename="best", monitor="val0_epoch/weighted_sum",
    )  # fmt: skip
    done = nequip_train(tmp_path, config, "m")
    assert done.returncode == 0, done.stdout[-3000:]
    folder = tmp_path / "runs" / "m"
    same(ExtrapolationGrade.load(folder / "best.grade.npz"), folder / "best.ckpt", tmp_path)


def test_frames_of_earlier_md_do_not_move_the_edge(tmp_path, caplog):
    datamodule(tmp_path)
    training, validation = (ase.io.read(tmp_path / f"{n}.xyz", ":") for n in ("train", "val"))
    ase.io.write(tmp_path / "labelled.xyz", training[2:])
    saver = ModelCheckpoint(dirpath=tmp_path, filename="best")
    made = FitExtrapolationGrade(quantile=0.9, added=str(tmp_path / "labelled.xyz"))
    fit(tmp_path, module_config(), [saver, made], epochs=1, checkpoint=True)
    found = ExtrapolationGrade.load(tmp_path / "best.grade.npz")
    model = load_model(tmp_path / "best.ckpt")
    expected = ExtrapolationGrade.fit(model, training[:2], validation, training[2:], quantile=0.9)
    assert found.about["added_frames"] == len(training) - 2
    assert found.about == expected.about
    assert found.threshold == pytest.approx(expected.threshold)
    ase.io.write(tmp_path / "labelled.xyz", frames(1, seed=99))
    strange = FitExtrapolationGrade(added=[str(tmp_path / "labelled.xyz")])
    with caplog.at_level(logging.WARNING):
        fit(tmp_path, module_config(), [saver, strange], epochs=1, checkpoint=True)
    assert "0 of 1 structures of `added` are in the training set" in caplog.text
    with pytest.raises(UserError, match=r"`added`: no such file: nowhere\.xyz"):
        lost = FitExtrapolationGrade(added="nowhere.xyz")
        fit(tmp_path, module_config(), [saver, lost], epochs=1, checkpoint=True)


def test_a_failure_keeps_the_training_and_says_what_to_do(tmp_path, caplog, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no memory")

    monkeypatch.setattr(ExtrapolationGrade, "fit", broken)
    saver = ModelCheckpoint(dirpath=tmp_path, filename="best")
    with caplog.at_level(logging.WARNING):
        fit(tmp_path, module_config(), [saver, FitExtrapolationGrade()], epochs=1, checkpoint=True)
    assert "(RuntimeError: no memory); make it with `nequip-decorr extrapolation fit" in caplog.text
    assert str(tmp_path / "best.ckpt") in caplog.text and (tmp_path / "best.ckpt").is_file()


def test_without_a_checkpoint_it_is_an_error_at_the_start(tmp_path):
    with pytest.raises(UserError, match="needs a checkpoint to fit the grade of"):
        fit(tmp_path, module_config(), [FitExtrapolationGrade()], epochs=1)
    with pytest.raises(UserError, match="`quantile` must be"):
        FitExtrapolationGrade(quantile=99.9)


def on_rank(rank, port, folder):
    """A training on two ranks, each with half of the batches."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), LOCAL_RANK=str(rank))
    saver = ModelCheckpoint(dirpath=folder, filename="best")
    strategy = SimpleDDPStrategy(process_group_backend="gloo")
    run = trainer(folder, [saver, FitExtrapolationGrade()], 1, devices=2, strategy=strategy,
                  checkpoint=True)  # fmt: skip
    module = build(module_config())
    module.world_size = run.world_size
    run.fit(module, datamodule=datamodule(folder, batch_size=1))


@pytest.mark.slow
def test_on_two_ranks_the_data_of_both_count(tmp_path):
    datamodule(tmp_path)
    spawn(on_rank, (free_port(), tmp_path), nprocs=2)
    same(ExtrapolationGrade.load(tmp_path / "best.grade.npz"), tmp_path / "best.ckpt", tmp_path)
