"""Engines: planted failures get their right cause and step, and good runs survive."""

from __future__ import annotations

import math
import os
import signal
import stat
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import Calculator

from nequip_decorr.md.criteria import GRADE_CAP, Criteria, temperature_limit_K
from nequip_decorr.md.engines import available_engines, get_engine
from nequip_decorr.md.engines.ase import make_calculator
from nequip_decorr.md.lammps.run_output import judge, parse_log
from nequip_decorr.md.record import COLUMNS, read_record, read_ring, read_trajectory
from nequip_decorr.md.spec import ModelSpec, RunSpec
from nequip_decorr.md.start import extxyz_text, start_frame
from nequip_decorr.models.potential import CompiledCalculator, CompiledPotential

REASONS = available_engines()
IN_PROCESS = ["ase", "lammps-library"]
ALL = [*IN_PROCESS, "lammps"]
DEFAULT = Criteria()
ALONE = Criteria(
    temperature_factor=None,
    contact_fraction=None,
    energy_drop_eV_per_atom=None,
    energy_rise_eV_per_atom=None,
    max_force_eV_per_A=None,
    drift_eV_per_atom=None,
)


@pytest.fixture(autouse=True)
def _engine_is_here(request):
    name = request.node.callspec.params.get("engine") if hasattr(request.node, "callspec") else None
    if name and REASONS[name]:
        pytest.skip(REASONS[name])


def planted(failure: str = "none", **arguments: float) -> ModelSpec:
    arguments = {"failure": failure, **arguments}
    return ModelSpec(
        failure, "ase", calculator="tests.helpers.planted.Planted", arguments=arguments
    )


def spec_of(
    folder: Path, atoms: Atoms, model: ModelSpec, engine: str, temperature_K: float = 300.0, **given
) -> RunSpec:
    path = folder / "start.xyz"
    path.write_text(extxyz_text(start_frame(atoms, "s", temperature_K, 1)))
    settings = {"ensemble": "nve", "steps": 60, "record_every": 10, "criteria": DEFAULT, **given}
    return RunSpec("r", model, "s", str(path), temperature_K, 1, engine=engine, **settings)


def run(spec: RunSpec, folder: Path, progress=None):
    return get_engine(spec.engine).run(spec, folder / "run", progress)


@pytest.fixture
def still(quartz) -> Atoms:
    """Atoms that planted springs hold in place: at 0 K nothing moves by itself."""
    return quartz


# ---- planted failures


@pytest.mark.parametrize("engine", IN_PROCESS)
@pytest.mark.parametrize("failure", ["nan_forces", "nan_energy"])
@pytest.mark.parametrize("at", [0, 1, 17, 40])
def test_nan_is_a_failure_at_its_step(tmp_path, still, engine, failure, at):
    spec = spec_of(tmp_path, still, planted(failure, at=at), engine)
    result = run(spec, tmp_path)
    assert (result.status, result.cause, result.last_step) == ("failed", "nonfinite", at)
    assert result.value is None
    if engine == "lammps-library":  # found by the halt, not by an error that speaks of NaN
        log = parse_log((tmp_path / "run" / "log.lammps").read_text())
        assert (log.halt, log.error) == (("nonfinite", at, 1.0), None)
    assert read_record(tmp_path / "run")["step"][-1] == at


@pytest.mark.parametrize("engine", IN_PROCESS)
def test_nan_between_checks_is_found_at_the_next(tmp_path, still, engine):
    criteria = replace(DEFAULT, check_every=8)
    spec = spec_of(tmp_path, still, planted("nan_energy", at=17), engine, criteria=criteria)
    result = run(spec, tmp_path)
    assert (result.cause, result.last_step, result.check_every) == ("nonfinite", 24, 8)


@pytest.mark.parametrize("engine", IN_PROCESS)
def test_the_last_step_is_judged_even_if_the_stride_misses_it(tmp_path, still, engine):
    criteria = replace(DEFAULT, check_every=50)
    spec = spec_of(tmp_path, still, planted("nan_energy", at=59), engine, criteria=criteria)
    result = run(spec, tmp_path)
    assert (result.status, result.cause, result.last_step) == ("failed", "nonfinite", 60)


