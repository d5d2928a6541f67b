"""The comparison of two models: estimates, tests, words, and coverage on simulated campaigns."""

from __future__ import annotations

import json

import lifelines.statistics
import numpy as np
import pytest
from scipy import stats

from nequip_decorr.survival import permutation
from nequip_decorr.survival.arrays import run_arrays
from nequip_decorr.survival.comparison import compare
from nequip_decorr.survival.estimators import restricted_mean, rmst
from nequip_decorr.survival.summary import summarise

LENGTH_PS = 10.0


def run_row(model: str, structure: str, seed: int, time: float, status: str = "", **more):
    status = status or ("survived" if time >= LENGTH_PS else "failed")
    base = {"model": model, "structure": structure, "temperature_K": 300.0, "seed": seed}
    cause = "contact" if status == "failed" else None
    return base | {"status": status, "stable_time_ps": min(time, LENGTH_PS), "cause": cause} | more


def campaign(times_a, times_b, replicas: int = 1, **more):
    """Rows of two models; run i of both is replica i % replicas of structure i // replicas."""
    return [
        run_row(model, f"s{i // replicas}", i % replicas, time, **more)
        for model, times in (("A", times_a), ("B", times_b))
        for i, time in enumerate(times)
    ]


def random_campaign(seed: int, ratio: float = 3.0, structures: int = 8, replicas: int = 3):
    rng = np.random.default_rng(seed)
    n = structures * replicas
    return campaign(rng.exponential(3, n), rng.exponential(3 * ratio, n), replicas)


@pytest.fixture(scope="module")
def coverage():
    from benchmarks import coverage

    return coverage


def test_a_clear_difference_is_shown_in_numbers_and_words():
    c = compare(random_campaign(0, ratio=8), "A", "B")
    means = [rmst(c_.time_ps, c_.failed, LENGTH_PS).rmst_ps for c_ in map(of_model, "AB")]
    assert c.verdict == "b_better"
    assert c.difference_ps.value == pytest.approx(means[1] - means[0])
    assert c.ratio.value == pytest.approx(means[1] / means[0])
    assert 1 < c.ratio.low < c.ratio.value < c.ratio.high
    assert c.conclusion.startswith("B is stable ")
    assert "times longer than A within 10 ps (95% interval" in c.conclusion
    assert "24 pairs over 8 structures" in c.conclusion


def of_model(model: str):
    return run_arrays([row for row in random_campaign(0, ratio=8) if row["model"] == model])


def test_swapping_the_models_mirrors_the_result():
    rows = random_campaign(1, ratio=8)
    forth, back = compare(rows, "A", "B"), compare(rows, "B", "A")
    assert (forth.verdict, back.verdict) == ("b_better", "a_better")
    assert back.ratio.value == pytest.approx(1 / forth.ratio.value)
    assert back.ratio.low == pytest.approx(1 / forth.ratio.high, rel=1e-9)
    assert back.difference_ps.high == pytest.approx(-forth.difference_ps.low)
    assert back.conclusion.split(";")[0] == forth.conclusion.split(";")[0]


def test_too_few_pairs_are_said_to_be_too_few():
    c = compare(campaign([1.0, 1.5, 2.0, 2.5], [4.0, 5.0, 6.0, 7.0]), "A", "B")
    assert c.verdict == "inconclusive" and c.ratio.low > 1
    assert c.claim == "4 pairs are too few to show a difference between B and A"
    assert c.conclusion.startswith("4 pairs are too few to show a difference: of 4 pairs over 4")
    assert any("cannot reach p < 0.05: with 4 pairs" in note for note in c.notes)


