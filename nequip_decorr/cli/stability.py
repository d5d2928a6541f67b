"""``nequip-decorr stability``: campaigns of MD runs, their report and comparison."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .options import Answer, add_command, add_group, positive

if TYPE_CHECKING:
    from ..campaign.schema import Campaign

_RUN: Final = """\
Do the runs of a campaign. The same command goes on where a stopped or killed one left off: finished
runs are kept, half-done ones are done again. A changed campaign file makes new runs of what changed
and keeps the rest.
"""
_RUN_EXAMPLES: Final = """\
nequip-decorr stability run campaign.yaml --check       only check the file, list what would run
nequip-decorr stability run campaign.yaml --workers 4   four runs at a time
nequip-decorr stability run campaign.yaml --retry-errors
nequip-decorr stability run campaign.yaml --shard 2/8   the second of eight disjoint parts
#SBATCH --array=1-8                                     ... each task of a Slurm array does one:
nequip-decorr stability run campaign.yaml --shard $SLURM_ARRAY_TASK_ID/8
"""
_RUN_FILES: Final = """\
campaign.json            the plan: settings as resolved, every run, hashes of its inputs
inputs/                  start frames
runs/RUN_ID/             run.json, manifest.json (result), thermo.csv (record), frames, logs
runs.csv                 a row per finished run
times.csv                with `labels:`, stable, trusted and right time of each run
"""
_RUN_NOTES: Final = """\
Runs that ended in `error` (the engine could not run: a crash, a full disk) stay so until
--retry-errors. A run that crashes, ends or hangs its process (`walltime` sets a deadline) ends
alone: the rest goes on. Shards may run at the same time, on any machines that share the folder;
each can be started again, and the report reads the folder of all.
"""
_RUN_STATUS: Final = """\
0 all runs have ended, 1 some ended in `error`, or have no labels where the file has `labels:`,
3 stopped early (full disk, broken executor), 130 stopped by Ctrl-C or SIGTERM
"""
_REPORT: Final = """\
Write one page about one or more campaigns: which model is stable longer and how sure that is, why
runs end, structure and dynamics while stable, and how the verdict moves with the thresholds.
Several campaigns are read as one. Two models of one name are called NAME (CAMPAIGN).
"""
_REPORT_FILES: Final = """\
index.html     the page, in one file
*.png          its figures
runs.csv       a row per run
summary.json   every number of the page
"""
_COMPARE: Final = """\
Compare how long two models are stable, trusted or right, over the runs that both have: a sentence
with its interval and p value, and what must be known with it. In the JSON, difference_ps is that of
model_b minus model_a, and ratio that of model_b to model_a. The two may be in two campaigns.
If they have one name there, they are called NAME (CAMPAIGN).
"""
_ENDS: Final = ("survived", "failed")


def add_parsers(subparsers: Any) -> None:
    """Add the group and its commands."""
    commands = add_group(subparsers, "stability", "evaluate and compare MD stability")
    example = "nequip-decorr stability example > campaign.yaml"
    summary = "print a commented campaign file"
    add_command(commands, "example", _example, summary, f"{summary.capitalize()}.", example)

    run = add_command(
        *(commands, "run", _run, "do the runs of a campaign", _RUN, _RUN_EXAMPLES),
        writes=_RUN_FILES,
        notes=_RUN_NOTES,
        status=_RUN_STATUS,
    )
    add = run.add_argument
    add("campaign", type=Path, help="campaign file (YAML)")
    add("--out", type=Path, help="results folder, instead of the file's own")
    add("--workers", type=positive(int), help="runs at a time (default: one per core; 1 on cuda)")
    add("--retry-errors", action="store_true", help="do runs again that ended in `error`")
    add("--shard", metavar="I/N", help="only the I-th of N disjoint parts of the runs, I from 1")
    add("--check", action="store_true", help="check the campaign and run nothing")

    status = add_command(
        *(commands, "status", _status, "say how far a campaign is"),
        "Count the runs of each model by how they ended, and those left.",
        "nequip-decorr stability status campaign_stability\n"
        "nequip-decorr stability status campaign_stability --runs   a line per run",
        json=True,
    )
    status.add_argument("folder", type=Path, help="results folder of a campaign")
    status.add_argument("--runs", action="store_true", help="list every run")

    report = add_command(
        *(commands, "report", _report, "write the report of one or more campaigns", _REPORT),
        "nequip-decorr stability report siox_stability melt_stability --out report",
        writes=_REPORT_FILES,
        json=True,
    )
    add = report.add_argument
    add("--out", type=Path, help="folder of the report (default: the first folder's `report`)")
    add("--title", help="of the page (default: the campaigns' names)")
    add("--reference", metavar="MODEL", help="instead of the campaigns' own")

    compare = add_command(
        *(commands, "compare", _compare, "compare two models, with confidence intervals", _COMPARE),
        "nequip-decorr stability compare siox_stability --models stock decorrelated\n"
        "nequip-decorr stability compare siox_stability --time right --json\n"
        "nequip-decorr stability compare before_stability after_stability "
        "--models 'best (before)' 'best (after)'",
        json=True,
    )
    pair = ("A", "B")
    compare.add_argument("--models", nargs=2, metavar=pair, help="the two (default: the only two)")
    compare.add_argument(
        "--time", choices=["stable", "trusted", "right"], default="stable",
        help="until the criteria fail it (default), until its grade leaves the data, or until its "
        "energies or forces are wrong (needs `labels:` in the campaign)",
    )  # fmt: skip
    for parser in (report, compare):
        parser.add_argument("folders", type=Path, nargs="+", help="results folders")
        parser.add_argument(
            "--horizon-ps",
            type=float,
            metavar="PS",
            help="judge up to this time (default: the longest that all models were observed)",
        )
    from .cure import add_collect

    add_collect(commands)


def _run(args: argparse.Namespace) -> int:
    from ..campaign.labels import UNLABELLED
    from ..campaign.progress import Printer
    from ..campaign.runner import run_campaign
    from ..campaign.schema import load_campaign

    campaign = load_campaign(args.campaign, out=args.out)
    for warning in campaign.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(campaign.summary())
    if args.check:
        return 0
    summary = run_campaign(
        campaign,
        workers=args.workers,
        retry_errors=args.retry_errors,
        watcher=Printer(),
        shard=args.shard,
    )
    if summary.stopped is None:
        errors = sum(row["status"] == "error" for row in summary.rows)
        if summary.unlabelled:
            print(f"{UNLABELLED}: {summary.unlabelled}; the same command labels these alone")
        print("\n".join(_closing(campaign, summary.rows, errors, args.shard is not None)))
        return 1 if errors or summary.unlabelled else 0
    return 130 if summary.stopped == "signal" else 3


def _closing(campaign: Campaign, rows: list[Any], errors: int, shard: bool) -> list[str]:
    """The files that a finished `run` has made, and the commands that read them."""
    from ..campaign.times import until

    files = {"runs.csv": "a row per finished run"}
    if campaign.labels is not None:
        files["times.csv"] = "stable, trusted and right time of each run"
    files["runs/RUN_ID/"] = "of each run: manifest.json (result), thermo.csv (record), frames"
    after = ["report"]
    reference = campaign.reference if isinstance(campaign.reference, str) else None
    compared = {model.name for model in campaign.models} - {reference}
    if len(compared) > 1:
        # Records are long: the first run with a grade answers for its model.
        graded = all(
            any(
                until(campaign.out / "runs" / row["run_id"], row, "trusted")[0] is not None
                for row in rows if row["model"] == name
            )
            for name in compared
        )  # fmt: skip
        after += ["compare", *(["compare --time trusted"] if graded else [])]
        after += ["compare --time right"] if campaign.labels is not None else []
    if errors:
        after.insert(0, "status --runs")
    out = shlex.quote(str(campaign.out))
    lines = [f"made in {campaign.out}:", *(f"  {name:<14}{text}" for name, text in files.items())]
    for number, command in enumerate(["status"] if shard else after):
        name, _, option = command.partition(" ")
        start = "     " if number else "next:"
        lines.append(f"{start} nequip-decorr stability {name} {out} {option}".rstrip())
    return lines


def _status(args: argparse.Namespace) -> Answer:
    from rich.console import Console

    from ..campaign.progress import count_text
    from ..campaign.store import MANIFEST, count, read_runs

    rows = read_runs(args.folder, unfinished=True)
    # In a file or a pipe a row stays on its line.
    width = None if sys.stdout.isatty() else 10_000
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    console.print(_run_table(rows) if args.runs else _model_table(rows))
    print(count_text(count(rows)))
    runs = args.folder / "runs"
    there = {place.parent.name for place in runs.glob(f"[!.]*/{MANIFEST}")}
    earlier = len(there - {row["run_id"] for row in rows})
    if earlier:
        print(f"of earlier settings or models, in {runs}, and counted nowhere: {earlier}")
    return Answer({"counts": dict(count(rows)), "earlier": earlier, "runs": rows})


def _model_table(rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    from ..campaign.progress import count_text
    from ..campaign.store import count

    table = Table("model", "runs", "survived", "failed", "why", "other")
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == model]
        ends = {status: [r for r in mine if r["status"] == status] for status in _ENDS}
        causes = Counter(row["cause"] for row in ends["failed"])
        why = ", ".join(f"{cause} {number}" for cause, number in causes.most_common())
        other = count_text(count([row for row in mine if row["status"] not in _ENDS]))
        cells = (str(len(part)) for part in (mine, *ends.values()))
        table.add_row(model, *cells, why, other)
    return table


def _run_table(rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table("model", "structure", "T / K", "seed", "status", "stable / ps", "of", "message")
    for row in rows:
        status = f"failed: {row['cause']}" if row["status"] == "failed" else row["status"]
        stable = "" if row["stable_time_ps"] is None else f"{row['stable_time_ps']:g}"
        start = (row["model"], row["structure"], f"{row['temperature_K']:g}", str(row["seed"]))
        table.add_row(*start, status, stable, f"{row['length_ps']:g}", row["message"])
    return table


def _report(args: argparse.Namespace) -> Answer:
    from ..files import read_json
    from ..stability import report

    options = {name: getattr(args, name) for name in ("title", "reference", "horizon_ps")}
    page = report(args.folders, args.out, **options)
    print(f"report: {page}")
    return Answer({"page": str(page), **(read_json(page.parent / "summary.json") or {})})


def _example(args: argparse.Namespace) -> int:
    from ..resources import configs_dir

    print((configs_dir() / "stability_example.yaml").read_text(encoding="utf-8"), end="")
    return 0


def _compare(args: argparse.Namespace) -> Answer:
    from itertools import combinations

    from ..campaign.several import check_models, join, planned, remarks
    from ..campaign.times import known_and_missing
    from ..survival.comparison import compare

    parts = join(args.folders)
    known = list(planned(parts))
    models = args.models or [m for m in known if all(m != part.reference for part in parts)]
    check_models(parts, models)
    if len(models) < 2:
        raise ValueError(f"compare needs two models, these campaigns have {', '.join(models)}")
    rows, missing = known_and_missing(parts, args.time, models)
    options = {"horizon_ps": args.horizon_ps, "time": args.time, "missing": missing}
    found = [
        compare(rows, a, b, **options, remarks=remarks(parts, (a, b)))
        for a, b in combinations(models, 2)
    ]
    for one in found:
        print("\n  ".join([one.conclusion, *one.notes]))
    return Answer([one.to_dict() for one in found])
