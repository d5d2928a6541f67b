"""The callback: what reaches which logger, at what cost, and that training never notices."""

import csv
import time

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from PIL import Image

from nequip_decorr import CorrelationLogger
from nequip_decorr.features.fields import read_features
from tests.helpers.training import (
    BLOCK,
    DECORRELATION,
    build,
    datamodule,
    model_config,
    module_config,
    weights,
)

CURVES = {
    f"correlation/{name}/{block}"
    for name in ("mean_abs", "max_abs", "effective_rank", "dead")
    for block in ("two_body", "layer_1", "layer_2")
}


def train(folder, callbacks, loggers=False, config=None, ckpt_path=None, **options):
    lightning.seed_everything(7, verbose=False)
    module = build(config or module_config([DECORRELATION]))
    options = {"max_epochs": 4, "num_sanity_val_steps": 2, "log_every_n_steps": 1, **options}
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        default_root_dir=folder,
        logger=loggers,
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        inference_mode=False,
        **options,
    )
    trainer.fit(module, datamodule=datamodule(folder), ckpt_path=ckpt_path, weights_only=False)
    return module, trainer


def output(width, edges=500):
    """What a model returns, as far as the callback looks."""
    return {
        "edge_index": torch.zeros(2, edges, dtype=torch.long),
        "atom_types": torch.zeros(7, dtype=torch.long),
        "edge_features": torch.randn(edges, width, generator=torch.Generator().manual_seed(0)),
    }


def rows(path):
    return list(csv.DictReader(path.open()))


EMA = {"_target_": "nequip.train.EMALightningModule", "ema_decay": 0.5}


@pytest.mark.parametrize("changes", [{}, EMA], ids=["plain", "ema"])
def test_the_weights_are_the_same_bits_with_and_without_it(tmp_path, changes):
    config = module_config([DECORRELATION], **changes)
    runs = []
    for name, callbacks in (("off", []), ("on", [CorrelationLogger(every_n_epochs=1)])):
        (tmp_path / name).mkdir()
        module, _ = train(tmp_path / name, callbacks, config=config)
        runs.append(weights(module))
    assert not [k for k in runs[0] if not torch.equal(runs[0][k], runs[1][k])]


def test_csv_logger_gets_curves_and_pictures_at_the_stride(tmp_path):
    logger = CSVLogger(tmp_path, name=None, version="logs")
    train(tmp_path, [CorrelationLogger(every_n_epochs=2)], logger, max_epochs=5)
    logged = [r for r in rows(tmp_path / "logs" / "metrics.csv") if r["correlation/dead/layer_1"]]
    assert len(logged) == 3
    assert set(logged[0]) >= CURVES
    values = [float(r["correlation/mean_abs/layer_2"]) for r in logged]
    assert all(0 < v < 1 for v in values)
    pictures = sorted(p.name for p in (tmp_path / "logs" / "correlation").iterdir())
    assert pictures == [
        f"{kind}_epoch{e:05d}_step{3 * (e + 1):08d}.png"
        for kind in ("heat_map", "spectrum")
        for e in (0, 2, 4)
    ]
    assert Image.open(tmp_path / "logs" / "correlation" / pictures[0]).size > (500, 200)


def test_without_a_logger_files_are_written(tmp_path):
    train(tmp_path, [CorrelationLogger(every_n_epochs=3)])
    found = rows(tmp_path / "correlation" / "correlation.csv")
    assert [(r["epoch"], r["step"]) for r in found] == [("0", "3"), ("3", "12")]
    assert len(list((tmp_path / "correlation").glob("*.png"))) == 4


def test_the_values_are_those_of_the_monitor_on_the_validation_set(tmp_path):
    monitor = {
        "name": "correlation",
        "metric": {"_target_": "nequip_decorr.FeatureCorrelation", "block_size": BLOCK},
    }
    config = module_config()
    config["val_metrics"]["extra_metrics"] = [monitor]
    logger = CSVLogger(tmp_path, name=None, version="logs")
    train(tmp_path, [CorrelationLogger(every_n_epochs=1)], logger, config, max_epochs=2)
    found = rows(tmp_path / "logs" / "metrics.csv")
    monitored = [float(r["val0_epoch/correlation"]) for r in found if r["val0_epoch/correlation"]]
    blocks = ("two_body", "layer_1", "layer_2")
    ours = [
        sum(float(r[f"correlation/mean_abs/{b}"]) for b in blocks) / 3
        for r in found
        if r["correlation/mean_abs/layer_1"]
    ]
    assert len(ours) == 2
    assert ours == pytest.approx(monitored, rel=1e-6)


