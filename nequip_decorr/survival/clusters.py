"""Runs that are alike: variance summed by cluster, and what no spread at all still allows.

Runs from one start structure (or of one trained model) are dependent, so the cluster is the unit of
evidence. Labels are [n] for one grouping, or [n, 2] for two crossed ones such as structure and
training seed. A grouping with a single level says nothing on spread and is dropped: an interval
then speaks of that level alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from .arrays import Array


def cluster_codes(cluster: ArrayLike | None, n: int) -> list[Array]:
    """Integer labels [n] of each grouping with two levels or more; each run alone if none has.

    Raises:
        ValueError: labels of another shape than [n] or [n, 2].
    """
    codes: list[Array] = []
    if cluster is not None:
        labels = np.asarray(cluster)
        labels = labels[:, None] if labels.ndim == 1 else labels
        if labels.ndim != 2 or len(labels) != n or labels.shape[1] not in (1, 2):
            raise ValueError(f"cluster must be [{n}] or [{n}, 2], got shape {np.shape(cluster)}")
        codes = [np.unique(column, return_inverse=True)[1].ravel() for column in labels.T]
        codes = [code for code in codes if code.max() > 0]
    return codes or [np.arange(n)]


def fewest_clusters(codes: Sequence[Array]) -> int:
    """Number of clusters of the coarsest grouping."""
    return min(int(code.max()) + 1 for code in codes)


def combine_crossed(codes: Sequence[Array], variance: Callable[[Array], Any]) -> Any:
    """Variance over one grouping, or over two crossed ones.

    Two crossed: ``V1 + V2 - V12``, never below the larger of ``V1`` and ``V2``.
    Source: Cameron, Gelbach & Miller, J. Bus. Econ. Stat. 29 (2011) 238.

    Args:
        codes: one or two integer labelings [n].
        variance: maps one labeling to the variance clustered by it.
    """
    if len(codes) == 1:
        return variance(codes[0])
    both = np.unique(np.stack(codes), axis=1, return_inverse=True)[1].ravel()
    first, second, cells = (variance(code) for code in (*codes, both))
    return np.maximum(first + second - cells, np.maximum(first, second))


def jackknife_variance(influence: Array, codes: Sequence[Array]) -> Array:
    """Infinitesimal-jackknife variance [...] from the influence [n, ...] of each run.

    Few clusters can come out level by chance (1 failure in each, say), which would claim certainty;
    the runs then count as independent. Source: Williams, Biometrics 51 (1995) 1040, with the factor
    G / (G - 1).
    """

    def one_way(code: Array) -> Array:
        clusters = int(code.max()) + 1
        sums = np.zeros((clusters, *influence.shape[1:]))
        np.add.at(sums, code, influence)
        total: Array = np.sum(sums**2, axis=0)
        return total * (clusters / max(clusters - 1, 1))

    independent = one_way(np.arange(len(influence)))
    clustered = combine_crossed(codes, one_way)
    return np.where(clustered > 1e-12 * independent, clustered, independent)


def t_quantile(codes: Sequence[Array], level: float) -> float:
    """Two-sided Student t quantile with (fewest clusters - 1) degrees of freedom."""
    return float(stats.t.ppf((1 + level) / 2, max(fewest_clusters(codes) - 1, 1)))


def clopper_pearson_bound(clusters: int, level: float) -> float:
    """Smallest share of all clusters that behave alike when ``clusters`` seen ones all did.

    A formula that sees no spread (nobody failed, say) would give an interval of zero width. The
    exact binomial bound stands in. Source: Clopper & Pearson, Biometrika 26 (1934) 404.
    """
    return float(((1 - level) / 2) ** (1 / clusters))
