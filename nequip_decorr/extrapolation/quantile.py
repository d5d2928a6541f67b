"""The quantile of distances at which gamma is 1."""

from __future__ import annotations

from typing import Final

import numpy as np

from ..errors import UserError

ATOMS_BEYOND: Final = 10
"""Atoms beyond the quantile that a sample must have to tell it."""
TAIL: Final = 0.9


def check_quantile(quantile: float) -> float:
    """Return the quantile, or say that it is not allowed."""
    if not 0.5 <= quantile < 1:
        raise UserError(f"`quantile` must be at least 0.5 and below 1, got {quantile}")
    return quantile


def upper_quantile(values: np.ndarray, quantile: float) -> float:
    """Estimate a quantile, beyond the reach of a small sample by the tail of its largest tenth.

    Where fewer than ten values lie beyond the quantile, the excesses over the 90 % quantile are
    taken as exponential: peaks over a threshold (Pickands 1975, doi:10.1214/aos/1176343003), shape
    zero. The sample quantile of some hundred values would be their largest one, and scatter as
    that does.

    Args:
        values: ``[n]``.
        quantile: between 0 and 1.
    """
    if can_tell(len(values), quantile) or quantile <= TAIL:
        return float(np.quantile(values, quantile))
    start = np.quantile(values, TAIL)
    excess = (values[values > start] - start).mean() if (values > start).any() else 0.0
    return float(start + excess * np.log((1 - TAIL) / (1 - quantile)))


def can_tell(number: int, quantile: float) -> bool:
    """Whether so many atoms tell the quantile without an estimate of the tail."""
    return number * (1 - quantile) >= ATOMS_BEYOND
