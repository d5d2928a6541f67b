"""What inspection says of its input: labels, weights, frames without edges, modules and paths."""

import sys

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from nequip_decorr import inspect_model
from nequip_decorr.cli.main import main
from nequip_decorr.errors import UserError
from nequip_decorr.features.frames import load_model, outputs
from nequip_decorr.inspection.accumulate import Accumulator
from tests.helpers.checkpoints import trained
from tests.helpers.training import frames


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("stock"))


def forces_of(path, data):
    return inspect_model(path, data).entries[0].forces


def test_one_label_that_is_not_finite_leaves_out_its_frame(stock):
    made = frames(3)
    made[1].calc.results["forces"][2, 1] = np.nan
    found = forces_of(stock, made)
    assert (found.compared, found.not_finite) == ({"forces": 2}, 1)
    assert found.mae == pytest.approx(forces_of(stock, [made[0], made[2]]).mae)
    assert "`forces` of 2 of 3 frames; 1 frames with labels that are not finite" in found.sentence()


def test_other_names_are_named_and_not_read(stock, tmp_path):
    made = frames(2)
    for atoms in made:
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.info["ref_energy"] = atoms.get_potential_energy()
        atoms.calc = None
    ase.io.write(tmp_path / "ref.xyz", made)
    entry = inspect_model(stock, tmp_path / "ref.xyz").entries[0]
    assert entry.forces.mae is None
    assert entry.forces.sentence() == (
        "forces: no label was found under the name `forces`; not read: `REF_forces`"
    )
    assert entry.energies.sentence().endswith("not read: `ref_energy`")


def test_predictions_that_nequip_wrote_are_not_taken_for_labels(stock, tmp_path):
    """Its files hold what it predicted as `forces`, and the labels under a prefix."""
    made, predicted = frames(2), []
    for atoms, (output, _) in zip(made, outputs(load_model(stock), made, 1), strict=True):
        copy = atoms.copy()
        copy.arrays["original_dataset_forces"] = atoms.get_forces()
        energy, forces = float(output["total_energy"]), output["forces"].numpy()
        copy.calc = SinglePointCalculator(copy, energy=energy, forces=forces)
        predicted.append(copy)
    ase.io.write(tmp_path / "predicted.xyz", predicted)
    found = forces_of(stock, tmp_path / "predicted.xyz")
    assert found.compared == {"original_dataset_forces": 2}
    assert found.mae == pytest.approx(forces_of(stock, made).mae, rel=1e-6)
    for atoms in predicted:
        del atoms.arrays["original_dataset_forces"]
    assert "perhaps its own predictions" in forces_of(stock, predicted).sentence()


def test_frames_without_an_edge_are_counted(stock, tmp_path, capsys):
    ase.io.write(tmp_path / "some.xyz", [Atoms("O"), *frames(2), Atoms("Si")])
    assert main(["inspect", str(stock), str(tmp_path / "some.xyz"), "--out", str(tmp_path)]) == 0
    assert "some: 4 frames (2 without an edge)" in capsys.readouterr().out


