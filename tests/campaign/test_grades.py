"""Models whose extrapolation grade comes from a file: what is refused, and stored frames graded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest

from nequip_decorr.campaign import grades
from nequip_decorr.campaign.plan import run_id
from nequip_decorr.campaign.schema import CampaignError, parse_campaign
from nequip_decorr.errors import UserError
from nequip_decorr.extrapolation.grade import ExtrapolationGrade
from nequip_decorr.md.criteria import Criteria
from nequip_decorr.md.record import RecordWriter, read_record, write_frame
from nequip_decorr.md.spec import ModelSpec, RunResult, RunSpec
from nequip_decorr.models.compiling import content_hash
from nequip_decorr.models.metadata import read_info
from tests.helpers.training import build, frames, module_config


@pytest.fixture(scope="module")
def eager():
    return next(iter(build(module_config()).model.values())).eval()


@pytest.fixture(scope="module")
def grade(eager):
    return ExtrapolationGrade.fit(eager, frames(8))


@pytest.fixture
def model(tmp_path, compiled_model_ase, grade) -> ModelSpec:
    """A compiled model without the output; the checkpoint beside the grade is never opened."""
    grade.save(tmp_path / "best.grade.npz")
    (tmp_path / "best.ckpt").write_bytes(b"")
    return ModelSpec(
        "m", "nequip", path=str(compiled_model_ase), grade=str(tmp_path / "best.grade.npz")
    )


@pytest.fixture
def finished(tmp_path, model) -> tuple[RunSpec, Path]:
    """A run of 60 steps with a frame every 20; atom 5 of the last two is far from the data."""
    folder = tmp_path / "run"
    folder.mkdir()
    stored = frames(4, seed=9)
    for frame, away in zip(stored, (0.0, 0.0, 0.8, 1.2), strict=True):
        frame.positions[5] += away
    writer = RecordWriter(folder)
    for step in range(0, 61, 15):
        writer.write({"step": step, "time_ps": step * 1e-3, "min_contact": 0.9})
    writer.close()
    with (folder / "trajectory.extxyz").open("w") as file:
        for k, frame in enumerate(stored):
            write_frame(file, frame, 20 * k, 0.02 * k)
    spec = RunSpec("r", model, "s", "s.xyz", 300.0, 1, steps=60, trajectory_every=20)
    return spec, folder


def test_stored_frames_are_graded_into_the_record(finished, grade, eager, monkeypatch):
    spec, folder = finished
    monkeypatch.setattr(grades, "_loaded", lambda *_: (grade, eager))
    result = RunResult("survived", 60, 1)
    assert grades.grade_frames(spec, folder, result) == result
    record = read_record(folder)
    stored = list(grade.score(eager, ase.io.read(folder / "trajectory.extxyz", ":")))
    # Frames of steps 0, 20, 40, 60 in rows 0, 30, 45, 60: never too early.
    assert record["max_grade"][[0, 2, 3, 4]] == pytest.approx([g.max() for g in stored])
    assert np.isnan(record["max_grade"][1])
    assert list(record["worst_atom"][3:]) == [5, 5]
    assert record["share_above_1"][4] == pytest.approx((stored[3] > 1).mean())
    assert record["min_contact"] == pytest.approx([0.9] * 5)


def test_a_bound_ends_the_run_at_the_first_frame_beyond(finished, grade, eager, monkeypatch):
    spec, folder = finished
    monkeypatch.setattr(grades, "_loaded", lambda *_: (grade, eager))
    stored = [g.max() for g in grade.score(eager, ase.io.read(folder / "trajectory.extxyz", ":"))]
    bound = (max(stored[:2]) + stored[2]) / 2
    given = spec.to_dict() | {"criteria": {"extrapolation_grade": bound}}
    result = grades.grade_frames(RunSpec.from_dict(given), folder, RunResult("survived", 60, 1))
    assert (result.status, result.cause, result.last_step) == ("failed", "extrapolation", 40)
    assert (result.value, result.threshold) == (pytest.approx(stored[2]), bound)
    assert result.check_every == 20
    early = RunResult("failed", 35, 1, "contact")
    assert grades.grade_frames(RunSpec.from_dict(given), folder, early) == early


def test_the_grade_of_another_model_is_refused(model, quartz, grade, eager, monkeypatch):
    monkeypatch.setattr(grades, "_loaded", lambda *_: (grade, eager))
    (found,) = grades.check_grade(model, quartz)
    assert "best.ckpt gives other forces than" in found.message
    other = build(module_config(model={**module_config()["model"], "seed": 2}))
    wrong = next(iter(other.model.values())).eval()
    monkeypatch.undo()
    grades._loaded.cache_clear()
    monkeypatch.setattr("nequip_decorr.features.frames.load_model", lambda _: wrong)
    (found,) = grades.check_grade(model, quartz)
    assert "models.m.grade: the extrapolation grade was fitted to another model" in found.message


@pytest.mark.parametrize(
    ("change", "criteria", "message"),
    [
        ({"grade": "none.grade.npz"}, {}, "models.m.grade: got .*none.grade.npz; allowed: a file"),
        ({"grade": 3}, {}, "models.m.grade: got 3; allowed: a file ending in .grade.npz"),
        ({"grade": "lonely.grade.npz"}, {}, "needs the checkpoint: no file .*lonely.ckpt or"),
        ({}, {"extrapolation_grade": 3}, "model 'm' has no extrapolation grade, which criteria"),
        ({}, {"extrapolation_grade": 0}, "extrapolation_grade: got 0; allowed: .* above 0"),
    ],
)
def test_mistakes_are_found_before_anything_runs(tmp_path, model, change, criteria, message):
    (tmp_path / "lonely.grade.npz").write_bytes(b"")
    ase.io.write(tmp_path / "s.xyz", frames(1))
    data = {
        "models": {"m": {"path": model.path, **change}},
        "structures": ["s.xyz"],
        "temperatures_K": 300,
        "criteria": criteria,
    }
    with pytest.raises(CampaignError, match=message):
        parse_campaign(data, tmp_path)


def test_a_model_with_its_own_grade_takes_no_other(model, monkeypatch):
    info = read_info(model.path)
    own = replace(info, outputs=(*info.outputs, "extrapolation_grade"))
    monkeypatch.setattr(grades, "read_info", lambda _: own)
    with pytest.raises(UserError, match=r"pt2 was compiled with its grade, which MD would read"):
        grades.check_files(model)
    grades.check_files(replace(model, grade=None))


def test_a_grade_is_part_of_what_a_model_is_and_none_changes_no_name(model):
    plain = ModelSpec("m", "nequip", path=model.path)
    assert content_hash(plain) != content_hash(model)
    names = {
        run_id(RunSpec("", plain, "s", "", 300.0, 1, criteria=Criteria(**given)), "a", "b")
        for given in ({}, {"extrapolation_grade": None}, {"extrapolation_grade": 3.0})
    }
    assert len(names) == 2
