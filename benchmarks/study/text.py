"""The sections of ``docs/results_details.md``; every figure in them comes from the tables."""

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
    mean_time,
    over,
    survivors,
    times,
    variance_shares,
)
from .declared import CHOSEN_REGIME, HFO2, SIOX, STOCK, Study
from .words import CORES, Relations, baseline, each, effect, interval, mean_of, number, over_seeds
from .words import section as _section

TWINS: Final = (("ema", "stock"), ("careful", "zbl"))
SAME: Final = 0.01
ID_ERROR: Final = "force_mae_test_id"
OOD_ERROR: Final = "force_mae_ood"
RANK: Final = "effective_rank_test_id"
USUAL_SEEDS: Final = tuple(range(101, 109))
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
    rows: list[list[Any]] = []
    for t in every:
        hours = f"{wall_hours(t.models, ('tuning', 'heldout')):.1f}"
        counts = [len({m["condition"] for m in t.models}), len(t.models), len(t.runs)]
        rows.append([t.regime, study.regime(t.regime).title, *counts, hours])
    rows.append(["reference potential", "SiOx", 1, 1, len(reference), "-"])
    return _section("what_was_run", rows=rows, hardware=hardware)


def regimes(every: Sequence[Tables], reference: Sequence[Row]) -> str:
    """Stage 2: where stock fails."""
    rows = []
    for t in every:
        runs, seeds = t.half("tuning", STOCK), t.seeds("tuning", STOCK)
        failed = [r["stable_time_ps"] for r in runs if r["status"] == "failed"]
        when = f"{number(float(np.median(failed)))}, {number(max(failed))}" if failed else "-"
        row = [t.regime, len(seeds), f"{len(failed)} of {len(runs)}", when, causes(runs)]
        rows.append([*row, *(mean_of(t, STOCK, c, seeds) for c in (ID_ERROR, CORRELATION))])
    return _section("regimes", rows=rows, alive=survivors(reference), reference=len(reference))


def screening(tables: Tables, study: Study, best: str | None, bound: float) -> str:
    """Stage 3: the tuning half."""
    rows, ideas = [], []
    names = tables.conditions("tuning")
    names.sort(key=lambda n: -mean_time(tables, "tuning", n).rmst_ps)
    for name in names:
        seeds = tables.seeds("tuning", name)
        found = over(tables, "tuning", STOCK, name) if name != STOCK else {}
        columns = (TIME, ID_ERROR, OOD_ERROR)
        ratios = [each(*found[c]) if found else "1" for c in columns]
        correlation, rank = (mean_of(tables, name, c, seeds) for c in (CORRELATION, RANK))
        rmst = mean_time(tables, "tuning", name).rmst_ps
        rows.append([f"`{name}`", len(seeds), rmst, *ratios, correlation, rank])
        if name != STOCK and name in study.conditions:
            c = study.conditions[name]
            time, error, ood = (number(found[c][0]) for c in columns)
            outcome = f"RMST ratio {time}, ID error ratio {error}, OOD {ood}, correlation "
            outcome += f"{number(correlation)}; {causes(tables.half('tuning', name))}"
            ideas.append([f"`{name}`", c.idea, c.prediction, outcome])
    about = "" if tables.regime == CHOSEN_REGIME else " (predictions were made for silicon oxide)"
    beside = _on_top(tables, "tuning") + _survivors(tables, "tuning", names)
    beside += _seeds_and_conditions(tables, study) + _twins(tables)
    return _section(
        "screening", regime=tables.regime, best=best, bound=bound, rows=rows, beside=beside,
        about=about, ideas=ideas,
    )  # fmt: skip


def _seeds_and_conditions(tables: Tables, study: Study) -> str:
    """How much a training seed does, beside what a condition does."""
    without_core = [c.name for c in study.conditions.values() if not c.core]
    names = [name for name in without_core if name in tables.conditions("tuning")]
    shares = variance_shares(tables, "tuning", names, (1, 2))
    return _section("seeds_and_conditions", shares=shares) if shares else ""


