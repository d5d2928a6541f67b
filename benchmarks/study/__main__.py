"""Does decorrelation lengthen MD? One command per stage; each goes on where it was stopped.

    python -m benchmarks.study regime  --work DIR     # where does the stock model fail?
    python -m benchmarks.study screen  --work DIR     # what helps, on the tuning half?
    python -m benchmarks.study confirm --work DIR     # does it hold, on the held-out half?
    python -m benchmarks.study report                 # tables, figures, docs/results*.md
    python -m benchmarks.study smoke   --work DIR     # ten minutes: does the pipeline run?

Run it from the root of a checkout. DIR gets the trained models and MD (about 3 MB a model); the
small tables go to benchmarks/study/results, or to --results. More seeds or conditions later redo
nothing. What is compared with what, and why, is in benchmarks/study/PROTOCOL.md; the commands that
made the published tables are at the end of docs/results_details.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ..hardware import read as read_table
from . import hfo2
from .analysis import Tables, select
from .collect import RESULTS, collect, log_stage
from .data import collected_from
from .declared import CHOSEN_REGIME, DECLARED, HERE, HFO2, SIOX, STOCK, Study, read_study
from .stages import jobs, run_jobs

SMOKE = HERE / "smoke.yaml"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    main = argparse.ArgumentParser(
        prog="python -m benchmarks.study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    stages = main.add_subparsers(dest="stage", required=True)
    defaults = {
        "regime": ("stock models in every regime, tuning half", [1, 2]),
        "screen": ("every declared condition, tuning half", [1, 2]),
        "confirm": (
            "what is declared for it, and the best found in the regimes asked for: held-out half",
            list(range(101, 109)),
        ),
        "smoke": ("a tiny confirmation of two seeds, to test the pipeline", [1, 2]),
        "report": ("tables, figures and docs/results.md from the CSV", []),
    }
    for name, (text, seeds) in defaults.items():
        add = stages.add_parser(name, help=text, description=text).add_argument
        if name == "report":
            add("--work", type=Path, help="collect the tables from there first")
            text = (
                "folder of tables, which gets results.md and its figures; default: the published "
            )
            add("--results", type=Path, help=f"{text}tables and docs")
            continue
        add("--work", type=Path, required=True, help="folder of models and MD")
        text = "models side by side, a core each (default: 2)"
        add("--workers", type=int, default=2, help=text)
        text = f"training seeds (default: {seeds[0]} to {seeds[-1]})"
        add("--seeds", type=int, nargs="+", default=seeds, help=text)
        all_siox = name in ("regime", "smoke")
        text = f"by name; default: {f'those of {SIOX}' if all_siox else CHOSEN_REGIME}"
        add("--regimes", nargs="+", help=text)
        add("--conditions", nargs="+", help="by name; default: those of the stage")
        text = "folder of tables; default: the published ones, so give one of your own to hold a "
        add("--results", type=Path, help=f"{text}rerun against them")
    return main


def confirmed_by_default(study: Study, regimes: Sequence[str], results: Path) -> list[str]:
    """The declared conditions, and what the screening so far has as the best found."""
    names = list(study.confirm)
    if not (results / "runs.csv").is_file():
        return names
    tables = [read_table(results / f"{t}.csv") for t in ("models", "runs")]
    candidates = [c.name for c in study.conditions.values() if c.candidate]
    found = [select(Tables.of(regime, *tables), candidates, STOCK)[0] for regime in regimes]
    return list(dict.fromkeys([*names, *(best for best in found if best)]))


def main(arguments: list[str] | None = None) -> int:
    """Run a stage; 1 if a model of it failed."""
    options, console = parser().parse_args(arguments), Console()
    smoke = options.stage == "smoke"
    if options.stage == "report":
        from .report import write_report

        if options.work is not None:
            collect(options.work.resolve(), options.results or RESULTS)
        folders = [options.results] * 2 if options.results else []
        try:
            write_report(console, *folders)
        except (FileNotFoundError, ValueError) as error:
            raise SystemExit(str(error)) from None
        return 0
    work: Path = options.work.resolve()
    declared = SMOKE if smoke else DECLARED
    study = read_study(declared)
    if options.workers < 1:
        raise SystemExit(f"--workers must be at least 1, got {options.workers}")
    results = options.results or (work / "results" if smoke else RESULTS)
    regimes = options.regimes or (
        [n for n, r in study.regimes.items() if r.system == SIOX and not r.collected]
        if smoke or options.stage == "regime"
        else [CHOSEN_REGIME]
    )
    conditions = (
        options.conditions
        or {
            "regime": [STOCK],
            "screen": list(study.conditions),
            "confirm": confirmed_by_default(study, regimes, results),
            "smoke": list(study.conditions),
        }[options.stage]
    )
    try:
        for name in regimes:
            study.regime(name)
        for name in conditions:
            study.condition(name)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    for name in options.conditions or []:
        for regime in regimes:
            if not study.trainable(regime, name):
                data = study.condition(name).regime
                raise SystemExit(f"{name} trains on the frames of {data}, not of {regime}'s system")
    half = "heldout" if options.stage in ("confirm", "smoke") else "tuning"
    listed = jobs(study, work, regimes, conditions, options.seeds, half)
    unfinished = [job for job in listed if not job.model.finished(job.half)]
    try:
        for needed in (study.regime(name) for name in {job.model.regime for job in unfinished}):
            if needed.system == HFO2:
                hfo2.data_folder()
            collected_from(needed, work)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    started = time.monotonic()
    failures = run_jobs(
        study, listed, work, options.workers, console, declared,
        lambda: collect(work, results),
    )  # fmt: skip
    collect(work, results)
    if unfinished:
        asked = {"regimes": regimes, "conditions": conditions, "seeds": options.seeds}
        words = {name: " ".join(map(str, values)) for name, values in asked.items()}
        counts = {"models": len(unfinished), "failed": len(failures)}
        wall_s = round(time.monotonic() - started, 1)
        row = {"stage": options.stage, **words, "workers": options.workers, **counts}
        log_stage(results, {**row, "wall_s": wall_s})
    console.print(f"tables: {results}")
    for failure in failures:
        console.print(failure, style="red", markup=False)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
