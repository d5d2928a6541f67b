"""The verdicts on the paper's claims, and the README's lines; every figure is from the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from .analysis import CORRELATION, Tables, against, error_ratio
from .declared import HFO2, STOCK, Study
from .stages import PAPER
from .words import (
    CORES,
    MIN_SEEDS,
    Relations,
    baseline,
    interval,
    mean_of,
    number,
    over_seeds,
    table,
)

ASKED_SEEDS: Final = 8
WRONG_EV: Final = 0.5  # per atom; kT at 2000 K is 0.17
OXIDE_CLAIM: Final = "oxygen-poor hafnium oxide: from 0.03 ps to 10 ps"
PROBE: Final = "correlating"
NOT_SHOWN: Final = "**not reproduced** (not shown, which is not the same as shown to be absent)"


def claims(
    tables: Tables,
    confirmed: Sequence[str],
    relations: Mapping[str, Relations],
    others: Sequence[Tables],
) -> str:
    """What holds of the paper's claims, by the rules of the protocol.

    Args:
        tables: of the regime that was chosen for silicon oxide.
        confirmed: the conditions that the claims are about.
        relations: correlation against stability by regime.
        others: the other regimes that have a confirmation.
    """
    primary = [n for n in confirmed if n != STOCK and n in tables.conditions("heldout")]
    rows = [_relation_claim(name, found) for name, found in relations.items()]
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
    return "## The paper's claims\n\n" + table(["claim", "verdict", "evidence"], rows)


def _probe_claim(tables: Tables) -> list[list[str]]:
    """Cause and effect: models that were trained to be correlated."""
    found = against(tables, "heldout", STOCK, PROBE)
    if found is None or found.clusters["train_seed"] < MIN_SEEDS:
        return []
    seeds = tables.seeds("heldout", PROBE)
    ratio, p = found.ratio, found.permutation.p_value
    verdict = NOT_SHOWN
    if ratio.high < 1 and p < 0.05:
        verdict = "**reproduced**: they fail sooner"
    elif ratio.low > 1:
        verdict = "**not reproduced**: they do not fail sooner"
    evidence = f"`{PROBE}` rewards correlation, up to "
    evidence += f"{number(mean_of(tables, PROBE, CORRELATION, seeds))} from stock's "
    evidence += f"{number(mean_of(tables, STOCK, CORRELATION, seeds))}: RMST ratio "
    evidence += f"{over_seeds(found)}, p = {number(p)}, {len(seeds)} seeds each"
    return [[f"correlation makes MD unstable ({tables.regime})", verdict, evidence]]


def _core_claims(tables: Tables) -> list[list[str]]:
    """What a repulsive core does without the term; not the paper's claim, but beside it."""
    rows = []
    for core, what in CORES.items():
        found = against(tables, "heldout", STOCK, core)
        if found is None or found.clusters["train_seed"] < MIN_SEEDS:
            continue
        ratio, p = found.ratio, found.permutation.p_value
        shown = ratio.low > 1 and p < 0.05
        runs, seeds = tables.half("heldout", core), tables.seeds("heldout", core)
        alive = sum(r["status"] == "survived" for r in runs)
        error = error_ratio(tables, STOCK, core, "force_mae_test_id", seeds)
        evidence = f"RMST ratio {over_seeds(found)}, p = {number(p)}, {len(seeds)} seeds each; "
        evidence += f"{alive} of {len(runs)} runs survive; ID force error ratio {interval(error)}"
        wrong = mean_of(tables, core, "survived_energy_mae_heldout", seeds)
        verdict = "**shown**" if shown else "not shown"
        if wrong is not None:
            evidence += f"; where survivors arrive, the energy is wrong by {number(wrong)} eV/atom"
            verdict += " for the stable time" + "; **the MD is wrong**" * (wrong > WRONG_EV)
        claim = f"not of the paper: MD lasts longer with {what} (`{core}`, {tables.regime})"
        rows.append([claim, verdict, evidence])
    return rows


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
    parts = []
    for tables in every:
        shared = tables.seeds("heldout", PAPER)
        cost = error_ratio(tables, STOCK, PAPER, "train_cpu_s", shared)
        if cost is not None:
            parts.append(f"{tables.regime} {interval(cost)}")
    evidence = "side by side, step by step: [cost](training.md#cost). Here, processor time "
    evidence += f"of whole trainings of small models on busy cores, ratio: {'; '.join(parts)}"
    return ["cost under 3 %", "for a large model, not for small ones", evidence]


