"""Survival estimators against lifelines, against hand-worked cases, and at their edges."""

from __future__ import annotations

import itertools
import json
import warnings

import lifelines
import numpy as np
import pytest
from lifelines.utils import restricted_mean_survival_time

from nequip_decorr.survival import clusters
from nequip_decorr.survival import estimators as survival
from nequip_decorr.survival.arrays import Estimate, km_influence, risk_sets, run_arrays
from nequip_decorr.survival.incidence import cumulative_incidence
from nequip_decorr.survival.summary import summarise

TOLERANCE = 1e-9


def sample(seed: int, n: int = 40, ties: bool = False):
    """Runs censored at 10 ps and, some, before; a censored run is the last."""
    rng = np.random.default_rng(seed)
    time, end = rng.exponential(6, n), np.minimum(10.0, rng.exponential(20, n))
    failed = time < end
    time = np.minimum(time, end)
    time[0], failed[0] = 10.0, False
    return (np.ceil(time) if ties else time), failed


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_kaplan_meier_and_band_agree_with_lifelines(seed, ties):
    time, failed = sample(seed, ties=ties)
    curve = survival.kaplan_meier(time, failed)
    reference = lifelines.KaplanMeierFitter().fit(time, failed)
    expected = reference.survival_function_at_times(curve.time_ps).to_numpy()
    np.testing.assert_allclose(curve.survival, expected, atol=TOLERANCE)
    inner = (curve.survival > 0) & (curve.survival < 1)
    band = reference.confidence_interval_.loc[curve.time_ps[inner]].to_numpy()
    np.testing.assert_allclose(curve.low[inner], band[:, 0], atol=TOLERANCE)
    np.testing.assert_allclose(curve.high[inner], band[:, 1], atol=TOLERANCE)
    assert curve.median_ps().value == reference.median_survival_time_
    at_risk = reference.event_table["at_risk"].loc[curve.time_ps[1:]].to_numpy()
    np.testing.assert_array_equal(curve.at_risk[1:], at_risk)


def test_greenwood_band_by_hand():
    time, failed = np.array([1.0, 2, 3, 4]), np.array([True, True, False, False])
    curve = survival.kaplan_meier(time, failed, method="greenwood")
    assert curve.at(2.5).value == pytest.approx(0.5)
    half = 1.959963984540054 * 0.5 * np.sqrt(1 / 12 + 1 / 6)
    assert curve.at(2.5).low == pytest.approx(0.5 - half)
    assert curve.at(2.5).high == pytest.approx(0.5 + half)


@pytest.mark.parametrize("horizon", [0.5, 3.0, 7.7, 10.0])
@pytest.mark.parametrize("ties", [False, True])
def test_rmst_agrees_with_lifelines(horizon, ties):
    time, failed = sample(3, ties=ties)
    reference = lifelines.KaplanMeierFitter().fit(time, failed)
    expected = restricted_mean_survival_time(reference, t=horizon)
    assert survival.rmst(time, failed, horizon).rmst_ps == pytest.approx(expected, abs=TOLERANCE)


def test_rmst_standard_error_without_censoring_is_that_of_a_mean():
    time = np.random.default_rng(0).exponential(6, 20)
    cut = np.minimum(time, 10.0)
    found = survival.rmst(cut, time < 10.0, 10.0)
    assert found.rmst_ps == pytest.approx(cut.mean(), abs=1e-12)
    assert found.se_ps == pytest.approx(cut.std(ddof=1) / np.sqrt(20), abs=1e-12)


def test_rmst_standard_error_sums_clusters():
    time = np.random.default_rng(1).uniform(0, 9, 12)
    label = np.repeat(list("abcd"), 3)
    found = survival.rmst(time, np.full(12, True), 10.0, cluster=label)
    means = time.reshape(4, 3).mean(1)
    assert found.se_ps == pytest.approx(means.std(ddof=1) / 2, abs=1e-12)
    assert found.n_clusters == 4
    one = survival.rmst(time, np.full(12, True), 10.0, cluster=np.full(12, "a"))
    assert one == survival.rmst(time, np.full(12, True), 10.0)


