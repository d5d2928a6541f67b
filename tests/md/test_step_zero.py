"""The same structures at step 0 in all engines: energies and forces agree, or `check` refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import Calculator
from ase.cluster import Icosahedron

from nequip_decorr.md.criteria import Criteria
from nequip_decorr.md.engines import available_engines, get_engine
from nequip_decorr.md.record import read_record
from nequip_decorr.md.spec import ModelSpec, RunSpec, target_temperature_K
from nequip_decorr.md.start import engine_frame, extxyz_text, start_frame
from tests.helpers.tolerances import ENERGY_EV_PER_ATOM, FORCE_EV_PER_A

ALL = ("ase", "lammps-library", "lammps")
LENNARD_JONES = ModelSpec("lj", "lammps", pair_style="lj/cut 5.0", pair_coeff="* * 0.1 2.3")
pytestmark = pytest.mark.skipif(
    any(available_engines().values()), reason=f"not all engines: {available_engines()}"
)


def crystal() -> Atoms:
    atoms = bulk("Cu", cubic=True) * 2
    atoms.symbols[::4] = "Al"
    atoms.rattle(0.1, seed=1)
    return atoms


def left_handed() -> Atoms:
    atoms = crystal()
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    return atoms


def skewed() -> Atoms:
    """The crystal in a cell with tilts of many lengths."""
    atoms = crystal()
    atoms.set_cell(np.array([[1, 0, 0], [-3, 1, 0], [2, 5, 1]]) @ atoms.cell.array)
    return atoms


def slab(shift_A: float = 0.0, normal: int = 2, sign: float = 1.0) -> Atoms:
    """A hexagonal slab with 8 A of vacuum."""
    atoms = fcc111("Cu", (2, 2, 3), vacuum=8.0)
    atoms.rattle(0.05, seed=2)
    atoms.pbc = [True, True, False]
    atoms.positions[:, 2] += shift_A
    if normal == 0:
        turn = [2, 0, 1]
        atoms = Atoms(
            atoms.symbols, atoms.positions[:, turn], cell=atoms.cell.array[turn][:, turn],
            pbc=atoms.pbc[turn],
        )  # fmt: skip
    atoms.cell[normal] *= sign
    return atoms


def tilted_slab() -> Atoms:
    atoms = slab()
    atoms.cell[2] += [3.0, 1.0, 0.0]
    return atoms


def slab_without_vector() -> Atoms:
    atoms = slab()
    atoms.cell[2] = 0.0
    return atoms


def wire() -> Atoms:
    atoms = bulk("Cu", cubic=True) * (1, 1, 3)
    atoms.set_cell([[0, 0, 0], [0, 0, 0], atoms.cell[2]])
    atoms.pbc = [False, False, True]
    atoms.rattle(0.05, seed=3)
    return atoms


def cluster(box_A: float | None = None) -> Atoms:
    atoms = Atoms(Icosahedron("Cu", 2))
    atoms.rattle(0.05, seed=4)
    atoms.cell = None if box_A is None else [box_A] * 3
    return atoms


def masses(spread_amu: float) -> Atoms:
    atoms = crystal()
    given = atoms.get_masses()
    given[1] += spread_amu
    atoms.set_masses(given)
    return atoms


STRUCTURES = {
    "crystal": crystal(),
    "left_handed": left_handed(),
    "skewed": skewed(),
    "outside": (lambda a: (a.translate([40, -30, 7]), a)[1])(crystal()),
    "slab": slab(),
    "slab_around_zero": slab(shift_A=-10.0),
    "slab_on_the_face": slab(shift_A=-8.0),
    "slab_far_away": slab(shift_A=100.0),
    "slab_normal_to_x": slab(normal=0),
    "slab_left_handed": slab(sign=-1.0),
    "slab_tilted": tilted_slab(),
    "slab_without_vector": slab_without_vector(),
    "wire": wire(),
    "cluster_without_cell": cluster(),
    "cluster_in_tight_box": cluster(3.0),
    "cluster_in_wide_box": cluster(40.0),
    "two_masses": masses(1e-4),
}  # fmt: skip


def run_of(
    folder: Path, atoms: Atoms, model: ModelSpec, engine: str, temperature_K: float = 1.0, **given
) -> RunSpec:
    path = folder / "POSCAR"  # a structure may be called that, and runs read their start by name
    path.write_text(extxyz_text(start_frame(atoms, "s", temperature_K, 1)))
    criteria = Criteria(contact_fraction=None, temperature_factor=None)
    settings = {"steps": 1, "record_every": 1, "ensemble": "nve", "criteria": criteria, **given}
    return RunSpec("r", model, "s", str(path), temperature_K, 1, engine=engine, **settings)


def rows(spec: RunSpec, folder: Path) -> dict[str, np.ndarray]:
    result = get_engine(spec.engine).run(spec, folder)
    assert result.status == "survived", result
    record = read_record(folder)
    return {name: record[name] for name in record.columns}


@pytest.mark.parametrize("name", STRUCTURES)
def test_all_engines_agree_at_step_zero(tmp_path, name):
    atoms, first = STRUCTURES[name], None
    for engine in ALL:
        spec = run_of(tmp_path, atoms, LENNARD_JONES, engine)
        found = get_engine(engine).check(LENNARD_JONES, {name: atoms}, {"ensemble": "nve"})
        assert [finding for finding in found if finding.severity == "error"] == []
        row = rows(spec, tmp_path / engine)
        first = first or row
        for key, tolerance in (
            ("potential_eV_per_atom", ENERGY_EV_PER_ATOM["float64"]),
            ("total_eV_per_atom", 1e-6),  # LAMMPS has its own Boltzmann constant
            ("max_force_eV_per_A", FORCE_EV_PER_A["float64"]),
        ):
            assert row[key] == pytest.approx(first[key], abs=tolerance), (engine, key)


@pytest.mark.parametrize(
    "name", ["crystal", "left_handed", "slab_around_zero", "cluster_without_cell"]
)
def test_a_compiled_model_agrees_at_step_zero(tmp_path, compiled_model, name):
    atoms = STRUCTURES[name].copy()
    atoms.symbols = np.where(atoms.numbers == 13, "Si", "O")
    atoms.set_masses(None)
    model, first = ModelSpec("m", "nequip", path=str(compiled_model)), None
    for engine in ("ase", "lammps-library"):
        assert get_engine(engine).check(model, {name: atoms}, {"ensemble": "nve"}) == []
        row = rows(run_of(tmp_path, atoms, model, engine), tmp_path / engine)
        first = first or row
        for key, tolerance in (
            ("potential_eV_per_atom", ENERGY_EV_PER_ATOM["float32"]),
            ("max_force_eV_per_A", FORCE_EV_PER_A["float32"]),
        ):
            assert row[key] == pytest.approx(first[key], abs=tolerance), (engine, key)


def test_a_frame_that_needs_nothing_stays_as_it_is():
    for name in ("crystal", "skewed", "slab", "cluster_in_wide_box"):
        atoms = STRUCTURES[name].copy()
        if name.startswith("cluster"):
            atoms.center()
        frame = engine_frame(atoms)
        assert np.array_equal(frame.positions, atoms.positions), name
        assert np.array_equal(frame.cell.array, atoms.cell.array), name


@pytest.mark.parametrize("name", STRUCTURES)
def test_the_frame_of_engines_has_the_same_neighbours(name):
    """Distances, through the periodic images too, are those of the structure."""
    atoms, frame = STRUCTURES[name].copy(), engine_frame(STRUCTURES[name])
    if atoms.cell.rank != 3:
        atoms.cell = atoms.cell.complete()
    assert list(frame.pbc) == list(atoms.pbc)
    given = atoms.get_all_distances(mic=True)
    assert frame.get_all_distances(mic=True) == pytest.approx(given, abs=1e-9)
    assert frame.cell.rank == 3
    for axis in np.flatnonzero(~frame.pbc):
        scaled = frame.get_scaled_positions(wrap=False)[:, axis] * frame.cell.lengths()[axis]
        assert scaled.min() >= 2.0 - 1e-6
        assert scaled.max() <= frame.cell.lengths()[axis] - 2.0 + 1e-6
    assert len(np.unique(frame.get_masses())) == len(set(frame.symbols))


# ---- what is refused


def refused(engine: str, model: ModelSpec, atoms: Atoms, **settings) -> list[str]:
    """The same errors from `check` and from a run."""
    found = get_engine(engine).check(model, {"s": atoms}, settings)
    return [str(finding) for finding in found if finding.severity == "error"]


@pytest.mark.parametrize("engine", ["lammps", "lammps-library"])
def test_isotopes_are_refused_by_lammps_alone(tmp_path, engine):
    message = "structure 's': the masses of Cu differ by 2 amu, and LAMMPS has one mass per element"
    (line,) = refused(engine, LENNARD_JONES, masses(2.0))
    assert line.startswith(message) and line.endswith("or use engine ase")
    with pytest.raises(ValueError, match=message):
        get_engine(engine).run(run_of(tmp_path, masses(2.0), LENNARD_JONES, engine), tmp_path / "r")
    assert refused("ase", LENNARD_JONES, masses(2.0)) == []


@pytest.mark.parametrize("engine", ALL)
def test_a_pair_style_that_lammps_does_not_have_is_refused(engine):
    model = replace(LENNARD_JONES, pair_style="lj/cutt 5.0")
    (line,) = refused(engine, model, crystal())
    assert "has no pair style 'lj/cutt'" in line


def test_a_lammps_that_cannot_be_asked_is_said_so(tmp_path):
    check = get_engine("lammps").check
    (finding,) = check(LENNARD_JONES, {}, {"lammps_command": ("/no/such/lmp",)})
    assert (finding.severity, "is no program" in finding.message) == ("error", True)
    (finding,) = check(LENNARD_JONES, {}, {"lammps_command": ("false",)})
    assert finding.severity == "warning"
    assert "cannot be asked for pair style 'lj/cut'" in finding.message


def test_pair_allegro_is_refused_without_the_pair_style(monkeypatch, compiled_model, quartz):
    monkeypatch.delenv("NEQUIP_DECORR_LMP", raising=False)
    monkeypatch.delenv("NEQUIP_DECORR_LMP_PLUGIN", raising=False)
    model = ModelSpec("m", "nequip", path=str(compiled_model))
    (line,) = refused("lammps", model, quartz)
    assert "has no pair style 'allegro'" in line
    assert "NEQUIP_DECORR_LMP_PLUGIN" in line and "engine lammps-library" in line


def test_a_checkpoint_is_refused_before_it_is_compiled(monkeypatch, tmp_path, quartz):
    monkeypatch.delenv("NEQUIP_DECORR_LMP", raising=False)
    monkeypatch.delenv("NEQUIP_DECORR_LMP_PLUGIN", raising=False)
    inner = {"_target_": "allegro.model.AllegroModel", "type_names": ["Si", "O"], "r_max": 4.0}
    torch.save({"hyper_parameters": {"model": inner}}, tmp_path / "m.ckpt")
    model = ModelSpec("m", "nequip", path=str(tmp_path / "m.ckpt"))
    (line,) = refused("lammps", model, quartz)
    assert "has no pair style 'allegro'" in line


def test_the_wrong_target_is_refused(compiled_model_ase, quartz):
    model = ModelSpec("m", "nequip", path=str(compiled_model_ase))
    (line,) = refused("lammps", model, quartz)
    assert "--target pair_allegro or pair_nequip" in line
    for engine in ("ase", "lammps-library"):
        assert refused(engine, model, quartz) == []


@pytest.mark.parametrize("engine", ALL)
@pytest.mark.parametrize(
    ("inputs", "outputs", "types", "words"),
    [
        ("charge", "", "Si O", "needs charge as input beside positions, cell and types"),
        ("batch num_atoms", "", "Si O", "is compiled for batches"),
        ("", "no_forces", "Si O", "gives no forces"),
        ("", "", "silicon O", "atom types that are not chemical symbols"),
        ("", "", "Si H", "has O, which model 'm' does not know; it knows Si, H"),
    ],
)
def test_models_that_no_engine_runs(tmp_path, quartz, engine, inputs, outputs, types, words):
    import json
    import zipfile

    path = tmp_path / "model.nequip.pt2"
    fields = f"pos edge_index atom_types {inputs}"
    given = "atomic_energy total_energy stress virial" + ("" if outputs else " forces")
    notes = {"type_names": types, "r_max": "4.0", "model_dtype": "float32",
             "nequip_aoti_inputs": fields, "nequip_aoti_outputs": given}  # fmt: skip
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data/aotinductor/model/x_metadata.json", json.dumps(notes))
    model = ModelSpec("m", "nequip", path=str(path))
    assert words in "\n".join(refused(engine, model, quartz))
    with pytest.raises(ValueError, match=words):
        get_engine(engine).run(run_of(tmp_path, quartz, model, engine), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_settings_that_an_engine_cannot_run():
    emt = ModelSpec("emt", "ase", calculator="ase.calculators.emt.EMT")
    atoms = molecule("H2O")
    assert (
        "no thermostat langevin"
        in refused("ase", emt, atoms, ensemble="npt", thermostat="langevin")[0]
    )
    assert "cannot run in LAMMPS" in refused("lammps", emt, atoms)[0]
    assert (
        "a ramp needs ensemble nvt or npt"
        in refused("ase", emt, atoms, ensemble="nve", temperature_end_K=9.0)[0]
    )
    eam = replace(emt, calculator="tests.md.test_step_zero.NoStress")
    for engine in ("ase", "lammps-library"):
        assert "gives no stress, which npt needs" in refused(engine, eam, atoms, ensemble="npt")[0]
        assert refused(engine, eam, atoms, ensemble="nvt") == []


class NoStress(Calculator):
    """Stands for a calculator without a stress."""

    implemented_properties = ("energy", "forces")


def test_position_that_is_not_finite(tmp_path):
    atoms = crystal()
    atoms.positions[0] = np.nan
    with pytest.raises(ValueError, match="not a finite number"):
        engine_frame(atoms)
    flat = crystal()
    flat.cell[2] = 0.0
    with pytest.raises(ValueError, match="give the vector, or say in the file"):
        engine_frame(flat)


def test_a_cold_barostat_is_warned_of():
    settings = {"ensemble": "npt", "temperature_K": 0.1, "barostat_damping_fs": 400.0}
    (finding,) = get_engine("lammps").check(LENNARD_JONES, {"s": crystal()}, settings)
    assert (finding.severity, finding.message[:15]) == ("warning", "npt at 0.1 K: t")
    settings["temperature_K"] = 10.0
    assert get_engine("lammps").check(LENNARD_JONES, {"s": crystal()}, settings) == []


# ---- ramps


@pytest.mark.parametrize("engine", [pytest.param("ase", marks=pytest.mark.slow), *ALL[1:]])
@pytest.mark.parametrize(
    ("start_K", "end_K", "given"),
    [
        (0.1, 1000.0, {}),
        (0.1, 1000.0, {"thermostat": "langevin"}),
        (600.0, 60.0, {}),
        (10.0, 1000.0, {"ensemble": "npt"}),
        (300.0, 300.0, {"ensemble": "npt", "pressure_end_GPa": 10.0}),
        (0.1, 1000.0, {"ensemble": "npt", "thermostat": "langevin"}),
    ],
)
def test_a_reference_potential_follows_every_ramp(tmp_path, engine, start_K, end_K, given):
    """Means over windows follow the target: a thermostat's fault must not be the model's."""
    if engine == "ase" and given.get("thermostat") == "langevin" and "ensemble" in given:
        pytest.skip("ASE has no Langevin dynamics at constant pressure; `check` refuses it")
    atoms = bulk("Cu", cubic=True, a=3.6) * 2
    atoms.rattle(0.02, seed=5)
    model = ModelSpec("lj", "lammps", pair_style="lj/cut 5.0", pair_coeff="* * 0.4 2.3")
    criteria = Criteria(contact_fraction=None, check_every=100)
    spec = run_of(
        tmp_path, atoms, model, engine, start_K, criteria=criteria,
        **{"ensemble": "nvt", "steps": 2000, "temperature_end_K": end_K, "record_every": 5,
           "thermostat_damping_fs": 30.0, "barostat_damping_fs": 300.0, "trajectory_every": 0,
           "ring_frames": 0, **({"steps": 1200} if "ensemble" in given else {}), **given},
    )  # fmt: skip
    record = rows(spec, tmp_path / "run")
    target = np.array([target_temperature_K(spec, step) for step in record["step"]])
    half = len(target) // 2
    for window in (slice(half, half + half // 2), slice(half + half // 2, None)):
        mean, wanted = record["temperature_K"][window].mean(), target[window].mean()
        assert mean == pytest.approx(wanted, rel=0.12), window
    if "pressure_end_GPa" in given:
        last = record["step"] > 900
        assert record["pressure_GPa"][last].mean() == pytest.approx(8.75, abs=0.8)
