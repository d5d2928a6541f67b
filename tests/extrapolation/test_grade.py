"""The grade of a model: fit, save, load, score, and the module that goes into compiled models."""

import csv
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms

from nequip_decorr.cli.main import main
from nequip_decorr.errors import UserError
from nequip_decorr.extrapolation.grade import FIELD, ExtrapolationGrade
from nequip_decorr.extrapolation.module import add_grade, compile_with_grade
from nequip_decorr.extrapolation.quantile import upper_quantile
from nequip_decorr.extrapolation.scoring import Reading, auroc, score
from nequip_decorr.features.frames import load_model, outputs
from tests.helpers.cache import cached
from tests.helpers.training import (
    build,
    frames,
    module_config,
    nequip_config,
    nequip_train,
    run_config,
)

TRAINING = frames(8)


def eager(**model):
    module = build(module_config(**model))
    return next(iter(module.model.values())).eval()


@pytest.fixture(params=["allegro", "nequip"])
def model(request):
    return eager() if request.param == "allegro" else eager(model=nequip_config())


def test_the_tail_gives_a_quantile_that_a_small_sample_cannot_tell():
    from scipy.stats import gamma

    draws = gamma(9).rvs((200, 400), random_state=0)
    true = gamma(9).ppf(0.999)
    ours = np.array([upper_quantile(d, 0.999) for d in draws])
    sample = np.quantile(draws, 0.999, axis=1)
    assert ours.mean() == pytest.approx(true, rel=0.05)
    assert ours.std() < 0.9 * sample.std()
    # The share of new values beyond it is the stated one; a sample quantile lets through more.
    assert gamma(9).sf(ours).mean() == pytest.approx(0.001, rel=0.3)
    assert gamma(9).sf(sample).mean() > 0.0015
    large = gamma(9).rvs(20_000, random_state=1)
    assert upper_quantile(large, 0.999) == np.quantile(large, 0.999)
    assert upper_quantile(np.ones(5), 0.999) == 1.0


def test_gamma_is_1_at_the_stated_quantile_of_unseen_atoms(model):
    grade = ExtrapolationGrade.fit(model, TRAINING, quantile=0.9)
    assert grade.about["calibration"] == "cross-validation in 8 parts"
    seen = np.concatenate(list(grade.score(model, TRAINING)))
    assert 0.0 < (seen > 1).mean() <= 0.1
    unseen = np.concatenate(list(grade.score(model, frames(40, seed=5))))
    assert (unseen > 1).mean() == pytest.approx(0.1, abs=0.08)
    assert grade.about["calibration_atoms"] == 64


def test_a_large_validation_set_is_used_and_a_small_one_is_not(model):
    small = ExtrapolationGrade.fit(model, TRAINING, frames(2, seed=3), quantile=0.9)
    assert small.about["calibration"].startswith("cross-validation")
    large = ExtrapolationGrade.fit(model, TRAINING, frames(20, seed=3), quantile=0.9)
    assert large.about["calibration"] == "validation"
    unseen = np.concatenate(list(large.score(model, frames(20, seed=3))))
    assert (unseen > 1).mean() == pytest.approx(0.1, abs=1 / len(unseen))


def test_distorted_structures_are_outside(model):
    grade = ExtrapolationGrade.fit(model, TRAINING)
    (inside,) = grade.score(model, TRAINING[:1])
    far = TRAINING[0].copy()
    far.positions[3] += [1.3, 0.2, 0.0]
    (outside,) = grade.score(model, [far])
    assert inside.max() < 1 < outside[3]


