"""The verdicts on the paper's claims, and the README's lines; every figure is from the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from nequip_decorr.survival.verdict import Comparison

from .analysis import CORRELATION, FIXED_CELLS, TIME, Tables, against, error_ratio, over, survivors
from .declared import HFO2, STOCK
from .stages import PAPER
from .text import ID_ERROR
from .words import (
    CORES,
    MIN_SEEDS,
    Relations,
    each,
    effect,
    interval,
    mean_of,
    number,
    ranked,
    section,
)

ASKED_SEEDS: Final = 8
WRONG_EV: Final = 0.5  # per atom; kT at 2000 K is 0.17
CHEAP: Final = 1.03
ORDER: Final = 10.0
OXIDE_CLAIM: Final = "oxygen-poor hafnium oxide: from 0.03 ps to 10 ps"
PROBE: Final = "correlating"
NOT_SHOWN: Final = "**not reproduced** (not shown, which is not the same as shown to be absent)"


def claims(
    tables: Tables,
    confirmed: Sequence[str],
    relations: Mapping[str, Relations],
    bare: Mapping[str, Relations],
    others: Sequence[Tables],
) -> str:
    """What holds of the paper's claims, by the rules of the protocol.

    Args:
        tables: of the regime that was chosen for silicon oxide.
        confirmed: the conditions that the claims are about.
        relations: correlation against stability by regime; ``bare`` without cores.
        others: the other regimes that have a confirmation.
    """
    primary = [n for n in confirmed if n != STOCK and n in tables.conditions("heldout")]
    rows = [_relation_claim(name, found, bare.get(name)) for name, found in relations.items()]
    if not primary or not tables.half("heldout", STOCK):
        rows.append(["penalising correlation lengthens MD", "not tested yet", "no confirmation"])
    for name in primary:
        rows += _confirmed_claims(tables, name)
    for other in others:
        terms = [n for n in confirmed if n != STOCK and n in other.conditions("heldout")]
        rows += [row for name in terms for row in _confirmed_claims(other, name)]
    rows += _probe_claim(tables)
    rows += [row for t in (tables, *others) for row in _core_claims(t)]
    rows.append(_cost_claim([tables, *others]))
    oxides = [other for other in others if other.regime.startswith(HFO2)]
    rows += [_oxide_claim(t) for t in oxides if PAPER in t.conditions("heldout")]
    if not oxides:
        rows.append([OXIDE_CLAIM, "**not testable here yet**", "not run; see below"])
    return section("claims", rows=rows)


def _probe_claim(tables: Tables) -> list[list[str]]:
    """Cause and effect: models that were trained to be correlated."""
    found = against(tables, "heldout", STOCK, PROBE)
    if found is None or found.clusters["train_seed"] < MIN_SEEDS:
        return []
    seeds = tables.seeds("heldout", PROBE)
    verdict = NOT_SHOWN
    if _shorter(found):
        verdict = "**reproduced**: they fail sooner"
    elif _longer(found):
        verdict = "**not reproduced**: they fail later"
    evidence = f"`{PROBE}` rewards correlation, up to "
    evidence += f"{number(mean_of(tables, PROBE, CORRELATION, seeds))} from stock's "
    evidence += f"{number(mean_of(tables, STOCK, CORRELATION, seeds))}: RMST ratio "
    evidence += effect(found)
    if PROBE in tables.conditions("tuning"):
        evidence += f"; on the tuning half {each(*over(tables, 'tuning', STOCK, PROBE)[TIME])}"
    verdict = provisional(verdict, found)
    return [[f"correlation makes MD unstable ({tables.regime})", verdict, evidence]]


def _core_claims(tables: Tables) -> list[list[str]]:
    """What a repulsive core does without the term; not the paper's claim, but beside it."""
    rows = []
    for core, what in CORES.items():
        found = against(tables, "heldout", STOCK, core, FIXED_CELLS)
        if found is None or found.clusters["train_seed"] < MIN_SEEDS:
            continue
        runs, seeds = tables.half("heldout", core), tables.seeds("heldout", core)
        alive = survivors(runs)
        error = error_ratio(tables, STOCK, core, ID_ERROR, seeds)
        evidence = f"RMST ratio {effect(found)}{_ceiling(found)}; {alive} of {len(runs)} runs "
        evidence += f"survive; ID force error ratio {interval(error)}"
        wrong = mean_of(tables, core, "survived_energy_change_mae_heldout", seeds)
        verdict = "**shown** for the stable time" if _longer(found) else "not shown"
        if wrong is not None:
            evidence += "; where survivors arrive, the energy gained since the start is wrong by "
            evidence += f"{number(wrong)} eV/atom"
            verdict += "; **the MD is wrong**" * (wrong > WRONG_EV)
        elif alive:
            verdict += "; whether the MD is right is not known, without a reference potential"
        claim = f"not of the paper: MD lasts longer with {what} (`{core}`, {tables.regime})"
        rows.append([claim, provisional(verdict, found), evidence])
    return rows


def provisional(verdict: str, found: Comparison) -> str:
    """A verdict, marked where it rests on fewer seeds than the protocol asks for."""
    seeds = found.clusters["train_seed"]
    if seeds >= ASKED_SEEDS:
        return verdict
    return f"provisional, {seeds} of {ASKED_SEEDS} training seeds: {verdict}"