@pytest.mark.parametrize("engine", IN_PROCESS)
def test_nan_with_every_criterion_off_is_still_a_failure(tmp_path, still, engine):
    spec = spec_of(tmp_path, still, planted("nan_forces", at=5), engine, criteria=ALONE)
    assert run(spec, tmp_path).cause == "nonfinite"


@pytest.mark.parametrize("engine", IN_PROCESS)
def test_slow_heating_fails_at_the_first_step_above_the_bound(tmp_path, still, engine):
    criteria = replace(ALONE, temperature_factor=3.0)
    model = planted("heat", strength=5.0)
    spec = spec_of(
        tmp_path, still, model, engine, 600.0, steps=3000, record_every=1, criteria=criteria
    )
    result = run(spec, tmp_path)
    temperature = read_record(tmp_path / "run")["temperature_K"]
    limit = temperature_limit_K(criteria, 600.0)
    assert (result.status, result.cause, result.threshold) == ("failed", "temperature", limit)
    assert 20 < result.last_step < 3000
    assert result.last_step == int(np.flatnonzero(temperature > limit)[0])
    assert result.value == pytest.approx(temperature[-1], rel=1e-6)


@pytest.mark.parametrize("engine", IN_PROCESS)
def test_slow_heating_is_drift_in_nve_before_it_is_hot(tmp_path, still, engine):
    criteria = replace(ALONE, drift_eV_per_atom=0.05)
    spec = spec_of(
        tmp_path,
        still,
        planted("heat", strength=5.0),
        engine,
        300.0,
        steps=3000,
        record_every=1,
        criteria=criteria,
    )
    result = run(spec, tmp_path)
    total = read_record(tmp_path / "run")["total_eV_per_atom"]
    assert (result.cause, result.threshold) == ("drift", 0.05)
    assert result.last_step == int(np.flatnonzero(np.abs(total - total[0]) > 0.05)[0])


@pytest.mark.parametrize("engine", IN_PROCESS)
def test_a_well_that_collapses_is_a_contact_of_its_pair(tmp_path, still, engine):
    pair = [int(i) for i in (0, np.argsort(still.get_distances(0, range(72), mic=False))[1])]
    order = [*pair, *(i for i in range(72) if i not in pair)]
    atoms = still[order]
    criteria = replace(ALONE, contact_fraction=0.6)
    model = planted("well", strength=3.0)
    spec = spec_of(tmp_path, atoms, model, engine, 10.0, steps=500, criteria=criteria)
    result = run(spec, tmp_path)
    assert (result.status, result.cause, result.threshold) == ("failed", "contact", 0.6)
    assert result.value is not None and result.value < 0.6
    assert result.message.startswith("O-Si at ")
    ring = read_ring(tmp_path / "run")
    distance = [frame.get_distance(0, 1, mic=True) for frame in ring]
    bound = 0.6 * (1.11 + 0.66)
    assert ring[-1].info["step"] == result.last_step
    assert distance[-1] < bound <= distance[-2]


@pytest.mark.parametrize("engine", IN_PROCESS)
def test_sinking_energy_at_a_normal_temperature_is_caught(tmp_path, still, engine):
    model = planted("sink", strength=0.013)
    spec = spec_of(
        tmp_path,
        still,
        model,
        engine,
        1.0,
        steps=200,
        criteria=replace(ALONE, energy_drop_eV_per_atom=1.0),
    )
    result = run(spec, tmp_path)
    assert (result.cause, result.last_step, result.threshold) == ("energy", 77, -1.0)
    assert result.value == pytest.approx(-1.001, abs=1e-4)


@pytest.mark.parametrize("engine", IN_PROCESS)
def test_rising_energy_is_caught(tmp_path, still, engine):
    model = planted("sink", strength=-0.03)
    spec = spec_of(
        tmp_path,
        still,
        model,
        engine,
        1.0,
        steps=200,
        criteria=replace(ALONE, energy_rise_eV_per_atom=2.0),
    )
    result = run(spec, tmp_path)
    assert (result.cause, result.last_step, result.threshold) == ("energy", 67, 2.0)


@pytest.mark.parametrize("engine", IN_PROCESS)
@pytest.mark.parametrize("at", [0, 12])
def test_a_large_force_is_caught(tmp_path, still, engine, at):
    model = planted("kick", at=at, strength=1234.0)
    spec = spec_of(
        tmp_path, still, model, engine, 1.0, criteria=replace(ALONE, max_force_eV_per_A=200.0)
    )
    result = run(spec, tmp_path)
    assert (result.cause, result.last_step) == ("force", at)
    assert result.value == pytest.approx(1234.0)


