"""Where a model is evaluated, and where its output goes."""

from __future__ import annotations

import torch
from ase.build import bulk
from nequip.nn import graph_model

from nequip_decorr.features.frames import outputs


class Elsewhere(torch.nn.Module):
    """A model whose parameters are on another device, as one that was trained on a GPU."""

    metadata = {graph_model.TYPE_NAMES_KEY: "Cu", graph_model.R_MAX_KEY: "4.0"}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1, device="meta"))
        self.devices = set()

    def forward(self, data):
        self.devices |= {value.device.type for value in data.values()}
        # A number of its own, since tensors of the device `meta` have none.
        return {"total_energy": torch.ones(1, requires_grad=True)}


def test_inputs_go_to_the_model_and_outputs_to_the_cpu():
    model = Elsewhere()
    predicted, given = next(outputs(model, [bulk("Cu")]))
    assert model.devices == {"meta"}
    assert {value.device.type for value in given.values()} == {"cpu"}
    assert predicted["total_energy"].device.type == "cpu"
    assert not predicted["total_energy"].requires_grad
