"""The record of a run on disk: thermo rows, trajectory, and the last frames of a failed run.

The same columns whichever engine wrote them. Reading tolerates what a killed run leaves behind: a
last row or frame that is cut off is dropped and reported, and steps that a restarted run did again
are taken from its later part.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import ase.io
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from ..models.metadata import GRADE
from .criteria import GRADE_CAP

THERMO: Final = "thermo.csv"
TRAJECTORY: Final = "trajectory"
RING: Final = "ring"
BEYOND: Final = "beyond"
COLUMNS: Final = (
    "step",
    "time_ps",
    "temperature_K",
    "potential_eV_per_atom",
    "kinetic_eV_per_atom",
    "total_eV_per_atom",
    "pressure_GPa",
    "volume_A3",
    "max_force_eV_per_A",
    "min_contact",
    "max_grade",
    "share_above_1",
    "worst_atom",
)
_OPTIONAL: Final = 3
"""Columns at the end that older records do not have."""


@dataclass(frozen=True)
class Record:
    """Thermo rows of a run.

    Attributes:
        columns: an array ``[num_rows]`` for each name in :data:`COLUMNS`. ``min_contact`` is NaN
            where the engine does not evaluate it; largest extrapolation grade, share of atoms
            above 1 and the atom (from 0) with the largest are NaN where the model has no grade.
        truncated: whether a last row was cut off, and dropped.
    """

    columns: dict[str, np.ndarray]
    truncated: bool

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.columns["step"])


class RecordWriter:
    """Writes ``thermo.csv`` row by row; each row is on disk when :meth:`write` returns."""

    def __init__(self, folder: Path) -> None:
        self._file: IO[str] = (folder / THERMO).open("w", encoding="ascii", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(COLUMNS)

    def write(self, row: dict[str, float]) -> None:
        """Write one row; a missing column is NaN."""
        values = [row.get(name, math.nan) for name in COLUMNS[1:]]
        self._writer.writerow([int(row["step"]), *(f"{value:.15g}" for value in values)])
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_record(path: Path) -> Record:
    """Read ``thermo.csv``, from its path or the run's folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it does not have the columns of a record, or a row in the middle is damaged.
    """
    path = path / THERMO if path.is_dir() else path
    header, _, body = path.read_text(encoding="ascii", errors="replace").partition("\n")
    names = header.split(",")
    if names not in (list(COLUMNS), list(COLUMNS[:-_OPTIONAL])):
        raise ValueError(f"{path}: the columns are {header!r}; allowed: {','.join(COLUMNS)!r}")
    *lines, cut_off = body.split("\n")
    lines, truncated = [line for line in lines if line.strip()], bool(cut_off)
    table = _table(lines, len(names))
    if table is None and _table(lines[-1:], len(names)) is None:
        truncated = True
        lines.pop()
        table = _table(lines, len(names))
    if table is None:
        bad = next(k for k in range(len(lines)) if _table(lines[k : k + 1], len(names)) is None)
        wanted = f"allowed: {len(names)} numbers, the first a step"
        raise ValueError(f"{path}: row {bad + 1} is damaged: {lines[bad]!r}; {wanted}")
    step = table[:, 0]
    later = np.append(np.minimum.accumulate(step[:0:-1])[::-1], np.inf)
    table = table[step < later]  # a restart did the others again
    columns = {name: np.full(len(table), np.nan) for name in COLUMNS}
    columns |= {name: table[:, i] for i, name in enumerate(names)}
    columns["step"] = columns["step"].astype(np.int64)
    columns["max_grade"][columns["max_grade"] >= GRADE_CAP] = np.inf
    return Record(columns, truncated)


def find_columns(folder: Path) -> dict[str, np.ndarray] | None:
    """Columns of a run's record; ``None`` where it is missing or damaged."""
    try:
        return read_record(folder).columns
    except (OSError, ValueError):
        return None


def last_step(folder: Path) -> int:
    """The last step in a run's record; 0 where there is none."""
    columns = find_columns(folder)
    return int(columns["step"][-1]) if columns and len(columns["step"]) else 0


def _table(lines: list[str], width: int) -> np.ndarray | None:
    """Rows of so many numbers; ``None`` if a line is none."""
    if not lines:
        return np.empty((0, width))
    try:
        table = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2)
    except ValueError:
        return None
    is_step = np.abs(table[:, 0]) < 2**62  # false for NaN
    return table if table.shape[1] == width and is_step.all() else None


def grade_columns(grade: np.ndarray | None) -> dict[str, float]:
    """The record's columns of the grades of all atoms, ``[num_atoms]``; none for ``None``."""
    if grade is None:
        return {}
    grade = np.where(np.isnan(grade), np.inf, grade)
    worst = int(np.argmax(grade))
    values = min(float(grade[worst]), GRADE_CAP), float((grade > 1).mean()), float(worst)
    return dict(zip(COLUMNS[-_OPTIONAL:], values, strict=True))


def write_frame(file: IO[str], atoms: Atoms, step: int, time_ps: float) -> None:
    """Append a frame with momenta, and grades if it has them, to an open extended XYZ file."""
    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    frame.set_momenta(atoms.get_momenta())
    frame.info = {"step": step, "time_ps": time_ps}
    columns = ["symbols", "positions", "momenta"]
    if GRADE in atoms.arrays:
        frame.set_array(GRADE, atoms.arrays[GRADE])
        columns.append(GRADE)
    buffer = io.StringIO()
    ase.io.write(buffer, frame, format="extxyz", columns=columns)
    file.write(buffer.getvalue())
    file.flush()


