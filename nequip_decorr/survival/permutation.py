"""Permutation tests of paired runs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Final

import numpy as np

from .arrays import Array, Result, risk_sets

EXACT_LIMIT: Final = 2**16


def restricted_times(
    a: tuple[Array, Array], b: tuple[Array, Array], horizon_ps: float
) -> tuple[Array, Array]:
    """Restricted stable times of both models [n], [n] in ps, for a permutation test.

    A run cut short before the horizon counts as the mean it can still expect from the Kaplan-Meier
    curve of both models together: ``c + integral of S from c to the horizon / S(c)`` (the
    self-consistency of Efron, Proc. 5th Berkeley Symp. 4, 1967). The common curve does not know
    which run belongs to which model, so swapping a pair leaves the scores as they are.
    """
    time, failed = (np.concatenate(x) for x in zip(a, b, strict=True))
    tau, at_risk, failing = risk_sets(time, failed, horizon_ps)
    edges = np.concatenate([[0.0], tau, [horizon_ps]])
    survival = np.append(1.0, np.cumprod(1 - failing.sum(0) / at_risk.sum(0)))
    area = np.append(np.cumsum((survival * np.diff(edges))[::-1])[::-1], 0.0)
    score = np.minimum(time, horizon_ps)
    cut = ~failed & (time < horizon_ps)
    step = np.searchsorted(tau, time[cut], side="right")
    beyond = area[step + 1] + survival[step] * (edges[step + 1] - time[cut])
    score[cut] += beyond / survival[step]
    return score[: len(a[0])], score[len(a[0]) :]


@dataclass(frozen=True)
class PermutationTest(Result):
    """A two-sided permutation test of "both models are alike".

    Attributes:
        p_value: share of swaps with a mean difference at least as large as the one seen.
        unit: what was swapped: ``pair``, or the column of which whole levels were.
        n_units: number of units.
        smallest_p: the smallest p-value that these units allow.
        exact: all swaps were counted, else random ones with the one seen among them.
        n_ties: units that do not count, since both models are alike in them.
    """

    p_value: float
    unit: str
    n_units: int
    smallest_p: float
    exact: bool
    n_ties: int = 0


def sign_flip_test(
    difference: Array, unit: str, draws: int, rng: np.random.Generator
) -> PermutationTest:
    """Swap the models within each unit.

    Exact when all sign patterns of the differences [n] that are not 0 are at most 2**16, else
    random with the +1 of Phipson & Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010) 39.
    """
    d = difference[difference != 0]
    bound = abs(d.sum()) - 1e-9 * np.abs(d).sum()
    if 2**d.size <= EXACT_LIMIT:
        sums = np.zeros(1)
        for step in d:
            sums = np.concatenate([sums + step, sums - step])
        p, smallest = float(np.mean(np.abs(sums) >= bound)), min(1.0, 2.0 ** (1 - d.size))
    else:
        sums = (rng.integers(0, 2, (draws, d.size)) * 2 - 1) @ d
        p, smallest = _random_p(sums, bound)
    exact, ties = 2**d.size <= EXACT_LIMIT, len(difference) - d.size
    return PermutationTest(p, unit, len(difference), smallest, exact, ties)


def relabel_test(
    a: Array, b: Array, unit: str, draws: int, rng: np.random.Generator
) -> PermutationTest:
    """Deal the units of both models (here: mean times [m] per trained model) to the two anew."""
    pooled, m = np.concatenate([a, b]), len(a)
    centred = pooled - pooled.mean()
    bound = abs(centred[:m].sum()) - 1e-9 * np.abs(centred).sum()
    count = comb(2 * m, m)
    if count <= EXACT_LIMIT:
        sums = centred[np.array(list(combinations(range(2 * m), m)))].sum(1)
        p, smallest = float(np.mean(np.abs(sums) >= bound)), min(1.0, 2 / count)
    else:
        sums = rng.permuted(np.tile(centred, (draws, 1)), axis=1)[:, :m].sum(1)
        p, smallest = _random_p(sums, bound)
    return PermutationTest(p, unit, 2 * m, smallest, count <= EXACT_LIMIT)


def _random_p(sums: Array, bound: float) -> tuple[float, float]:
    draws = len(sums)
    return (1 + int(np.sum(np.abs(sums) >= bound))) / (draws + 1), 1 / (draws + 1)
