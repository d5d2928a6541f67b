"""``nequip-train`` itself: it trains with the term, or ends with a message and a status above 0."""

import csv
import re
from pathlib import Path

import pytest
import yaml
from hydra.utils import instantiate

from nequip_decorr.training.request import LOOP
from tests.helpers.forks import ROOT, run
from tests.helpers.training import DECORRELATION, module_config, nequip_config, run_config

FLAG = "+decorr=default"
SCHEDULED = {
    **DECORRELATION,
    "coeff": 0.05,
    "metric": {**DECORRELATION["metric"], "schedule": {"start": 0.0}},
}
PER_ATOM, MSE = "nequip.data.PerAtomModifier", "nequip.train.MeanSquaredError"
CALLBACKS = """
from lightning.pytorch.callbacks import Callback

STOCK = {"per_atom_energy_mse": 1.0, "forces_mse": 3.0}

class EveryStep(Callback):
    def on_train_batch_end(self, trainer, pl_module, *arguments):
        pl_module.loss.set_coeffs(STOCK)

class EveryEpoch(Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        pl_module.loss.set_coeffs(STOCK)

class Writes(Callback):
    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        pl_module.loss.entries["decorrelation"].coeff = None

def build(**arguments):
    from nequip.model import NequIPGNNModel
    return NequIPGNNModel(**arguments)
"""
STEPS = [0.05 * step / 6 for step in range(6)]


def write(folder, name, module, callbacks=(), **changes):
    config = run_config(folder, module, callbacks, epochs=2)
    config["trainer"] |= {
        "logger": {
            "_target_": "lightning.pytorch.loggers.CSVLogger",
            "save_dir": "${hydra:runtime.output_dir}", "name": "csv", "version": "",
        },
        "log_every_n_steps": 1,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }  # fmt: skip
    for key, value in changes.items():
        config.setdefault(key, {})
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))


def manager(*entries):
    parts = [
        ("per_atom_energy_mse", {"_target_": PER_ATOM, "field": "total_energy"}),
        ("forces_mse", "forces"),
    ]  # fmt: skip
    metrics = [
        {"name": name, "field": field, "coeff": 1.0, "metric": {"_target_": MSE}}
        for name, field in parts
    ]
    return {"_target_": "nequip.train.MetricsManager", "metrics": [*metrics, *entries]}


def write_all(folder):
    (folder / "lab.py").write_text(CALLBACKS)
    mine = {"name": "decorrelation", "field": "forces", "coeff": 0.1,
            "metric": {"_target_": "nequip.train.HuberLoss"}}  # fmt: skip
    stock, block = module_config(), module_config([SCHEDULED])
    write(folder, "stock", stock)
    write(folder, "block", block)
    write(folder, "plain", module_config([DECORRELATION]))
    write(folder, "taken", module_config([mine]))
    nulls = module_config()
    nulls["loss"] |= {"extra_metrics": None, "type_names": None}
    write(folder, "nulls", {**nulls, "lr_scheduler": None}, trainer={"callbacks": None})
    shared = module_config(loss="${the_loss}", val_metrics="${the_loss}")
    write(folder, "shared", shared, the_loss=manager())
    turned = module_config(loss=manager(), val_metrics="${training_module.loss}")
    write(folder, "turned", turned)
    for name in ("EveryStep", "EveryEpoch", "Writes"):
        callback = {"_target_": f"lab.{name}"}
        write(folder, f"stock{name}", stock, [callback])
        write(folder, f"plain{name}", module_config([DECORRELATION]), [callback])
    patience = {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "min_delta": 1e9,
                "monitor": "val0_epoch/weighted_sum", "patience": 1}  # fmt: skip
    write(folder, "patient", stock, [patience])
    write(folder, "foreign", module_config(model={**nequip_config(), "_target_": "lab.build"}))
    package = {"_target_": "nequip.model.ModelFromPackage", "package_path": "x.nequip.zip"}
    write(folder, "package", module_config(model=package))
    gone = {"_target_": "nequip.model.ModelFromCheckpoint", "checkpoint_path": "gone.ckpt"}
    write(folder, "gone", module_config(model=gone))
    write(folder, "empty", module_config(model=None))
    referred = module_config()
    referred["loss"]["extra_metrics"] = "${terms}"
    write(folder, "referred", referred, terms=[SCHEDULED])
    misplaced = module_config()
    misplaced["loss"]["coeffs"]["extra_metrics"] = [SCHEDULED]
    write(folder, "misplaced", misplaced)
    write(folder, "mode", stock, hydra={"mode": "MULTIRUN"})
    both = {**SCHEDULED["metric"], "schedule": {"start": 0.0, "end": 0.1}}
    write(folder, "both", module_config([{**SCHEDULED, "metric": both}]))


