"""Is one model more stable than another? Runs paired by start structure, temperature and seed.

What is estimated: difference and ratio of the restricted mean survival times of B and A, on the
pairs where both models give evidence. Intervals come from the infinitesimal jackknife of whole
clusters: the influences of both runs of a pair are taken together, and the standard error is
multiplied by a Student t quantile with (fewest clusters - 1) degrees of freedom, the ratio on its
log. They covered 92 to 98 % in all 19 scenarios of ``benchmarks/coverage.py``, from 2 structures
up. A model of which all runs did the same (none failed, say) has no spread: its exact binomial
bound is added in quadrature (as in MOVER: Zou & Donner, Stat. Med. 27 (2008) 1693).

What is tested: that in each pair it does not matter which model ran (:func:`sign_flip_test`). This
holds for these structures; the interval speaks of structures like them. A difference is called
shown only where both agree. With several trained models per condition the trained model is what
was drawn at random, so whole ones are exchanged: within each training seed, which decides much of
how long both are stable, where the seeds are enough for it (6 at the 5 % level), else between all
(:func:`relabel_test`), which is valid too and sees little where seeds matter.

Where both models are alike in each structure the test rejected 3.6 to 5.8 % of simulated campaigns
at the 5 % level (0 % with 5 pairs, which cannot reach it). Where they are alike only on average,
each better on some structures, it rejected 11 %, rightly for these structures; the verdict, which
asks the interval too, named a model in 3 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from scipy import stats

from .arrays import Array, Estimate, RunArrays, check_level, run_arrays
from .clusters import (
    clopper_pearson_bound,
    cluster_codes,
    fewest_clusters,
    jackknife_variance,
    t_quantile,
)
from .estimators import Rmst, common_horizon, restricted_mean, rmst
from .permutation import relabel_test, restricted_times, sign_flip_test
from .verdict import NO_TIME, Comparison

PAIR: Final = ("structure", "temperature_K", "seed")
FLAT: Final = 1e-9


def compare(
    rows: Iterable[Mapping[str, Any]],
    model_a: str,
    model_b: str,
    *,
    horizon_ps: float | None = None,
    cluster: str | Sequence[str] = "structure",
    level: float = 0.95,
    permutations: int = 20_000,
    seed: int = 0,
    time: str = "stable",
    paired_seeds: bool = True,
    missing: Mapping[str, int] | None = None,
    remarks: Sequence[str] = (),
) -> Comparison:
    """Compare two models over the runs that they share.

    Args:
        rows: run rows as in :func:`.arrays.run_arrays`; other models are ignored. A column
            ``length_ps`` (length asked for) limits the horizon where present.
        model_a: the baseline.
        model_b: the one compared with it.
        horizon_ps: common horizon; by default :func:`.survival.common_horizon`.
        cluster: one or two columns whose levels hold dependent runs. A column that is not part of
            the pair key, such as ``train_seed``, tells trained models of one condition apart: it
            joins the key, and whole trained models are exchanged in the test. Cells that were
            fixed by design are no sample of cells: name the training seed alone then.
        level: confidence level; the test is read at ``1 - level``.
        permutations: random swaps where all cannot be counted.
        seed: of the random swaps.
        time: what the rows' times are, for the words: ``stable``, ``trusted`` or ``right``.
        paired_seeds: whether trained models of one seed belong together in the test.
        missing: planned runs that the rows lack, by model; ``None`` where nobody has counted.
        remarks: what else must be known of the runs, for the notes.

    Raises:
        ValueError: no pair, a repeated run, an unknown column, a horizon beyond what was observed.
    """
    check_level(level)
    if model_a == model_b:
        raise ValueError(f"two different models are needed, got {model_a!r} twice")
    if permutations < 100:
        raise ValueError(f"permutations: at least 100, got {permutations}")
    by = (cluster,) if isinstance(cluster, str) else tuple(cluster)
    if len(set(by)) != len(by) or len(by) not in (1, 2):
        raise ValueError(f"cluster must name one or two different columns, got {cluster!r}")
    rows = list(rows)
    key = (*PAIR, *(name for name in by if name not in PAIR))
    runs = {m: run_arrays([r for r in rows if r["model"] == m], key) for m in (model_a, model_b)}
    index = [_index(runs[m], key, m) for m in runs]
    shared = sorted(index[0].keys() & index[1].keys(), key=repr)
    if not shared:
        found = ", ".join(f"{len(i)} of {m!r}" for i, m in zip(index, runs, strict=True))
        lacking = ", ".join(f"{n} of {m!r}" for m, n in (missing or {}).items() if m in runs)
        more = f"; without {NO_TIME[time]}: {lacking}" if lacking else ""
        raise ValueError(f"no pair by {key} to compare: got runs {found} without a partner{more}")
    picks = [np.array([i[pair] for pair in shared]) for i in index]
    a, b = ((r.time_ps[p], r.failed[p]) for r, p in zip(runs.values(), picks, strict=True))
    columns = {name: runs[model_a].columns[name][picks[0]] for name in key}

    if horizon_ps is None:
        used = {(m, *pair) for m in runs for pair in shared}
        lengths = [
            float(row["length_ps"])
            for row in rows
            if row.get("length_ps") is not None and (row["model"], *_key(row, key)) in used
        ]
        horizon_ps = common_horizon([a, b], min(lengths, default=None))
    labels = np.stack([np.unique(columns[n], return_inverse=True)[1] for n in by], axis=1)
    mean_a, mean_b = (rmst(*x, horizon_ps, level=level, cluster=labels) for x in (a, b))
    codes = cluster_codes(labels, len(shared))
    rng = np.random.default_rng(seed)
    errors = _standard_errors(a, b, codes, horizon_ps)
    half_widths = t_quantile(codes, level) * errors
    difference, ratio = _contrast(mean_a, mean_b, half_widths, fewest_clusters(codes))
    score_a, score_b = restricted_times(a, b, horizon_ps)
    trained = next((name for name in by if name not in PAIR), None)
    if trained is None:
        test = sign_flip_test(score_b - score_a, "pair", permutations, rng)
    else:
        units = [columns[trained] == name for name in np.unique(columns[trained])]
        unit_a, unit_b = (np.array([x[u].mean() for u in units]) for x in (score_a, score_b))
        if paired_seeds and 2.0 ** (1 - len(units)) < 1 - level:
            test = sign_flip_test(unit_b - unit_a, trained, permutations, rng)
        else:
            test = relabel_test(unit_a, unit_b, trained, permutations, rng)

    full = [time >= horizon_ps * (1 + np.where(failed, FLAT, -FLAT)) for time, failed in (a, b)]
    cut = [~failed & ~f for (_, failed), f in zip((a, b), full, strict=True)]
    return Comparison(
        model_a=model_a,
        model_b=model_b,
        horizon_ps=horizon_ps,
        level=level,
        rmst_a=mean_a,
        rmst_b=mean_b,
        difference_ps=difference,
        ratio=ratio,
        permutation=test,
        logrank_p=_logrank(a, b),
        n_pairs=len(shared),
        clusters={name: len(np.unique(columns[name])) for name in by},
        both_survived=int((full[0] & full[1]).sum()),
        unpaired={m: len(i) - len(shared) for m, i in zip(runs, index, strict=True)},
        errors={m: r.counts["error"] for m, r in runs.items()},
        cut_short={m: int(c.sum()) for m, c in zip(runs, cut, strict=True)},
        seed=seed,
        time=time,
        missing=missing,
        remarks=tuple(remarks),
    )


def _key(row: Mapping[str, Any], key: Sequence[str]) -> tuple[Any, ...]:
    return tuple(np.asarray(row[name]).item() for name in key)


def _index(runs: RunArrays, key: Sequence[str], model: str) -> dict[tuple[Any, ...], int]:
    pairs = list(zip(*(runs.columns[name].tolist() for name in key), strict=True))
    index = {pair: number for number, pair in enumerate(pairs)}
    if len(index) < len(pairs):
        twice = next(pair for pair in pairs if pairs.count(pair) > 1)
        raise ValueError(
            f"model {model!r} has several runs with {key} = {twice}; name the column that tells "
            "them apart in cluster, e.g. cluster=('structure', 'train_seed')"
        )
    return index


def _standard_errors(
    a: tuple[Array, Array], b: tuple[Array, Array], codes: Sequence[Array], horizon_ps: float
) -> Array:
    """Of the difference (ps) and of the log ratio of the two means."""
    (mean_a, runs_a), (mean_b, runs_b) = (restricted_mean(*x, horizon_ps) for x in (a, b))
    log_ratio = np.zeros(len(runs_a))
    if mean_a > 0 and mean_b > 0:
        log_ratio = runs_b / mean_b - runs_a / mean_a
    return np.sqrt(jackknife_variance(np.stack([runs_b - runs_a, log_ratio], axis=1), codes))


def _contrast(a: Rmst, b: Rmst, half_widths: Array, clusters: int) -> tuple[Estimate, Estimate]:
    """Difference in ps and ratio, B against A, with the intervals of the module text."""
    h, mean_a, mean_b = a.horizon_ps, a.rmst_ps, b.rmst_ps
    flat_a, flat_b = (x.se_ps <= FLAT * h for x in (a, b))
    d = mean_b - mean_a
    half, log_half = half_widths
    if half <= FLAT * h and not (flat_a or flat_b):
        # The same difference in each cluster: those not seen may differ by up to the horizon.
        unseen = h * (1 - clopper_pearson_bound(clusters, a.level))
        high = mean_b / (mean_a - unseen) if mean_a > unseen else np.inf
        ratio = Estimate(mean_b / mean_a, max(mean_b - unseen, 0.0) / mean_a, high)
        return Estimate(d, max(d - unseen, -h), min(d + unseen, h)), ratio

    a_low, a_high = (a.low_ps, a.high_ps) if flat_a else (mean_a, mean_a)
    b_low, b_high = (b.low_ps, b.high_ps) if flat_b else (mean_b, mean_b)
    down = float(np.linalg.norm([half, mean_b - b_low, a_high - mean_a]))
    up = float(np.linalg.norm([half, b_high - mean_b, mean_a - a_low]))
    difference = Estimate(d, max(d - down, -h), min(d + up, h))
    if mean_a == 0 or mean_b == 0:
        value = mean_b / mean_a if mean_a else (np.inf if mean_b else np.nan)
        high = b.high_ps / a.low_ps if a.low_ps > 0 else np.inf
        return difference, Estimate(value, b.low_ps / a.high_ps, high)
    down = float(np.linalg.norm([log_half, np.log(mean_b / b_low), np.log(a_high / mean_a)]))
    up = float(np.linalg.norm([log_half, np.log(b_high / mean_b), np.log(mean_a / a_low)]))
    value = mean_b / mean_a
    return difference, Estimate(value, float(value * np.exp(-down)), float(value * np.exp(up)))


def _logrank(a: tuple[Array, Array], b: tuple[Array, Array]) -> float:
    if not (a[1].any() or b[1].any()):
        return float("nan")
    sample_a, sample_b = (
        stats.CensoredData(uncensored=time[failed], right=time[~failed]) for time, failed in (a, b)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(stats.logrank(sample_a, sample_b).pvalue)