def _twins(tables: Tables) -> str:
    """Models that are the same but for EMA: what their stable times differ by is chance."""
    parts, largest = [], 0.0
    for name, other in TWINS:
        for column in (ID_ERROR, OOD_ERROR):
            a, b = (tables.by_seed(c, column) for c in (name, other))
            largest = max([largest, *(abs(a[s] / b[s] - 1) for s in a.keys() & b.keys())])
        first, second = (times(tables, "tuning", c) for c in (name, other))
        ratios = [number(first[s] / second[s]) for s in sorted(first.keys() & second.keys())]
        if ratios:
            parts.append(f"`{name}` over `{other}` {', '.join(ratios)}")
    return _section("twins", largest=largest, parts=parts) if parts and largest <= SAME else ""


def confirmation(tables: Tables, study: Study, names: Sequence[str]) -> str:
    """Stage 4: the held-out half."""
    rows: list[list[Any]] = []
    by_seed: list[list[Any]] = []
    by_structure: list[list[Any]] = []
    every_seed = sorted({s for n in names for s in tables.seeds("heldout", n)})
    structures = sorted({r["structure"] for n in names for r in tables.half("heldout", n)})
    for name in names:
        runs, seeds = tables.half("heldout", name), tables.seeds("heldout", name)
        mean = mean_time(tables, "heldout", name)
        found = against(tables, "heldout", STOCK, name) if name != STOCK else None
        row = [f"`{name}`", len(seeds), Estimate(mean.rmst_ps, mean.low_ps, mean.high_ps)]
        row += [over_seeds(found), found.permutation.p_value] if found else ["1", "-"]
        for column in (ID_ERROR, OOD_ERROR):
            row.append(error_ratio(tables, STOCK, name, column, seeds) if found else "1")
        row += [mean_of(tables, name, c, seeds) for c in (CORRELATION, RANK, "rdf_error_heldout")]
        rows.append([*row, causes(runs)])
        each_time = times(tables, "heldout", name)
        by_seed.append([f"`{name}`", *(each_time.get(s) for s in every_seed)])
        by_structure.append([f"`{name}`", *(_median_time(runs, s) for s in structures)])
    models = [
        m
        for m in tables.models
        if m["condition"] in names and m["train_seed"] in tables.seeds("heldout", m["condition"])
    ]
    regime = study.regime(tables.regime)
    return _section(
        "confirmation", regime=regime.name, title=regime.title, held_out=HELD_OUT[regime.system],
        hours=wall_hours(models, ["heldout"]), models=len(models), rows=rows, by_seed=by_seed,
        beside=_on_top(tables, "heldout") + _survivors(tables, "heldout", names),
        structures=structures, by_structure=by_structure, seeds=[*map(str, every_seed)],
    )  # fmt: skip


def _median_time(runs: Sequence[Row], structure: str) -> str:
    """Median stable time in a cell, and how many of its runs survived."""
    here = [r for r in runs if r["structure"] == structure]
    median = float(np.median([r["stable_time_ps"] for r in here])) if here else None
    alive = survivors(here)
    return number(median) + (f" ({alive} of {len(here)} survive)" if alive else "")


def _survivors(tables: Tables, half: str, names: Sequence[str]) -> str:
    """How right a model is where its runs arrive, by the reference potential."""
    parts = []
    for name in names:
        seeds = tables.seeds(half, name)
        columns = (f"survived_force_mae_{half}", f"survived_energy_change_mae_{half}", OOD_ERROR)
        force, energy, usual = (mean_of(tables, name, c, seeds) for c in columns)
        if force is not None:
            part = {"name": name, "runs": survivors(tables.half(half, name)), "force": force}
            parts.append({**part, "energy": energy, "usual": usual})
    return _section("survivors", parts=parts) if parts else ""


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
    rows = [_arrived(first, n) for n in (STOCK, regime.collected["condition"])]
    rows += [_arrived(second, n) for n in (STOCK, *others)]
    return _section(
        "second_round", title=regime.title, first=first.regime, second=second.regime, said=said,
        rows=rows,
    )  # fmt: skip