def test_no_difference_says_how_many_survived_and_what_is_not_excluded():
    c = compare(campaign([10] * 9 + [4], [10] * 10), "A", "B")
    assert c.verdict == "inconclusive"
    start = "No difference shown: of 10 pairs over 10 structures, A failed in 1 and B in 0; mean "
    assert c.conclusion.startswith(start)
    assert "not shown to be alike either" in c.conclusion
    assert c.ratio.low < 1 < c.ratio.high
    assert any("No run of B failed within 10 ps; nothing is known beyond" in n for n in c.notes)
    assert any("cannot reach p < 0.05" in note for note in c.notes) == (
        c.permutation.smallest_p < 1
    )
    assert c.permutation.smallest_p == 1.0


def test_a_test_without_the_interval_speaks_of_these_structures_only():
    better, worse = (
        [9.0, 8.5, 8.8, 9.2, 8.1, 8.4, 9.3, 8.9],
        [7.9, 7.7, 7.8, 7.5, 8.0, 7.6, 8.0, 8.2],
    )
    a = [1.0, 1.2, 1.1, 1.4, 1.3, 1.5, 1.6, 1.7, *worse]
    b = [*better, *worse]
    c = compare(campaign(a, b, replicas=8), "A", "B")
    assert c.permutation.p_value < 0.05
    assert c.verdict == "sample_only"
    assert "not shown to hold beyond these 2 structures" in c.conclusion


def test_nobody_failed():
    c = compare(campaign([10] * 6, [10] * 6), "A", "B")
    bound = 0.025 ** (1 / 6)
    assert c.verdict == "inconclusive"
    assert (c.permutation.p_value, c.both_survived) == (1.0, 6)
    assert c.ratio.low == pytest.approx(bound)
    assert c.ratio.high == pytest.approx(1 / bound)
    assert c.difference_ps.low == pytest.approx(-10 * (1 - bound))
    assert np.isnan(c.logrank_p) and c.to_dict()["logrank_p"] is None
    start = "No difference shown: neither A nor B failed within 10 ps in 6 pairs over 6 structures."
    assert c.conclusion.startswith(start) and "p =" not in c.conclusion
    assert c.notes == (
        "No run of A or B failed within 10 ps; nothing is known beyond. 6 structures do not rule "
        "out a mean as low as 5.41 ps on others like them (exact binomial bound).",
    )
    right = compare(campaign([10] * 6, [10] * 6), "A", "B", time="right")
    assert "neither A nor B went wrong within 10 ps" in right.conclusion


def test_a_model_alone_that_failed_at_once_is_said_too():
    rows = [row for row in campaign([0.05] * 8, [], length_ps=10.0) if row["model"] == "A"]
    (said,) = summarise(rows).warnings
    assert said.startswith("All 8 runs of A failed almost at once (mean 0.05 of 10 ps)")
    assert not summarise([*rows[:-1], {**rows[-1], "stable_time_ps": 5.0}]).warnings


def test_identical_runs_do_not_claim_certainty():
    times = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    c = compare(campaign(times, times), "A", "B")
    assert (c.difference_ps.value, c.ratio.value, c.permutation.p_value) == (0.0, 1.0, 1.0)
    assert c.ratio.low < 1 < c.ratio.high
    assert c.difference_ps.low == -c.difference_ps.high < 0


def test_a_constant_shift_does_not_claim_certainty():
    c = compare(campaign([1.0, 2.0, 3.0, 4.0], [2.0, 3.0, 4.0, 5.0], length_ps=10.0), "A", "B")
    assert c.difference_ps.value == 1.0
    assert c.difference_ps.low < 0 and c.difference_ps.high > 2
    assert c.ratio.low < 1.4 < c.ratio.high


def test_everybody_failed_at_time_zero():
    rows = campaign([0] * 8, [10] * 8)
    c = compare(rows, "A", "B")
    assert c.verdict == "b_better"
    assert c.ratio.value == np.inf and c.ratio.high == np.inf and c.ratio.low > 1
    assert "A always fails at once" in c.conclusion
    back = compare(rows, "B", "A")
    assert (back.verdict, back.ratio.value) == ("a_better", 0.0)
    both = compare(campaign([0] * 8, [0] * 8, length_ps=10.0), "A", "B")
    assert both.verdict == "inconclusive" and both.horizon_ps == 10.0
    assert np.isnan(both.ratio.value)
    assert "these runs do not bound the ratio of B to A" in both.conclusion
    assert both.notes == (
        "No test is possible: in each pair both were stable equally long.",
        *(
            f"All 8 runs of {model} failed almost at once (mean 0 of 10 ps): check its start "
            "structures, units and criteria first."
            for model in "AB"
        ),
    )
    with pytest.raises(ValueError, match="give the length asked for"):
        compare(campaign([0] * 8, [0] * 8), "A", "B")