def _relation_claim(regime: str, relations: Relations) -> list[str]:
    claim = f"strongly correlated features go with unstable MD ({regime})"
    across, within = relations[False], relations[True]
    if across is None:
        return [claim, "not tested yet", "-"]
    evidence = f"Spearman over {across.models} models {interval(across.estimate)}"
    if within is not None:
        evidence += f"; within conditions {interval(within.estimate)} ({within.models} models)"
    if across.estimate.high < 0 and within is not None and within.estimate.high < 0:
        return [claim, "**reproduced**", evidence]
    if across.estimate.high < 0:
        verdict = "goes with it between ways of training; **not shown within one**"
        return [claim, verdict, evidence]
    if across.estimate.low > 0:
        return [claim, "**not reproduced**: the opposite sign", evidence]
    return [claim, NOT_SHOWN, evidence]


def _confirmed_claims(tables: Tables, name: str) -> list[list[str]]:
    found = against(tables, "heldout", STOCK, name)
    assert found is not None
    seeds = found.clusters["train_seed"]
    if seeds < MIN_SEEDS:
        return []
    ratio, p = found.ratio, found.permutation.p_value
    shown = ratio.low > 1 and p < 0.05
    worse = ratio.high < 1 and p < 0.05
    large = shown and ratio.value >= 10 and ratio.low > 3
    verdict = "**reproduced**, by an order of magnitude" if large else NOT_SHOWN
    if shown and not large:
        verdict = "**reproduced** in direction, not in size"
    elif worse:
        verdict = "**not reproduced**: MD is shorter"
    if seeds < ASKED_SEEDS:
        verdict = f"provisional, {seeds} of {ASKED_SEEDS} training seeds: {verdict}"
    evidence = f"RMST ratio {over_seeds(found)}, p = {number(p)}, {seeds} seeds each"
    where = f"`{name}`, {tables.regime}"
    rows = [[f"penalising correlation lengthens MD ({where})", verdict, evidence]]
    shared = tables.seeds("heldout", name)
    error = error_ratio(tables, STOCK, name, "force_mae_test_id", shared)
    if error is not None:
        kept = error.high < 1.02
        lost = error.low > 1.02
        word = "**reproduced**" if kept else "**not reproduced**" if lost else NOT_SHOWN
        if len(shared) < ASKED_SEEDS:
            word = f"provisional, {len(shared)} of {ASKED_SEEDS} training seeds: {word}"
        claim = f"little loss of accuracy, within 2 % ({where})"
        rows.append([claim, word, f"ID force error ratio {interval(error)}"])
    return rows


def headline(
    study: Study,
    confirmed: Sequence[Tables],
    relations: Mapping[str, Relations],
    walls: Relations,
) -> str:
    """The confirmed figures in short, for the README.

    Args:
        study: what is declared.
        confirmed: the regimes with a confirmation.
        relations: correlation against stability by regime.
        walls: the lowest barrier to a contact against stability, models without a core.
    """
    rows = []
    for tables in confirmed:
        for name in tables.conditions("heldout"):
            if name == STOCK:
                continue
            base = baseline(name)
            found = against(tables, "heldout", base, name)
            if found is None or found.clusters["train_seed"] < MIN_SEEDS:
                continue
            seeds = tables.seeds("heldout", name)
            error = error_ratio(tables, base, name, "force_mae_test_id", seeds)
            correlation = error_ratio(tables, base, name, CORRELATION, seeds)
            where = [study.regime(tables.regime).title, f"`{name}`", f"`{base}`"]
            effect = [over_seeds(found), number(found.permutation.p_value)]
            count = str(found.clusters["train_seed"])
            rows.append([*where, count, *effect, interval(error), interval(correlation)])
    header = ["system", "condition", "against", "seeds", "mean stable time, ratio", "p"]
    header += ["ID force error, ratio", "correlation, ratio"]
    ranks = [
        f"{study.regime(regime).title} {interval(found[False].estimate)} "
        f"({found[False].models} models)"
        for regime, found in relations.items()
        if found[False] is not None and regime in {t.regime for t in confirmed}
    ]
    return (
        table(header, rows)
        + "\nRank correlation of feature correlation with stable time: "
        + "; ".join(ranks)
        + ". Negative would mean that correlated models fail sooner.\n"
        + _wall_line(walls)
    )


def _wall_line(walls: Relations) -> str:
    across, within = walls.get(False), walls.get(True)
    if across is None or within is None:
        return ""
    return (
        "\nLooked at afterwards, so a lead and no test: the energy that a model asks for before "
        "two atoms touch ([barrier](docs/results.md#why-runs-end), two seconds a model, no MD). "
        f"Rank correlation with stable time, models without a core: within conditions "
        f"{interval(within.estimate)} ({within.models} models), over all of them "
        f"{interval(across.estimate)} ({across.models} models).\n"
    )
