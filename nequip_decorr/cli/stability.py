"""``nequip-decorr stability`` and ``nequip-decorr compare``."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

from .options import add_command, positive

_STABILITY = """\
Evaluate and compare the MD stability of models.

  nequip-decorr stability example > campaign.yaml   a commented template to fill in
  nequip-decorr stability run campaign.yaml         do the runs; start it again after any stop
  nequip-decorr stability status RESULTS            how far it is
  nequip-decorr stability report RESULTS            one HTML page, pictures, tables
  nequip-decorr stability collect RESULTS --out F   choose the frames that are worth a label
  nequip-decorr compare RESULTS                     compare stability, with confidence intervals
"""
_RUN = """\
examples:
  nequip-decorr stability run campaign.yaml --check       only check the file, list what would run
  nequip-decorr stability run campaign.yaml --workers 4   four runs at a time
  nequip-decorr stability run campaign.yaml --retry-errors
  nequip-decorr stability run campaign.yaml --shard 2/8   the second of eight disjoint parts
  #SBATCH --array=1-8                                     ... each task of a Slurm array does one:
  nequip-decorr stability run campaign.yaml --shard $SLURM_ARRAY_TASK_ID/8

The same command goes on where a stopped or killed one left off: finished runs are kept, half-done
ones are done again, nothing finished is repeated. Runs that ended in `error` (the engine could not
run: a crash, a full disk) stay so until --retry-errors. A changed campaign file makes new runs of
what changed and keeps the rest. A run that crashes, ends or hangs its process (`walltime` sets a
deadline) ends alone: the rest goes on. Shards may run at the same time, on any machines that share
the folder; each can be started again, and the report reads the folder of all.

exit status: 0 all runs have ended, 1 some ended in `error`, 2 the campaign or the command is wrong,
3 stopped early (full disk, broken executor), 130 stopped by a signal
"""
_ENDS: Final = ("survived", "failed")


def add_parsers(subparsers: Any) -> None:
    """Add ``stability`` and ``compare`` to the sub-commands of ``nequip-decorr``."""
    stability = add_command(
        subparsers, "stability", None, "evaluate and compare MD stability", description=_STABILITY
    )
    commands = stability.add_subparsers(dest="stability_command", metavar="COMMAND", required=True)

    run = add_command(commands, "run", _run, "do the runs of a campaign", epilog=_RUN)
    add = run.add_argument
    add("campaign", type=Path, help="campaign file (YAML)")
    add("--out", type=Path, help="results folder, instead of the file's own")
    add("--workers", type=positive(int), help="runs at a time (default: one per core; 1 on cuda)")
    add("--retry-errors", action="store_true", help="do runs again that ended in `error`")
    add("--shard", metavar="I/N", help="only the I-th of N disjoint parts of the runs, I from 1")
    add("--check", action="store_true", help="check the campaign and run nothing")

    example = "stability status campaign_stability --runs"
    status = add_command(commands, "status", _status, "how far a campaign is", example)
    status.add_argument("folder", type=Path, help="results folder of a campaign")
    status.add_argument("--runs", action="store_true", help="list every run")

    example = "stability report siox_stability melt_stability"
    summary = "write the report of one or more campaigns"
    report = add_command(commands, "report", _report, summary, example)
    add = report.add_argument
    add("--out", type=Path, help="folder of the report (default: the first folder's `report`)")
    add("--title", help="of the page (default: the campaigns' names)")
    add("--reference", metavar="MODEL", help="instead of the campaigns' own")

    from .cure import add_collect

    add_collect(commands)

    example = "stability example > campaign.yaml"
    add_command(commands, "example", _example, "print a commented campaign file", example)

    example = "compare siox_stability --models stock decorrelated"
    summary = "compare stability, with confidence intervals"
    compare = add_command(subparsers, "compare", _compare, summary, example)
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
            help="judge stability up to this time (default: as far as all models are known)",
        )


def _run(args: argparse.Namespace) -> int:
    from ..campaign.progress import Printer
    from ..campaign.runner import run_campaign
    from ..campaign.schema import load_campaign
    from ..files import is_disk_full

    campaign = load_campaign(args.campaign, out=args.out)
    for warning in campaign.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(campaign.summary())
    if args.check:
        return 0
    try:
        summary = run_campaign(
            campaign,
            workers=args.workers,
            retry_errors=args.retry_errors,
            watcher=Printer(),
            shard=args.shard,
        )
    except OSError as err:
        if not is_disk_full(err):
            raise
        print(f"{campaign.out}: disk full; free some space and start again", file=sys.stderr)
        return 3
    if summary.stopped is None:
        errors = sum(row["status"] == "error" for row in summary.rows)
        after = "report" if args.shard is None else "status"
        print(f"next: nequip-decorr stability {after} {shlex.quote(str(campaign.out))}")
        return 1 if errors else 0
    return 130 if summary.stopped == "signal" else 3


def _status(args: argparse.Namespace) -> int:
    from rich.console import Console

    from ..campaign.progress import count_text
    from ..campaign.store import count, read_runs

    rows = read_runs(args.folder, unfinished=True)
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(_run_table(rows) if args.runs else _model_table(rows))
    print(count_text(count(rows)))
    return 0


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


def _report(args: argparse.Namespace) -> int:
    from ..stability import report

    options = {name: getattr(args, name) for name in ("title", "reference", "horizon_ps")}
    print(f"report: {report(args.folders, args.out, **options)}")
    return 0


def _example(args: argparse.Namespace) -> int:
    from ..resources import configs_dir

    print((configs_dir() / "stability_example.yaml").read_text(encoding="utf-8"), end="")
    return 0


def _compare(args: argparse.Namespace) -> int:
    from itertools import combinations

    from ..campaign.labels import runs_by_time
    from ..campaign.store import read_plan
    from ..survival.comparison import compare

    plans = [read_plan(folder) for folder in args.folders]
    rows = [row for folder in args.folders for row in runs_by_time(folder, args.time)]
    known = list(dict.fromkeys(name for plan in plans for name in plan["models"]))
    models = args.models or [m for m in known if all(m != p["reference"] for p in plans)]
    if unknown := [name for name in models if name not in known]:
        raise ValueError(f"models: got {', '.join(unknown)}; allowed: {', '.join(known)}")
    if len(models) < 2:
        raise ValueError(f"compare needs two models, these campaigns have {', '.join(models)}")
    for a, b in combinations(models, 2):
        found = compare(rows, a, b, horizon_ps=args.horizon_ps, time=args.time)
        print("\n  ".join([found.conclusion, *found.notes]))
    return 0