@pytest.mark.parametrize("engine", IN_PROCESS)
def test_an_atom_that_leaves_an_open_side_is_lost(tmp_path, still, engine):
    still.pbc = [True, True, False]
    still.center(vacuum=2.0, axis=2)
    height = still.cell[2, 2] - still.positions[0, 2]
    spec = spec_of(
        tmp_path, still, planted("push", strength=2.0), engine, 1.0, steps=400, criteria=ALONE
    )
    result = run(spec, tmp_path)
    assert (result.status, result.cause, result.value) == ("failed", "lost", 1.0)
    # z = a t^2 / 2; LAMMPS looks when an atom has moved by half its skin of 2 A, ASE every step.
    acceleration = 2.0 / still.get_masses()[0] * units.fs**2
    leaves = math.sqrt(2 * height / acceleration)
    latest = math.sqrt(2 * (height + (1.0 if engine == "lammps-library" else 0.0)) / acceleration)
    assert leaves - 2 <= result.last_step <= latest + 2


@pytest.mark.parametrize("engine", IN_PROCESS)
def test_a_crash_of_the_model_says_nothing_about_stability(tmp_path, still, engine):
    spec = spec_of(tmp_path, still, planted("crash", at=23), engine)
    result = run(spec, tmp_path)
    assert (result.status, result.cause, result.last_step) == ("error", None, 22)
    assert "the engine caught fire" in result.message


# ---- ends that are no failures


@pytest.mark.parametrize("engine", IN_PROCESS)
@pytest.mark.parametrize("ensemble", ["nve", "nvt"])
def test_a_good_run_survives_with_a_complete_record(tmp_path, still, engine, ensemble):
    seen: list[int] = []
    spec = spec_of(
        tmp_path, still, planted(), engine, ensemble=ensemble, steps=64, trajectory_every=20
    )
    result = run(spec, tmp_path, seen.append)
    assert (result.status, result.last_step, result.cause) == ("survived", 64, None)
    record = read_record(tmp_path / "run")
    assert list(record["step"]) == [0, 10, 20, 30, 40, 50, 60, 64]
    assert all(np.isfinite(record[name]).all() for name in COLUMNS[:-3])
    assert record["temperature_K"][0] == pytest.approx(300.0, rel=1e-5)
    frames = read_trajectory(tmp_path / "run", spec.timestep_fs)
    assert [frame.info["step"] for frame in frames] == [0, 20, 40, 60]
    assert frames[0].get_kinetic_energy() / 72 == pytest.approx(
        record["kinetic_eV_per_atom"][0], rel=1e-6
    )
    assert read_ring(tmp_path / "run") == []
    assert seen[-1] >= 60


@pytest.mark.parametrize("engine", IN_PROCESS)
def test_sigterm_is_an_interruption(tmp_path, still, engine):
    spec = spec_of(tmp_path, still, planted(), engine, steps=1_000_000)

    def stop(step: int) -> None:
        if step == 50:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    result = run(spec, tmp_path, stop)
    assert (result.status, result.cause) == ("interrupted", None)
    assert 50 <= result.last_step <= 70
    assert read_record(tmp_path / "run")["step"][-1] == result.last_step
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("engine", ALL)
def test_walltime_is_an_interruption_at_the_last_good_step(tmp_path, still, engine, sio_reference):
    spec = spec_of(
        tmp_path, still, sio_reference, engine, steps=10_000_000, walltime_s=1.0, trajectory_every=0
    )
    result = run(spec, tmp_path)
    assert (result.status, result.cause, result.message) == ("interrupted", None, "walltime")
    assert 0 < result.last_step < 10_000_000
    assert result.wall_s < 10
    assert read_record(tmp_path / "run")["step"][-1] == result.last_step


@pytest.mark.parametrize("engine", ALL)
def test_an_unknown_element_is_refused_before_anything_runs(
    tmp_path, quartz, engine, sio_reference
):
    quartz.symbols[5] = "Hf"
    spec = spec_of(tmp_path, quartz, sio_reference, engine)
    with pytest.raises(
        ValueError, match="Hf, which model 'reference' does not know; it knows Si, O"
    ):
        run(spec, tmp_path)
    assert not (tmp_path / "run" / "log.lammps").exists()