def _longer(found: Comparison) -> bool:
    """Interval and relabelling test both say so."""
    return found.ratio.low > 1 and found.permutation.p_value < 0.05


def _ceiling(found: Comparison) -> str:
    """The ratio of a model that never fails, where it is below an order of magnitude."""
    most = found.horizon_ps / found.rmst_a.rmst_ps
    return f" (a model that never fails has {number(most)})" if most < ORDER else ""


def _shorter(found: Comparison) -> bool:
    return found.ratio.high < 1 and found.permutation.p_value < 0.05


def _oxide_claim(tables: Tables) -> list[str]:
    """The cell that is furthest from the training data: O/Hf 1, where those have 2."""
    medians = []
    for name in (STOCK, PAPER):
        runs = [r for r in tables.half("heldout", name) if r["structure"].startswith("hexagonal1")]
        medians.append(float(np.median([r["stable_time_ps"] for r in runs])))
    evidence = f"O/Hf 1, 1200 K, median stable time: stock {number(medians[0])} ps, "
    evidence += f"`{PAPER}` {number(medians[1])} ps"
    large = medians[1] >= 10 * medians[0]
    verdict = "**reproduced**" if large else "**not reproduced** with the small Allegro"
    return [f"{OXIDE_CLAIM} ({tables.regime})", f"{verdict}; its own size not testable", evidence]


def _cost_claim(every: Sequence[Tables]) -> list[str]:
    """Processor time of whole trainings; the benchmark of steps is the better measure."""
    parts, costs = [], []
    for tables in every:
        a, b = (tables.by_seed(c, "train_cpu_s") for c in (STOCK, PAPER))
        shared = sorted(set(tables.seeds("heldout", PAPER)) & a.keys() & b.keys())
        cost = error_ratio(tables, STOCK, PAPER, "train_cpu_s", shared)
        if cost is not None and len(shared) >= MIN_SEEDS:
            parts.append(f"{tables.regime} {interval(cost)} ({len(shared)} pairs)")
            costs.append(cost)
    evidence = "steps of a large model, side by side: [cost](training.md#cost), where it holds. "
    evidence += "Here, processor time of whole trainings of small models on busy cores, ratio: "
    evidence += "; ".join(parts)
    verdict = NOT_SHOWN
    if any(cost.low > CHEAP for cost in costs):
        verdict = "**not reproduced** with small models"
    elif costs and all(cost.high < CHEAP for cost in costs):
        verdict = "**reproduced** with small models"
    return ["cost under 3 %", verdict, evidence]


def _relation_claim(regime: str, relations: Relations, bare: Relations | None) -> list[str]:
    claim = f"strongly correlated features go with unstable MD ({regime})"
    across, within = relations[False], relations[True]
    if across is None:
        return [claim, "not tested yet", "-"]
    evidence = f"Spearman {ranked(across)}"
    if within is not None:
        evidence += f"; within conditions {ranked(within)}"
    opposite = across.estimate.low > 0
    if bare is not None and (plain := bare[False]) is not None:
        evidence += f"; without a core {ranked(plain)}"
        opposite = opposite and plain.estimate.low > 0
    if across.estimate.high < 0 and within is not None and within.estimate.high < 0:
        return [claim, "**reproduced**", evidence]
    if across.estimate.high < 0:
        verdict = "goes with it between ways of training; **not shown within one**"
        return [claim, verdict, evidence]
    if opposite:
        return [claim, "**not reproduced**: the opposite sign", evidence]
    return [claim, NOT_SHOWN, evidence]


def _confirmed_claims(tables: Tables, name: str) -> list[list[str]]:
    found = against(tables, "heldout", STOCK, name)
    assert found is not None
    if found.clusters["train_seed"] < MIN_SEEDS:
        return []
    shown = _longer(found)
    large = shown and found.ratio.value >= ORDER and found.ratio.low > 3
    verdict = "**reproduced**, by an order of magnitude" if large else NOT_SHOWN
    if shown and not large:
        size = "its size is beyond the horizon" if _ceiling(found) else "not in size"
        verdict = f"**reproduced** in direction, {size}"
    elif _shorter(found):
        verdict = "**not reproduced**: MD is shorter"
    evidence = f"RMST ratio {effect(found)}{_ceiling(found)}"
    where = f"`{name}`, {tables.regime}"
    claim = f"penalising correlation lengthens MD ({where})"
    rows = [[claim, provisional(verdict, found), evidence]]
    shared = tables.seeds("heldout", name)
    error = error_ratio(tables, STOCK, name, ID_ERROR, shared)
    if error is not None:
        kept = error.high < 1.02
        lost = error.low > 1.02
        word = "**reproduced**" if kept else "**not reproduced**" if lost else NOT_SHOWN
        if error.low > 1 and not kept and not lost:
            word = "**not reproduced**: a loss is shown, whether it is above 2 % is not"
        claim = f"little loss of accuracy, within 2 % ({where})"
        evidence = f"ID force error ratio {interval(error)}"
        rows.append([claim, provisional(word, found), evidence])
    return rows