def test_one_pair():
    c = compare(campaign([2.0], [10.0]), "A", "B")
    assert c.verdict == "inconclusive"
    assert c.difference_ps.low < 0
    assert any("one structure" in note for note in c.notes)
    assert "No test is possible: there is only one pair." in c.notes


def test_ties_are_counted():
    c = compare(campaign([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 5.0], length_ps=10.0), "A", "B")
    assert c.permutation.n_ties == 3 and c.permutation.smallest_p == 1.0
    assert c.notes[0] == (
        "No test is possible: in 3 of 4 pairs both were stable equally long, and the other one "
        "alone cannot tell."
    )


def test_all_cut_short_shortens_the_horizon():
    rows = campaign([10] * 6, [10] * 6)
    for row in rows[6:]:
        row |= {"status": "interrupted", "stable_time_ps": 3.0}
    c = compare(rows, "A", "B")
    assert (c.horizon_ps, c.difference_ps.value) == (3.0, 0.0)
    with pytest.raises(ValueError, match=r"horizon_ps must be in \(0, 3.0\]"):
        compare(rows, "A", "B", horizon_ps=10.0)


def test_errors_and_lonely_runs_are_left_out_and_reported():
    rows = random_campaign(2)
    rows[0] |= {"status": "error", "stable_time_ps": None, "cause": None}
    del rows[-1]
    c = compare(rows, "A", "B")
    assert c.n_pairs == 22
    assert c.errors == {"A": 1, "B": 0}
    assert c.unpaired == {"A": 1, "B": 1}
    assert "1 run of A ended in an error: no evidence." in c.notes


def test_a_run_failing_at_the_horizon_did_not_survive():
    rows = campaign([10] * 4, [10] * 4)
    rows[0] |= {"status": "failed", "cause": "force"}
    assert compare(rows, "A", "B").both_survived == 3


def test_the_same_seed_gives_the_same_result():
    rows = random_campaign(3)
    first, again, other = (compare(rows, "A", "B", seed=s).to_dict() for s in (1, 1, 2))
    assert json.dumps(first, allow_nan=False) == json.dumps(again, allow_nan=False)
    assert first["permutation"]["p_value"] != other["permutation"]["p_value"]
    assert first["ratio"] == other["ratio"]
    assert compare(rows[::-1], "A", "B", seed=1).to_dict() == first


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (campaign([1], []), {}, "no pair by"),
        (campaign([1, 2], [1, 2]) * 2, {}, "several runs with"),
        (campaign([1], [1]), {"cluster": "colour"}, "lacks"),
        (campaign([1], [1]), {"cluster": ("structure", "seed", "model")}, "one or two different"),
        (campaign([1], [1]), {"model_b": "A"}, "two different models"),
        (campaign([1], [1]), {"level": 95}, "level must be in"),
        (campaign([1], [1]), {"permutations": 1}, "at least 100"),
        (campaign([float("nan")], [1]), {}, "finite and >= 0"),
    ],
)
def test_bad_input_is_refused(rows, options, message):
    with pytest.raises(ValueError, match=message):
        compare(rows, **({"model_a": "A", "model_b": "B"} | options))


def test_logrank_agrees_with_lifelines():
    rows = random_campaign(4)
    a, b = (run_arrays([row for row in rows if row["model"] == m]) for m in "AB")
    test = lifelines.statistics.logrank_test(a.time_ps, b.time_ps, a.failed, b.failed)
    assert compare(rows, "A", "B").logrank_p == pytest.approx(test.p_value, abs=1e-9)


