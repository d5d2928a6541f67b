"""``nequip-train`` killed in the middle of an epoch and resumed from ``last.ckpt``."""

import signal

import pytest
import torch

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