def test_tensorboard_gets_images_histograms_and_curves(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loggers = [TensorBoardLogger(tmp_path, "tb"), CSVLogger(tmp_path, "csv")]
    train(tmp_path, [CorrelationLogger(every_n_epochs=3)], loggers)
    events = EventAccumulator(loggers[0].log_dir, size_guidance={"images": 0}).Reload()
    tags = events.Tags()
    assert set(tags["images"]) == {"correlation/heat_map", "correlation/spectrum"}
    assert [e.step for e in events.Images("correlation/heat_map")] == [3, 12]
    assert "correlation/spectrum/layer_2" in tags["histograms"]
    assert set(tags["scalars"]) >= CURVES
    # The other logger gets its own at the same time.
    assert len(list((tmp_path / "csv" / "version_0" / "correlation").glob("*.png"))) == 4


class ImageLogger(CSVLogger):
    """Takes images as Weights & Biases' logger does."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.images = []

    def log_image(self, key, images, step=None):
        self.images.append((key, [i.size for i in images], step))


def test_a_logger_that_takes_images_gets_them(tmp_path):
    logger = ImageLogger(tmp_path, name=None, version="logs")
    train(tmp_path, [CorrelationLogger(every_n_epochs=9)], logger, max_epochs=1)
    assert [(k, s) for k, _, s in logger.images] == [
        ("correlation/heat_map", 3),
        ("correlation/spectrum", 3),
    ]
    assert not (tmp_path / "logs" / "correlation").exists()


def test_weights_and_biases_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb (100 MB) is not installed")
    from lightning.pytorch.loggers import WandbLogger

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(project="test", save_dir=tmp_path, offline=True)
    train(tmp_path, [CorrelationLogger(every_n_epochs=9)], logger, max_epochs=1)
    logger.experiment.finish()
    assert len(list(tmp_path.glob("wandb/**/correlation/*.png"))) == 2


def test_a_resumed_training_keeps_the_stride(tmp_path):
    class Save(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                trainer.save_checkpoint(tmp_path / "mid.ckpt")

    train(tmp_path, [CorrelationLogger(every_n_epochs=3), Save()], max_epochs=2)
    path = str(tmp_path / "mid.ckpt")
    train(tmp_path, [CorrelationLogger(every_n_epochs=3)], ckpt_path=path, max_epochs=5)
    epochs = [r["epoch"] for r in rows(tmp_path / "correlation" / "correlation.csv")]
    assert epochs == ["0", "3"]


def test_a_stride_in_steps(tmp_path):
    callback = CorrelationLogger(every_n_steps=4)
    train(tmp_path, [callback], val_check_interval=1, max_epochs=3)
    steps = [int(r["step"]) for r in rows(tmp_path / "correlation" / "correlation.csv")]
    assert steps == [1, 5, 9]


def test_max_edges_bounds_what_is_taken(tmp_path, monkeypatch):
    taken = []
    from nequip_decorr.training import logger as module

    class Counting(module.Accumulator):
        def update(self, blocks, kinds=None, lengths_A=None):
            taken.append(blocks.shape[1])
            super().update(blocks, kinds, lengths_A)

    monkeypatch.setattr(module, "Accumulator", Counting)
    train(tmp_path, [CorrelationLogger(max_edges=50)], max_epochs=1)
    assert taken == [50]


def test_other_ranks_than_the_first_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(lightning.Trainer, "is_global_zero", property(lambda self: False))
    train(tmp_path, [CorrelationLogger(every_n_epochs=1)], max_epochs=1)
    assert not (tmp_path / "correlation").exists()


def test_a_report_costs_little(tmp_path):
    """Features of a usual width and the default bound: what one report adds to an epoch.

    Measured against one correlation matrix of all rows of a batch, so that a busy machine does not
    matter.
    """
    callback = CorrelationLogger(every_n_epochs=1)
    _, trainer = train(tmp_path, [], max_epochs=1)
    module = build({**module_config(), "model": {**model_config(), "num_scalar_features": 64}})
    trainer.state.fn, trainer.validating = "fit", True
    outputs = {"val_0_output": output(192, 30_000)}
    callback.on_validation_start(trainer, module)
    start = time.process_time()
    for k in range(50):
        callback.on_validation_batch_end(trainer, module, outputs, None, k)
    batches = time.process_time() - start
    callback.on_validation_end(trainer, module)
    total = time.process_time() - start
    assert (tmp_path / "correlation" / "correlation.csv").is_file()
    start = time.process_time()
    for _ in range(5):
        torch.corrcoef(outputs["val_0_output"]["edge_features"].double().T)
    matrix = (time.process_time() - start) / 5
    assert batches < 8 * matrix
    assert total < 40 * matrix


def test_the_block_size_of_a_compiled_model_is_found():
    """Compiling takes two minutes and is not done here; what the wrapper hides would be missing."""
    config = module_config()
    config["model"]["compile_mode"] = "compile"
    (model,) = build(config).model.values()
    features = read_features(model, output(3 * BLOCK), None, None)
    assert features.names == ("two_body", "layer_1", "layer_2")
    assert features.values.shape == (3, 500, BLOCK)


WRONG = [
    ({"every_n_epochs": 0}, "`every_n_epochs` must be an integer of at least 1, got 0"),
    ({"every_n_steps": 1.5}, "`every_n_steps` must be an integer of at least 1, got 1.5"),
    ({"every_n_epochs": 1, "every_n_steps": 1}, "one of `every_n_epochs` and `every_n_steps`"),
    ({"max_edges": 1}, "`max_edges` must be an integer of at least 2, got 1"),
    ({"block_size": True}, "`block_size` must be an integer of at least 1, got True"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        CorrelationLogger(**arguments)


def test_each_of_several_loggers_has_a_place_of_its_own(tmp_path):
    loggers = [CorrelationLogger(), CorrelationLogger(field="edge_feat*", block_size=2)]
    train(tmp_path, loggers, max_epochs=1)
    plain, field = tmp_path / "correlation", tmp_path / "correlation_edge_feat_"
    tables = [(plain / "correlation.csv").read_text(), (field / "correlation.csv").read_text()]
    assert tables[0].count("\n") == tables[1].count("\n") == 2
    assert tables[0].count(",") < tables[1].count(",")
    assert {p.name for p in plain.glob("*.png")} == {p.name for p in field.glob("*.png")}


def test_another_training_in_the_folder_with_other_blocks_has_a_table_of_its_own(tmp_path):
    for block_size in (None, 2, None):
        train(tmp_path, [CorrelationLogger(block_size=block_size)], max_epochs=1)
    first, second = (
        tmp_path / "correlation" / f"{n}.csv" for n in ("correlation", "correlation_2")
    )
    for path, rows in ((first, 2), (second, 1)):
        header, *lines = path.read_text().splitlines()
        assert [len(line.split(",")) for line in lines] == [len(header.split(","))] * rows


def test_a_wrong_field_is_an_error_in_the_first_validation(tmp_path):
    with pytest.raises(ValueError, match=r"field `x` is not in .*'edge_features'"):
        train(tmp_path, [CorrelationLogger(field="x")])


def test_a_validation_set_without_edges_is_said_in_the_log(tmp_path, caplog):
    callback = CorrelationLogger(every_n_epochs=1)
    _, trainer = train(tmp_path, [], max_epochs=1)
    trainer.state.fn, trainer.validating = "fit", True
    module = build(module_config())
    callback.on_validation_start(trainer, module)
    callback.on_validation_batch_end(trainer, module, {"val_0_output": output(12, 0)}, None, 0)
    callback.on_validation_end(trainer, module)
    assert "validation set 0 gave 0 samples (edges or atoms)" in caplog.text
    assert not (tmp_path / "correlation").exists()


def test_a_validation_set_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"`dataset` .* the 1 validation sets, from 0 to 0, got 1"):
        train(tmp_path, [CorrelationLogger(dataset=1)], max_epochs=1)
