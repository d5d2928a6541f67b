"""Shapes of a schedule: pure functions of progress."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final


def _constant(start: float, end: float, p: float) -> float:
    return start


def _linear(start: float, end: float, p: float) -> float:
    return start + (end - start) * p


def _cosine(start: float, end: float, p: float) -> float:
    return start + (end - start) * 0.5 * (1.0 - math.cos(math.pi * p))


def _exponential(start: float, end: float, p: float) -> float:
    return start * (end / start) ** p


SHAPES: Final[dict[str, Callable[[float, float, float], float]]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "exponential": _exponential,
}


def coefficient(
    progress: float, start: float, end: float, shape: str, begin: float, finish: float
) -> float:
    """The scheduled coefficient, a pure function of progress.

    Args:
        progress: how far training is, in the unit of ``begin`` and ``finish``.
        start: value up to ``begin``.
        end: value from ``finish`` on.
        shape: ``constant``, ``linear``, ``cosine`` or ``exponential``.
        begin: where the change begins.
        finish: where it is complete; equal to ``begin`` for a step.
    """
    if progress < begin:
        return start
    if progress >= finish:
        return start if shape == "constant" else end
    return SHAPES[shape](start, end, (progress - begin) / (finish - begin))
