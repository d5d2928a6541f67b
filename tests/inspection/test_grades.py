"""The extrapolation grade as a part of the inspection."""

import csv

import numpy as np
import pytest

from nequip_decorr import inspect_model
from nequip_decorr.errors import UserError
from nequip_decorr.extrapolation.grade import ExtrapolationGrade
from tests.helpers.training import build, frames, module_config, nequip_config


def eager(**model):
    return next(iter(build(module_config(**model)).model.values())).eval()


@pytest.fixture(params=["allegro", "nequip"])
def model(request):
    return eager() if request.param == "allegro" else eager(model=nequip_config())


def test_a_fitted_grade_is_in_the_page_the_tables_and_the_csv(model, tmp_path):
    grade = ExtrapolationGrade.fit(model, frames(8))
    grade.save(tmp_path / "m.grade.npz")
    far = frames(2, seed=9)
    far[1].positions[5] += 0.8
    far[1].calc = None
    found = inspect_model(
        model, {"train": frames(8), "far": far}, name="m", grade=tmp_path / "m.grade.npz"
    )
    expected = np.concatenate(list(grade.score(model, far)))
    assert found.grades[1].grade == pytest.approx(expected, rel=1e-9)
    assert found.grades[1].frames == []
    names = {path.name for path in found.to_csv(tmp_path / "csv")}
    assert {"grades.csv", "worst_atoms.csv"} <= names
    with (tmp_path / "csv" / "worst_atoms.csv").open(newline="") as file:
        worst = [row for row in csv.DictReader(file) if row["file"] == "m: far"]
    assert int(worst[0]["frame"]) * 8 + int(worst[0]["atom"]) == expected.argmax() >= 8
    text = found.to_html(tmp_path / "index.html").read_text()
    assert "Where the training data end" in text and "m: far" in text
    assert [table.title for table in found.tables()][-1].startswith("atoms with the largest grades")
    both = found.beside(inspect_model(model, frames(2), name="other"))
    assert both.grades == found.grades
    assert "other: no extrapolation grade (`nequip-decorr extrapolation fit`)" in both.notes()
    assert not [note for note in found.notes() if "no extrapolation grade" in note]


def test_without_a_grade_nothing_is_shown_and_a_wrong_one_is_refused(tmp_path):
    model = eager()
    plain = inspect_model(model, frames(2))
    assert "Where the training data end" not in plain.to_html(tmp_path / "index.html").read_text()
    ExtrapolationGrade.fit(model, frames(8)).save(tmp_path / "m.grade.npz")
    other = eager(model={**module_config()["model"], "seed": 2})
    with pytest.raises(UserError, match="was fitted to another model"):
        inspect_model(other, frames(2), grade=tmp_path / "m.grade.npz")