def censored_sample() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    time, failed = rng.exponential(5, 12).clip(max=8), rng.random(12) < 0.7
    time[0], failed[0] = 10.0, False
    return time, failed


def test_the_influence_of_a_run_is_what_a_copy_of_it_adds():
    """A run that counts 1 / n more: the sample ``copies`` times over, and the run once more."""
    (time, failed), copies = censored_sample(), 20_000
    mean, influence = restricted_mean(time, failed, 9.0)
    assert influence.sum() == pytest.approx(0, abs=1e-12)
    for run in range(len(time)):
        index = np.append(np.tile(np.arange(len(time)), copies), run)
        more, _ = restricted_mean(time[index], failed[index], 9.0)
        assert copies * (more - mean) == pytest.approx(influence[run], abs=1e-3)


def test_error_of_a_mean_difference_is_the_known_one():
    rng = np.random.default_rng(1)
    a, b = rng.uniform(0, 9, (2, 12))
    c = compare(campaign(a, b), "A", "B", horizon_ps=9.5)
    half = stats.t.ppf(0.975, 11) * (b - a).std(ddof=1) / np.sqrt(12)
    assert c.difference_ps.high - c.difference_ps.value == pytest.approx(half)
    assert c.difference_ps.value - c.difference_ps.low == pytest.approx(half)


def test_restricted_times_keep_the_common_mean():
    rng = np.random.default_rng(2)
    times, flags = rng.exponential(4, (2, 15)).clip(max=10), rng.random((2, 15)) < 0.6
    times[0, 0], flags[0, 0] = 10.0, False
    a, b = zip(times, flags, strict=True)
    scores = np.concatenate(permutation.restricted_times(a, b, 10.0))
    assert scores.mean() == pytest.approx(rmst(times.ravel(), flags.ravel(), 10.0).rmst_ps)
    failed = flags.ravel()
    np.testing.assert_array_equal(scores[failed], times.ravel()[failed])
    assert (scores[~failed] >= times.ravel()[~failed]).all()


def difference_of_means(x, y, axis):
    return np.mean(x, axis=axis) - np.mean(y, axis=axis)


def test_exact_tests_agree_with_scipy():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 5))
    options = {"statistic": difference_of_means, "n_resamples": np.inf, "vectorized": True}
    flip = permutation.sign_flip_test(b - a, "pair", 100, rng)
    expected = stats.permutation_test((b, a), permutation_type="samples", **options)
    assert flip.p_value == pytest.approx(expected.pvalue) and flip.exact
    label = permutation.relabel_test(a, b, "train_seed", 100, rng)
    expected = stats.permutation_test((b, a), permutation_type="independent", **options)
    assert label.p_value == pytest.approx(expected.pvalue) and label.exact


def test_random_permutations_approach_the_exact_ones(monkeypatch):
    rng = np.random.default_rng(4)
    a, b = rng.normal(0, 1, 8), rng.normal(0.7, 1, 8)
    exact = [
        permutation.sign_flip_test(b - a, "pair", 1, rng).p_value,
        permutation.relabel_test(a, b, "train_seed", 1, rng).p_value,
    ]
    monkeypatch.setattr(permutation, "EXACT_LIMIT", 1)
    drawn = [
        permutation.sign_flip_test(b - a, "pair", 20_000, rng),
        permutation.relabel_test(a, b, "train_seed", 20_000, rng),
    ]
    assert not any(test.exact for test in drawn)
    np.testing.assert_allclose([test.p_value for test in drawn], exact, atol=0.015)
    huge = permutation.sign_flip_test(np.ones(40), "pair", 999, rng)
    assert huge.p_value == huge.smallest_p == 1 / 1000


