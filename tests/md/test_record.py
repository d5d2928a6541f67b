"""Records of whole, killed and restarted runs."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest

from nequip_decorr.md.record import (
    COLUMNS,
    GRADE,
    RecordWriter,
    read_extxyz,
    read_record,
    read_ring,
    read_trajectory,
    write_frame,
)

DUMP = """ITEM: TIMESTEP
{step}
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS xy xz yz pp pp ff
-2 10 -2
1 9 1
0 7 0.5
ITEM: ATOMS id type element xu yu zu vx vy vz
1 1 Si 1 2 3 0.5 0 0
2 2 O 4 5 6 0 0 -1.25
"""


def write_rows(folder: Path, steps: list[int]) -> None:
    writer = RecordWriter(folder)
    for step in steps:
        writer.write({name: step + 0.1 * i for i, name in enumerate(COLUMNS)} | {"step": step})
    writer.close()


def test_rows_come_back_as_written(tmp_path):
    write_rows(tmp_path, [0, 10, 20])
    record = read_record(tmp_path)
    assert list(record["step"]) == [0, 10, 20]
    assert not record.truncated
    assert record["min_contact"][1] == pytest.approx(10.9, abs=0)


def test_a_record_without_grades_is_read(tmp_path):
    write_rows(tmp_path, [0, 10])
    path = tmp_path / "thermo.csv"
    rows = [line.split(",")[:-3] for line in path.read_text().splitlines()]
    path.write_text("".join(f"{','.join(row)}\n" for row in rows))
    record = read_record(tmp_path)
    assert record["min_contact"][1] == pytest.approx(10.9, abs=0)
    assert all(np.isnan(record[name]).all() for name in COLUMNS[-3:])


@pytest.mark.parametrize("cut", range(1, 40, 6))
def test_a_cut_last_row_is_dropped_and_reported(tmp_path, cut):
    write_rows(tmp_path, [0, 10, 20])
    path = tmp_path / "thermo.csv"
    path.write_text(path.read_text()[:-cut])
    record = read_record(tmp_path)
    assert list(record["step"]) == [0, 10]
    assert record.truncated


def test_a_row_cut_before_a_later_newline_is_reported_too(tmp_path):
    write_rows(tmp_path, [0, 10])
    with (tmp_path / "thermo.csv").open("a") as file:
        file.write("20,0.02,30\n")
    record = read_record(tmp_path)
    assert (list(record["step"]), record.truncated) == ([0, 10], True)


def test_damage_in_the_middle_is_an_error(tmp_path):
    write_rows(tmp_path, [0, 10, 20])
    path = tmp_path / "thermo.csv"
    path.write_text(path.read_text().replace("\n10,", "\nten,"))
    with pytest.raises(ValueError, match="row 2 is damaged"):
        read_record(path)


def test_steps_done_again_after_a_restart_are_taken_once(tmp_path):
    write_rows(tmp_path, [0, 10, 20, 30])
    with (tmp_path / "thermo.csv").open("a") as file:
        file.write("\n" + "".join(f"{s}{',7' * (len(COLUMNS) - 1)}\n" for s in (20, 30, 40)))
    record = read_record(tmp_path)
    assert list(record["step"]) == [0, 10, 20, 30, 40]
    assert list(record["temperature_K"][2:]) == [7.0] * 3


def test_other_columns_and_no_file_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"thermo\.csv"):
        read_record(tmp_path)
    (tmp_path / "thermo.csv").write_text("step,temp\n1,2\n")
    with pytest.raises(ValueError, match="the columns are 'step,temp'"):
        read_record(tmp_path)


def test_a_dump_gives_cell_unwrapped_positions_and_velocities(tmp_path):
    (tmp_path / "trajectory.lammpstrj").write_text(DUMP.format(step=0) + DUMP.format(step=5))
    first, second = read_trajectory(tmp_path, timestep_fs=2.0)
    # xlo_bound = xlo + min(0, xy, xz, xy + xz) and so on, see the LAMMPS manual, Howto_triclinic
    assert first.cell.array == pytest.approx(np.array([[9, 0, 0], [-2, 7.5, 0], [1, 0.5, 7]]))
    assert list(first.pbc) == [True, True, False]
    assert first.get_distance(0, 1) == pytest.approx(27**0.5)
    assert first.get_velocities()[1, 2] == pytest.approx(-1.25 * 1e-3 / 0.09822694788464063)
    assert (second.info["step"], second.info["time_ps"]) == (5, pytest.approx(0.01))


@pytest.mark.parametrize("cut", [1, 5, 20, 40, 100, 150])
def test_a_cut_last_frame_is_left_out(tmp_path, cut):
    text = DUMP.format(step=0) + DUMP.format(step=5)
    (tmp_path / "trajectory.lammpstrj").write_text(text[:-cut])
    assert [atoms.info["step"] for atoms in read_trajectory(tmp_path)] == [0]


def test_xyz_frames_come_back_with_momenta_and_a_cut_one_is_left_out(tmp_path, quartz):
    quartz.set_momenta(np.random.default_rng(0).normal(size=(72, 3)))
    path = tmp_path / "ring.extxyz"
    with path.open("w") as file:
        write_frame(file, quartz, 3, 0.003)
        write_frame(file, quartz, 4, 0.004)
    frames = read_ring(tmp_path)
    assert [atoms.info["step"] for atoms in frames] == [3, 4]
    assert frames[1].get_momenta() == pytest.approx(quartz.get_momenta(), abs=1e-7)
    path.write_text(path.read_text()[:-30])
    assert [atoms.info["step"] for atoms in read_ring(tmp_path)] == [3]


@pytest.mark.parametrize("graded", [False, True])
def test_our_own_frames_are_read_as_ase_reads_them(tmp_path, quartz, graded):
    quartz.rattle(0.1, seed=1)
    quartz.set_momenta(np.random.default_rng(0).normal(size=(72, 3)))
    if graded:
        quartz.set_array(GRADE, np.linspace(0, 3, 72))
    quartz.pbc = (True, False, True)
    path = tmp_path / "ring.extxyz"
    with path.open("w") as file:
        write_frame(file, quartz, 3, 0.003)
    ours, theirs = next(read_extxyz(path)), ase.io.read(path)
    assert ours.info == theirs.info and ours.cell.tolist() == theirs.cell.tolist()
    assert ours.pbc.tolist() == theirs.pbc.tolist() and (GRADE in ours.arrays) == graded
    assert ours.arrays.keys() == theirs.arrays.keys()
    for name, values in theirs.arrays.items():
        np.testing.assert_array_equal(ours.arrays[name], values)
    # What others wrote is ASE's to read.
    ase.io.write(path, quartz, columns=["symbols", "positions"])
    assert next(read_extxyz(path)).positions == pytest.approx(quartz.positions, abs=1e-7)


def test_no_ring_is_empty_and_no_trajectory_an_error(tmp_path):
    assert read_ring(tmp_path) == []
    with pytest.raises(FileNotFoundError, match=r"holds no trajectory\.lammpstrj"):
        read_trajectory(tmp_path)
