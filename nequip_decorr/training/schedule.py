"""The schedule of a coefficient: a pure function of progress, without Lightning."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from ..errors import UserError, one_of

INTERVALS: Final = ("step", "epoch")
UNITS: Final = ("fraction", "epoch", "step", "time")
ALIASES: Final = {"share": "target_share", "bounds": "coeff_bounds", "smoothing": "ema_decay"}
CLOSED_LOOP: Final = ("target_share", "coeff_bounds", "ema_decay", "interval")
OPEN_LOOP: Final = ("start", "end", "shape", "begin", "finish", "unit", "interval")


# From start, end and the share p of the way between them.
SHAPES: Final[dict[str, Callable[[float, float, float], float]]] = {
    "constant": lambda start, end, p: start,
    "linear": lambda start, end, p: start + (end - start) * p,
    "cosine": lambda start, end, p: start + (end - start) * 0.5 * (1.0 - math.cos(math.pi * p)),
    "exponential": lambda start, end, p: start * (end / start) ** p,
}


def coefficient(
    progress: float, start: float, end: float, shape: str, begin: float, finish: float
) -> float:
    """Return the scheduled coefficient, a pure function of progress.

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


@dataclass(frozen=True)
class Schedule:
    """Arguments of a schedule; either an open loop (``start``) or a closed one (``target_share``).

    Args:
        start: coefficient up to ``begin``.
        end: coefficient from ``finish`` on; by default the term's own ``coeff``.
        shape: ``linear`` (default), ``cosine``, ``exponential`` (both ends above zero), or
            ``constant``, which holds ``start``.
        begin: where the change begins, in ``unit``.
        finish: where it is complete, in ``unit``.
        interval: set the coefficient every ``step`` or every ``epoch``.
        unit: ``fraction`` of the planned training (of ``max_epochs`` or ``max_steps``, whichever is
            less; where both are endless, of ``max_time``), ``epoch``, ``step`` (of the optimiser),
            or ``time`` (fraction of the trainer's ``max_time``).
        target_share: closed loop: share of the term in the total loss, between 0 and 1.
        coeff_bounds: closed loop: smallest and largest coefficient.
        ema_decay: closed loop: decay of the running means, in [0, 1).

    Raises:
        UserError: on a wrong argument.
    """

    start: float | None = None
    end: float | None = None
    shape: str | None = None
    begin: float = 0.0
    finish: float | None = None
    interval: str = "step"
    unit: str = "fraction"
    target_share: float | None = None
    coeff_bounds: tuple[float, float] = (0.0, 10.0)
    ema_decay: float = 0.95

    @classmethod
    def read(cls, arguments: Mapping[str, Any]) -> Schedule:
        """Make a schedule of a config's arguments; old names count for one release more."""
        if not isinstance(arguments, Mapping) or "metric" in arguments:
            raise UserError(
                "`schedule` takes the arguments of a DecorrelationScheduler but `metric`, such as "
                f"{{start: 0.0}}, got {arguments!r}"
            )
        given = {name: value for name, value in arguments.items() if name not in ALIASES}
        for old, new in ALIASES.items():
            if arguments.get(old) is None:
                continue
            if given.get(new) is not None:
                raise UserError(f"`{old}` is the old name of `{new}`; give `{new}` alone")
            message = f"`{old}` of a decorrelation schedule is now called `{new}`"
            warnings.warn(message, FutureWarning, stacklevel=3)
            given[new] = arguments[old]
        allowed = [field.name for field in fields(cls)]
        if unknown := sorted(set(given) - set(allowed)):
            raise UserError(f"`schedule` has no {unknown}; allowed: {sorted(allowed)}")
        return cls(**{name: value for name, value in given.items() if value is not None})

    def __post_init__(self) -> None:
        one_of("interval", self.interval, INTERVALS)
        one_of("unit", self.unit, UNITS)
        if self.target_share is None:
            self._check_open_loop()
        else:
            self._check_closed_loop(self.target_share)

    def _check_open_loop(self) -> None:
        if self.start is None:
            raise UserError("a decorrelation schedule needs `start` (and `end`) or `target_share`")
        self._put(start=_coefficient("start", self.start), shape=self.shape or "linear")
        one_of("shape", self.shape, SHAPES)
        if self.end is not None:
            self._put(end=_coefficient("end", self.end))
        elif self.shape == "constant":
            self._put(end=self.start)
        if self.shape == "constant" and self.end != self.start:
            raise UserError(
                f"shape `constant` holds `start` ({self.start}), but `end` is {self.end}; "
                "leave `end` out or choose linear, cosine or exponential"
            )
        if self.shape == "exponential" and 0 in (self.start, self.end):
            raise UserError(
                "shape `exponential` needs `start` and `end` above 0, "
                f"got start={self.start} and end={self.end}"
            )
        self._check_span()

    def _check_span(self) -> None:
        upper = 1.0 if self.unit in ("fraction", "time") else math.inf
        finish = upper if self.finish is None else self.finish
        for name, value in (("begin", self.begin), ("finish", finish)):
            if not 0 <= value <= upper:
                raise UserError(
                    f"`{name}` must be between 0 and {upper} for unit `{self.unit}`, got {value}"
                )
        if self.begin > finish:
            raise UserError(f"`begin` ({self.begin}) must not come after `finish` ({finish})")
        if math.isinf(finish) and self.shape != "constant":
            raise UserError(
                f"`finish` must be given for unit `{self.unit}` and shape `{self.shape}`"
            )
        self._put(begin=float(self.begin), finish=float(finish))

    def _check_closed_loop(self, share: float) -> None:
        given = ("start", "end", "shape", "finish")
        wrong = [name for name in given if getattr(self, name) is not None]
        if wrong or self.begin != 0.0:
            raise UserError(
                f"`target_share` is a closed loop and takes no {sorted(wrong) or ['begin']}; "
                "allowed beside it: coeff_bounds, ema_decay, interval"
            )
        if not 0 < share < 1:
            raise UserError(f"`target_share` must be between 0 and 1, both excluded, got {share}")
        low, high = (_coefficient("coeff_bounds", bound) for bound in self.coeff_bounds)
        if low > high or high == 0:
            raise UserError(
                "`coeff_bounds` must be [low, high], low <= high, high > 0, "
                f"got {self.coeff_bounds}"
            )
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"`ema_decay` must be in [0, 1), got {self.ema_decay}")
        self._put(coeff_bounds=(low, high), ema_decay=float(self.ema_decay))

    def _put(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def moves(self) -> bool:
        """Whether the coefficient depends on how far training is."""
        return self.target_share is None and self.start != self.end

    def ending_at(self, coeff: float | None, name: str = "decorrelation") -> Schedule:
        """Fill ``end`` with the term's own coefficient.

        Raises:
            UserError: both are given and differ, or none is.
        """
        if self.target_share is not None or self.shape == "constant":
            return self
        if self.end is None and coeff is None:
            raise UserError(f"loss term `{name}` has neither `coeff` nor an `end` in its schedule")
        if self.end is not None and coeff is not None and not math.isclose(self.end, coeff):
            raise UserError(
                f"`coeff` of loss term `{name}` is {coeff}, but its schedule has `end` {self.end}; "
                "leave `end` out, so that it follows `coeff`, or give both the same value"
            )
        return replace(self, end=coeff if self.end is None else self.end)

    def at(self, progress: float) -> float:
        """Return the coefficient of an open loop, ``progress`` in ``unit``."""
        assert self.start is not None and self.end is not None and self.finish is not None
        span = (str(self.shape), self.begin, self.finish)
        return coefficient(progress, self.start, self.end, *span)

    def described(self) -> dict[str, Any]:
        """Return the arguments that count."""
        names = OPEN_LOOP if self.target_share is None else CLOSED_LOOP
        return {name: getattr(self, name) for name in names}


def _coefficient(name: str, value: float) -> float:
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise UserError(f"`{name}` must be a finite coefficient, not negative, got {value}")
    return number
