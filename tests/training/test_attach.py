"""Where no NequIP training is under way, Lightning gets no callback and loads nothing of NequIP."""

import subprocess
import sys
from pathlib import Path

import nequip.train  # noqa: F401

from nequip_decorr.training.attach import default_callbacks
from nequip_decorr.training.guard import LossGuard

PROGRAM = """
import sys
from nequip_decorr.training.attach import default_callbacks
assert default_callbacks() == []
heavy = {"torch", "nequip", "lightning", "hydra"} & set(sys.modules)
assert not heavy, heavy
"""


def test_a_process_without_nequip_gets_nothing():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert 'nequip_decorr = "nequip_decorr.training.attach:default_callbacks"' in project


def test_a_process_that_trains_with_nequip_gets_the_guard():
    assert [type(callback) for callback in default_callbacks()] == [LossGuard]


def test_other_lightning_modules_are_left_alone():
    import torch
    from lightning import LightningModule

    class Other(LightningModule):
        def __init__(self):
            super().__init__()
            self.loss = torch.nn.MSELoss()

    LossGuard().setup(None, Other(), "fit")
