"""The records beside the results of benchmarks: which code made them."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.hardware import add, describe, read, write

RESULTS = Path(__file__).parents[1] / "benchmarks"
# Made before records held the commit.
OLDER = {"study/results/hardware.json"}
# Energies along a path, which the study's hardware.json describes.
NO_RECORD = {"study/results/reference_barriers.json", "study/results/rerun/reference_barriers.json"}


def test_a_record_names_the_code():
    record = describe()
    if record["commit"] is None:
        pytest.skip("no git, or not a clone")
    assert re.fullmatch("[0-9a-f]{40}", record["commit"])
    assert isinstance(record["uncommitted_changes"], bool)


def test_new_rows_join_those_of_other_models_and_name_both_commits(tmp_path):
    path = tmp_path / "rows.csv"
    write(path, [{"arm": arm, "seed": 1, "x": 0.5} for arm in "ab"], {"commit": "one"})
    add(path, [{"arm": "b", "seed": 1, "x": 2.0, "y": 3}], {"commit": "two"}, ("arm", "seed"))
    assert read(path) == [
        {"arm": "a", "seed": 1, "x": 0.5, "y": None},
        {"arm": "b", "seed": 1, "x": 2.0, "y": 3},
    ]
    assert json.loads(path.with_suffix(".json").read_text()) == {
        "commit": "two", "earlier_commits": ["one"],
    }  # fmt: skip
    add(path, [{"arm": "a", "seed": 1, "x": 1.0}], {"commit": "two"}, ("arm", "seed"))
    assert json.loads(path.with_suffix(".json").read_text())["earlier_commits"] == ["one"]


def test_every_result_names_the_commit_that_made_it():
    found = {str(p.relative_to(RESULTS)): p for p in RESULTS.glob("**/results/**/*.json")}
    assert found
    for name in set(found) - NO_RECORD:
        record = json.loads(found[name].read_text())
        made = record.get("hardware", record)
        if name in OLDER and "commit" not in made:
            continue
        assert re.fullmatch("[0-9a-f]{40}", made.get("commit") or ""), name
        assert made["uncommitted_changes"] is False, f"{name}: commit the code, then measure"
