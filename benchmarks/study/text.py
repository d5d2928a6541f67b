"""The sections of ``docs/results.md``; every figure in them comes from the tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from nequip_decorr.survival.arrays import Estimate

from .analysis import (
    BARRIER,
    CORRELATION,
    TIME,
    Row,
    Tables,
    against,
    causes,
    error_ratio,
    horizon,
    mean_time,
    over,
    survivors,
    times,
    variance_shares,
)
from .declared import CHOSEN_REGIME, HFO2, SIOX, STOCK, Study
from .words import (
    CORES,
    Relations,
    baseline,
    each,
    effect,
    interval,
    mean_of,
    number,
    over_seeds,
    table,
)

HEAD: Final = """# Does decorrelation lengthen MD?

Made from `benchmarks/study/results/*.csv` by `python -m benchmarks.study report`; not edited by
hand. What is compared with what, and what counts as shown, was fixed beforehand in
[the protocol](../benchmarks/study/PROTOCOL.md), which also lists every departure from it. The ways
of training are declared in [conditions.yaml](../benchmarks/study/conditions.yaml), each with the
prediction made before it was run.

RMST is the restricted mean stable time to 10 ps: the mean time to the first failure, a run that
survives counting as 10 ps. Brackets hold 95 % intervals.
"""
COUNTS: Final = ("conditions", "models", "MD runs", "hours of one core (wall)")
TWINS: Final = (("ema", "stock"), ("careful", "zbl"))
SAME: Final = 0.01
HELD_OUT: Final = {
    SIOX: "removed oxygens that no choice was made on; SiO2 crystals exist once, so both halves "
    "have them",
    HFO2: "cells that no choice was made on",
}


def wall_hours(models: Sequence[Row], halves: Sequence[str]) -> float:
    """Wall time of training, compiling and MD of models, one core each."""
    columns = ("train_wall_s", "compile_wall_s", *(f"md_wall_s_{half}" for half in halves))
    return sum(m.get(c) or 0.0 for m in models for c in columns) / 3600


def what_was_run(
    study: Study, every: Sequence[Tables], reference: Sequence[Row], hardware: Mapping[str, Any]
) -> str:
    """Counts and wall time."""
    rows = []
    for t in every:
        hours = wall_hours(t.models, ("tuning", "heldout"))
        names = {m["condition"] for m in t.models}
        rows.append(
            [
                t.regime,
                study.regime(t.regime).title,
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
    alive = survivors(reference)
    header = ["regime", "seeds", "stock runs failed", "median, last failure (ps)", "ends"]
    header += ["ID force MAE (eV/A)", "correlation"]
    return (
        "## Regime, by stock runs alone\n\n"
        + table(header, rows)
        + f"\nThe reference potential survives {alive} of {len(reference)} of the same runs "
        "in silicon oxide; hafnium oxide has none.\n"
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
        + _survivors(tables, "tuning", names)
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
    rest = 1 - shares.seed - shares.condition
    return (
        f"\nSeed and condition. Over the {shares.conditions} conditions without a core, geometric "
        f"means of the stable time are {means}; of the variance of a model's mean log stable time "
        f"{100 * shares.seed:.0f} % goes with the seed (F test, p = {number(shares.seed_p)}), "
        f"{100 * shares.condition:.0f} % with the condition (p = {number(shares.condition_p)}) and "
        f"{100 * rest:.0f} % with neither.\n"
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


def confirmation(tables: Tables, study: Study, names: Sequence[str]) -> str:
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
        f"{study.regime(tables.regime).title}. Training seeds, velocities and "
        f"{HELD_OUT[study.regime(tables.regime).system]}. p: relabelling test that exchanges whole "
        "trained models. "
        f"{_duration(tables, names)}\n\n"
        + table(header, rows)
        + _on_top(tables, "heldout")
        + _survivors(tables, "heldout", names)
        + f"\n![Survival on the held-out half](results/confirmation_{tables.regime}.png)\n\n"
        + _by_seed(tables, names)
        + _by_structure(tables, names)
    )


def _survivors(tables: Tables, half: str, names: Sequence[str]) -> str:
    """How right a model is where its runs arrive, by the reference potential."""
    parts = []
    for name in names:
        seeds = tables.seeds(half, name)
        force = mean_of(tables, name, f"survived_force_mae_{half}", seeds)
        energy = mean_of(tables, name, f"survived_energy_change_mae_{half}", seeds)
        if force is None:
            continue
        usual = mean_of(tables, name, "force_mae_ood", seeds)
        runs = tables.half(half, name)
        count = survivors(runs)
        parts.append(
            f"`{name}` ({count} runs): force error {number(force)} eV/A (on the OOD test frames "
            f"{number(usual)}), error of the energy gained since the start {number(energy)} eV/atom"
        )
    if not parts:
        return ""
    return (
        "\nTo survive is to be stable, not to be right. Against the reference potential, on the "
        f"last frame of the runs that survive: {'; '.join(parts)}.\n"
    )


def second_round(first: Tables, second: Tables, study: Study) -> str:
    """Training on frames of MD too, beside training without: the same cells, velocities and seeds.

    Args:
        first: the regime whose MD gave the frames.
        second: the regime that trains on them too.
        study: what is declared.
    """
    regime = study.regime(second.regime)
    said = over_first(first, second)
    if not said:
        return ""
    others = [n for n in second.conditions("heldout") if n != STOCK]
    rows = [
        _arrived(t, n)
        for t, names in (
            (first, [STOCK, regime.collected["condition"]]),
            (second, [STOCK, *others]),
        )
        for n in names
    ]
    header = ["frames", "condition", "seeds", "RMST (ps)", "survive"]
    header += [
        "survivors: force error (eV/A)",
        "error of the energy gained (eV/atom): median, seeds",
    ]
    return (
        "## A second round\n\n"
        f"{regime.title}; held-out half. `{STOCK}` of `{second.regime}` over `{STOCK}` of "
        f"`{first.regime}`: {said}.\n\n{table(header, rows)}"
    )


def over_first(first: Tables, second: Tables) -> str:
    """Stock of the second round over stock of the first, the seeds that both have."""
    name = f"{STOCK}, {second.regime}"
    both = first.joined(second, STOCK, name)
    found = against(both, "heldout", STOCK, name)
    if found is None:
        return ""
    seeds = both.seeds("heldout", name)
    error, ood = (
        interval(error_ratio(both, STOCK, name, f"force_mae_{c}", seeds))
        for c in ("test_id", "ood")
    )
    return (
        f"RMST ratio {effect(found)}; ratio of force errors on the same frames, ID {error}, "
        f"OOD {ood}"
    )


def _arrived(tables: Tables, name: str) -> list[str]:
    runs, seeds = tables.half("heldout", name), tables.seeds("heldout", name)
    return [
        f"`{tables.regime}`",
        f"`{name}`",
        str(len(seeds)),
        number(mean_time(runs, horizon(runs)).rmst_ps),
        f"{survivors(runs)} of {len(runs)}",
        number(mean_of(tables, name, "survived_force_mae_heldout", seeds)),
        off_by(tables, name),
    ]


def off_by(tables: Tables, name: str) -> str:
    """Error of the energy that survivors gained (eV/atom): median of the models, and each."""
    found = tables.by_seed(name, "survived_energy_change_mae_heldout")
    values = [found[s] for s in tables.seeds("heldout", name) if s in found]
    return each(float(np.median(values)), values) if values else "-"


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
    differs = ~np.isclose(pairs[:, 0], pairs[:, 1], rtol=1e-6)
    same = int((~differs).sum())
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
        f"{same} of {len(shared)} runs end at the same time{_of_whom(shared, differs)}.\n\n"
        + table(header, rows)
    )


def _of_whom(keys: Sequence[tuple[Any, ...]], differs: np.ndarray) -> str:
    """Whose runs differ."""
    count = Counter(key[0] for key, other in zip(keys, differs, strict=True) if other)
    named = ", ".join(f"`{name}` {n}" for name, n in count.most_common())
    return f"; those that differ: {named}" if named else ""


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
            alive = survivors(runs)
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
                intervals = [interval(e) for e in (found.estimate, found.by_seed)]
                rows.append([label, where, *counts, *intervals])
    header = [head, "", "models", "conditions", "Spearman", "whole seeds resampled"]
    return table(header, rows)


def related(relations: Mapping[str, Relations], bare: Mapping[str, Relations]) -> str:
    """The paper's relation.

    Args:
        relations: by regime.
        bare: the same without the conditions that have a core.
    """
    listed = {}
    for regime, found in relations.items():
        listed[regime] = found
        if regime in bare:
            listed[f"{regime}, without a core"] = bare[regime]
    pictures = [
        f"![Correlation against stable time, {regime} regime](results/relation_{regime}.png)\n"
        for regime in relations
    ]
    return (
        "## Correlation against stability\n\n"
        "Spearman's rank correlation of the mean absolute correlation of edge features with a "
        "model's mean log stable time; negative means that correlated models fail sooner. The "
        "protocol's interval resamples models; models of one seed start from the same weights, so "
        "the last column resamples whole seeds; of few seeds it is too narrow. Cores lengthen MD "
        "whatever the correlation, so the relation is given without them too.\n\n"
        + _relation_table("regime", listed)
        + "\n"
        + "\n".join(pictures)
    )


def _contacts(tables: Tables, study: Study) -> str:
    """How many of the runs that fail end because two atoms meet."""
    parts = []
    for core, who in ((False, "without a core"), (True, "with one")):
        failed = [
            r
            for r in tables.runs
            if r["status"] == "failed" and study.condition(r["model"]).core == core
        ]
        met = sum(r["cause"] == "contact" for r in failed)
        parts.append(f"of models {who} {met} of {len(failed)}")
    return f"Runs that fail because two atoms meet: {', '.join(parts)}."


def why(
    tables: Tables,
    study: Study,
    barriers: Mapping[str, float],
    found: Relations,
    bare: Relations,
) -> str:
    """Why runs end: the wall between two atoms, and the features there.

    Args:
        tables: of a regime, with the lowest barrier of each model.
        study: what is declared.
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
        f"{_contacts(tables, study)} Barrier: one atom of the closest pair of a "
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