NO_HYDRA = "hydra.output_subdir=null"
OURS, STOCK = "++ckpt_path={ours}", "++ckpt_path={stock}"
MORE = "trainer.max_epochs=3"
TRAINS = {
    "block": (["-cn", "block"], STEPS),
    "no_schedule": (["-cn", "plain"], [0.1] * 6),
    "paper": (["-cn", "stock", "+decorr=paper"], None),
    "nulls": (["-cn", "nulls", FLAG], STEPS),
    "shared": (["-cn", "shared", FLAG], STEPS),
    "turned": (["-cn", "turned", FLAG], STEPS),
    "step": (["-cn", "stockEveryStep", FLAG], STEPS),
    "written": (["-cn", "stockWrites", FLAG], STEPS),
    "epoch": (["-cn", "stockEveryStep", FLAG, "decorr.metric.schedule.interval=epoch"],
              [0.0] * 3 + [0.025] * 3),
    "every_epoch": (["-cn", "stockEveryEpoch", FLAG], STEPS),
    "no_hydra": (["-cn", "stock", FLAG, NO_HYDRA], STEPS),
    "coeff": (["-cn", "stock", "decorr.coeff=0.5", FLAG], [10 * c for c in STEPS]),
    "steps": (["-cn", "stock", FLAG, "trainer.max_epochs=-1", "++trainer.max_steps=3"],
              [0.05 * step / 3 for step in range(3)]),
    "horizon": (["-cn", "stock", FLAG, "decorr.metric.schedule.unit=step",
                 "decorr.metric.schedule.finish=2"], [0.0, 0.025, *[0.05] * 4]),
    "patience": (["-cn", "patient", FLAG, "trainer.max_epochs=1000000"],
                 [step * 0.05 / 3e6 for step in range(6)]),
    "time": (["-cn", "stock", FLAG, "trainer.max_epochs=-1", "++trainer.max_time='00:00:00:02'"],
             None),
    "closed": (["-cn", "stock", FLAG, "decorr.metric.schedule.target_share=0.1",
                "decorr.metric.field=edge_features", "decorr.metric.block_size=4"], None),
    "foreign_field": (["-cn", "foreign", FLAG, "decorr.metric.field=node_features",
                       "decorr.metric.block_size=4"], STEPS),
    "resumed": (["-cn", "stock", FLAG, OURS, MORE], [0.05 * step / 9 for step in range(6, 9)]),
    "resumed_block": (["-cn", "block", OURS, MORE, NO_HYDRA],
                      [0.05 * step / 9 for step in range(6, 9)]),
    "resumed_other": (["-cn", "stock", FLAG, "decorr.coeff=0.2", OURS, MORE],
                      [0.05 * step / 9 for step in range(6, 9)]),
}  # fmt: skip
STOPS = {
    "builder": (["-cn", "foreign", FLAG], "which features a model `lab.build` has"),
    "package": (["-cn", "package", FLAG], "`decorr.metric.field=FIELD`"),
    "taken": (["-cn", "taken", FLAG], "choose another name with `decorr.name=...`"),
    "twice": (["-cn", "block", FLAG], r"has the decorrelation term \['decorrelation'\] already"),
    "gone": (["-cn", "gone", FLAG], "can't read the checkpoint .*: gone.ckpt"),
    "empty": (["-cn", "empty", FLAG], "needs `training_module.model` in the config"),
    "both": (["-cn", "both"], "`coeff` .* is 0.05, but its schedule has `end` 0.1"),
    "endless": (["-cn", "stock", FLAG, "trainer.max_epochs=-1"], "its length is inf steps"),
    "wrong_field": (["-cn", "foreign", FLAG, "decorr.metric.field=charges"],
                    "fields there: .*node_features"),
    "stock_flag": (["-cn", "stock", FLAG, STOCK], "has no decorrelation term, so that `.decorr`"),
    "stock_block": (["-cn", "block", STOCK, MORE], "comes from the checkpoint"),
    "stock_no_hydra": (["-cn", "block", STOCK, MORE, NO_HYDRA], "comes from the checkpoint"),
    "stock_referred": (["-cn", "referred", STOCK, MORE], "comes from the checkpoint"),
    "elsewhere": (["-cn", "stock", "+decorr@x=default"], "write `.decorr=default`"),
    "typo": (["-cn", "stock", "+decor=default"], r"did you mean `\+decorr=default`"),
    "misplaced": (["-cn", "misplaced"], r"where the loss does not read them; .*extra_metrics"),
    "node": (["-cn", "stock", "+decorr.coeff=0.1"], "choose the group on the command line"),
    "no_callback": (["-cn", "stock", FLAG, "~hydra.callbacks.decorr"], "decorr` did not run"),
    "step_plain": (["-cn", "plainEveryStep"],
                   r"None at step 1 and should have .*EveryStep.on_train_batch_end \(.*lab.py:8\)"),
    "epoch_plain": (["-cn", "plainEveryEpoch"], r"EveryEpoch.on_train_epoch_start \(.*lab.py:12\)"),
    "written_plain": (["-cn", "plainWrites"], r"one of \['Writes'\] changed it"),
}  # fmt: skip
RATES = "training_module.optimizer.lr=0.1,0.2"
SWEEPS = {
    "sweep": ["-m", "-cn", "stock", "+decorr=default,paper"],
    "sweep_no_hydra": ["-m", "-cn", "stock", RATES, FLAG, NO_HYDRA],
    "mode": ["-cn", "mode", FLAG, RATES],
}  # fmt: skip