@pytest.mark.parametrize("engine", ALL)
def test_a_ramp_needs_a_thermostat(tmp_path, quartz, engine, sio_reference):
    spec = spec_of(tmp_path, quartz, sio_reference, engine, temperature_end_K=900.0)
    with pytest.raises(ValueError, match="a ramp needs ensemble nvt or npt, got nve"):
        run(spec, tmp_path)


def test_an_unknown_engine_names_the_known():
    with pytest.raises(
        ValueError, match="engine is 'gromacs'; allowed: lammps, lammps-library, ase"
    ):
        get_engine("gromacs")


# ---- the executable


def fake_lammps(folder: Path, script: str) -> tuple[str, ...]:
    path = folder / "lmp"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return (str(path),)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'Run ended at step 60' > log.lammps; kill -SEGV $$", "ended with code -11"),
        (
            "echo 'ERROR: Unknown pair style allegro (src/force.cpp:1)' > log.lammps; exit 1",
            "allegro",
        ),
        ("exit 0", "ended too early"),
    ],
)
def test_a_lammps_that_dies_is_an_error(tmp_path, quartz, sio_reference, script, message):
    command = fake_lammps(tmp_path, script)
    spec = spec_of(tmp_path, quartz, sio_reference, "lammps", lammps_command=command)
    result = run(spec, tmp_path)
    assert (result.status, result.cause) == ("error", None)
    assert message in result.message


def test_a_lammps_that_is_not_there(tmp_path, quartz, sio_reference):
    spec = spec_of(tmp_path, quartz, sio_reference, "lammps", lammps_command=("/no/such/lmp",))
    with pytest.raises(FileNotFoundError, match="'/no/such/lmp' is no program"):
        run(spec, tmp_path)


def test_sigterm_stops_the_executable(tmp_path, quartz, sio_reference):
    if REASONS["lammps"]:
        pytest.skip(REASONS["lammps"])
    spec = spec_of(tmp_path, quartz, sio_reference, "lammps", steps=10_000_000)
    timer = threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    result = run(spec, tmp_path)
    timer.join()
    assert (result.status, result.cause, result.message) == (
        "interrupted",
        None,
        "stopped by SIGTERM",
    )
    assert 0 < result.last_step < 10_000_000


@pytest.mark.parametrize(
    ("error", "status", "cause"),
    [
        ("ERROR: Lost atoms: original 72 current 71 (src/thermo.cpp:494)", "failed", "lost"),
        ("ERROR on proc 0: Out of range atoms - cannot compute PPPM", "failed", "lost"),
        ("ERROR on proc 3: Non-numeric atom coords - simulation unstable", "failed", "nonfinite"),
        ("ERROR: Non-numeric pressure - simulation unstable", "failed", "nonfinite"),
        ("ERROR: Non-numeric box dimensions - simulation unstable", "failed", "nonfinite"),
        ("ERROR: NaN in the forces", "failed", "nonfinite"),
        ("ERROR: F_MDR is NaN, case 1: no tensile springs", "failed", "nonfinite"),
        ("ERROR: Cannot open file x.tersoff", "error", None),
        ("ERROR: Cannot open file /home/nan/nan.nanotube/lost_atoms.data", "error", None),
    ],
)
def test_errors_of_lammps_are_told_apart(tmp_path, error, status, cause):
    spec = RunSpec("r", ModelSpec("m", "lammps"), "s", "s.xyz", 300.0, 1)
    result = judge(spec, tmp_path, parse_log(f"Step Temp\n{error}\nLast input line: run 5\n"), 12)
    assert (result.status, result.cause) == (status, cause)


def test_the_first_halt_counts_and_echoes_do_not():
    text = (
        "print 'Fix halt condition for fix-id force met on step 1 with value 9'\n"
        "Fix halt condition for fix-id contact met on step 12 with value 2 (src/fix_halt.cpp:315)\n"
        "Fix halt condition for fix-id force met on step 12 with value 777.5\n"
        "Run ended at step 12\n"
    )
    log = parse_log(text)
    assert (log.halt, log.ended_at, log.error) == (("contact", 12, 2.0), 12, None)


# ---- models