def missing(
    study: Study,
    run: Sequence[str],
    tables: Tables,
    screened: Sequence[Tables],
    confirmed: Sequence[Tables],
) -> str:
    """What was not done, and the commands of what was.

    Args:
        study: what is declared.
        run: the regimes that stock was run in.
        tables: of the chosen regime.
        screened: the regimes that have a screening.
        confirmed: the regimes that have a confirmation.
    """
    left = [n for n in study.conditions if n not in tables.conditions("tuning")]
    lines = ["## What is missing", ""]
    if left:
        lines.append("- Declared, not screened yet: " + ", ".join(f"`{n}`" for n in left) + ".")
    regimes = {t.regime for t in confirmed}
    lines += [
        f"- {regime.title} (`{name}`): not confirmed."
        for name, regime in study.regimes.items()
        if name not in regimes
    ]
    done = ", ".join(t.regime for t in screened) or tables.regime
    lines.append(f"- Screening in any regime but {done}: not done.")
    lines += [
        "- The SAIT-size Allegro, for which a GPU is needed: not done. The paper's claim, from "
        "0.03 ps to 10 ps, is about such a model on hafnium oxide, with data of its own.",
        "",
        "## Rerun, or go on",
        "",
        "```",
        "python -m benchmarks.study regime --work DIR --regimes " + " ".join(run),
        *(line for t in screened for line in _screen_commands(t)),
        *(line for t in confirmed for line in _confirm_commands(t)),
        "python -m benchmarks.study report --work DIR",
        "```",
        "",
        "Each goes on where it was stopped, and with `--results` gets tables of its own. More "
        "seeds and more conditions redo nothing.",
    ]
    return "\n".join(lines) + "\n"


def _screen_commands(tables: Tables) -> list[str]:
    """The screening of a regime: all conditions, and those with more seeds."""
    command = f"python -m benchmarks.study screen --work DIR --regimes {tables.regime}"
    more: dict[tuple[int, ...], list[str]] = {}
    for name in tables.conditions("tuning"):
        if extra := tuple(s for s in tables.seeds("tuning", name) if s > 2):
            more.setdefault(extra, []).append(name)
    return [
        command,
        *(
            f"{command} --seeds {' '.join(map(str, seeds))} --conditions {' '.join(names)}"
            for seeds, names in more.items()
        ),
    ]


def _confirm_commands(tables: Tables) -> list[str]:
    """The confirmation of a regime, by the seeds that conditions have."""
    command = f"python -m benchmarks.study confirm --work DIR --regimes {tables.regime}"
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for name in tables.conditions("heldout"):
        by_seeds.setdefault(tuple(tables.seeds("heldout", name)), []).append(name)
    usual = tuple(range(101, 109))
    return [
        command
        + ("" if seeds == usual else f" --seeds {' '.join(map(str, seeds))}")
        + f" --conditions {' '.join(names)}"
        for seeds, names in by_seeds.items()
    ]