def test_structures_that_no_model_can_take_are_named_with_their_atoms(stock, tmp_path, capsys):
    double, nan, flat = frames(3)
    double.positions[5] = double.positions[3]
    nan.positions[2, 0] = np.nan
    flat.cell[2] = 0
    ase.io.write(tmp_path / "bad.traj", [double, nan, flat])
    assert main(["inspect", str(stock), str(tmp_path / "bad.traj"), "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "frame 0 of bad: has atoms at the same place: atoms 3 (Si) and 5 (O)" in said
    assert "frame 1 of bad: has positions that are not finite (atoms 2)" in said
    assert "frame 2 of bad: is periodic along z" in said


def test_it_says_which_weights_it_shows(stock, tmp_path):
    assert inspect_model(stock, frames(1)).entries[0].weights == "trained weights (no EMA)"
    assert inspect_model(load_model(stock), frames(1)).entries[0].weights == "as given"
    averaged = trained(tmp_path, _target_="nequip.train.EMALightningModule", ema_decay=0.5)
    assert inspect_model(averaged, frames(1)).entries[0].weights == "EMA weights (decay 0.5)"


def test_a_path_with_equals_signs_is_a_path(stock, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = tmp_path / "epoch=003-val0_epoch" / "stress_rmse=0.0123.ckpt"
    odd.parent.mkdir()
    odd.write_bytes(stock.read_bytes())
    ase.io.write(tmp_path / "d.xyz", frames(1))
    path = "epoch=003-val0_epoch/stress_rmse=0.0123.ckpt"
    assert main(["inspect", path, "d.xyz"]) == 0
    assert "stress_rmse=0.0123: trained weights" in capsys.readouterr().out
    assert main(["inspect", f"best={path}", "d.xyz"]) == 0
    assert "best: trained weights" in capsys.readouterr().out


def test_a_checkpoint_whose_builder_is_not_there_names_the_module(stock, tmp_path, capsys):
    checkpoint = torch.load(stock, weights_only=False)
    model = checkpoint["hyper_parameters"]["model"]
    model["_target_"] = "field_ext.ChargedModel"
    torch.save(checkpoint, tmp_path / "theirs.ckpt")
    ase.io.write(tmp_path / "d.xyz", frames(1))
    assert "field_ext" not in sys.modules
    assert main(["inspect", str(tmp_path / "theirs.ckpt"), str(tmp_path / "d.xyz")]) == 2
    said = capsys.readouterr().err
    assert "theirs.ckpt needs the Python module 'field_ext'" in said
    assert "PYTHONPATH" in said


def test_kinds_that_could_occur_cost_nothing():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3000, 5, generator=generator)
    kinds = torch.randint(0, 2, (3000,), generator=generator)
    r = 4 * torch.rand(3000, generator=generator)
    few, many = Accumulator(4.0, 8), Accumulator(4.0, 8)
    few.update(x, kinds, r)
    many.update(x, kinds * 5_000_000_000, r)
    assert many._sums.x.shape == few._sums.x.shape == (2, 2, 8, 5)
    a, b = few.result(), many.result()
    assert list(b.by_kind) == [0, 5_000_000_000]
    assert torch.equal(a.by_kind[1].comoment, b.by_kind[5_000_000_000].comoment)
    left, right = a.left_given_length_and_kind, b.left_given_length_and_kind
    assert torch.equal(left.comoment, right.comoment)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.ckpt", b"", "is an empty file; allowed: a NequIP checkpoint"),
        ("lfs.ckpt", b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        ("page.nequip.zip", b"<!DOCTYPE html><html>", "is an HTML page"),
        ("cut.ckpt", b"PK\x03\x04" + bytes(600), "is a zip archive that was cut off or damaged"),
    ],
)
def test_a_file_that_is_no_model_is_named_for_what_it_is(tmp_path, capsys, name, content, words):
    (tmp_path / name).write_bytes(content)
    ase.io.write(tmp_path / "test.xyz", frames(1))
    assert main(["inspect", str(tmp_path / name), str(tmp_path / "test.xyz")]) == 2
    shown = capsys.readouterr().err
    assert f"{name}: {words}" in " ".join(shown.split())
    assert "Traceback" not in shown


def test_a_lammps_file_is_read_with_the_elements_that_are_given(tmp_path):
    from ase.io.lammpsdata import write_lammps_data

    from nequip_decorr.inspection.sources import open_frames
    from nequip_decorr.structures import Reading

    path = tmp_path / "cell.data"
    write_lammps_data(path, frames(1)[0], specorder=["Si", "O"], masses=False)
    with pytest.raises(UserError, match="elements"):
        open_frames(path)
    found = open_frames(path, reading=Reading(elements=("Si", "O")))
    assert found.elements == {"Si", "O"}
    assert len(list(found)) == 1