def test_compile_targets_agree_on_energy_forces_and_virial(
    compiled_model, compiled_model_ase, quartz
):
    quartz.rattle(0.1, seed=4)
    local, periodic = CompiledPotential(compiled_model), CompiledPotential(compiled_model_ase)
    types = local.types_of(quartz)
    shift = np.random.default_rng(0).integers(-2, 3, (72, 3)) @ quartz.cell.array
    one = local.evaluate(quartz.positions + shift, types, quartz.cell.array, quartz.pbc)
    two = periodic.evaluate(quartz.positions, types, quartz.cell.array, quartz.pbc)
    assert one.energy_eV == pytest.approx(two.energy_eV, abs=1e-5)
    assert one.forces_eV_per_A == pytest.approx(two.forces_eV_per_A, abs=1e-5)
    assert one.virial_eV == pytest.approx(two.virial_eV, abs=1e-4)


def test_virial_is_minus_the_derivative_by_strain(compiled_model, quartz):
    quartz.rattle(0.1, seed=4)
    potential = CompiledPotential(compiled_model)
    types, width = potential.types_of(quartz), 2e-3

    def energy(strain: np.ndarray) -> float:
        deform = np.eye(3) + strain
        return potential.evaluate(
            quartz.positions @ deform, types, quartz.cell.array @ deform, quartz.pbc
        ).energy_eV

    virial = potential.evaluate(quartz.positions, types, quartz.cell.array, quartz.pbc).virial_eV
    for a, b in [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2)]:
        strain = np.zeros((3, 3))
        strain[a, b] += width / 2
        strain[b, a] += width / 2
        slope = (energy(strain) - energy(-strain)) / (2 * width)
        assert virial[a, b] == pytest.approx(-slope, abs=2e-2)


def test_the_compiled_calculator_agrees_with_nequips_own(compiled_model_ase, quartz):
    from nequip.integrations.ase import NequIPCalculator

    quartz.rattle(0.1, seed=5)
    theirs = quartz.copy()
    theirs.calc = NequIPCalculator.from_compiled_model(str(compiled_model_ase), device="cpu")
    quartz.calc = CompiledCalculator(CompiledPotential(compiled_model_ase))
    assert quartz.get_potential_energy() == pytest.approx(theirs.get_potential_energy(), abs=1e-5)
    assert quartz.get_forces() == pytest.approx(theirs.get_forces(), abs=1e-5)
    assert quartz.get_stress() == pytest.approx(theirs.get_stress(), abs=1e-7)


def test_a_compiled_model_far_apart_or_not_finite(compiled_model):
    potential = CompiledPotential(compiled_model)
    types = np.array([0, 1])
    far = np.array([[0.0, 0.0, 0.0], [50.0, 0.0, 0.0]])
    found = potential.evaluate(far, types, 100 * np.eye(3), [False] * 3)
    assert found.energy_eV == pytest.approx(-12.0)
    assert not found.forces_eV_per_A.any()
    far[1, 2] = np.nan
    assert np.isnan(potential.evaluate(far, types, 100 * np.eye(3), [False] * 3).energy_eV)
    with pytest.raises(ValueError, match=r"has Hf, which .* does not know; it knows Si, O"):
        potential.types_of(Atoms("SiHf"))


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt"])
def test_engines_agree_on_a_compiled_model(tmp_path, compiled_model, quartz, ensemble):
    if REASONS["lammps-library"]:
        pytest.skip(REASONS["lammps-library"])
    model = ModelSpec("m", "nequip", path=str(compiled_model))
    rows = {}
    for engine in IN_PROCESS:
        spec = spec_of(tmp_path, quartz, model, engine, steps=20, ensemble=ensemble)
        folder = tmp_path / engine
        assert get_engine(engine).run(spec, folder).status == "survived"
        rows[engine] = read_record(folder)
    ours, theirs = rows["lammps-library"], rows["ase"]
    for name in ("potential_eV_per_atom", "volume_A3", "pressure_GPa", "min_contact"):
        assert ours[name][0] == pytest.approx(theirs[name][0], rel=1e-5), name
    # The integrators are different programs, and their barostats have different masses.
    tolerance = {"nve": 1e-5, "nvt": 2e-3, "npt": 5e-2}[ensemble]
    assert ours["temperature_K"][-1] == pytest.approx(theirs["temperature_K"][-1], rel=tolerance)


