from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from nequip_decorr.md.criteria import Criteria
from nequip_decorr.md.spec import ModelSpec, RunSpec
from nequip_decorr.survival import sensitivity as sweep
from nequip_decorr.survival.sensitivity import Series

COLUMNS = (
    *("temperature_K", "potential_eV_per_atom", "total_eV_per_atom"),
    *("max_force_eV_per_A", "min_contact"),
)


BOUNDS = Criteria(
    temperature_factor=3.0,
    temperature_floor_K=1000.0,
    contact_fraction=0.6,
    energy_drop_eV_per_atom=1.0,
    energy_rise_eV_per_atom=2.0,
    max_force_eV_per_A=200.0,
    drift_eV_per_atom=0.5,
)


def spec_of(**changes) -> RunSpec:
    model = ModelSpec("m", "lammps", pair_style="zero", pair_coeff="* *")
    given = {"run_id": "r", "model": model, "structure": "s", "structure_file": "s.xyz"}
    return RunSpec(
        **{
            **given,
            "temperature_K": 1000.0,
            "seed": 1,
            "steps": 1000,
            "criteria": BOUNDS,
            **changes,
        }
    )


def record_of(n: int = 101, **columns) -> dict[str, np.ndarray]:
    step = np.arange(n) * 10
    table = {name: np.zeros(n) for name in COLUMNS} | {"step": step, "time_ps": step * 1e-3}
    table["min_contact"] = np.full(n, np.nan)
    return table | {name: np.asarray(v, float) for name, v in columns.items()}


def row_of(model="a", run_id="r", status="survived", time_ps=1.0, **changes) -> dict:
    row = {"model": model, "run_id": run_id, "status": status, "stable_time_ps": time_ps}
    return {**row, "length_ps": 1.0, **dict.fromkeys(("cause", "value", "threshold")), **changes}


def failed(cause="temperature", value=3300.0, threshold=3000.0, time_ps=0.5, **changes) -> dict:
    return row_of(
        status="failed", time_ps=time_ps, cause=cause, value=value, threshold=threshold, **changes
    )


def test_severity_is_value_over_bound_for_each_criterion():
    record = record_of(
        temperature_K=np.full(101, 1500.0),
        potential_eV_per_atom=np.r_[np.full(50, -6.0), np.full(51, -6.5)],
        total_eV_per_atom=np.linspace(-5, -4.8, 101),
        max_force_eV_per_A=np.full(101, 50.0),
        min_contact=np.full(101, 0.75),
    )
    severity = sweep.run_series(spec_of(ensemble="nve"), record).severity
    assert severity["temperature"][0] == pytest.approx(0.5)
    assert severity["energy"][[0, -1]] == pytest.approx([0.0, 0.5])
    assert severity["drift"][-1] == pytest.approx(0.4)
    assert severity["force"][0] == pytest.approx(0.25)
    assert severity["contact"][0] == pytest.approx(0.6 / 0.75)
    assert "drift" not in sweep.run_series(spec_of(), record).severity


def test_energy_counts_in_both_directions_and_off_means_off():
    record = record_of(potential_eV_per_atom=np.linspace(-6, -5, 101))
    assert sweep.run_series(spec_of(), record).severity["energy"][-1] == pytest.approx(0.5)
    off = Criteria(temperature_factor=None, contact_fraction=None, max_force_eV_per_A=None)
    found = sweep.run_series(spec_of(criteria=off), record_of(temperature_K=np.full(101, 1e4)))
    assert set(found.severity) == {"energy"}
    assert sweep.run_series(spec_of(), record_of(n=0)).severity == {}


def test_temperature_bound_follows_a_ramp_and_its_floor():
    spec = spec_of(temperature_K=100.0, temperature_end_K=1000.0)
    record = record_of(temperature_K=np.full(101, 1500.0))
    severity = sweep.run_series(spec, record).severity["temperature"]
    assert severity[0] == pytest.approx(1.5)
    assert severity[-1] == pytest.approx(0.5)


def test_contact_comes_from_frames_where_the_record_has_none():
    frames = []
    for k, distance in enumerate((2.0, 1.4, 1.2)):
        atoms = Atoms("Si2", [[0, 0, 0], [distance, 0, 0]], cell=[9, 9, 9], pbc=True)
        atoms.info["time_ps"] = 0.1 * k
        frames.append(atoms)
    series = sweep.run_series(spec_of(), record_of(), frames)
    np.testing.assert_allclose(series.severity["contact"][1:], 0.6 * 2.22 / np.array([1.4, 1.2]))
    assert series.time_ps["contact"].tolist() == [0.0, 0.1, 0.2]


def test_tightening_finds_the_first_passage_in_the_record():
    time = np.linspace(0, 1, 101)
    series = Series({"temperature": time}, {"temperature": time * 0.9})
    end = sweep.rescaled(row_of(), series, "temperature", 0.5)
    assert end.failed and not end.open
    assert end.time_ps == pytest.approx(0.56)
    assert sweep.rescaled(row_of(), series, "temperature", 0.95).failed is False
    assert sweep.rescaled(row_of(), series, "energy", 0.5).time_ps == 1.0
    early = failed(cause="contact", time_ps=0.3)
    assert sweep.rescaled(early, series, "temperature", 0.5).time_ps == 0.3


