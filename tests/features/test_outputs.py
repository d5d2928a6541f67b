"""Where a model is evaluated, and where its output goes."""

from __future__ import annotations

import numpy as np
import torch
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
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


def test_what_dft_codes_write_beside_energy_and_forces_is_no_obstacle():
    frames = [bulk("Cu").repeat((2, 1, 1)) for _ in range(2)]
    shapes = {"energies": 2, "forces": (2, 3), "stress": 6, "stresses": (2, 6), "dipole": 3}
    shapes |= {"charges": 2, "magmoms": 2, "dielectric_tensor": (3, 3), "polarization": 3}
    numbers = ("energy", "free_energy", "magmom")
    results = {name: np.ones(shape) for name, shape in shapes.items()}
    frames[0].calc = SinglePointCalculator(frames[0], **results, **dict.fromkeys(numbers, 1.0))
    frames[1].calc = SinglePointCalculator(frames[1], energy=1.0, forces=np.ones((2, 3)))
    (_, first), (_, second) = outputs(Elsewhere(), frames, batch_size=1)
    for given in (first, second):
        assert given["forces"].shape == (2, 3)
        assert given["total_energy"].shape == (1, 1)
    assert first.keys() - second.keys() == {"stress"}


def test_a_field_that_the_model_takes_is_passed_wherever_ase_keeps_it():
    class Magnetic(Elsewhere):
        model_input_fields = ("pos", "magmoms")

        def forward(self, data):
            self.given = data["magmoms"]
            return super().forward(data)

    model, cell = Magnetic(), bulk("Cu").repeat((2, 1, 1))
    cell.calc = SinglePointCalculator(cell, magmoms=np.array([1.0, 2.0]))
    next(outputs(model, [cell]))
    assert model.given.flatten().shape == (2,)
