"""``nequip-train`` killed in the middle of an epoch and resumed from ``last.ckpt``."""

import signal

import pytest
import torch
import yaml

from nequip_decorr.training.resume import composed, go_on
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


SAVER = {"filename": "best", "monitor": "val0_epoch/weighted_sum"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("saver", "goes_on"),
    [({}, True), ({"save_last": False}, False), ({"dirpath": None}, False)],
    ids=["last", "no last", "a folder for each call"],
)
def test_the_best_model_is_of_the_training_that_goes_on_or_begins_anew(tmp_path, saver, goes_on):
    kill = {"_target_": "tests.helpers.training.KillAt", "step": 5, "only_once": str(tmp_path)}
    config = run_config(tmp_path, module_config(), [kill], epochs=3, **{**SAVER, **saver})
    config["trainer"]["default_root_dir"] = "${hydra:runtime.output_dir}"
    assert nequip_train(tmp_path, config, "train").returncode == -signal.SIGKILL
    folder, said = tmp_path / "runs" / "train", []
    (best,) = folder.rglob("best.ckpt")
    again = go_on(folder, tmp_path / "train.yaml", [], said.append)
    assert again == ([f"++ckpt_path={folder / 'last.ckpt'}"] if goes_on else [])
    aside = tmp_path / "runs" / "train_earlier_1"
    assert best.is_file() == goes_on
    assert (aside / best.relative_to(folder)).is_file() is not goes_on
    assert [str(aside) in line for line in said] == ([] if goes_on else [True])
    done = nequip_train(tmp_path, config, "train", *again)
    assert done.returncode == 0, done.stdout[-3000:]
    found = list(folder.rglob("*.ckpt"))
    assert [path.name for path in found].count("best.ckpt") == 1
    assert {path.name for path in found} <= {"best.ckpt", "last.ckpt"}
    (best,) = folder.rglob("best.ckpt")
    assert torch.load(best, weights_only=False)["global_step"] == 9


@pytest.fixture
def broken_off(tmp_path):
    """What Hydra and Lightning leave of a training with ``seed: 1``."""
    folder = tmp_path / "out"
    saver = {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "dirpath": "out"}
    (tmp_path / "train.yaml").write_text(
        yaml.safe_dump({"seed": 1, "trainer": {"callbacks": [saver]}})
    )
    (folder / ".hydra").mkdir(parents=True)
    begun = {**composed(tmp_path / "train.yaml", []), "ckpt_path": "/an/earlier.ckpt"}
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(begun))
    state = {"callbacks": {"ModelCheckpoint{}": {"dirpath": str(folder)}}}
    torch.save(state, folder / "last.ckpt")
    (folder / "best.ckpt").touch()
    return folder


def test_a_training_of_the_same_config_goes_on(broken_off):
    again = go_on(broken_off, broken_off.parent / "train.yaml", [])
    assert again == [f"++ckpt_path={broken_off / 'last.ckpt'}"]
    assert go_on(broken_off / "not yet", broken_off.parent / "train.yaml", []) == []


@pytest.mark.parametrize("change", ["config", "overrides", "moved", "cut short", "unknown"])
def test_another_training_begins_anew_and_keeps_the_checkpoints_aside(broken_off, change):
    config = broken_off.parent / "train.yaml"
    if change == "config":
        config.write_text(config.read_text().replace("seed: 1", "seed: 2"))
    elif change == "moved":
        broken_off = broken_off.rename(broken_off.with_name("moved"))
    elif change == "cut short":
        (broken_off / "last.ckpt").write_bytes((broken_off / "last.ckpt").read_bytes()[:100])
    elif change == "unknown":
        (broken_off / ".hydra" / "config.yaml").unlink()
    said = []
    words = ["seed=3"] if change == "overrides" else []
    assert go_on(broken_off, config, words, said.append) == []
    aside = broken_off.with_name(f"{broken_off.name}_earlier_1")
    assert {path.name for path in aside.iterdir()} == {"best.ckpt", "last.ckpt"}
    assert str(aside) in said[0] and not list(broken_off.glob("*.ckpt"))
