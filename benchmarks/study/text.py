"""The words and tables of ``docs/results.md``; every figure in them comes from the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from nequip_decorr.stability.compare import Comparison
from nequip_decorr.stability.outcomes import Estimate

from .analysis import (
    BARRIER,
    CORRELATION,
    TIME,
    Relation,
    Row,
    Tables,
    against,
    causes,
    error_ratio,
    horizon,
    mean_time,
    over,
    times,
    variance_shares,
)
from .declared import CHOSEN_REGIME, HFO2, STOCK, Study
from .stages import PAPER
from .words import interval, number, table

ASKED_SEEDS: Final = 8
COUNTS: Final = ("conditions", "models", "MD runs", "hours of one core (wall)")
MIN_SEEDS: Final = 2  # a single seed is no evidence
OXIDE_CLAIM: Final = "oxygen-poor hafnium oxide: from 0.03 ps to 10 ps"
TWINS: Final = (("ema", "stock"), ("careful", "zbl"))
SAME: Final = 0.01
PROBE: Final = "correlating"
CORES: Final = {"careful": "EMA and a ZBL core", "wall": "the wall"}
SHORT: Final = {
    "harsh": "SiOx, 8 frames",
    "medium": "SiOx, 32 frames",
    "mild": "SiOx, 96 frames",
    "nequip": "SiOx, 8 frames, NequIP",
    "hfo2_few": "HfO2, 20 frames",
    "hfo2_many": "HfO2, 240 frames",
    "hfo2": "HfO2, shipped config",
}
WHERE: Final = {
    "nequip": "A small NequIP on the frames of harsh. ",
    "hfo2_few": "Hafnium oxide (DFT), the small Allegro with a cutoff of 4 A. ",
    "hfo2_many": "Hafnium oxide (DFT), the small Allegro with a cutoff of 4 A. ",
    "hfo2": "Hafnium oxide (DFT), the shipped config. ",
}
Relations = Mapping[bool, Relation | None]
NOT_SHOWN: Final = "**not reproduced** (not shown, which is not the same as shown to be absent)"


def mean_of(tables: Tables, condition: str, column: str, seeds: Sequence[int]) -> float | None:
    """Mean of a column over training seeds."""
    values = [v for s, v in tables.by_seed(condition, column).items() if s in seeds]
    return float(np.mean(values)) if values else None


def each(value: float, by_seed: Sequence[float]) -> str:
    """A ratio and, in brackets, that of each seed."""
    return f"{number(value)} ({', '.join(map(number, by_seed))})"


def over_seeds(found: Comparison) -> str:
    """RMST ratio and interval; one training seed says nothing of others."""
    if found.clusters["train_seed"] < MIN_SEEDS:
        return f"{number(found.ratio.value)} (one seed)"
    return interval(found.ratio)


def baseline(name: str) -> str:
    """What a condition is held against: the core alone where it is on top of that, else stock."""
    return next((core for core in CORES if name.startswith(f"{core}_")), STOCK)


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
    confirmed: Sequence[Tables], relations: Mapping[str, Relations], walls: Relations
) -> str:
    """The confirmed figures in short, for the README.

    Args:
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
            where = [SHORT.get(tables.regime, tables.regime), f"`{name}`", f"`{base}`"]
            effect = [over_seeds(found), number(found.permutation.p_value)]
            count = str(found.clusters["train_seed"])
            rows.append([*where, count, *effect, interval(error), interval(correlation)])
    header = ["system", "condition", "against", "seeds", "mean stable time, ratio", "p"]
    header += ["ID force error, ratio", "correlation, ratio"]
    ranks = [
        f"{SHORT.get(regime, regime)} {interval(found[False].estimate)} "
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


def wall_hours(models: Sequence[Row], halves: Sequence[str]) -> float:
    """Wall time of training, compiling and MD of models, one core each."""
    columns = ("train_wall_s", "compile_wall_s", *(f"md_wall_s_{half}" for half in halves))
    return sum(m.get(c) or 0.0 for m in models for c in columns) / 3600


def what_was_run(
    every: Sequence[Tables], reference: Sequence[Row], hardware: Mapping[str, Any]
) -> str:
    """Counts and wall time."""
    rows = []
    for t in every:
        hours = wall_hours(t.models, ("tuning", "heldout"))
        names = {m["condition"] for m in t.models}
        rows.append(
            [
                t.regime,
                SHORT.get(t.regime, "-"),
                str(len(names)),
                str(len(t.models)),
                str(len(t.runs)),
                f"{hours:.1f}",
            ]
        )
    rows.append(["reference potential", "SiOx", "1", "1", str(len(reference)), "-"])
    versions = ", ".join(f"{k} {v}" for k, v in hardware["versions"].items())
    return (
        "## What was run\n\n"
        + table(["regime", "training data", *COUNTS], rows)
        + f"\n{hardware['processor']}, {hardware['cores']} cores shared with other work, so wall "
        f"times are upper bounds. {versions}.\n"
    )


def regimes(every: Sequence[Tables], reference: Sequence[Row]) -> str:
    """Stage 2: where stock fails."""
    rows = []
    for t in every:
        runs = t.half("tuning", STOCK)
        failed = [r["stable_time_ps"] for r in runs if r["status"] == "failed"]
        seeds = t.seeds("tuning", STOCK)
        rows.append(
            [
                t.regime,
                str(len(seeds)),
                f"{len(failed)} of {len(runs)}",
                f"{number(float(np.median(failed)))}, {number(max(failed))}" if failed else "-",
                causes(runs),
                number(mean_of(t, STOCK, "force_mae_test_id", seeds)),
                number(mean_of(t, STOCK, CORRELATION, seeds)),
            ]
        )
    alive = sum(r["status"] == "survived" for r in reference)
    header = ["regime", "seeds", "stock runs failed", "median, last failure (ps)", "ends"]
    header += ["ID force MAE (eV/A)", "correlation"]
    return (
        "## Regime, by stock runs alone\n\n"
        + table(header, rows)
        + f"\nThe reference potential survives {alive} of {len(reference)} of the same runs.\n"
        "\n![Stable times of stock runs](results/regimes.png)\n"
    )


def screening(tables: Tables, study: Study, best: str | None, bound: float) -> str:
    """Stage 3: the tuning half."""
    rows, ideas = [], []
    names = tables.conditions("tuning")
    names.sort(key=lambda n: -mean_time(runs := tables.half("tuning", n), horizon(runs)).rmst_ps)
    for name in names:
        runs, seeds = tables.half("tuning", name), tables.seeds("tuning", name)
        mean = mean_time(runs, horizon(runs))
        found = over(tables, "tuning", STOCK, name) if name != STOCK else {}
        columns = (TIME, "force_mae_test_id", "force_mae_ood")
        ratios = [each(*found[c]) if found else "1" for c in columns]
        correlation = number(mean_of(tables, name, CORRELATION, seeds))
        rank = number(mean_of(tables, name, "effective_rank_test_id", seeds))
        rows.append(
            [f"`{name}`", str(len(seeds)), number(mean.rmst_ps), *ratios, correlation, rank]
        )
        if name != STOCK and name in study.conditions:
            c = study.conditions[name]
            values = [number(found[c][0]) for c in columns]
            outcome = f"RMST ratio {values[0]}, ID error ratio {values[1]}, "
            outcome += f"OOD {values[2]}, correlation {correlation}"
            ideas.append([f"`{name}`", c.idea, c.prediction, f"{outcome}; {causes(runs)}"])
    header = ["condition", "seeds", "RMST (ps)", "RMST ratio", "ID force error ratio"]
    header += ["OOD force error ratio", "correlation", "effective rank"]
    chosen = (
        f" By the rule of the protocol the best found is `{best}` (ID force error within "
        f"{100 * (bound - 1):.0f} % of stock's)."
        if best
        else " No candidate exceeds stock's RMST within the bounds on the ID force error."
    )
    about = "" if tables.regime == CHOSEN_REGIME else " (predictions were made for silicon oxide)"
    return (
        f"## Screening, {tables.regime} regime, tuning half\n\n"
        "Exploration: few seeds, many conditions, and no claim rests on it. Ratios are over stock "
        "of the same training seeds, in brackets seed by seed; they need to be far from 1 in all "
        f"of them to mean anything.{chosen}\n\n"
        + table(header, rows)
        + _on_top(tables, "tuning")
        + _seeds_and_conditions(tables, study)
        + _twins(tables)
        + f"\n![Every condition over stock](results/screening_{tables.regime}.png)\n\n"
        f"What was expected{about}, and what came out:\n\n"
        + table(["condition", "what it is", "prediction", "outcome"], ideas)
    )


def _seeds_and_conditions(tables: Tables, study: Study) -> str:
    """How much a training seed does, beside what a condition does."""
    without_core = [c.name for c in study.conditions.values() if not c.core]
    names = [name for name in without_core if name in tables.conditions("tuning")]
    shares = variance_shares(tables, "tuning", names, (1, 2))
    if shares is None:
        return ""
    means = ", ".join(f"seed {s}: {number(v)} ps" for s, v in shares.by_seed_ps.items())
    more = "more" if shares.seed > shares.condition else "less"
    return (
        f"\nThe seed decides {more} than the condition. Over the {shares.conditions} conditions "
        f"without a core, geometric means of the stable time are {means}; of the variance of a "
        f"model's mean log stable time {100 * shares.seed:.0f} % goes with the seed and "
        f"{100 * shares.condition:.0f} % with the condition.\n"
    )


def _twins(tables: Tables) -> str:
    """Models that are the same but for EMA: what their stable times differ by is chance."""
    parts, largest = [], 0.0
    for name, other in TWINS:
        for column in ("force_mae_test_id", "force_mae_ood"):
            a, b = (tables.by_seed(c, column) for c in (name, other))
            largest = max([largest, *(abs(a[s] / b[s] - 1) for s in a.keys() & b.keys())])
        first, second = (times(tables, "tuning", c) for c in (name, other))
        ratios = [number(first[s] / second[s]) for s in sorted(first.keys() & second.keys())]
        if ratios:
            parts.append(f"`{name}` over `{other}` {', '.join(ratios)}")
    if not parts or largest > SAME:
        return ""
    return (
        "\nA learning rate that ends at 0 leaves an average of weights (EMA) next to nothing to "
        f"average: with and without it force errors agree to {number(100 * largest)} %. "
        "What such twins differ by in mean stable time is chance, of the few runs of one trained "
        f"model: {'; '.join(parts)}, by seed.\n"
    )


def confirmation(tables: Tables, names: Sequence[str]) -> str:
    """Stage 4: the held-out half."""
    rows = []
    for name in names:
        runs, seeds = tables.half("heldout", name), tables.seeds("heldout", name)
        mean = mean_time(runs, horizon(runs))
        found = against(tables, "heldout", STOCK, name) if name != STOCK else None
        errors = [
            interval(error_ratio(tables, STOCK, name, f"force_mae_{c}", seeds)) if found else "1"
            for c in ("test_id", "ood")
        ]
        rows.append(
            [
                f"`{name}`",
                str(len(seeds)),
                interval(Estimate(mean.rmst_ps, mean.low_ps, mean.high_ps)),
                over_seeds(found) if found else "1",
                number(found.permutation.p_value) if found else "-",
                *errors,
                number(mean_of(tables, name, CORRELATION, seeds)),
                number(mean_of(tables, name, "effective_rank_test_id", seeds)),
                number(mean_of(tables, name, "rdf_error_heldout", seeds)),
                causes(runs),
            ]
        )
    header = ["condition", "seeds", "RMST (ps)", "RMST ratio", "p", "ID force error ratio"]
    header += [
        "OOD force error ratio",
        "correlation",
        "effective rank",
        "RDF error",
        "ends of runs",
    ]
    return (
        f"## Confirmation, {tables.regime} regime, held-out half\n\n"
        f"{WHERE.get(tables.regime, '')}Training seeds, cells and velocities that no choice was "
        "made on. p: relabelling test that exchanges whole trained models. "
        f"{_duration(tables, names)}\n\n"
        + table(header, rows)
        + _on_top(tables, "heldout")
        + f"\n![Survival on the held-out half](results/confirmation_{tables.regime}.png)\n\n"
        + _by_seed(tables, names)
        + _by_structure(tables, names)
    )


def rerun(published: Tables, again: Tables, stages: Sequence[Row]) -> str:
    """The confirmation from nothing, by one command, beside what is published."""
    rows = []
    names = again.conditions("heldout")
    for name in [STOCK, *(n for n in names if n != STOCK)]:
        ratios = ["1", "1"]
        if name != STOCK:
            ratios = [_ratio(t, name) for t in (published, again)]
        means = []
        for t in (published, again):
            runs = t.half("heldout", name)
            means.append(number(mean_time(runs, horizon(runs)).rmst_ps))
        rows.append([f"`{name}`", str(len(again.seeds("heldout", name))), *means, *ratios])
    first, second = ({_run_key(r): r for r in t.half("heldout")} for t in (published, again))
    shared = sorted(first.keys() & second.keys())
    pairs = np.array([[t[k]["stable_time_ps"] for t in (first, second)] for k in shared])
    same = int(np.isclose(pairs[:, 0], pairs[:, 1], rtol=1e-6).sum())
    errors = [[t.by_seed(name, "force_mae_test_id") for t in (published, again)] for name in names]
    ratios_of = [b[s] / a[s] for a, b in errors for s in a.keys() & b.keys()]
    models = sum(np.isclose(ratio, 1, rtol=1e-5) for ratio in ratios_of)
    header = ["condition", "seeds", "RMST (ps)", "again", "RMST ratio", "again"]
    took = ", ".join(
        f"{s['models']} models in {s['wall_s'] / 60:.0f} min on {s['workers']} cores"
        for s in stages
    )
    return (
        "## The confirmation, run again\n\n"
        "From nothing, as one command with tables of its own "
        "(`python -m benchmarks.study confirm --work DIR --results TABLES`): "
        f"{took}. {models} of {len(ratios_of)} models have the ID force error that they had, and "
        f"{same} of {len(shared)} runs end at the same time.\n\n" + table(header, rows)
    )


def _ratio(tables: Tables, name: str) -> str:
    found = against(tables, "heldout", STOCK, name)
    return over_seeds(found) if found else "-"


def _run_key(run: Row) -> tuple[Any, ...]:
    return tuple(run[k] for k in ("model", "train_seed", "structure", "seed"))


def _duration(tables: Tables, names: Sequence[str]) -> str:
    """How long the table took."""
    models = [
        m
        for m in tables.models
        if m["condition"] in names and m["train_seed"] in tables.seeds("heldout", m["condition"])
    ]
    hours = wall_hours(models, ["heldout"])
    return (
        f"Wall time, one core a model: {hours:.1f} h for {len(models)} models, so about "
        f"{hours / 2:.1f} h on two cores, other work beside it included."
    )


def _on_top(tables: Tables, half: str) -> str:
    """The term on top of a core, against that core alone."""
    lines = []
    for name in tables.conditions(half):
        core = baseline(name)
        found = against(tables, half, core, name) if core in CORES else None
        if found is not None:
            seeds = tables.seeds(half, name)
            error = error_ratio(tables, core, name, "force_mae_test_id", seeds)
            lines.append(
                f"\nOn top of {CORES[core]}, `{name}` against `{core}`: RMST ratio "
                f"{over_seeds(found)}, p = {number(found.permutation.p_value)}, ID force error "
                f"ratio {interval(error)}, {found.clusters['train_seed']} seeds each.\n"
            )
    return "".join(lines)


def _by_seed(tables: Tables, names: Sequence[str]) -> str:
    """Mean stable time of each trained model: how much the seed alone does."""
    seeds = sorted({s for n in names for s in tables.seeds("heldout", n)})
    by_name = {name: times(tables, "heldout", name) for name in names}
    rows = [[f"`{n}`", *(number(found.get(s)) for s in seeds)] for n, found in by_name.items()]
    return "RMST (ps) of each trained model, by training seed:\n\n" + table(
        ["condition", *map(str, seeds)], rows
    )


def _by_structure(tables: Tables, names: Sequence[str]) -> str:
    """Median stable time in each cell, and how many of its runs survived."""
    structures = sorted({r["structure"] for n in names for r in tables.half("heldout", n)})
    rows = []
    for name in names:
        cells = []
        for structure in structures:
            runs = [r for r in tables.half("heldout", name) if r["structure"] == structure]
            median = float(np.median([r["stable_time_ps"] for r in runs])) if runs else None
            alive = sum(r["status"] == "survived" for r in runs)
            cells.append(number(median) + (f" ({alive} of {len(runs)} survive)" if alive else ""))
        rows.append([f"`{name}`", *cells])
    return "\nMedian stable time (ps) by start cell:\n\n" + table(["condition", *structures], rows)


def _relation_table(head: str, relations: Mapping[str, Relations]) -> str:
    """Spearman's coefficients, across and within conditions, by what ``head`` says."""
    rows = []
    for label, found_in in relations.items():
        for within, where in ((False, "over all models"), (True, "within conditions")):
            if (found := found_in[within]) is not None:
                counts = [str(found.models), str(found.conditions)]
                rows.append([label, where, *counts, interval(found.estimate)])
    return table([head, "", "models", "conditions", "Spearman"], rows)


def related(relations: Mapping[str, Relations]) -> str:
    """The paper's relation."""
    pictures = [
        f"![Correlation against stable time, {regime} regime](results/relation_{regime}.png)\n"
        for regime in relations
    ]
    return (
        "## Correlation against stability\n\n"
        "Spearman's rank correlation of the mean absolute correlation of edge features with a "
        "model's mean log stable time; negative means that correlated models fail sooner.\n\n"
        + _relation_table("regime", relations)
        + "\n"
        + "\n".join(pictures)
    )


def why(tables: Tables, barriers: Mapping[str, float], found: Relations, bare: Relations) -> str:
    """Why runs end: the wall between two atoms, and the features there.

    Args:
        tables: of a regime, with the lowest barrier of each model.
        barriers: those of the reference potential (eV), by pair.
        found: the lowest barrier against stability, across and within conditions.
        bare: the same without the conditions that have a core.
    """
    pairs = list(barriers)
    rows = []
    for name in tables.conditions("tuning"):
        with_barrier = tables.by_seed(name, BARRIER)
        seeds = [s for s in tables.seeds("tuning", name) if s in with_barrier]
        if not seeds:
            continue
        columns = [f"barrier_{p}_eV" for p in pairs]
        columns += ["end_force_mae_tuning", CORRELATION, "end_correlation_tuning"]
        values = [number(mean_of(tables, name, column, seeds)) for column in columns]
        runs = [r for r in tables.half("tuning", name) if r["train_seed"] in seeds]
        time = mean_time(runs, horizon(runs)).rmst_ps
        rows.append((time, [f"`{name}`", str(len(seeds)), *values, number(time)]))
    reference = ["reference potential", "-", *(number(v) for v in barriers.values()), *["-"] * 4]
    header = ["condition", "models", *(f"barrier {p} (eV)" for p in pairs)]
    header += ["force MAE at the end (eV/A)", "correlation, ID", "at the end", "RMST (ps)"]
    listed = [row for _, row in sorted(rows, key=lambda row: -row[0])]
    text = (
        "## Why runs end\n\n"
        "Nearly all runs end because two atoms meet. Barrier: one atom of the closest pair of a "
        "crystal at rest is moved straight towards the other until the contact criterion would "
        "stop a run; the highest energy on the way over that of the start, the lower of two "
        "crystals. At the end: on the last frames before the failure, against the reference "
        "potential. Means over models, tuning half.\n\n" + table(header, [reference, *listed])
    )
    if found[False] is not None:
        text += (
            "\nNot part of the protocol, so a lead and no test: Spearman's rank correlation of a "
            "model's lowest barrier with its mean log stable time. Positive means that models with "
            "a higher wall last longer.\n\n"
            + _relation_table("conditions", {"all": found, "without a core": bare})
            + "\n![Lowest barrier against stable time](results/barrier.png)\n"
        )
    return text