def test_influence_is_the_derivative_by_run_weight():
    time, failed = sample(4, n=12)
    _, at_risk, failing = risk_sets(time, failed)
    _, influence = km_influence(at_risk, failing)
    for run in range(12):
        weight = np.ones(12)
        weight[run] += 1e-6
        moved = np.cumprod(1 - weight @ failing / (weight @ at_risk))
        base = np.cumprod(1 - failing.sum(0) / at_risk.sum(0))
        np.testing.assert_allclose((moved - base) / 1e-6, influence[run], atol=1e-5)


def test_crossed_variance_is_never_below_one_grouping():
    rng = np.random.default_rng(2)
    influence = rng.normal(size=24)
    codes = [np.repeat(np.arange(6), 4), np.tile(np.arange(4), 6)]
    both = clusters.jackknife_variance(influence, codes)
    assert both >= max(clusters.jackknife_variance(influence, [code]) for code in codes)


@pytest.mark.parametrize("seed", range(4))
def test_cumulative_incidence_agrees_with_lifelines(seed):
    time, failed = sample(seed)
    code = np.where(failed, np.random.default_rng(seed).integers(1, 4, len(time)), 0)
    cause = np.array([None, "contact", "energy", "lost"], dtype=object)[code]
    found = cumulative_incidence(time, failed, cause)
    for number, name in enumerate(("contact", "energy", "lost"), start=1):
        fitter = lifelines.AalenJohansenFitter().fit(time, code, event_of_interest=number)
        own = found[name]
        rows = fitter.cumulative_density_.loc[own.time_ps].to_numpy().ravel()
        np.testing.assert_allclose(own.incidence, rows, atol=TOLERANCE)
        np.testing.assert_allclose(own.variance, fitter.variance_.loc[own.time_ps], atol=TOLERANCE)
        inner = own.incidence > 0
        band = np.sort(fitter.confidence_interval_.loc[own.time_ps[inner]].to_numpy(), axis=1)
        np.testing.assert_allclose(own.low[inner], band[:, 0], atol=TOLERANCE)
        np.testing.assert_allclose(own.high[inner], band[:, 1], atol=TOLERANCE)


def test_incidences_sum_to_failure_with_ties_between_causes():
    time, failed = sample(6, ties=True)
    cause = np.where(failed, np.where(np.arange(len(time)) % 2, "force", "drift"), None)
    found = cumulative_incidence(time, failed, cause)
    total = sum(f.incidence for f in found.values())
    curve = survival.kaplan_meier(time, failed)
    np.testing.assert_allclose(total, 1 - curve.evaluate(found["force"].time_ps)[0], atol=1e-12)


def test_clustered_incidence_with_one_cause_is_clustered_survival():
    time, failed = sample(7, n=24)
    label = np.repeat(np.arange(8), 3)
    cause = np.where(failed, "contact", None)
    found = cumulative_incidence(time, failed, cause, cluster=label)["contact"]
    curve = survival.kaplan_meier(time, failed, method="greenwood", cluster=label)
    at = curve.evaluate(found.time_ps[6:9])
    half = (at[2] - at[1]) / 2 / clusters.t_quantile([label], 0.95)
    np.testing.assert_allclose(np.sqrt(found.variance[6:9]), half, rtol=1e-9)


def rows_of(causes):
    """Six runs from three structures that fail one after the other."""
    names = itertools.cycle(causes)
    return [
        row("failed", 0.25 + 0.15 * k, next(names), seed=k, structure=f"s{k // 2}", length_ps=2.0)
        for k in range(6)
    ]