def over_first(first: Tables, second: Tables) -> str:
    """Stock of the second round over stock of the first, the seeds that both have."""
    name = f"{STOCK}, {second.regime}"
    both = first.joined(second, STOCK, name)
    found = against(both, "heldout", STOCK, name)
    if found is None:
        return ""
    seeds = both.seeds("heldout", name)
    columns = (ID_ERROR, OOD_ERROR)
    error, ood = (interval(error_ratio(both, STOCK, name, c, seeds)) for c in columns)
    return (
        f"RMST ratio {effect(found)}; ratio of force errors on the same frames, ID {error}, "
        f"OOD {ood}"
    )


def _arrived(tables: Tables, name: str) -> list[Any]:
    runs, seeds = tables.half("heldout", name), tables.seeds("heldout", name)
    time = mean_time(tables, "heldout", name).rmst_ps
    force = mean_of(tables, name, "survived_force_mae_heldout", seeds)
    row = [f"`{tables.regime}`", f"`{name}`", len(seeds), time]
    return [*row, f"{survivors(runs)} of {len(runs)}", force, off_by(tables, name)]


def off_by(tables: Tables, name: str) -> str:
    """Error of the energy that survivors gained (eV/atom): median of the models, and each."""
    found = tables.by_seed(name, "survived_energy_change_mae_heldout")
    values = [found[s] for s in tables.seeds("heldout", name) if s in found]
    return each(float(np.median(values)), values) if values else "-"


def rerun(published: Tables, again: Tables, stages: Sequence[Row]) -> str:
    """The confirmation from nothing, by one command, beside what is published."""
    both = (published, again)
    names = again.conditions("heldout")
    rows: list[list[Any]] = []
    for name in [STOCK, *(n for n in names if n != STOCK)]:
        means = [mean_time(t, "heldout", name).rmst_ps for t in both]
        ratios = ["1", "1"]
        if name != STOCK:
            ratios = [over_seeds(against(t, "heldout", STOCK, name)) for t in both]
        rows.append([f"`{name}`", len(again.seeds("heldout", name)), *means, *ratios])
    first, second = ({_run_key(r): r for r in t.half("heldout")} for t in both)
    shared = sorted(first.keys() & second.keys())
    pairs = np.array([[t[k]["stable_time_ps"] for t in (first, second)] for k in shared])
    differs = ~np.isclose(pairs[:, 0], pairs[:, 1], rtol=1e-6)
    whose = Counter(key[0] for key, other in zip(shared, differs, strict=True) if other)
    errors = [[t.by_seed(name, ID_ERROR) for t in both] for name in names]
    ratios_of = [b[s] / a[s] for a, b in errors for s in a.keys() & b.keys()]
    return _section(
        "rerun", stages=stages, models=sum(np.isclose(r, 1, rtol=1e-5) for r in ratios_of),
        of_models=len(ratios_of), worst=max((abs(r - 1) for r in ratios_of), default=0.0),
        same=int((~differs).sum()), runs=len(shared),
        whose=whose.most_common(), rows=rows,
    )  # fmt: skip


def _run_key(run: Row) -> tuple[Any, ...]:
    return tuple(run[k] for k in ("model", "train_seed", "structure", "seed"))


def _on_top(tables: Tables, half: str) -> str:
    """The term on top of a core, against that core alone."""
    lines = ""
    for name in tables.conditions(half):
        core = baseline(name)
        found = against(tables, half, core, name) if core in CORES else None
        if found is not None:
            error = error_ratio(tables, core, name, ID_ERROR, tables.seeds(half, name))
            lines += _section(
                "on_top", core=core, what=CORES[core], name=name, ratio=over_seeds(found),
                p=found.permutation.p_value, error=error, seeds=found.clusters["train_seed"],
            )  # fmt: skip
    return lines


