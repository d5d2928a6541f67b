"""``nequip-train`` killed in the middle of an epoch and resumed from ``last.ckpt``."""

import signal

import pytest
import torch
import yaml

from nequip_decorr.training.resume import go_on
from tests.helpers.training import DECORRELATION, module_config, nequip_train, run_config
from tests.training.test_guard import scheduled

CALLBACK = {"_target_": "nequip_decorr.DecorrelationScheduler", "metric": "decorrelation"}
SETUPS = {
    "linear": ("EMALightningModule", [scheduled()], []),
    "share": ("NequIPLightningModule", [scheduled({"target_share": 0.2})], []),
    "callback": (
        "NequIPLightningModule",
        [{**DECORRELATION, "coeff": 1.0}],
        [{**CALLBACK, "start": 0}],
    ),
}


def final_weights(folder, name):
    state = torch.load(folder / "runs" / name / "last.ckpt", weights_only=False)["state_dict"]
    return {key: value for key, value in state.items() if key.startswith("model.")}


@pytest.mark.slow
@pytest.mark.parametrize("setup", SETUPS)
def test_resumed_weights_are_those_of_training_in_one_go(tmp_path, setup):
    module, terms, callbacks = SETUPS[setup]
    options = {"ema_decay": 0.9} if "EMA" in module else {}
    config = module_config(terms, _target_=f"nequip.train.{module}", **options)
    kill = {"_target_": "tests.helpers.training.KillAt", "step": 8}
    whole = nequip_train(tmp_path, run_config(tmp_path, config, callbacks), "whole")
    assert whole.returncode == 0, whole.stdout[-3000:]
    killed = nequip_train(tmp_path, run_config(tmp_path, config, [*callbacks, kill]), "killed")
    assert killed.returncode == -signal.SIGKILL
    last = tmp_path / "runs" / "killed" / "last.ckpt"
    assert torch.load(last, weights_only=False)["global_step"] == 6
    resumed = nequip_train(
        tmp_path, run_config(tmp_path, config, callbacks), "killed", f"++ckpt_path={last}"
    )
    assert resumed.returncode == 0, resumed.stdout[-3000:]
    a, b = (final_weights(tmp_path, name) for name in ("whole", "killed"))
    assert a.keys() == b.keys()
    assert not [name for name in a if not torch.equal(a[name], b[name])]


@pytest.mark.slow
@pytest.mark.parametrize("save_last", [True, False])
def test_the_best_model_is_of_the_training_that_goes_on_or_begins_anew(tmp_path, save_last):
    saver = {"filename": "best", "monitor": "val0_epoch/weighted_sum", "save_last": save_last}
    kill = {"_target_": "tests.helpers.training.KillAt", "step": 5}
    config = run_config(tmp_path, module_config(), [kill], epochs=3, **saver)
    assert nequip_train(tmp_path, config, "killed").returncode == -signal.SIGKILL
    folder = tmp_path / "runs" / "killed"
    assert (folder / "best.ckpt").is_file()
    again = go_on(folder)
    assert again == ([f"++ckpt_path={folder / 'last.ckpt'}"] if save_last else [])
    assert (folder / "best.ckpt").is_file() == save_last
    config["trainer"]["callbacks"].pop(0)
    done = nequip_train(tmp_path, config, "killed", *again)
    assert done.returncode == 0, done.stdout[-3000:]
    names = {"best.ckpt"} | ({"last.ckpt"} if save_last else set())
    assert {path.name for path in folder.glob("*.ckpt")} == names
    state = torch.load(folder / "best.ckpt", weights_only=False)
    assert state["global_step"] == 9


def test_a_training_of_another_config_begins_anew(tmp_path):
    assert go_on(tmp_path / "not yet") == []
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text(
        yaml.safe_dump({"seed": 1, "ckpt_path": "/earlier.ckpt"})
    )
    for name in ("last.ckpt", "best.ckpt"):
        (tmp_path / name).touch()
    assert go_on(tmp_path, {"seed": 1}) == [f"++ckpt_path={tmp_path / 'last.ckpt'}"]
    assert go_on(tmp_path, {"seed": 2}) == []
    assert not list(tmp_path.glob("*.ckpt"))