@pytest.mark.parametrize("engine", IN_PROCESS)
def test_the_reference_potential_is_a_model_of_both(tmp_path, cristobalite, sio_reference, engine):
    spec = spec_of(tmp_path, cristobalite, sio_reference, engine, 600.0, steps=50)
    assert run(spec, tmp_path).status == "survived"
    first = read_record(tmp_path / "run")["potential_eV_per_atom"][0]
    cristobalite.calc = make_calculator(spec.model, ("Si", "O"))
    assert isinstance(cristobalite.calc, Calculator)
    assert first == pytest.approx(cristobalite.get_potential_energy() / 48, abs=1e-7)


# ---- the extrapolation grade


def graded(**arguments: float) -> ModelSpec:
    return ModelSpec("g", "ase", calculator="tests.helpers.planted.Graded", arguments=arguments)


@pytest.mark.parametrize("engine", IN_PROCESS)
def test_grades_are_recorded_and_stored_and_stop_nothing_by_default(tmp_path, still, engine):
    model = graded(at=15, strength=1e9)
    spec = spec_of(tmp_path, still, model, engine, steps=40, trajectory_every=20, ring_frames=5)
    assert run(spec, tmp_path).status == "survived"
    record = read_record(tmp_path / "run")
    assert record["max_grade"] == pytest.approx([0.9, 0.9, 1e9, 1e9, 1e9])
    assert record["share_above_1"] == pytest.approx([0, 0, 1 / 72, 1 / 72, 1 / 72])
    assert list(record["worst_atom"]) == [71, 71, 4, 4, 4]
    frames = read_trajectory(tmp_path / "run")
    assert [frame.arrays["extrapolation_grade"][4] for frame in frames] == [0.5, 1e9, 1e9]
    assert frames[0].arrays["extrapolation_grade"] == pytest.approx(
        [0.5 if i == 4 else 0.9 * i / 71 for i in range(72)], abs=1e-8
    )


@pytest.mark.parametrize("engine", IN_PROCESS)
@pytest.mark.parametrize(("at", "strength"), [(0, 3.5), (17, 3.5), (17, math.inf), (23, math.nan)])
def test_a_grade_beyond_its_bound_is_a_failure_at_its_step(tmp_path, still, engine, at, strength):
    criteria = replace(ALONE, extrapolation_grade=3.0)
    spec = spec_of(tmp_path, still, graded(at=at, strength=strength), engine, criteria=criteria)
    result = run(spec, tmp_path)
    assert (result.status, result.cause, result.last_step) == ("failed", "extrapolation", at)
    finite = math.isfinite(strength)
    assert (result.value, result.threshold) == (strength if finite else GRADE_CAP, 3.0)
    assert read_record(tmp_path / "run")["max_grade"][-1] == (strength if finite else math.inf)
    assert read_ring(tmp_path / "run")[-1].arrays["extrapolation_grade"].argmax() == 4


@pytest.mark.parametrize("engine", IN_PROCESS)
def test_a_bound_on_the_grade_does_not_stop_a_model_without(tmp_path, still, engine):
    criteria = replace(DEFAULT, extrapolation_grade=3.0)
    spec = spec_of(tmp_path, still, planted(), engine, criteria=criteria)
    assert run(spec, tmp_path).status == "survived"
    assert np.isnan(read_record(tmp_path / "run")["max_grade"]).all()


def test_a_bound_is_refused_or_noted_for_models_without_a_grade(compiled_model_ase):
    criteria = replace(DEFAULT, extrapolation_grade=3.0)
    plain = ModelSpec("m", "nequip", path=str(compiled_model_ase))
    findings = {}
    for name, model in {
        "own": graded(),
        "none": planted(),
        "plain": plain,
        "file": replace(plain, grade="m.grade.npz"),
    }.items():
        found = get_engine("ase").check(model, {}, {"criteria": criteria, "trajectory_every": 20})
        findings[name] = [(finding.severity, finding.message) for finding in found]
    assert findings["own"] == []
    assert findings["none"] == [
        ("warning", "model 'none' has no extrapolation grade and is not judged by "
                    "extrapolation_grade")
    ]  # fmt: skip
    ((severity, message),) = findings["plain"]
    assert severity == "error" and "which criteria.extrapolation_grade needs" in message
    ((severity, message),) = findings["file"]
    assert severity == "warning" and "on its stored frames, every 20 steps" in message
