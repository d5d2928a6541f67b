"""Structure files: named, read and checked in one way."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms

from nequip_decorr.cli.main import parser
from nequip_decorr.cli.options import reading_from
from nequip_decorr.errors import UserError
from nequip_decorr.structures import (
    Reading,
    check_structure,
    iter_frames,
    name_structure,
    read_structure,
    read_structures,
    shortest_names,
)


def crystal() -> Atoms:
    atoms = bulk("Al", a=4.05, cubic=True) * (2, 2, 2)
    atoms.symbols[::4] = "Cu"
    return atoms


def texts(atoms: Atoms, **settings: object) -> list[str]:
    return [str(finding) for finding in check_structure(atoms, **settings)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("a.xyz", "a"),
        ("quartz.cif", "quartz"),
        ("SiO1.1.extxyz", "SiO1.1"),
        ("SiO1.55.extxyz", "SiO1.55"),
        ("SiO1.55", "SiO1.55"),
        ("Al0.875Cu0.125.relaxed.xyz", "Al0.875Cu0.125.relaxed"),
        ("packed.xyz.gz", "packed"),
        ("run/POSCAR", "POSCAR"),
        ("dump.lammpstrj", "dump"),
        (".xyz", ".xyz"),
    ],
)
def test_a_structure_is_named_after_its_file_without_the_ending(file: str, name: str) -> None:
    assert name_structure(file) == name


def test_names_of_equal_files_get_as_much_of_the_folder_as_needed() -> None:
    assert shortest_names(["a/POSCAR", "b/POSCAR", "b/CONTCAR"]) == [
        *("a/POSCAR", "b/POSCAR", "CONTCAR")
    ]


def test_an_at_sign_in_a_name_is_a_name_before_it_is_a_frame(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "run.xyz", [crystal() for _ in range(7)], format="extxyz")
    ase.io.write(str(tmp_path / "x"), molecule("H2O"), format="extxyz")
    (tmp_path / "x").rename(tmp_path / "run.xyz@3")
    ase.io.write(str(tmp_path / "x"), molecule("CH4"), format="extxyz")
    (tmp_path / "x").rename(tmp_path / "alloy@300K [1].xyz")

    def read(text: str) -> list[tuple[str, int]]:
        return [(s.name, len(s.atoms)) for s in read_structures(text, tmp_path)]

    assert read("run.xyz@3")[0][1] == 3, "the file of this name, not a frame"
    assert read("alloy@300K [1].xyz") == [("alloy@300K [1]", 5)]
    assert read("run.xyz@0:6:2") == [(f"run@{i}", 32) for i in (0, 2, 4)]
    assert read("run.xyz@-2:") == [(f"run@{i}", 32) for i in (5, 6)]
    assert read("run.xyz@::-3") == [(f"run@{i}", 32) for i in (6, 3, 0)]
    assert read("run.xyz@-1") == [("run@-1", 32)]
    assert read("run.xyz") == [("run", 32)]
    with pytest.raises(UserError, match=r"run\.xyz cannot be read: it has no frame 7"):
        read_structures("run.xyz@7", tmp_path)
    with pytest.raises(UserError, match=r"chooses 2 structures; allowed: one"):
        read_structure(f"{tmp_path}/run.xyz@5:")


def test_a_folder_with_brackets_is_no_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "run [1]"
    folder.mkdir()
    for name in ("a", "b"):
        ase.io.write(folder / f"{name}.xyz", crystal())
    assert [s.name for s in read_structures("*.xyz", folder)] == ["a", "b"]
    with pytest.raises(UserError, match="is a folder, not a file"):
        read_structures("run [1]", tmp_path)


@pytest.mark.parametrize("name", ["POSCAR.xyz", "my_OUTCAR_end.extxyz", "CONTCAR.cu.xyz"])
def test_the_ending_goes_before_a_word_in_the_name(tmp_path: Path, name: str) -> None:
    ase.io.write(tmp_path / name, crystal(), format="extxyz")
    found = read_structure(tmp_path / name)
    assert (found.format, len(found.atoms)) == ("extxyz", 32)
    ase.io.write(tmp_path / "POSCAR", crystal(), format="vasp")
    assert read_structure(tmp_path / "POSCAR").format == "vasp"
    (tmp_path / "POSCAR").rename(tmp_path / "start.txt")
    assert len(read_structure(tmp_path / "start.txt", Reading("vasp")).atoms) == 32
    with pytest.raises(UserError, match=r"start\.txt cannot be read.*give `format: NAME`"):
        read_structure(tmp_path / "start.txt")


HEAD = "LAMMPS data file\n\n4 atoms\n2 atom types\n\n0 8 xlo xhi\n0 8 ylo yhi\n0 8 zlo zhi\n\n"
ROWS = "1 1 0 0 0\n2 2 2 2 0\n3 2 0 2 2\n4 2 2 0 2\n"


def data_file(path: Path, masses: str = "", rows: str = ROWS) -> Path:
    section = f"Masses\n\n{masses}\n" if masses else ""
    path.write_text(f"{HEAD}{section}Atoms\n\n{rows}")
    return path


def test_types_of_a_lammps_data_file_are_not_elements(tmp_path: Path) -> None:
    by_mass = read_structure(data_file(tmp_path / "a.data", "1 63.546\n2 26.98  # Al\n"))
    assert by_mass.format == "lammps-data"
    assert str(by_mass.atoms.symbols) == "CuAl3"
    assert str(read_structure(data_file(tmp_path / "a.lmp", "1 63.5\n2 27.0\n")).atoms.symbols) == (
        "CuAl3"
    )
    bare = data_file(tmp_path / "bare.data")
    with pytest.raises(UserError, match=r"neither elements nor masses.*give `elements: \[Si, O\]`"):
        read_structure(bare)
    given = read_structure(bare, Reading(elements=("Cu", "Al")))
    assert str(given.atoms.symbols) == "CuAl3"
    with pytest.raises(UserError, match="has atoms of type 2, `elements` names 1"):
        read_structure(bare, Reading(elements=("Cu",)))
    with pytest.raises(UserError, match=r"has mass 1\.5, which is no element's"):
        read_structure(data_file(tmp_path / "lj.data", "1 1.0\n2 1.5\n"))
    with pytest.raises(UserError, match=r"elements: got 'Cx'; allowed: chemical symbols"):
        Reading(elements=("Cx",))
    labels = "Atom Type Labels\n\n1 Cu\n2 Al\n\n"
    bare.write_text(f"{HEAD}{labels}Atoms\n\n{ROWS}")
    if tuple(map(int, ase.__version__.split(".")[:2])) < (3, 27):  # reads no labels
        with pytest.raises(UserError, match="neither elements nor masses"):
            read_structure(bare)
    else:
        assert str(read_structure(bare).atoms.symbols) == "CuAl3"


def dump_file(path: Path, columns: str, rows: list[str]) -> Path:
    box = "ITEM: BOX BOUNDS pp pp pp\n0 8\n0 8\n0 8\n"
    text = "".join(
        f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(rows)}\n{box}ITEM: ATOMS {columns}\n"
        + "".join(f"{row}\n" for row in rows)
        for step in (0, 100)
    )
    path.write_text(text)
    return path


@pytest.mark.parametrize("columns", ["id type x y z", "id type xs ys zs", "id type mass x y z"])
def test_types_of_a_dump_are_not_elements(tmp_path: Path, columns: str) -> None:
    mass = " 63.5" if "mass" in columns else ""
    rows = [f"1 1{mass} 0 0 0", f"2 2{mass} 0.25 0.25 0", f"3 2{mass} 0 0.3 0.3"]
    path = dump_file(tmp_path / "a.dump", columns, rows)
    with pytest.raises(UserError, match=r"a\.dump: names no elements.*give `elements: \[Si, O\]`"):
        read_structure(path)
    if not mass:
        found = read_structure(path, Reading(elements=("Cu", "Al")))
        assert (str(found.atoms.symbols), found.format) == ("CuAl2", "lammps-dump-text")
        assert [i for i, _ in iter_frames(path, reading=Reading(elements=("Cu", "Al")))] == [0, 1]
    named = dump_file(
        tmp_path / "b.dump", "id type element x y z", ["1 1 Cu 0 0 0", "2 2 Al 1 2 3"]
    )
    assert str(read_structure(named).atoms.symbols) == "CuAl"
    with pytest.raises(UserError, match="names its elements itself"):
        read_structure(named, Reading(elements=("Al", "Cu")))


def test_a_dump_with_forces_has_no_energy_label(tmp_path: Path) -> None:
    columns, row = "id type element x y z fx fy fz", "1 1 Cu 0 0 0 0.1 0 -0.1"
    atoms = read_structure(dump_file(tmp_path / "a.dump", columns, [row])).atoms
    assert atoms.calc is not None
    assert set(atoms.calc.results) == {"forces"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the file is empty"),
        (
            "2\nProperties=species:S:1:pos:R:3\nAl0 0 0 0\nCu4 1 1 1\n",
            "'Al0' is neither an element",
        ),
        ("3\nProperties=species:S:1:pos:R:3\nAl 0 0 0\n", "cannot be read as extxyz"),
        ("1\nProperties=species:S:1:pos:R:3\nAl *** 0 0\n", "cannot be read as extxyz"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "bad.xyz").write_text(text)
    with pytest.raises(UserError, match=expected) as caught:
        read_structure(tmp_path / "bad.xyz")
    assert "bad.xyz" in str(caught.value)


def test_a_contact_names_atoms_distance_and_image() -> None:
    close = crystal()
    close += Atoms("Cu", [close.positions[9] + [0.3, 0.3, 0.1]])
    (text,) = texts(close, name="structure 'a'")
    assert "atoms 9 (Al) and 32 (Cu), 0.436 A apart" in text
    assert "image" not in text
    assert check_structure(close)[0].severity == "warning"
    (finding,) = check_structure(close, ensemble="nvt", contact_fraction=0.6)
    assert finding.severity == "error"
    assert "every run would fail at step 0" in finding.message
    image = crystal()
    image += Atoms("Al", [image.positions[5] + image.cell.array[0]])
    (finding,) = check_structure(image)
    assert finding.severity == "error"
    assert "at the same place: atoms 5 (Al) and 32 (Al), " in finding.message
    assert "through the periodic image" in finding.message
    thin = Atoms("Al2", [[0, 0, 0], [0, 0, 5]], cell=[1.0, 9, 9], pbc=True)
    assert "atoms 0 (Al) and 0 (Al), 1 A apart, through the periodic image" in texts(thin)[0]
    assert check_structure(crystal(), ensemble="nvt", contact_fraction=0.6) == []
    packed = Atoms("Al32", np.random.default_rng(0).uniform(0, 8.1, (32, 3)), cell=[8.1] * 3, pbc=1)
    (finding,) = check_structure(packed, ensemble="nvt", contact_fraction=None)
    assert finding.severity == "warning", "a run with this criterion off is allowed"


def test_positions_and_cells_that_no_model_takes() -> None:
    bad = crystal()
    bad.positions[3, 1] = np.nan
    assert "positions that are not finite (atoms 3)" in texts(bad)[0]
    slab = crystal()
    slab.cell[2] = 0
    assert "is periodic along z, where its cell has no volume" in texts(slab)[0]
    slab.pbc[2] = False
    assert texts(slab) == []
    assert "no cell vector along z; the run puts it into vacuum" in texts(slab, ensemble="nvt")[0]
    flat = crystal()
    flat.cell[1] = flat.cell[0]
    assert "its cell has no volume" in texts(flat)[0]
    heavy = crystal()
    heavy.set_masses([0.0] + [27.0] * 31)
    assert "masses that are not above 0 (atoms 0)" in texts(heavy)[0]
    assert "unknown element (X): 0, 1" in texts(Atoms("X2", [[0, 0, 0], [0, 0, 3]]))[0]
    assert "has 0 atoms" in texts(Atoms())[0]
    assert texts(Atoms("Al")) == []
    assert "has 1 atoms; allowed: at least 2" in texts(Atoms("Al"), ensemble="nvt")[0]
    assert texts(molecule("C6H6")) == []


def test_what_md_ignores_or_suffers_from_is_a_warning() -> None:
    fixed = crystal()
    fixed.set_constraint(FixAtoms([1, 2]))
    (finding,) = check_structure(fixed, ensemble="nvt")
    assert str(finding) == "structure: constraints are ignored, every atom moves (atoms 1, 2)"
    (text,) = texts(molecule("CH4"), name="structure 'm'", timestep_fs=5)
    assert "timestep_fs: 5 fs is long for H in 'm' (about 1.0 fs" in text
    assert "5.0 times what it allows" in text
    assert text.endswith("use a time step of at most 1 fs")
    assert texts(crystal(), timestep_fs=5) == []


def test_a_cell_thinner_than_the_cutoff() -> None:
    small = bulk("Al", a=4.05, cubic=True)
    (text,) = texts(small, cutoff_A=5.0)
    assert "4.05 A thick along x, less than the cutoff of 5 A" in text
    assert texts(crystal(), cutoff_A=5.0, ranks=1) == []
    (text,) = texts(crystal(), cutoff_A=5.0, ranks=4)
    assert "4 MPI ranks get boxes of 4.05 A at most" in text
    assert "use at most 1 rank," in text
    assert texts(crystal() * (4, 1, 1), cutoff_A=5.0, ranks=4) == []


def test_commands_take_format_and_elements() -> None:
    for words in (["lammps", "input", "m", "s", "--out", "o"], ["lammps", "check", "m", "s"]):
        options = parser().parse_args([*words, "--elements", "Si,O", "--format", "lammps-data"])
        assert reading_from(options) == Reading("lammps-data", ("Si", "O"))
        assert reading_from(parser().parse_args(words)) == Reading()
