"""The LAMMPS templates, by hand and by the engine: every template, every halt, restarts."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms, units

from nequip_decorr.md.contact import contact_radii_A
from nequip_decorr.md.criteria import Criteria, temperature_limit_K
from nequip_decorr.md.engines import available_engines, get_engine
from nequip_decorr.md.engines.lammps_command import lammps_command
from nequip_decorr.md.lammps.run_input import pair_of, write_data
from nequip_decorr.md.lammps.run_output import parse_log
from nequip_decorr.md.record import COLUMNS, read_record, read_ring, read_trajectory
from nequip_decorr.md.spec import ModelSpec, RunSpec
from nequip_decorr.md.start import extxyz_text, start_frame
from nequip_decorr.resources import templates_dir

MISSING = available_engines()["lammps"]
PLUGIN = os.environ.get("NEQUIP_DECORR_LMP_PLUGIN")
pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
needs_pair_allegro = pytest.mark.skipif(
    PLUGIN is None, reason="NEQUIP_DECORR_LMP_PLUGIN names no plugin with pair_style allegro"
)
OFF = Criteria(
    temperature_factor=None,
    contact_fraction=None,
    energy_drop_eV_per_atom=None,
    energy_rise_eV_per_atom=None,
    max_force_eV_per_A=None,
    drift_eV_per_atom=None,
)


def by_hand(folder: Path, template: str, **variables: str | float) -> str:
    """Run a template as a user would; the log."""
    command, environment = lammps_command()
    words = [str(templates_dir() / template), "-var", "templates", str(templates_dir())]
    for name, value in variables.items():
        words += ["-var", name, str(value)]
    done = subprocess.run(
        [*command, "-in", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    return (folder / "log.lammps").read_text()


@pytest.fixture
def data(tmp_path, quartz) -> Path:
    """A data file of quartz at 600 K."""
    write_data(tmp_path / "structure.data", start_frame(quartz, "q", 600.0, 1), ("Si", "O"))
    return tmp_path


@pytest.fixture
def tersoff(sio_reference) -> dict[str, str]:
    """The variables of a classical pair style."""
    return {"pair": "tersoff", "model": sio_reference.pair_coeff.split()[2], "elements": "Si O"}


@pytest.mark.parametrize("template", ["in.nve", "in.nvt", "in.npt", "in.ramp"])
@pytest.mark.parametrize("thermostat", ["nose_hoover", "langevin"])
def test_every_template_runs_by_hand(data, tersoff, template, thermostat):
    radii = " ".join(f"{r:.4f}" for r in contact_radii_A(["Si", "O"], 0.6))
    log = by_hand(
        data,
        template,
        **tersoff,
        temperature=600,
        temperature_end=900,
        steps=105,
        radii=radii,
        thermostat=thermostat,
        trajectory_every=50,
        ring_frames=4,
    )
    assert parse_log(log).ended_at == 105
    record = read_record(data)
    assert list(record["step"]) == [*range(0, 101, 10), 105]
    assert all(np.isfinite(record[name]).all() for name in COLUMNS[:-4])
    # Langevin dynamics has 3 n degrees of freedom, and 3 n - 3 were given their heat.
    hot = 600.0 * (71 / 72 if thermostat == "langevin" and template != "in.nve" else 1.0)
    assert record["temperature_K"][0] == pytest.approx(hot, rel=1e-5)
    assert [frame.info["step"] for frame in read_trajectory(data)] == [0, 50, 100]
    assert sorted(int(path.stem) for path in (data / "ring").iterdir()) == [102, 103, 104, 105]


def test_a_ramp_reaches_its_end(data, tersoff):
    by_hand(data, "in.ramp", **tersoff, temperature=300, temperature_end=1500, steps=4000, skin=1.0)
    temperature = read_record(data)["temperature_K"]
    assert temperature[-50:].mean() == pytest.approx(1450, rel=0.1)
    assert temperature[180:220].mean() == pytest.approx(900, rel=0.1)


def test_a_pressure_ramp_compresses(data, tersoff):
    by_hand(
        data,
        "in.ramp",
        **tersoff,
        ensemble="npt",
        temperature=300,
        pressure=0,
        pressure_end=40,
        steps=4000,
    )
    record = read_record(data)
    assert record["pressure_GPa"][-40:].mean() == pytest.approx(40, rel=0.15)


def test_velocities_can_be_drawn_by_lammps(data, tersoff):
    by_hand(data, "in.nve", **tersoff, temperature=450, velocities="create", steps=10, seed=7)
    assert read_record(data)["temperature_K"][0] == pytest.approx(450, rel=1e-6)


def test_the_templates_defaults_are_the_criterias(data, tersoff):
    text = (templates_dir() / "run.lmp").read_text() + (templates_dir() / "in.nve").read_text()
    default = {
        line.split()[1]: float(line.split()[3])
        for line in text.splitlines()
        if line.startswith("variable")
        and line.split()[1].endswith(("_max", "factor", "floor"))
        and line.split()[2] == "index"
    }
    criteria = Criteria()
    assert default == {
        "temperature_factor": criteria.temperature_factor,
        "temperature_floor": criteria.temperature_floor_K,
        "energy_below_max": criteria.energy_drop_eV_per_atom,
        "energy_above_max": criteria.energy_rise_eV_per_atom,
        "force_max": criteria.max_force_eV_per_A,
        "drift_max": criteria.drift_eV_per_atom,
        "grade_max": 1e300,
    }
    assert criteria.extrapolation_grade is None


# ---- every halt, in a real LAMMPS


def halted(folder: Path, frame: Atoms, model: ModelSpec, criteria: Criteria, **given):
    path = folder / "start.xyz"
    path.write_text(extxyz_text(frame))
    settings = {"ensemble": "nve", "steps": 2000, "record_every": 1, **given}
    temperature_K = settings.pop("temperature_K", 600.0)
    spec = RunSpec(
        "r", model, "s", str(path), temperature_K, 1, engine="lammps", criteria=criteria, **settings
    )
    result = get_engine("lammps").run(spec, folder / "run")
    return result, read_record(folder / "run")


def first(condition: np.ndarray) -> int:
    return int(np.flatnonzero(condition)[0])


def test_halt_by_temperature(tmp_path, quartz, sio_reference):
    criteria = replace(OFF, temperature_factor=1.2, temperature_floor_K=0.0)
    frame = start_frame(quartz, "q", 300.0, 1)
    result, record = halted(
        tmp_path, frame, sio_reference, criteria, ensemble="nvt", temperature_K=300.0
    )
    limit = temperature_limit_K(criteria, 300.0)
    step = first(record["temperature_K"] > limit)
    assert (result.cause, result.last_step, result.threshold) == ("temperature", step, limit)
    assert result.value == pytest.approx(record["temperature_K"][-1], rel=1e-6)


def test_halt_by_temperature_follows_a_ramp(tmp_path, quartz, sio_reference):
    criteria = replace(OFF, temperature_factor=1.2, temperature_floor_K=0.0)
    frame = start_frame(quartz, "q", 300.0, 1)
    result, record = halted(
        tmp_path,
        frame,
        sio_reference,
        criteria,
        ensemble="nvt",
        temperature_K=300.0,
        temperature_end_K=3000.0,
    )
    target = 300.0 + 2700.0 * record["step"] / 2000
    assert result.cause == "temperature"
    assert result.last_step == first(record["temperature_K"] > 1.2 * target)
    assert result.threshold == pytest.approx(1.2 * target[-1])


def test_halt_by_contact_names_the_pair(tmp_path, quartz, sio_reference):
    criteria = replace(OFF, contact_fraction=0.85)
    frame = start_frame(quartz, "q", 1200.0, 1)
    result, _ = halted(tmp_path, frame, sio_reference, criteria)
    ring = read_ring(tmp_path / "run")
    bound = 0.85 * (1.11 + 0.66)
    shortest = [np.min(a.get_all_distances(mic=True) + 9 * np.eye(72)) for a in ring]
    assert (result.cause, result.threshold) == ("contact", 0.85)
    assert result.message.startswith("O-Si at 1.")
    assert ring[-1].info["step"] == result.last_step
    assert shortest[-1] < bound <= shortest[-2]


@pytest.mark.parametrize(
    ("sign", "name"), [(1, "energy_rise_eV_per_atom"), (-1, "energy_drop_eV_per_atom")]
)
def test_halt_by_energy(tmp_path, quartz, sio_reference, sign, name):
    if sign < 0:
        quartz.rattle(0.15, seed=1)
    criteria = replace(OFF, **{name: 0.02})
    result, record = halted(tmp_path, start_frame(quartz, "q", 600.0, 1), sio_reference, criteria)
    change = sign * (record["potential_eV_per_atom"] - record["potential_eV_per_atom"][0])
    assert (result.cause, result.last_step) == ("energy", first(change > 0.02))
    assert result.threshold == pytest.approx(sign * 0.02)
    assert result.value == pytest.approx(sign * change[-1], rel=1e-4)


def test_halt_by_force(tmp_path, quartz, sio_reference):
    criteria = replace(OFF, max_force_eV_per_A=5.0)
    result, record = halted(tmp_path, start_frame(quartz, "q", 600.0, 1), sio_reference, criteria)
    assert (result.cause, result.last_step) == ("force", first(record["max_force_eV_per_A"] > 5.0))
    assert result.value == pytest.approx(record["max_force_eV_per_A"][-1], rel=1e-6)


def test_halt_by_drift(tmp_path, quartz, sio_reference):
    criteria = replace(OFF, drift_eV_per_atom=0.01)
    frame = start_frame(quartz, "q", 600.0, 1)
    result, record = halted(tmp_path, frame, sio_reference, criteria, timestep_fs=6.0)
    drift = np.abs(record["total_eV_per_atom"] - record["total_eV_per_atom"][0])
    assert (result.cause, result.last_step) == ("drift", first(drift > 0.01))


def test_halt_by_nonfinite_at_the_start(tmp_path, quartz, sio_reference):
    quartz.positions[1] = quartz.positions[0]
    result, record = halted(tmp_path, start_frame(quartz, "q", 600.0, 1), sio_reference, OFF)
    assert (result.status, result.cause, result.last_step) == ("failed", "nonfinite", 0)
    assert list(record["step"]) == [0]
    log = parse_log((tmp_path / "run" / "log.lammps").read_text())
    assert (log.halt, log.error) == (("nonfinite", 0, 1.0), None)


def test_halt_by_a_lost_atom(tmp_path, quartz, sio_reference):
    quartz.pbc = [True, True, False]
    quartz.center(vacuum=2.0, axis=2)
    frame = start_frame(quartz, "q", 1.0, 1)
    top = int(np.argmax(frame.positions[:, 2]))
    momenta = frame.get_momenta()
    momenta[top] = [0.0, 0.0, frame.get_masses()[top] * 0.2 / units.fs]
    frame.set_momenta(momenta)
    result, _ = halted(tmp_path, frame, sio_reference, OFF, timestep_fs=0.1)
    assert (result.status, result.cause, result.value) == ("failed", "lost", 1.0)
    # 2 A to go at 0.02 A a step, and LAMMPS looks again when an atom has moved by 1 A.
    assert 99 <= result.last_step <= 155


def test_halt_at_step_0(tmp_path, quartz, sio_reference):
    criteria = replace(OFF, contact_fraction=0.95)
    result, record = halted(tmp_path, start_frame(quartz, "q", 600.0, 1), sio_reference, criteria)
    assert (result.status, result.cause, result.last_step) == ("failed", "contact", 0)
    assert list(record["step"]) == [0]


# ---- restart, data file, upstream pair style


def test_a_restarted_run_has_no_gap_and_no_double_step(data, tersoff):
    common = {**tersoff, "temperature": 600, "restart_every": 40, "trajectory_every": 20}
    by_hand(data, "in.nvt", **common, steps=200)
    whole, frames = read_record(data), read_trajectory(data)
    for name in ("thermo.csv", "trajectory.lammpstrj", "restart.a", "restart.b"):
        (data / name).unlink()
    by_hand(data, "in.nvt", **common, steps=95)
    latest = max(("restart.a", "restart.b"), key=lambda name: (data / name).stat().st_mtime_ns)
    by_hand(data, "in.nvt", **common, steps=200, restart_from=latest)
    record, again = read_record(data), read_trajectory(data)
    assert list(record["step"]) == list(whole["step"])
    assert record["total_eV_per_atom"] == pytest.approx(whole["total_eV_per_atom"], rel=1e-6)
    assert [a.info["step"] for a in again] == [a.info["step"] for a in frames]


@pytest.mark.parametrize("shape", ["triclinic", "skewed", "turned"])
def test_the_data_file_keeps_energy_and_temperature(tmp_path, quartz, sio_reference, shape):
    if shape == "skewed":
        quartz.set_cell(np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]]) @ quartz.cell.array)
    if shape == "turned":
        quartz.rotate(40, (1, 2, 3), rotate_cell=True)
    frame = start_frame(quartz, "q", 777.0, 1)
    result, record = halted(tmp_path, frame, sio_reference, OFF, steps=1, temperature_K=777.0)
    assert result.status == "survived"
    assert record["temperature_K"][0] == pytest.approx(777.0, rel=1e-5)
    assert record["potential_eV_per_atom"][0] == pytest.approx(-6.66894061, abs=1e-6)
    read = read_trajectory(tmp_path / "run")[0]
    assert read.get_kinetic_energy() == pytest.approx(frame.get_kinetic_energy(), rel=1e-6)
    distances = [np.sort(a.get_all_distances(mic=True), axis=None) for a in (read, frame)]
    assert distances[0] == pytest.approx(distances[1], abs=1e-5)


def test_a_left_handed_cell_becomes_a_right_handed_one_of_the_same_lattice(tmp_path, quartz):
    quartz.cell[2] *= -1
    write_data(tmp_path / "x.data", quartz, ("Si", "O"))
    written = ase.io.read(tmp_path / "x.data", format="lammps-data")
    assert np.linalg.det(written.cell.array) == pytest.approx(-np.linalg.det(quartz.cell.array))
    distances = written.get_all_distances(mic=True)
    assert distances == pytest.approx(quartz.get_all_distances(mic=True), abs=1e-9)


def test_a_left_handed_cell_that_is_open_or_flat_is_refused(tmp_path, quartz):
    quartz.cell[2] *= -1
    for pbc, height in (([True, True, False], 1.0), ([True] * 3, 0.0)):
        quartz.pbc, quartz.cell[2] = pbc, quartz.cell[2] * height
        with pytest.raises(ValueError, match="LAMMPS needs a right-handed cell"):
            write_data(tmp_path / "x.data", quartz, ("Si", "O"))


def test_a_model_for_ase_has_no_pair_style(compiled_model_ase):
    model = ModelSpec("m", "nequip", path=str(compiled_model_ase))
    with pytest.raises(ValueError, match="allowed: compiled with --target pair_allegro"):
        pair_of(model)


@needs_pair_allegro
@pytest.mark.parametrize("template", ["in.nve", "in.nvt", "in.npt", "in.ramp"])
def test_every_template_runs_with_pair_allegro(data, compiled_model, template):
    log = by_hand(
        data,
        template,
        plugin=str(PLUGIN),
        pair="allegro",
        model=compiled_model,
        elements="Si O",
        temperature=600,
        temperature_end=900,
        steps=20,
    )
    assert parse_log(log).ended_at == 20


@needs_pair_allegro
@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt"])
def test_pair_allegro_and_the_library_engine_agree(tmp_path, quartz, compiled_model, ensemble):
    path = tmp_path / "start.xyz"
    path.write_text(extxyz_text(start_frame(quartz, "q", 600.0, 1)))
    model = ModelSpec("m", "nequip", path=str(compiled_model))
    records = []
    for engine in ("lammps", "lammps-library"):
        spec = RunSpec(
            "r", model, "s", str(path), 600.0, 1, ensemble=ensemble, steps=50, engine=engine
        )
        assert get_engine(engine).run(spec, tmp_path / engine).status == "survived"
        records.append(read_record(tmp_path / engine))
    for name in COLUMNS[2:-4]:
        assert records[0][name] == pytest.approx(records[1][name], rel=2e-4, abs=1e-5), name