def test_saved_and_loaded_it_is_the_same(model, tmp_path):
    grade = ExtrapolationGrade.fit(model, TRAINING)
    grade.save(tmp_path / "grade.npz")
    again = ExtrapolationGrade.load(tmp_path / "grade.npz")
    assert again.about == grade.about
    for a, b in zip(grade.score(model, TRAINING), again.score(model, TRAINING), strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_model_and_wrong_files_are_errors(tmp_path):
    model, other = eager(), eager(model={**module_config()["model"], "seed": 2})
    grade = ExtrapolationGrade.fit(model, TRAINING)
    with pytest.raises(UserError, match="was fitted to another model"):
        list(grade.score(other, TRAINING))
    with pytest.raises(UserError, match="was fitted to another model"):
        add_grade(other, grade)
    with pytest.raises(UserError, match="no extrapolation grade at"):
        ExtrapolationGrade.load(tmp_path / "nothing.npz")
    (tmp_path / "text.npz").write_text("<html>")
    with pytest.raises(UserError, match="is no extrapolation grade"):
        ExtrapolationGrade.load(tmp_path / "text.npz")
    with pytest.raises(UserError, match="one training structure alone"):
        ExtrapolationGrade.fit(model, TRAINING[:1])
    with pytest.raises(UserError, match=r"no field \['charge'\]; its fields: .*'edge_features'"):
        ExtrapolationGrade.fit(model, TRAINING, fields=["charge"])
    with pytest.raises(UserError, match="`quantile` must be"):
        ExtrapolationGrade.fit(model, TRAINING, quantile=99.9)


def test_the_module_adds_the_grade_and_changes_nothing_else(model):
    grade = ExtrapolationGrade.fit(model, TRAINING)
    plain, _ = next(outputs(model, TRAINING[:2], batch_size=2))
    expected = np.concatenate(list(grade.score(model, TRAINING[:2])))
    graded, _ = next(outputs(add_grade(model, grade), TRAINING[:2], batch_size=2))
    assert graded[FIELD].shape == (16, 1)
    assert graded[FIELD].dtype == torch.float64
    np.testing.assert_allclose(graded[FIELD].flatten(), expected, rtol=1e-9)
    for name in ("total_energy", "forces", "stress"):
        assert torch.equal(plain[name], graded[name])
    assert '"quantile":0.999' in model.metadata["extrapolation_grade"]
    with pytest.raises(UserError, match="has the output `extrapolation_grade` already"):
        add_grade(model, grade)


def test_an_element_without_training_data_is_outside():
    grade = ExtrapolationGrade.fit(eager(), [Atoms("Si8", f.positions, cell=f.cell, pbc=True)
                                             for f in TRAINING])  # fmt: skip
    (gamma,) = grade.score(eager(), TRAINING[:1])
    oxygen = TRAINING[0].symbols == "O"
    assert np.isinf(gamma[oxygen]).all()
    assert np.isfinite(gamma[~oxygen]).all()


def test_scores_name_the_worst_atoms_and_measure_errors():
    model = eager()
    grade = ExtrapolationGrade.fit(model, TRAINING)
    far = frames(3, seed=9)
    far[1].positions[5] += 0.8
    far[1].calc = None
    found = score(grade, model, "far", far)
    assert found.worst(1)[0] | {"grade": 0} == {
        "file": "far", "frame": 1, "atom": 5, "element": str(far[1].symbols[5]), "grade": 0,
    }  # fmt: skip
    rows = {row["element"]: row for row in found.rows()}
    assert rows["all"]["atoms"] == rows["Si"]["atoms"] + rows["O"]["atoms"] == 24
    assert rows["all"]["largest"] == found.grade.max() == found.frames[1].arrays[FIELD][5]
    assert not found.labelled[8:16].any() and found.labelled[:8].all()


def test_auroc_and_reading():
    rng = np.random.default_rng(0)
    grade = rng.uniform(0.1, 5, 4000)
    error = grade * rng.uniform(0.5, 1.5, 4000)
    from lifelines.utils import concordance_index

    positive = error > 2
    assert auroc(grade, positive) == pytest.approx(concordance_index(positive, grade))
    assert np.isnan(auroc(grade, error > 100))
    reading = Reading.fit(grade, error)
    median, low, high = reading.expect(3.0)
    assert median == pytest.approx(3.0, rel=0.1)
    assert low == pytest.approx(1.65, rel=0.1) and high == pytest.approx(4.35, rel=0.1)
    assert (np.diff(reading.median_eV_per_A) >= 0).all()
    assert Reading.fit(grade[:10], error[:10]) is None


ROOMS = tuple(
    f"nequip_decorr/{room}" for room in ("correlation", "extrapolation", "features", "training")
)


@pytest.fixture(scope="module")
def checkpoint():
    def make(folder):
        done = nequip_train(folder, run_config(folder, module_config(), epochs=1), "m")
        assert done.returncode == 0, done.stdout[-3000:]

    return cached("grade", make, *ROOMS) / "runs" / "m" / "last.ckpt"


def test_from_a_checkpoint_to_scores_in_two_commands(checkpoint, tmp_path, capsys):
    checkpoint = Path(shutil.copy(checkpoint, tmp_path))
    ase.io.write(tmp_path / "train.xyz", TRAINING)
    far = frames(2, seed=4)
    far[1].positions[2] += 1.0
    far[1].calc = None
    ase.io.write(tmp_path / "far.xyz", far)
    data = str(tmp_path / "far.xyz")
    assert main(["extrapolation", "score", str(checkpoint), data]) == 2
    message = capsys.readouterr().err
    command = re.search(r"`nequip-decorr (extrapolation fit \S+) TRAINING_FILE`", message)
    assert main([*command[1].split(), str(tmp_path / "train.xyz")]) == 0
    shown = capsys.readouterr().out
    assert "8 structures" in shown and "0.999 quantile by cross-validation in 8 parts" in shown
    assert "so few atoms cannot tell the 0.999 quantile" in shown
    ase.io.write(tmp_path / "labelled.xyz", frames(2, seed=6))
    added = ["--added", str(tmp_path / "labelled.xyz")]
    assert main([*command[1].split(), str(tmp_path / "train.xyz"), *added]) == 0
    assert re.search(r"2 added frames: .* eV/A; they count as \d+% known", capsys.readouterr().out)
    assert main([*command[1].split(), str(tmp_path / "train.xyz")]) == 0
    capsys.readouterr()
    out = tmp_path / "grades"
    assert main(["extrapolation", "score", str(checkpoint), f"far={data}", "--out", str(out)]) == 0
    assert "atoms with the largest grades" in capsys.readouterr().out
    words = ["extrapolation", "score", str(checkpoint), f"far={data}", "--out", str(out)]
    assert main([*words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["scores"][0]["file"] == "far" and answer["worst"][0]["atom"] == 2
    written = {path.name for path in out.iterdir()}
    assert written == {"far.xyz", "scores.csv", "worst.csv", "grade.png"}  # as its --help says
    graded = ase.io.read(out / "far.xyz", ":", format="extxyz")
    grade = ExtrapolationGrade.load(checkpoint.with_name(f"{checkpoint.stem}.grade.npz"))
    expected = list(grade.score(load_model(checkpoint), far))
    np.testing.assert_allclose([a.arrays[FIELD] for a in graded], expected, atol=1e-7)
    with (out / "worst.csv").open(newline="") as file:
        worst = next(csv.DictReader(file))
    assert (worst["frame"], worst["atom"]) == ("1", "2")
    assert (out / "grade.png").stat().st_size > 10_000


def test_structures_that_no_model_can_be_evaluated_on_are_refused():
    """One such frame among the training data made the grade blind."""
    model, twice, nowhere = eager(), TRAINING[0].copy(), TRAINING[0].copy()
    twice.positions[1] = twice.positions[0]
    nowhere.positions[2, 0] = np.nan
    with pytest.raises(UserError, match="frame 8 of the training data: has atoms at the same"):
        ExtrapolationGrade.fit(model, [*TRAINING, twice])
    with pytest.raises(UserError, match="frame 0 of the validation data: has positions that are"):
        ExtrapolationGrade.fit(model, TRAINING, [nowhere])
    grade = ExtrapolationGrade.fit(model, TRAINING)
    with pytest.raises(UserError, match=r"frame 1 of md\.xyz: has positions that are not finite"):
        score(grade, model, "md.xyz", [TRAINING[0], nowhere])


@pytest.mark.parametrize(
    "action", [["extrapolation", "fit"], ["compile"], ["extrapolation", "score"]]
)
def test_what_is_no_model_is_said_to_be_none(action, tmp_path, capsys):
    file = tmp_path / "best.ckpt"
    file.write_text("version https://git-lfs.github.com/spec/v1\n")
    ase.io.write(tmp_path / "train.xyz", TRAINING)
    other = tmp_path / ("out.nequip.pt2" if action == ["compile"] else "train.xyz")
    assert main([*action, str(file), str(other)]) == 2
    assert f"{file}: is " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("allegro", "words", "target", "warned"),
    [(True, [], "pair_allegro", False), (False, [], "pair_nequip", False),
     (False, ["--target", "pair_allegro"], "pair_allegro", True),
     (False, ["--target", "ase"], "ase", False)],
)  # fmt: skip
def test_the_target_of_a_compilation_is_the_models(
    monkeypatch, tmp_path, capsys, allegro, words, target, warned
):
    seen = []
    grade = SimpleNamespace(about={"training_frames": 8})
    for name, fake in {
        "extrapolation.beside.grade_of": lambda *_: grade,
        "models.metadata.contains_allegro": lambda _: allegro,
        "extrapolation.module.compile_with_grade": lambda *given: seen.append(given[3]),
    }.items():
        monkeypatch.setattr(f"nequip_decorr.{name}", fake)
    out = str(tmp_path / "m.nequip.pt2")
    assert main(["compile", str(tmp_path / "best.ckpt"), out, *words]) == 0
    assert seen == [target]
    assert ("leaves out neighbours of neighbours" in capsys.readouterr().err) is warned


def test_a_target_that_does_not_pass_what_the_model_reads_is_refused(monkeypatch, tmp_path):
    from nequip.scripts import compile as stock

    embed = [{"field": "charge", "num_features": 4, "min": -2, "max": 2}]
    charged = eager(model=nequip_config(categorical_graph_field_embed=embed))
    told = [frame.copy() for frame in TRAINING]
    for frame in told:
        frame.info["charge"] = -1.0
    grade = ExtrapolationGrade.fit(charged, told)
    data = next(outputs(charged, told[:1]))[1]
    monkeypatch.setattr(stock, "load_saved_model", lambda *_, **__: (charged, data))
    with pytest.raises(UserError, match=r"best\.ckpt reads `charge` of each frame .* `ase`"):
        compile_with_grade("best.ckpt", tmp_path / "m.nequip.pt2", grade, "ase", "--device", "cpu")


def test_two_files_of_one_name_are_refused_before_anything_is_graded(tmp_path, capsys):
    for name in ("hot/test.xyz", "cold/test.xyz", "hot_test.xyz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        ase.io.write(tmp_path / name, TRAINING[:1])
    given = [str(tmp_path / name) for name in ("hot/test.xyz", "cold/test.xyz", "hot_test.xyz")]
    assert main(["extrapolation", "score", "none.ckpt", *given]) == 2
    said = capsys.readouterr().err
    assert "'hot/test' and 'hot_test' would both be written to grades/hot_test.xyz" in said