def test_trained_models_are_exchanged_whole():
    rng = np.random.default_rng(5)
    rows = [
        row | {"train_seed": t}
        for t in range(4)
        for row in campaign(rng.uniform(0, 2, 6), rng.uniform(6, 9, 6), replicas=2)
    ]
    c = compare(rows, "A", "B", cluster=("structure", "train_seed"))
    assert c.n_pairs == 24
    assert c.clusters == {"structure": 3, "train_seed": 4}
    assert (c.permutation.unit, c.permutation.n_units) == ("train_seed", 8)
    assert c.permutation.p_value == pytest.approx(2 / 70)
    assert "permutation of trained models p = 0.029" in c.conclusion
    assert "24 pairs over 3 structures and 4 training seeds" in c.conclusion


def test_trained_models_of_one_seed_are_exchanged_with_each_other():
    """A training seed moves both models far more than the difference between them."""
    luck = np.geomspace(0.3, 6, 7)
    rows = [
        row | {"train_seed": t}
        for t, scale in enumerate(luck)
        for row in campaign([scale] * 3, [1.3 * scale] * 3)
    ]
    c = compare(rows, "A", "B", cluster="train_seed")
    assert (c.permutation.unit, c.permutation.n_units, c.clusters) == (
        "train_seed", 7, {"train_seed": 7},
    )  # fmt: skip
    assert c.permutation.p_value == c.permutation.smallest_p == 2**-6
    assert c.verdict == "b_better"
    assert (
        "; paired permutation of trained models p = 0.016, 21 pairs over 7 training" in c.conclusion
    )
    apart = compare(rows, "A", "B", cluster="train_seed", paired_seeds=False)
    assert (apart.permutation.n_units, apart.verdict) == (14, "inconclusive")
    assert apart.permutation.p_value > 0.3
    assert ": permutation of trained models" not in c.conclusion


def low_and_high(bar_low: float, bar_high: float, n: int):
    """The bar, widened by two binomial standard errors of n campaigns."""
    return (
        bar_low - 2 * np.sqrt(bar_low * (1 - bar_low) / n),
        bar_high + 2 * np.sqrt(bar_high * (1 - bar_high) / n),
    )


@pytest.mark.parametrize(
    "name",
    ["8x3 alike", "8x3 B 2 times", "8x3 alike: cut short 30 %", "6x4 alike", "3x3 B 2 times"],
)
def test_coverage_and_false_positives(coverage, name):
    scenario = next(s for s in coverage.SCENARIOS if s.name == name)
    for quantity, (hits, n) in coverage.tally(scenario, 500, seed=1).items():
        if quantity in ("rmst", "difference", "ratio"):
            low, high = low_and_high(0.92, 0.98, n)
        elif quantity == "test_rejects":
            low, high = low_and_high(0.03, 0.07, n)
        else:
            continue
        assert low <= hits / n <= high, f"{name}: {quantity} {hits} of {n}"


def test_the_verdict_rarely_calls_alike_models_different(coverage):
    """Also where each structure has a difference of its own, which the pair test alone reports."""
    name = "8x3 alike on average: own structures"
    scenario = next(s for s in coverage.SCENARIOS if s.name == name)
    hits, n = coverage.tally(scenario, 500, seed=1)["verdict_for_one"]
    assert hits / n <= low_and_high(0.05, 0.05, n)[1]


def test_the_true_mean_of_the_benchmark_is_right(coverage):
    plain = coverage.Scenario("plain", 1, 1, scale_ps=4.0, spread=0.0)
    assert coverage.true_mean(plain, 1.0, 10.0) == pytest.approx(4 * (1 - np.exp(-2.5)), rel=1e-6)
    scenario = coverage.Scenario("drawn", 4000, 1, shape=0.7, spread=0.8, ratio=2)
    rows = coverage.draw(scenario, np.random.default_rng(0))
    runs = run_arrays([row for row in rows if row["model"] == "B"])
    found = rmst(runs.time_ps, runs.failed, 10.0)
    assert abs(found.rmst_ps - coverage.true_mean(scenario, 2.0, 10.0)) < 4 * found.se_ps