class Run:
    """A finished run: its status, what it printed and what is in its log."""

    def __init__(self, folder, name, arguments):
        out = folder / "runs" / name
        words = ["-cp", folder, *arguments, f"hydra.run.dir={out}"]
        done = run("nequip-train", *words, path=(str(ROOT), str(folder)))
        self.status, self.stdout = done.returncode, done.stdout
        text = "".join(file.read_text() for file in sorted(out.rglob("train.log")))
        self.log = re.sub(r"\s+", " ", text)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    write_all(folder)
    first = {"stock": ["-cn", "stock"], "flag": ["-cn", "stock", FLAG]}
    finished = {name: Run(folder, name, words) for name, words in first.items()}
    last = {n: folder / "runs" / n / "last.ckpt" for n in first}
    names = {"ours": last["flag"], "stock": last["stock"]}
    runs = {n: [a.format(**names) for a in words[0]] for n, words in {**TRAINS, **STOPS}.items()}
    for name, words in SWEEPS.items():
        runs[name] = [*words, f"hydra.sweep.dir={folder / 'runs' / name}"]
    return folder, finished | {name: Run(folder, name, words) for name, words in runs.items()}


def coefficients(folder, name):
    with (folder / "runs" / name / "csv" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = [row.get("decorrelation_coeff/decorrelation") for row in rows]
    return [float(value) for value in found if value], rows


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flag", *TRAINS])
def test_it_trains_with_the_term(done, name):
    folder, runs = done
    assert runs[name].status == 0, runs[name].stdout[-3000:]
    found, rows = coefficients(folder, name)
    penalties = [row["train_loss_step/decorrelation"] for row in rows]
    assert all(float(value) > 0 for value in penalties if value)
    expected = STEPS if name == "flag" else TRAINS[name][1]
    if expected is None:
        assert found and max(found) > 0
    else:
        assert found == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", STOPS)
def test_it_stops_with_a_message_in_the_log(done, name):
    folder, runs = done
    assert runs[name].status > 0, runs[name].stdout[-3000:]
    assert re.search(STOPS[name][1], runs[name].log), runs[name].log
    if name not in ("step_plain", "epoch_plain", "written_plain"):
        assert not list((folder / "runs" / name).rglob("*.ckpt"))


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
def test_a_multirun_with_the_flag_is_refused_with_a_loop_that_works(done, name):
    folder, runs = done
    assert runs[name].status > 0
    assert LOOP in runs[name].log and LOOP in runs[name].stdout
    assert not list((folder / "runs" / name).rglob("*.ckpt"))


@pytest.mark.slow
def test_the_log_holds_the_block_and_how_far_the_coefficient_got(done):
    _, runs = done
    log = runs["no_hydra"].log
    assert "+decorr: added to the loss: name: decorrelation coeff: 0.05 metric:" in log
    assert "coefficient from 0 to 0.05 (linear) over 6 steps (2 epochs)" in log
    assert "schedule.unit=epoch decorr.metric.schedule.finish=" in log
    end = r"0.0417 in the loss at the end, the term is \S+ % of the loss \(step 6 of 6\), 100 % of"
    assert re.search(rf"INFO\S* - .{{40,60}} {end}", log)
    patience = runs["patience"].log
    assert "over 3000000 steps (1e+06 epochs)" in patience
    end = r"at the end, the term is \S+ % of the loss \(step 6 of 3000000\), 0.0002 % of the way"
    assert re.search(rf"WARNING\S* - .{{60,90}} {end}", patience)
    assert "the curve moved, and at step 6 the coefficient is 0.0333" in runs["resumed"].log
    assert "the checkpoint's term is kept, which differs: coeff: 0.05 (asked: 0.2)" in (
        runs["resumed_other"].log
    )
    assert "EveryStep.on_train_batch_end" in runs["step"].log
    assert "over 100 % of `max_time`" in runs["time"].log


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shared", "turned"])
def test_a_shared_loss_gives_the_term_to_the_loss_alone(done, name):
    folder, _ = done
    _, rows = coefficients(folder, name)
    assert "train_loss_step/decorrelation" in rows[0]
    assert "val0_epoch/forces_mse" in rows[0]
    assert "val0_epoch/decorrelation" not in rows[0]


def commands():
    """Those of all pages with a config of the user's and the flag."""
    root = Path(__file__).parents[2]
    text = "\n".join(path.read_text() for path in (root / "README.md", *root.glob("docs/*.md")))
    return sorted(set(re.findall(r"^nequip-train -cn stock.yaml (.*)$", text, re.M)))


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_pages_makes_a_term(command, tmp_path):
    from hydra import compose, initialize_config_dir

    from nequip_decorr.training.flag import add_decorrelation, register

    write(tmp_path, "stock", module_config())
    register()
    with initialize_config_dir(str(tmp_path), version_base=None):
        overrides = command.split()
        config = compose("stock", overrides)
        add_decorrelation(config, overrides)
    term = instantiate(config.training_module.loss.extra_metrics[0].metric)
    assert term.schedule.ending_at(config.training_module.loss.extra_metrics[0].coeff)