def test_incidence_of_one_cause_is_what_the_curve_leaves():
    (model,) = summarise(rows_of(["contact"])).models
    for time_ps in (0.1, 0.45, 0.75, 2.0):
        failed, lasting = model.incidence["contact"].at(time_ps), model.curve.at(time_ps)
        assert failed.value == pytest.approx(1 - lasting.value)
        assert (failed.low, failed.high) == (1 - lasting.high, 1 - lasting.low)


def test_band_of_an_incidence_is_the_wider_of_runs_and_clusters():
    rows = rows_of(["contact", "energy"])
    (model,) = summarise(rows).models
    runs = run_arrays(rows)
    for cluster in (None, runs.columns["structure"]):
        one = cumulative_incidence(runs.time_ps, runs.failed, runs.cause, cluster=cluster)
        ours = model.incidence["energy"]
        assert (ours.low <= one["energy"].low).all() and (ours.high >= one["energy"].high).all()
        assert cluster is not None or (ours.high > one["energy"].high).any()


def test_nobody_failed():
    time, failed = np.full(10, 5.0), np.full(10, False)
    curve = survival.kaplan_meier(time, failed)
    assert curve.at(5.0) == Estimate(1.0, pytest.approx(0.025**0.1), 1.0)
    assert curve.median_ps() == Estimate(np.inf, np.inf, np.inf)
    found = survival.rmst(time, failed, 5.0)
    assert (found.rmst_ps, found.high_ps) == (5.0, 5.0)
    assert found.low_ps == pytest.approx(5.0 * 0.025**0.1)
    assert cumulative_incidence(time, failed, [None] * 10) == {}


def test_exact_band_counts_clusters_not_runs():
    time, failed = np.full(12, 5.0), np.full(12, False)
    curve = survival.kaplan_meier(time, failed, cluster=np.repeat(np.arange(3), 4))
    assert curve.at(1.0).low == pytest.approx(0.025 ** (1 / 3))


def test_everybody_failed_at_time_zero():
    time, failed = np.zeros(4), np.full(4, True)
    at = survival.survival_at(time, failed, 0.0)
    assert (at.value, at.low) == (0.0, 0.0)
    assert at.high == pytest.approx(1 - 0.025**0.25)
    found = survival.rmst(time, failed, 10.0)
    assert (found.rmst_ps, found.low_ps) == (0.0, 0.0)
    assert found.high_ps == pytest.approx(10 * (1 - 0.025**0.25))
    incidence = cumulative_incidence(time, failed, ["contact"] * 4)["contact"]
    assert incidence.at(0.0).value == 1.0
    assert incidence.at(0.0).low == pytest.approx(0.025**0.25)
    with pytest.raises(ValueError, match="common horizon must be > 0"):
        survival.common_horizon([(time, failed)])
    assert survival.common_horizon([(time, failed)], 10.0) == 10.0


def test_one_run_says_next_to_nothing():
    found = survival.rmst([4.0], np.array([True]), 10.0)
    assert found.low_ps < 0.2 and found.high_ps > 9.8
    assert survival.kaplan_meier([4.0], np.array([True])).median_ps().value == 4.0


def test_level_clusters_do_not_claim_certainty():
    time, failed = np.array([1.0, 9.0, 1.0, 9.0]), np.array([True, False] * 2)
    at = survival.survival_at(time, failed, 5.0, cluster=["a", "a", "b", "b"])
    assert at.value == 0.5
    assert at.low < 0.05 and at.high > 0.95


