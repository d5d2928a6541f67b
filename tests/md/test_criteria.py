"""Criteria as pure functions."""

from __future__ import annotations

import math
import re
from dataclasses import fields, replace

import ase.neighborlist
import numpy as np
import pytest
from ase import Atoms
from ase.data import covalent_radii

from nequip_decorr.md import judge
from nequip_decorr.md.contact import CONTACT_CAP, closest_contact, contact_radii_A, num_outside
from nequip_decorr.md.criteria import CRITERIA, GRADE_CAP, Criteria, criterion, temperature_limit_K
from nequip_decorr.md.judge import State, evaluate, from_halt
from nequip_decorr.md.spec import ModelSpec, RunSpec, target_temperature_K
from nequip_decorr.resources import templates_dir

BOUNDS = Criteria(
    temperature_factor=3.0,
    temperature_floor_K=1000.0,
    contact_fraction=0.6,
    energy_drop_eV_per_atom=1.0,
    energy_rise_eV_per_atom=2.0,
    max_force_eV_per_A=200.0,
    drift_eV_per_atom=0.5,
    extrapolation_grade=3.0,
)
START = State(0, 300.0, 310.0, -6.0, -5.9, 1.0, 0.9)
SPEC = RunSpec(
    "r",
    ModelSpec("m", "lammps"),
    "s",
    "s.xyz",
    temperature_K=300.0,
    seed=1,
    steps=100,
    criteria=BOUNDS,
)


@pytest.mark.parametrize(
    ("change", "cause", "value", "threshold"),
    [
        ({"temperature_K": 1000.1}, "temperature", 1000.1, 1000.0),
        ({"temperature_K": 3100.0, "target_K": 1000.0}, "temperature", 3100.0, 3000.0),
        ({"min_contact": 0.59}, "contact", 0.59, 0.6),
        ({"potential_eV_per_atom": -7.1}, "energy", -1.1, -1.0),
        ({"potential_eV_per_atom": -3.9}, "energy", 2.1, 2.0),
        ({"max_force_eV_per_A": 201.0}, "force", 201.0, 200.0),
        ({"total_eV_per_atom": -6.5}, "drift", 0.6, 0.5),
        ({"num_lost": 2}, "lost", 2.0, 0.0),
        ({"max_grade": 3.1}, "extrapolation", 3.1, 3.0),
        ({"max_grade": GRADE_CAP}, "extrapolation", GRADE_CAP, 3.0),
        ({"potential_eV_per_atom": math.nan}, "nonfinite", None, None),
        ({"temperature_K": math.inf}, "nonfinite", None, None),
        ({"max_force_eV_per_A": math.nan}, "nonfinite", None, None),
        ({"finite": False}, "nonfinite", None, None),
    ],
)
def test_each_criterion_names_cause_value_and_bound(change, cause, value, threshold):
    found = evaluate(replace(START, step=7, **change), START, BOUNDS, "nve")
    assert found is not None
    assert (found.cause, found.step, found.threshold) == (cause, 7, threshold)
    assert found.value == (None if value is None else pytest.approx(value))


def test_a_good_state_passes_and_bounds_are_not_failures():
    assert evaluate(START, START, BOUNDS, "nve") is None
    at_the_bound = replace(START, temperature_K=1000.0, min_contact=0.6)
    assert evaluate(at_the_bound, START, BOUNDS, "nve") is None


def test_drift_counts_in_nve_alone():
    drifted = replace(START, total_eV_per_atom=0.0)
    assert evaluate(drifted, START, BOUNDS, "nvt") is None
    found = evaluate(drifted, START, BOUNDS, "nve")
    assert found is not None and found.cause == "drift"


def test_what_is_off_is_not_judged_but_nan_always_is():
    off = Criteria(
        temperature_factor=None,
        contact_fraction=None,
        energy_drop_eV_per_atom=None,
        energy_rise_eV_per_atom=None,
        max_force_eV_per_A=None,
        drift_eV_per_atom=None,
    )
    wild = State(1, 300.0, 1e9, 1e5, -1e5, 1e9, min_contact=0.0)
    assert evaluate(wild, START, off, "nve") is None
    found = evaluate(replace(wild, potential_eV_per_atom=math.nan), START, off, "nve")
    assert found is not None and found.cause == "nonfinite"


def test_the_first_in_order_names_the_cause():
    both = replace(START, temperature_K=1e5, min_contact=0.1, max_force_eV_per_A=1e4)
    found = evaluate(both, START, BOUNDS)
    assert found is not None and found.cause == "contact"


def test_temperature_limit_follows_a_ramp_and_its_floor():
    spec = replace(SPEC, temperature_end_K=1300.0)
    assert target_temperature_K(spec, 0) == 300.0
    assert target_temperature_K(spec, 50) == pytest.approx(800.0)
    assert target_temperature_K(spec, 100) == pytest.approx(1300.0)
    assert temperature_limit_K(BOUNDS, 100.0) == 1000.0
    assert temperature_limit_K(BOUNDS, 800.0) == pytest.approx(2400.0)
    assert temperature_limit_K(Criteria(temperature_factor=None), 800.0) == math.inf