def test_loosening_leaves_a_run_open_unless_it_had_gone_beyond_already():
    nothing = Series({}, {})
    end = sweep.rescaled(failed(), nothing, "temperature", 1.25)
    assert end.open and end.failed and end.time_ps == 0.5
    assert not sweep.rescaled(failed(), nothing, "temperature", 1.05).open
    assert not sweep.rescaled(failed(), nothing, "energy", 2.0).open
    assert not sweep.rescaled(failed(time_ps=1.0), nothing, "temperature", 2.0).open
    contact = failed("contact", value=0.3, threshold=0.6)
    assert not sweep.rescaled(contact, nothing, "contact", 1.9).open
    assert sweep.rescaled(contact, nothing, "contact", 2.1).open
    unknown = failed("contact", value=None, threshold=0.6)
    assert sweep.rescaled(unknown, nothing, "contact", 1.1).open
    below = failed("energy", value=-1.5, threshold=-1.0)
    assert not sweep.rescaled(below, nothing, "energy", 1.4).open


def campaign() -> tuple[list[dict], dict[str, Series]]:
    time = np.linspace(0, 1, 101)
    rows = [
        *(row_of("a", f"a{k}") for k in range(3)),
        failed(model="a", run_id="a3", time_ps=0.8),
        *(failed(model="b", run_id=f"b{k}", time_ps=0.4) for k in range(4)),
        row_of("b", "b9", status="error", time_ps=None),
    ]
    rising = Series({"temperature": time}, {"temperature": time})
    return rows, dict.fromkeys(("a0", "a1", "a2", "a3"), rising)


def test_sweep_brackets_the_mean_stable_time():
    rows, series = campaign()
    bounds = {"temperature": 3.0, "contact": 0.6}
    points = sweep.sweep(rows, series, 1.0, bounds, scales=(0.5, 2.0))
    by = {(p.criterion, p.scale, p.model): p for p in points}
    assert by["temperature", 1.0, "a"].rmst_low_ps == pytest.approx(0.95)
    assert by["temperature", 1.0, "a"].rmst_high_ps == pytest.approx(0.95)
    tight = by["temperature", 0.5, "a"]
    assert tight.rmst_low_ps == tight.rmst_high_ps == pytest.approx(0.51)
    assert (tight.bound, tight.failed, tight.open, tight.runs) == (1.5, 4, 0, 4)
    loose = by["temperature", 2.0, "b"]
    assert (loose.rmst_low_ps, loose.rmst_high_ps) == pytest.approx((0.4, 1.0))
    assert (loose.failed, loose.open, loose.runs) == (0, 4, 4)
    assert by["contact", 2.0, "b"].open == 0
    assert ("contact", 0.5, "a") not in by
    assert by["contact", 2.0, "a"].bound == pytest.approx(0.3)


def test_ratio_and_sentence_say_what_could_turn_the_order():
    rows, series = campaign()
    points = sweep.sweep(rows, series, 1.0, {"temperature": 3.0}, scales=(0.5, 0.9, 2.0))
    ratios = sweep.ratio_range(points, "a", "b")
    assert ratios["temperature", 1.0] == pytest.approx((0.95 / 0.4, 0.95 / 0.4))
    low, high = ratios["temperature", 2.0]
    assert low < 1 < high
    text = sweep.order_sentence(points, "b", "a")
    assert text.startswith(
        "The order of the means, a above b, does not change however a criterion is tightened."
    )
    assert "not shown" not in text
    assert "Loosened to temperature x 2 or more it could turn" in text
    same = sweep.sweep([row_of("a"), row_of("b")], {}, 1.0, {"force": 200.0})
    assert sweep.order_sentence(same, "a", "b") == (
        "As run, a and b have the same mean stable time: no order to turn."
    )
    assert "no known ratio" in sweep.order_sentence([], "a", "b")


def test_means_that_tie_at_a_stricter_bound_are_not_said_to_keep_their_order():
    time = np.linspace(0, 1, 101)
    rows = [row_of("a", "a0"), failed(model="b", run_id="b0", time_ps=0.4)]
    rising = Series({"temperature": time}, {"temperature": 3 * time})
    both = dict.fromkeys(("a0", "b0"), rising)
    points = sweep.sweep(rows, both, 1.0, {"temperature": 3.0}, scales=(0.5, 0.9))
    text = sweep.order_sentence(points, "b", "a", shown=False)
    assert "does not turn when a criterion is tightened, but they tie at temperature x 0.9." in text
    assert "That they differ at all is not shown." in text
    at_once = Series({"temperature": time}, {"temperature": 3 + time})
    points = sweep.sweep(
        rows, dict.fromkeys(both, at_once), 1.0, {"temperature": 3.0}, scales=(0.5,)
    )
    assert "they tie at temperature x 0.5" in sweep.order_sentence(points, "b", "a")


def test_a_model_cut_short_of_the_horizon_has_no_mean():
    rows = [row_of("a", status="interrupted", time_ps=0.2), row_of("b")]
    points = sweep.sweep(rows, {}, 1.0, {"force": 200.0}, scales=(1.0,))
    assert points[0].rmst_low_ps is None
    assert sweep.ratio_range(points, "a", "b") == {("force", 1.0): None}


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="no such criterion"):
        sweep.sweep([], {}, 1.0, {"speed": 1.0})
    with pytest.raises(ValueError, match="scales must be positive"):
        sweep.sweep([], {}, 1.0, {"force": 1.0}, scales=(0.0,))
