"""A comparison in words: what follows from it, and what does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from .outcomes import Estimate

if TYPE_CHECKING:
    from .comparison import Comparison

Verdict = Literal["a", "b", "these", "none"]


def verdict(difference_ps: Estimate, ratio: Estimate, p_value: float, level: float) -> Verdict:
    """``a`` or ``b`` if test and interval agree, ``these`` if only the test does, else ``none``."""
    if p_value >= round(1 - level, 12):
        return "none"
    if difference_ps.low > 0 and ratio.low > 1:
        return "b"
    if difference_ps.high < 0 and ratio.high < 1:
        return "a"
    return "these"


def conclusion(c: Comparison) -> str:
    """The comparison as a plain sentence."""
    b_ahead = c.difference_ps.value >= 0
    ahead, behind = (c.model_b, c.model_a) if b_ahead else (c.model_a, c.model_b)
    ratio = c.ratio if b_ahead else _inverse(c.ratio)
    p = f"{_test_name(c)} p = {_number(c.permutation.p_value)}"
    interval = f"{c.level:.0%} interval {_number(ratio.low)} to {_number(ratio.high)}"
    evidence = f"{interval}; {p}, {_size(c)}"
    if ratio.value < float("inf"):
        claim = f"{ahead} is stable {_number(ratio.value)} times longer than {behind}"
    else:
        claim = f"{ahead} is stable while {behind} always fails at once"
    within = f"within {_number(c.horizon_ps)} ps"
    if c.verdict in ("a", "b"):
        return f"{claim} {within} ({evidence})."
    if c.verdict == "these":
        return (
            f"On these runs {claim} {within}, but it is not shown to hold beyond these "
            f"{_groups(c)} ({evidence})."
        )
    survived = f"{c.both_survived} of {c.n_pairs} pairs survived to the end in both"
    means = f"mean stable time {_number(c.rmst_a.rmst_ps)} ps in {c.model_a} and "
    means += f"{_number(c.rmst_b.rmst_ps)} ps in {c.model_b} of {_number(c.horizon_ps)} ps"
    interval = f"{_number(c.ratio.low)} to {_number(c.ratio.high)}"
    return (
        f"No difference shown: {survived}; {means} ({p}, {_size(c)}). They are not shown to be "
        f"alike either: a ratio of {c.model_b} to {c.model_a} anywhere from {interval} is "
        f"compatible with these runs ({c.level:.0%} interval)."
    )


def notes(c: Comparison) -> tuple[str, ...]:
    """What must be known with the conclusion, a sentence each."""
    found = []
    test = c.permutation
    if test.smallest_p >= round(1 - c.level, 12):
        found.append(
            f"The test cannot reach p < {1 - c.level:.2g} here: with "
            f"{_units(test.n_units, test.unit)} and the ties among them the smallest p possible is "
            f"{_number(test.smallest_p)}."
        )
    for name, levels in c.clusters.items():
        if levels == 1:
            found.append(f"There is one {_words(name)}: nothing here speaks of another.")
        elif levels < 5:
            found.append(
                f"With {_units(levels, name)} the interval rests on a t quantile with {levels - 1} "
                "degrees of freedom: wide, and sensitive to each of them."
            )
    for model, mean in ((c.model_a, c.rmst_a), (c.model_b, c.rmst_b)):
        if not mean.n_failed:
            found.append(
                f"No run of {model} failed up to the horizon: its mean stable time is at least "
                f"{_number(mean.low_ps)} ps by the exact bound, and nothing is known beyond."
            )
        if c.cut_short[model]:
            found.append(
                f"{_units(c.cut_short[model], 'run')} of {model} cut short before the horizon: "
                "censored, that is taken to be as stable from there on as the others."
            )
        if c.errors[model]:
            found.append(
                f"{_units(c.errors[model], 'run')} of {model} ended in an error: no evidence."
            )
        if c.unpaired[model]:
            found.append(f"{_units(c.unpaired[model], 'run')} of {model} left out: no partner.")
    return tuple(found)


def _inverse(x: Estimate) -> Estimate:
    inverse = (1 / v if v else float("inf") for v in (x.value, x.high, x.low))
    return Estimate(*inverse)


def _test_name(c: Comparison) -> str:
    return "paired permutation" if c.permutation.unit == "pair" else "permutation of trained models"


def _size(c: Comparison) -> str:
    return f"{_units(c.n_pairs, 'pair')} over {_groups(c)}"


def _groups(c: Comparison) -> str:
    return " and ".join(_units(levels, name) for name, levels in c.clusters.items())


def _units(count: int, name: str) -> str:
    return f"{count} {_words(name)}{'' if count == 1 else 's'}"


def _words(name: str) -> str:
    return name.removesuffix("_K").replace("_", " ")


def _number(x: float) -> str:
    if x == float("inf"):
        return "no bound"
    if 0 < x < 0.1:
        return f"{x:.2g}"
    return f"{x:.2f}".rstrip("0").rstrip(".") if x < 10 else f"{x:.3g}"