def test_contact_radii_add_up_to_the_fraction_of_the_covalent_sum():
    silicon, oxygen = contact_radii_A(["Si", "O"], 0.6)
    assert silicon + oxygen == pytest.approx(0.6 * (covalent_radii[14] + covalent_radii[8]))


def test_closest_contact_agrees_with_ase_on_a_skewed_cell():
    rng = np.random.default_rng(3)
    cell = np.array([[5.0, 0, 0], [-2.4, 4.5, 0], [1.0, 1.5, 4.0]])
    atoms = Atoms("Si3O6", rng.uniform(-9, 9, (9, 3)), cell=cell, pbc=True)
    i, j, distance = ase.neighborlist.neighbor_list("ijd", atoms, 4.0)
    radii = covalent_radii[atoms.numbers]
    expected = (distance / (radii[i] + radii[j])).min()
    found = closest_contact(atoms.numbers, atoms.positions, cell, atoms.pbc, cap=1.8)
    assert found.fraction == pytest.approx(expected, abs=1e-12)


def test_closest_contact_of_atoms_on_one_another_and_far_apart():
    numbers, cell = np.array([14, 8]), 20.0 * np.eye(3)
    same = closest_contact(numbers, np.zeros((2, 3)), cell, [True] * 3)
    assert same.fraction == 0.0
    far = closest_contact(numbers, np.array([[0.0] * 3, [9.0] * 3]), cell, [True] * 3)
    assert (far.fraction, far.pair) == (CONTACT_CAP, None)


def test_an_atom_is_outside_only_where_the_cell_is_not_periodic():
    cell, positions = 10.0 * np.eye(3), np.array([[1.0, 1.0, 11.0], [1.0, -3.0, 5.0]])
    assert num_outside(positions, cell, [True, True, True]) == 0
    assert num_outside(positions, cell, [True, True, False]) == 1
    assert num_outside(positions, cell, [False, False, False]) == 2


@pytest.mark.parametrize(
    ("check", "value", "cause", "expected"),
    [
        ("temperature", 1.5, "temperature", 1500.0),
        ("energy_below", 1.25, "energy", -1.25),
        ("energy_above", 3.0, "energy", 3.0),
        ("force", 500.0, "force", 500.0),
        ("drift", 0.7, "drift", 0.7),
        ("lost", 1.0, "lost", 1.0),
        ("extrapolation", 3.5, "extrapolation", 3.5),
        ("extrapolation", math.inf, "extrapolation", GRADE_CAP),
        ("nonfinite", 1.0, "nonfinite", None),
        ("temperature", math.nan, "nonfinite", None),
    ],
)
def test_a_halt_of_lammps_says_the_same(check, value, cause, expected):
    found = from_halt(BOUNDS, SPEC.temperature_K, check, 12, value)
    assert (found.cause, found.step) == (cause, 12)
    assert found.value == (None if expected is None else pytest.approx(expected))


def test_an_unknown_halt_is_refused():
    with pytest.raises(ValueError, match="`volume` is none of the templates'"):
        from_halt(BOUNDS, 300.0, "volume", 1, 2.0)


def test_the_halts_of_lammps_are_those_of_the_table_in_order():
    text = (templates_dir() / "check.lmp").read_text()
    listed = re.search(r"variable +criterion +index +(.*)", text)
    assert listed is not None
    halts = [bound.halt for row in CRITERIA if row.stops for bound in row.bounds]
    assert listed[1].split() == halts


def test_every_option_belongs_to_one_criterion_and_says_what_it_is():
    used = [bound.option for row in CRITERIA for bound in row.bounds if bound.option]
    assert len(used) == len(set(used))
    options = {item.name: item for item in fields(Criteria)}
    assert options.keys() - set(used) == {"temperature_floor_K", "check_every"}
    assert all(item.metadata["help"] for item in options.values())
    assert len({row.colour for row in CRITERIA}) == len(CRITERIA)


def test_a_new_row_is_judged_swept_and_recorded_only_if_it_does_not_stop(monkeypatch):
    hot = replace(
        criterion("force"), name="hot", value=lambda state, _: state.temperature_K, label="hot"
    )
    state = replace(START, temperature_K=900.0)
    for stops in (True, False):
        table = (*CRITERIA, replace(hot, stops=stops))
        monkeypatch.setattr(judge, "CRITERIA", table)
        found = evaluate(state, START, BOUNDS)
        assert (found.cause if found else None) == ("hot" if stops else None)
        record = {name: np.array([value]) for name, value in vars(state).items()}
        severity = judge.severities(record, BOUNDS, "nvt", np.array([300.0]))
        assert severity["hot"][0] == pytest.approx(900.0 / 200.0)


def test_old_names_of_options_are_read():
    old = {"energy_below_eV": 0.7, "energy_above_eV": None, "check_every": 5}
    found = Criteria.from_dict(old)
    assert (found.energy_drop_eV_per_atom, found.energy_rise_eV_per_atom) == (0.7, None)