def test_nothing_is_claimed_beyond_the_last_run():
    time, failed = np.array([1.0, 2.0, 3.0]), np.array([True, False, False])
    assert np.isnan(survival.survival_at(time, failed, 3.1).value)
    cause = ["lost", None, None]
    assert np.isnan(cumulative_incidence(time, failed, cause)["lost"].at(3.1).value)
    with pytest.raises(ValueError, match=r"horizon_ps must be in \(0, 3.0\]"):
        survival.rmst(time, failed, 3.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert survival.rmst(time, failed, 3.0).rmst_ps == pytest.approx(1 + 2 * 2 / 3)


def test_common_horizon_is_not_limited_by_a_model_that_always_fails():
    dead = (np.array([1.0, 2.0]), np.array([True, True]))
    alive = (np.array([8.0, 10.0]), np.array([False, False]))
    short = (np.array([1.0, 4.0]), np.array([True, False]))
    assert survival.common_horizon([dead, alive]) == 10.0
    assert survival.common_horizon([dead, alive, short]) == 4.0
    assert survival.common_horizon([dead, alive], requested_ps=5.0) == 5.0
    assert survival.common_horizon([dead]) == 2.0


def row(status: str, time: float | None, cause: str | None = None, **more):
    base = {"model": "A", "structure": "s", "temperature_K": 300.0, "seed": 0}
    return base | {"status": status, "stable_time_ps": time, "cause": cause} | more


def test_outcomes_excludes_errors_and_censors_the_rest():
    rows = [
        row("survived", 5.0),
        row("failed", 2.0, "contact"),
        row("interrupted", 1.0),
        row("error", None),
    ]
    runs = run_arrays(rows)
    np.testing.assert_array_equal(runs.time_ps, [5.0, 2.0, 1.0])
    np.testing.assert_array_equal(runs.failed, [False, True, False])
    assert runs.cause.tolist() == [None, "contact", None]
    assert runs.counts == {"survived": 1, "failed": 1, "interrupted": 1, "error": 1}
    assert run_arrays([row("error", None)]).time_ps.size == 0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("finished", 1.0), "status 'finished', allowed"),
        (row("failed", 1.0), "needs a cause"),
        (row("survived", float("nan")), "finite and >= 0, got"),
        (row("survived", None), "finite and >= 0, got"),
        ({"status": "survived"}, "lacks"),
    ],
)
def test_outcomes_refuses(bad, message):
    with pytest.raises(ValueError, match=message):
        run_arrays([bad])


@pytest.mark.parametrize(
    ("time", "failed", "error", "message"),
    [
        ([np.nan, 1.0], [True, True], ValueError, "finite and >= 0, got"),
        ([-1.0], [True], ValueError, "finite and >= 0, got"),
        ([], [], ValueError, "no runs"),
        ([1.0], [True, False], ValueError, "must be"),
        ([1.0, 2.0], [1, 0], TypeError, "failed must be bool"),
    ],
)
def test_bad_arrays_are_refused(time, failed, error, message):
    for call in (survival.kaplan_meier, lambda t, f: survival.rmst(t, f, 1.0)):
        with pytest.raises(error, match=message):
            call(time, failed)


def test_bad_options_are_refused():
    time, failed = sample(0)
    with pytest.raises(ValueError, match="level must be in"):
        survival.kaplan_meier(time, failed, level=95)
    with pytest.raises(ValueError, match="method 'plain', allowed"):
        survival.kaplan_meier(time, failed, method="plain")
    with pytest.raises(ValueError, match="cluster must be"):
        survival.rmst(time, failed, 5.0, cluster=["a"])
    with pytest.raises(ValueError, match="each failed run needs a cause"):
        cumulative_incidence(time, failed, [None] * len(time))


def test_results_are_json():
    time, failed = sample(0)
    curve = survival.kaplan_meier(time, failed).to_dict()
    assert curve["survival"][0] == 1.0
    cause = np.where(failed, "lost", None)
    incidence = cumulative_incidence(time, failed, cause)["lost"].to_dict()
    assert len(incidence["time_ps"]) == len(incidence["incidence"])
    alive = survival.kaplan_meier([1.0] * 10, np.full(10, False)).median_ps().to_dict()
    assert alive == {"value": None, "low": None, "high": None}
    runs = run_arrays([row("survived", 5.0)]).to_dict()
    rmst = survival.rmst(time, failed, 5.0).to_dict()
    json.dumps([curve, incidence, alive, runs, rmst], allow_nan=False)
