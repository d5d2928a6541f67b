"""Frames that joined the training data later: the edge stays, and what is learnt is inside."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from nequip_decorr.errors import UserError
from nequip_decorr.extrapolation.added import TOLERANCE
from nequip_decorr.extrapolation.grade import ExtrapolationGrade
from nequip_decorr.features.frames import outputs
from tests.helpers.training import build, frames, module_config, nequip_config

TRAINING = frames(8)
RMS = np.sqrt(np.mean([(f.get_forces() ** 2).sum(1) for f in TRAINING]))


@pytest.fixture(scope="module", params=["allegro", "nequip"])
def model(request):
    config = module_config() if request.param == "allegro" else module_config(model=nequip_config())
    return next(iter(build(config).model.values())).eval()


def far(model, error):
    """Structures far from the data, whose labels the model misses by ``error`` on every atom."""
    found = frames(3, seed=4)
    for frame in found:
        frame.positions[2] += 1.1
        data, _ = next(outputs(model, [frame]))
        forces = data["forces"].detach().numpy() + np.array([error, 0, 0])
        frame.calc = SinglePointCalculator(frame, energy=0.0, forces=forces)
    return found


def largest(grade, model, structures):
    return np.array([g.max() for g in grade.score(model, structures)])


def test_learnt_atoms_are_inside_and_others_change_nothing(model):
    first = ExtrapolationGrade.fit(model, TRAINING)
    before = largest(first, model, far(model, 0))
    assert (before > 1).all()
    learnt = ExtrapolationGrade.fit(model, TRAINING, added=far(model, 0))
    assert (largest(learnt, model, far(model, 0)) < 1).all()
    missed = ExtrapolationGrade.fit(model, TRAINING, added=far(model, 1e6 * RMS))
    np.testing.assert_allclose(largest(missed, model, far(model, 0)), before, rtol=1e-6)
    assert learnt.threshold == missed.threshold == first.threshold
    assert learnt.about["added_atoms_learnt"] == pytest.approx(24, rel=1e-6)
    assert missed.about["added_atoms_learnt"] == pytest.approx(0, abs=1e-6)
    assert learnt.about["data_sha256"] != first.about["data_sha256"]


def test_the_grade_is_that_of_the_equation(model):
    first = ExtrapolationGrade.fit(model, TRAINING)
    error = 2 * TOLERANCE * RMS
    added = far(model, error)
    grade = ExtrapolationGrade.fit(model, TRAINING, added=added)
    assert grade.about["added_tolerance_eV_per_A"] == pytest.approx(TOLERANCE * RMS)
    weight = 1 / (1 + 2**2)  # squared
    seen = [next(outputs(model, [f]))[0] for f in added]
    vectors = np.concatenate([first.vectors_of_output(data).numpy() for data in seen])
    symbols = np.concatenate([f.get_chemical_symbols() for f in added])
    probe = frames(1, seed=7)[0]
    probe.positions[5] += 0.7
    g = first.vectors_of_output(next(outputs(model, [probe]))[0]).numpy()
    (found,) = grade.score(model, [probe])
    for symbol in ("Si", "O"):
        mine = vectors[symbols == symbol]
        inverse = np.linalg.inv(np.eye(g.shape[1]) + weight * mine.T @ mine)
        of_symbol = probe.symbols == symbol
        expected = np.sqrt(np.einsum("ai,ij,aj->a", g, inverse, g))
        np.testing.assert_allclose(found[of_symbol], expected[of_symbol], rtol=1e-6)


def test_what_cannot_be_judged_is_an_error(model):
    bare = [Atoms(f.symbols, f.positions, cell=f.cell, pbc=True) for f in TRAINING]
    with pytest.raises(UserError, match="a training frame has no forces"):
        ExtrapolationGrade.fit(model, bare, added=far(model, 0))
    with pytest.raises(UserError, match="an added frame has no forces"):
        ExtrapolationGrade.fit(model, TRAINING, added=bare[:1])
    for frame in (still := frames(8)):
        frame.calc = SinglePointCalculator(frame, energy=0.0, forces=np.zeros((8, 3)))
    with pytest.raises(UserError, match="forces of all training structures are zero"):
        ExtrapolationGrade.fit(model, still, added=far(model, 0))


def test_frames_with_a_new_element_set_the_edge_too(model):
    silicon = []
    for frame in TRAINING:
        cell = Atoms("Si8", frame.positions, cell=frame.cell, pbc=True)
        cell.calc = SinglePointCalculator(cell, energy=0.0, forces=frame.get_forces())
        silicon.append(cell)
    added = [*silicon[:1], *frames(3, seed=4)]
    grade = ExtrapolationGrade.fit(model, silicon[1:], added=added)
    assert grade.about["training_frames"] == 10 and grade.about["added_frames"] == 1
    assert np.isfinite(largest(grade, model, frames(1, seed=4))).all()


def test_the_grade_with_added_frames_is_kept(model, tmp_path):
    grade = ExtrapolationGrade.fit(model, TRAINING, added=far(model, 0.1))
    grade.save(tmp_path / "grade.npz")
    again = ExtrapolationGrade.load(tmp_path / "grade.npz")
    assert again.about == grade.about
    assert torch.equal(again.gaussians.whiten, grade.gaussians.whiten)