def read_trajectory(
    folder: Path, timestep_fs: float | None = None, positions_alone: bool = False
) -> list[Atoms]:
    """Frames of a run at the trajectory stride, with velocities unless positions are enough.

    ``atoms.info["step"]`` is the step; ``time_ps`` is there too if the file has it or
    ``timestep_fs`` is given. Positions are not wrapped into the cell. LAMMPS turns a cell so that
    its first vector lies along x, and its frames stay like that.

    Raises:
        FileNotFoundError: the folder holds no trajectory.
    """
    return _read_frames(folder, TRAJECTORY, timestep_fs, positions_alone)


def read_ring(folder: Path, timestep_fs: float | None = None, stem: str = RING) -> list[Atoms]:
    """The last frames of a failed run, one per step, or those of ``BEYOND``; empty without any."""
    try:
        return _read_frames(folder, stem, timestep_fs)
    except FileNotFoundError:
        return []


def _read_frames(
    folder: Path, stem: str, timestep_fs: float | None, positions_alone: bool = False
) -> list[Atoms]:
    dump, xyz = folder / f"{stem}.lammpstrj", folder / f"{stem}.extxyz"
    if not (dump.is_file() or xyz.is_file()):
        raise FileNotFoundError(f"{folder} holds no {dump.name} and no {xyz.name}")
    found = _read_dump(dump) if dump.is_file() else read_extxyz(xyz, positions_alone)
    frames = {int(atoms.info["step"]): atoms for atoms in found}
    if timestep_fs is not None:
        for step, atoms in frames.items():
            atoms.info["time_ps"] = step * timestep_fs * 1e-3
    return [frames[step] for step in sorted(frames)]


def read_extxyz(path: Path, positions_alone: bool = False) -> Iterator[Atoms]:
    """Read the frames of an extended XYZ file up to one that is cut off.

    Args:
        path: the file.
        positions_alone: leave velocities and grades out where that saves time.
    """
    lines = path.read_text().splitlines(keepends=True)
    start = 0
    while start < len(lines):
        end = start + int(lines[start]) + 2
        if end > len(lines) or not lines[end - 1].endswith("\n"):
            return  # cut off
        frame = lines[start:end]
        yield _own_frame(frame, positions_alone) or _any_frame(frame)
        start = end


_HEADER: Final = re.compile(
    r'Lattice="([^"]+)" Properties=species:S:1:pos:R:3:momenta:R:3'
    rf'(:{GRADE}:R:1)? step=(\d+) time_ps=(\S+) pbc="([TF]) ([TF]) ([TF])"\s*'
)


def _own_frame(lines: list[str], positions_alone: bool) -> Atoms | None:
    """A frame of :func:`write_frame`, which ASE's general reader takes twice as long for."""
    header = _HEADER.fullmatch(lines[1])
    if header is None:
        return None
    cell, grade, step, time_ps, *pbc = header.groups()
    words, width = "".join(lines[2:]).split(), 8 if grade else 7
    numbers = np.array([atomic_numbers[symbol] for symbol in words[::width]])
    columns = [words[k::width] for k in range(1, 4 if positions_alone else width)]
    values = np.array([_floats(column) for column in columns])
    cell_A = _floats(cell.split()).reshape(3, 3)
    periodic = [flag == "T" for flag in pbc]
    frame = Atoms(numbers=numbers, positions=values[:3].T, cell=cell_A, pbc=periodic)
    if not positions_alone:
        frame.set_momenta(values[3:6].T)
        if grade:
            frame.set_array(GRADE, values[6])
    frame.info = {"step": int(step), "time_ps": float(time_ps)}
    return frame


def _floats(words: list[str]) -> np.ndarray:
    return np.fromiter(map(float, words), float, len(words))


def _any_frame(lines: list[str]) -> Atoms:
    frame = ase.io.read(io.StringIO("".join(lines)), format="extxyz")
    assert isinstance(frame, Atoms)
    return frame


def _read_dump(path: Path) -> Iterator[Atoms]:
    for block in path.read_text().split("ITEM: TIMESTEP\n")[1:]:
        atoms = parse_dump_frame(block)
        if atoms is None:
            return
        yield atoms


def parse_dump_frame(text: str) -> Atoms | None:
    """Read one frame of a LAMMPS text dump by ASE; ``None`` if it is cut off.

    Args:
        text: what follows ``ITEM: TIMESTEP``, in the columns of ``run.lmp``.
    """
    lines = text.split("\n")
    # ASE takes a number that is cut off for a whole one.
    if len(lines) < 3 or not lines[2].isdigit() or len(lines) < 9 + int(lines[2]):
        return None
    file = io.StringIO(f"ITEM: TIMESTEP\n{text}")
    atoms = ase.io.read(file, index=0, format="lammps-dump-text", order=False)
    assert isinstance(atoms, Atoms)
    frame = Atoms(atoms.symbols, cell=atoms.cell, pbc=atoms.pbc)
    frame.positions = atoms.positions - atoms.get_celldisp().ravel()
    frame.set_velocities(atoms.get_velocities())
    frame.info["step"] = int(atoms.info["timestep"])
    names = lines[7].split()[2:]
    if GRADE in names:
        at = names.index(GRADE)
        frame.set_array(GRADE, np.array([float(x.split()[at]) for x in lines[8 : 8 + len(frame)]]))
    return frame
