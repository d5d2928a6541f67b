"""Do the engines sample and conserve what they should? On the Tersoff reference and on springs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units

from nequip_decorr.md.criteria import Criteria
from nequip_decorr.md.engines import available_engines, get_engine
from nequip_decorr.md.record import read_record
from nequip_decorr.md.spec import ModelSpec, RunSpec
from nequip_decorr.md.start import extxyz_text, start_frame

MISSING = available_engines()["lammps-library"]
pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
TEMPERATURE_K = 600.0
BLOCKS = 25
SPRINGS = ModelSpec("springs", "ase", calculator="tests.helpers.springs.Springs")


def record_of(folder: Path, atoms: Atoms, model: ModelSpec, **given):
    path = folder / "start.xyz"
    path.write_text(extxyz_text(start_frame(atoms, "s", TEMPERATURE_K, 3)))
    settings = {"engine": "lammps-library", "ring_frames": 0, "trajectory_every": 0, **given}
    spec = RunSpec("r", model, "s", str(path), TEMPERATURE_K, 3, criteria=Criteria(), **settings)
    result = get_engine(spec.engine).run(spec, folder / "run")
    assert result.status == "survived"
    return read_record(folder / "run")


def blocked(values: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error from blocks longer than the autocorrelation."""
    means = values[: len(values) // BLOCKS * BLOCKS].reshape(BLOCKS, -1).mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(BLOCKS))


# A step costs ten times as much in ASE, most of it in its calculator of LAMMPS potentials: there
# the crystal is one of springs. The kinetic energy forgets itself within 5 to 10 steps.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "ensemble", "thermostat", "steps"),
    [
        ("lammps-library", "nvt", "nose-hoover", 30_000),
        ("lammps-library", "nvt", "langevin", 42_000),
        ("lammps-library", "npt", "nose-hoover", 30_000),
        ("ase", "nvt", "nose-hoover", 12_000),
        ("ase", "nvt", "langevin", 15_000),
    ],
)
def test_thermostats_sample_the_canonical_kinetic_energy(
    tmp_path, quartz, sio_reference, engine, ensemble, thermostat, steps
):
    record = record_of(
        tmp_path,
        quartz,
        SPRINGS if engine == "ase" else sio_reference,
        engine=engine,
        ensemble=ensemble,
        thermostat=thermostat,
        steps=steps,
        record_every=5,
        thermostat_damping_fs=20.0,
    )
    start = len(record) // 10  # the start structure has no heat in its potential yet
    kinetic = record["kinetic_eV_per_atom"][start:] * len(quartz)
    degrees = 3 * len(quartz) - (0 if thermostat == "langevin" else 3)
    kT = units.kB * TEMPERATURE_K
    # Maxwell-Boltzmann: a gamma distribution of mean g kT / 2 and variance g (kT)^2 / 2
    mean, error = blocked(kinetic)
    assert mean == pytest.approx(degrees * kT / 2, abs=3 * error)
    assert error / mean < 0.01
    variance, error = blocked((kinetic - degrees * kT / 2) ** 2)
    assert variance == pytest.approx(degrees * kT**2 / 2, abs=3 * error)


@pytest.mark.parametrize("engine", ["lammps-library", "ase"])
def test_nve_error_falls_with_the_square_of_the_time_step(tmp_path, quartz, sio_reference, engine):
    spread = {}
    for timestep_fs in (0.5, 1.0, 2.0):
        folder = tmp_path / str(timestep_fs)
        folder.mkdir()
        record = record_of(
            folder,
            quartz,
            sio_reference,
            engine=engine,
            ensemble="nve",
            timestep_fs=timestep_fs,
            steps=round(400 / timestep_fs),
            record_every=1,
        )
        spread[timestep_fs] = record["total_eV_per_atom"].std()
    assert spread[1.0] / spread[0.5] == pytest.approx(4.0, rel=0.1)
    assert spread[2.0] / spread[1.0] == pytest.approx(4.0, rel=0.1)


def test_nve_has_no_trend(tmp_path, quartz, sio_reference):
    record = record_of(
        tmp_path, quartz, sio_reference, ensemble="nve", steps=20_000, record_every=20
    )
    time_ps, total = record["time_ps"], record["total_eV_per_atom"]
    assert abs(np.polyfit(time_ps, total, 1)[0]) < 2e-5  # eV per atom and ps


def test_npt_reaches_its_pressure(tmp_path, quartz, sio_reference):
    record = record_of(
        tmp_path,
        quartz,
        sio_reference,
        ensemble="npt",
        pressure_GPa=5.0,
        steps=20_000,
        record_every=10,
    )
    mean, error = blocked(record["pressure_GPa"][500:])
    assert mean == pytest.approx(5.0, abs=max(0.3, 3 * error))
