"""A comparison of two models, and what follows from it in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from .arrays import Estimate, Result
from .estimators import Rmst
from .permutation import PermutationTest

Verdict = Literal["a_better", "b_better", "sample_only", "inconclusive"]
_ENDED: Final = {"stable": "failed", "trusted": "left the training data", "right": "went wrong"}
NO_TIME: Final = {
    "stable": "an end yet",
    "trusted": "an end yet or a trusted time",
    "right": "an end yet or a right time",
}
_UNBOUNDED: Final = 1e3
_AT_ONCE: Final = 0.01
"""Share of the horizon below which a mean says that the model never got going."""


@dataclass(frozen=True)
class Comparison(Result):
    """Model B against model A.

    Attributes:
        difference_ps: restricted mean of B minus that of A.
        ratio: restricted mean of B over that of A.
        clusters: number of levels of each cluster column.
        both_survived: pairs in which both models reached the horizon.
        unpaired: runs without a partner, by model.
        errors: runs that ended in an error, by model.
        cut_short: paired runs censored before the horizon, by model.
        missing: planned runs without this time yet, by model; ``None`` where nobody has counted.
        remarks: what else must be known of the runs, a sentence each.
        time: which time is compared: ``stable``, ``trusted`` or ``right``.
        logrank_p: log-rank test that ignores the pairing; not a number where nothing failed.
    """

    model_a: str
    model_b: str
    horizon_ps: float
    level: float
    rmst_a: Rmst
    rmst_b: Rmst
    difference_ps: Estimate
    ratio: Estimate
    permutation: PermutationTest
    logrank_p: float
    n_pairs: int
    clusters: dict[str, int]
    both_survived: int
    unpaired: dict[str, int]
    errors: dict[str, int]
    cut_short: dict[str, int]
    seed: int
    time: str = "stable"
    missing: Mapping[str, int] | None = None
    remarks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types, with the verdict and its words."""
        words = {"conclusion": self.conclusion, "notes": list(self.notes)}
        return {**super().to_dict(), "verdict": self.verdict, **words}

    @property
    def verdict(self) -> Verdict:
        """Which model is more stable, if test and interval agree on one.

        ``sample_only``: they differ on these structures, which is not shown beyond them.
        """
        if self.permutation.p_value >= round(1 - self.level, 12):
            return "inconclusive"
        if self.difference_ps.low > 0 and self.ratio.low > 1:
            return "b_better"
        if self.difference_ps.high < 0 and self.ratio.high < 1:
            return "a_better"
        return "sample_only"

    @property
    def order(self) -> tuple[str, str]:
        """The model with the longer mean stable time, and the other."""
        b_ahead = self.difference_ps.value >= 0
        return (self.model_b, self.model_a) if b_ahead else (self.model_a, self.model_b)

    @property
    def claim(self) -> str:
        """What is concluded, without a full stop."""
        if self.verdict == "inconclusive":
            return f"{self._nothing_shown()} between {self.model_b} and {self.model_a}"
        ahead, behind = self.order
        ratio = self._ratio_of_order()
        if ratio.value < float("inf"):
            text = f"{ahead} is {self.time} {_number(ratio.value)} times longer than {behind}"
        else:
            text = f"{ahead} is {self.time} while {behind} always fails at once"
        text += f" within {_number(self.horizon_ps)} ps"
        if self.verdict == "sample_only":
            groups = self._groups()
            return f"On these runs {text}, but it is not shown to hold beyond these {groups}"
        return text

    @property
    def support(self) -> str:
        """The numbers that the claim rests on, without a full stop."""
        unit, units = self.permutation.unit, self.permutation.n_units
        what = "" if unit == "pair" else " of trained models"
        paired = "paired " if unit == "pair" or units == self.clusters[unit] else ""
        p = f"{paired}permutation{what} p = {_number(self.permutation.p_value)}"
        size = f"{_units(self.n_pairs, 'pair')} over {self._groups()}"
        if self.verdict != "inconclusive":
            ratio = self._ratio_of_order()
            interval = f"{_number(ratio.low)} to {_number(ratio.high)}"
            return f"{self.level:.0%} interval {interval}; {p}, {size}"
        ended, a, b, horizon = _ENDED[self.time], self.model_a, self.model_b, self.horizon_ps
        if self.rmst_a.n_failed or self.rmst_b.n_failed:
            seen = (
                f"of {size}, {a} {ended} in {self.rmst_a.n_failed} and {b} in "
                f"{self.rmst_b.n_failed}; mean {self.time} time {_number(self.rmst_a.rmst_ps)} ps "
                f"in {a} and {_number(self.rmst_b.rmst_ps)} ps in {b} of {_number(horizon)} ps"
            )
        else:
            seen = f"neither {a} nor {b} {ended} within {_number(horizon)} ps in {size}"
        tested = f" ({p})" if self.permutation.smallest_p < 1 else ""
        ratio, of = self._ratio_of_order(), "the ratio of {} to {}".format(*self.order)
        if ratio.low > 1 / _UNBOUNDED or ratio.high < _UNBOUNDED:
            value = f" is {_number(ratio.value)}, and" if np.isfinite(ratio.value) else ""
            known = (
                f"{of}{value} anywhere from {_number(ratio.low)} to {_number(ratio.high)} is "
                f"compatible with these runs ({self.level:.0%} interval)"
            )
        else:
            known = f"these runs do not bound {of} ({self.level:.0%} interval)"
        return f"{seen}{tested}. They are not shown to be alike either: {known}"

    def _too_few(self) -> bool:
        """Whether the test could not reach the level, whatever the times."""
        return 1 > self.permutation.smallest_p >= round(1 - self.level, 12)

    def _nothing_shown(self) -> str:
        if not self._too_few():
            return "No difference shown"
        test = self.permutation
        verb = "is" if test.n_units == 1 else "are"
        return f"{_units(test.n_units, test.unit)} {verb} too few to show a difference"

    @property
    def conclusion(self) -> str:
        """Claim and support as plain sentences."""
        if self.verdict == "inconclusive":
            return f"{self._nothing_shown()}: {self.support}."
        return f"{self.claim} ({self.support})."

    @property
    def notes(self) -> tuple[str, ...]:
        """What must be known with the conclusion, a sentence each."""
        found = []
        test, means = self.permutation, {self.model_a: self.rmst_a, self.model_b: self.rmst_b}
        lasted = [model for model, mean in means.items() if not mean.n_failed]
        if test.smallest_p == 1 and len(lasted) < 2:
            found.append(f"No test is possible: {self._untestable()}.")
        elif self._too_few():
            more = (
                "structures or velocity seeds" if test.unit == "pair" else f"{_words(test.unit)}s"
            )
            found.append(
                f"The test cannot reach p < {1 - self.level:.2g}: with "
                f"{_units(test.n_units, test.unit)}, of which ties do not count, the smallest "
                f"possible p is {_number(test.smallest_p)}. It needs more {more}."
            )
        for name, levels in self.clusters.items():
            if levels == 1:
                what = _words(name)
                found.append(
                    f"There is only one {what}: results may not generalise to other {what}s."
                )
            elif levels < 5:
                found.append(
                    f"With only {_units(levels, name)} the interval is wide and depends much on "
                    f"each ({_units(levels - 1, 'degree')} of freedom)."
                )
        if lasted:
            bound, end = _number(means[lasted[0]].low_ps), _number(self.horizon_ps)
            found.append(
                f"No run of {' or '.join(lasted)} {_ENDED[self.time]} within {end} ps; nothing is "
                f"known beyond. {self._groups()} do not rule out a mean as low as {bound} ps on "
                "others like them (exact binomial bound)."
            )
        for model, mean in means.items():
            found += at_once(model, mean, self.time)
            if count := self.cut_short[model]:
                found.append(
                    f"{_units(count, 'run')} of {model} cut short before the horizon: censored, "
                    "that is taken to be as stable from there on as the others."
                )
            if count := self.errors[model]:
                found.append(f"{_units(count, 'run')} of {model} ended in an error: no evidence.")
            if count := (self.missing or {}).get(model, 0):
                found.append(
                    f"{_units(count, 'run')} of {model} left out: without {NO_TIME[self.time]}."
                )
            if count := self.unpaired[model]:
                found.append(f"{_units(count, 'run')} of {model} left out: no partner.")
        return (*found, *self.remarks)

    def _untestable(self) -> str:
        """Why no test is possible, where at most one difference is left to it."""
        test, alike = self.permutation, f"both were {self.time} equally long"
        if test.n_ties == test.n_units:
            return f"in each {_words(test.unit)} {alike}"
        if not test.n_ties:
            return f"there is only one {_words(test.unit)}"
        units = _units(test.n_units, test.unit)
        return f"in {test.n_ties} of {units} {alike}, and the other one alone cannot tell"

    def _ratio_of_order(self) -> Estimate:
        """Ratio of the longer mean stable time to the shorter."""
        x = self.ratio
        if self.difference_ps.value >= 0:
            return x
        return Estimate(*(1 / v if v else float("inf") for v in (x.value, x.high, x.low)))

    def _groups(self) -> str:
        return " and ".join(_units(levels, name) for name, levels in self.clusters.items())


def at_once(model: str, mean: Rmst, time: str = "stable") -> list[str]:
    """A sentence where all runs of a model ended at once, or nothing."""
    if mean.n_failed < mean.n_runs or mean.rmst_ps >= _AT_ONCE * mean.horizon_ps:
        return []
    return [
        f"All {mean.n_runs} runs of {model} {_ENDED[time]} almost at once (mean "
        f"{_number(mean.rmst_ps)} of {_number(mean.horizon_ps)} ps): check its start "
        "structures, units and criteria first."
    ]


def _units(count: int, name: str) -> str:
    return f"{count} {_words(name)}{'' if count == 1 else 's'}"


def _words(name: str) -> str:
    return name.removesuffix("_K").replace("train_", "training ").replace("_", " ")


def _number(x: float) -> str:
    if x == float("inf"):
        return "no bound"
    if 0 < x < 0.1:
        return f"{x:.2g}"
    return f"{x:.2f}".rstrip("0").rstrip(".") if x < 10 else f"{x:.3g}"