def _relation_rows(relations: Mapping[str, Relations]) -> list[list[Any]]:
    """Spearman's coefficients, across and within conditions."""
    return [
        [label, where, found.models, found.conditions, found.estimate, found.by_seed]
        for label, found_in in relations.items()
        for within, where in ((False, "over all models"), (True, "within conditions"))
        if (found := found_in[within]) is not None
    ]


def related(relations: Mapping[str, Relations], bare: Mapping[str, Relations]) -> str:
    """The paper's relation, by regime; ``bare``: without the conditions that have a core."""
    listed = {}
    for regime, found in relations.items():
        listed[regime] = found
        if regime in bare:
            listed[f"{regime}, without a core"] = bare[regime]
    return _section("related", rows=_relation_rows(listed), regimes=[*relations])


def _contacts(tables: Tables, study: Study, core: bool) -> str:
    """How many of the runs that fail end because two atoms meet."""
    failed = [
        r
        for r in tables.runs
        if r["status"] == "failed" and study.condition(r["model"]).core == core
    ]
    return f"{sum(r['cause'] == 'contact' for r in failed)} of {len(failed)}"


def why(
    tables: Tables, study: Study, barriers: Mapping[str, float], found: Relations, bare: Relations
) -> str:
    """Why runs end: the wall between two atoms, and the features there.

    Args:
        tables: of a regime, with the lowest barrier of each model.
        study: what is declared.
        barriers: those of the reference potential (eV), by pair.
        found: the lowest barrier against stability, across and within conditions.
        bare: the same without the conditions that have a core.
    """
    columns = [f"barrier_{p}_eV" for p in barriers]
    columns += ["end_force_mae_tuning", CORRELATION, "end_correlation_tuning"]
    rows: list[list[Any]] = []
    for name in tables.conditions("tuning"):
        with_barrier = tables.by_seed(name, BARRIER)
        seeds = [s for s in tables.seeds("tuning", name) if s in with_barrier]
        if seeds:
            values = [mean_of(tables, name, column, seeds) for column in columns]
            time = mean_time(tables, "tuning", name, tuple(seeds)).rmst_ps
            rows.append([f"`{name}`", len(seeds), *values, time])
    rows.sort(key=lambda row: -row[-1])
    return _section(
        "why", contacts=[_contacts(tables, study, core) for core in (False, True)],
        pairs=[f"barrier {p} (eV)" for p in barriers],
        rows=[["reference potential", "-", *barriers.values(), *["-"] * 4], *rows],
        relation_rows=found[False] and _relation_rows({"all": found, "without a core": bare}),
    )  # fmt: skip


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
    regimes = {t.regime for t in confirmed}
    commands = [c for t in screened for c in _screen_commands(t)]
    commands += [c for t in confirmed for c in _confirm_commands(t)]
    return _section(
        "missing", left=[n for n in study.conditions if n not in tables.conditions("tuning")],
        unconfirmed=[r for name, r in study.regimes.items() if name not in regimes],
        done=", ".join(t.regime for t in screened) or tables.regime, run=run, commands=commands,
    )  # fmt: skip


def _by_seeds(tables: Tables, half: str) -> dict[tuple[int, ...], list[str]]:
    """Conditions by the seeds that they have."""
    found: dict[tuple[int, ...], list[str]] = {}
    for name in tables.conditions(half):
        found.setdefault(tuple(tables.seeds(half, name)), []).append(name)
    return found


def _screen_commands(tables: Tables) -> list[str]:
    """The screening of a regime: all conditions, and those with more seeds."""
    command = f"screen --work DIR --regimes {tables.regime}"
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
    return [
        f"confirm --work DIR --regimes {tables.regime}"
        + ("" if seeds == USUAL_SEEDS else f" --seeds {' '.join(map(str, seeds))}")
        + f" --conditions {' '.join(names)}"
        for seeds, names in _by_seeds(tables, "heldout").items()
    ]
