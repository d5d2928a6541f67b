"""Where is the edge once labels of MD have joined the training data?

Takes the models of ``cure.py`` and the labelled frames of their held-out MD, and grades them in
several ways: with all training data alike, with the first data alone, and with added frames that
count as far as the model has learnt them, for several tolerances.

    python benchmarks/grade_added.py rows --work DIR    # DIR of cure.py; each model once
    python benchmarks/grade_added.py summary            # from the raw rows alone

Raw rows: ``results/grade_added.csv``, a frame each.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from cure import PRICE, QUEUE, TERM, Unit, trusted_ps
from cure_summary import ADVERSARY, index, ranking, resampled
from hardware import add, describe, read

from nequip_decorr import stability
from nequip_decorr.extrapolation.added import TOLERANCE, count_added
from nequip_decorr.extrapolation.grade import ExtrapolationGrade
from nequip_decorr.extrapolation.scoring import auroc
from nequip_decorr.features.frames import load_model, outputs
from nequip_decorr.files import read_json, write_json
from nequip_decorr.md.record import read_trajectory
from nequip_decorr.md.times import wrong_frames

ROWS = Path(__file__).parent / "results" / "grade_added.csv"
TOLERANCES = (0.02, TOLERANCE, 0.1)
WAYS = ("all", "first", *(f"added {share:g}" for share in TOLERANCES))
BOUNDS = ((20.0, 0.75), (10.0, 0.5), (5.0, 0.5), (5.0, 0.25), (3.0, 0.25))


def tested(row: dict[str, Any]) -> bool:
    """Whether a model was made after form, tolerance and bounds had been chosen."""
    later = row["arm"].startswith(("learnt", "near, random"))
    later = later or row["arm"] in (*PRICE, *TERM, "term", "wall")
    return later or (row["arm"].startswith("near") and row["seed"] > 2)


def grades(unit: Unit, model: Any) -> dict[str, ExtrapolationGrade]:
    """A grade of the model for each way."""
    first, validation = (
        ase.io.read(unit.work / "data" / f"{k}.xyz", ":") for k in ("train", "val")
    )
    labels = unit.labels()
    alone = ExtrapolationGrade.fit(model, first, validation)
    found = {"all": ExtrapolationGrade.fit(model, first + labels, validation), "first": alone}
    for share in TOLERANCES:
        gaussians, _ = count_added(
            model, alone.features, alone.gaussians, alone.threshold, first, labels, share
        )
        found[f"added {share:g}"] = ExtrapolationGrade(
            alone.features, gaussians, alone.threshold, alone.about
        )
    return found


def frames_of(unit: Unit) -> Iterator[dict[str, Any]]:
    """A row for each labelled frame of the held-out MD."""
    model = load_model(unit.folder / "best.ckpt")
    ways = grades(unit, model)
    for run in stability.read(unit.folder / "heldout"):
        folder = unit.folder / "heldout" / "runs" / run["run_id"]
        found = read_json(folder / "labels.json")
        label = {name: np.array(column, float) for name, column in found["frames"].items()}
        wrong = wrong_frames(*(label[name] for name in list(label)[1:]))
        stable, right = run["stable_time_ps"], found["right_ps"]
        by_time = {round(f.info["time_ps"], 6): f for f in read_trajectory(folder, 1.0)}
        for time, is_wrong in zip(label["time_ps"], wrong, strict=True):
            output, _ = next(outputs(model, [by_time[round(time, 6)]]))
            row = {
                "arm": unit.arm, "seed": unit.seed, "structure": run["structure"],
                "time_ps": round(time, 6), "wrong": int(is_wrong), "stable_ps": stable,
                "right_ps": stable if right is None else min(stable, right),
            }  # fmt: skip
            for way, grade in ways.items():
                gamma = grade.of_output(output).numpy()
                row[f"largest {way}"] = float(f"{gamma.max():.4g}")
                row[f"share {way}"] = float(f"{(gamma > 1).mean():.4g}")
            yield row


def rows(work: Path) -> None:
    """Raw rows of all models whose held-out MD is done."""
    table = []
    for arm, seed in QUEUE:
        unit = Unit(work, arm, seed)
        kept = unit.folder / "grades.json"
        if not (unit.folder / "unit.json").is_file():
            continue
        if not kept.is_file():
            write_json(kept, list(frames_of(unit)))
            print(arm, seed, flush=True)
        table += read_json(kept)
    add(ROWS, table, describe(), ("arm", "seed"))


def runs(
    table: list[dict[str, Any]], way: str, bounds: tuple[float, float]
) -> list[dict[str, Any]]:
    """A row for each run, with its trusted time."""
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for row in table:
        groups.setdefault((row["arm"], row["seed"], row["structure"]), []).append(row)
    limits = {"grade_bound": bounds[0], "atoms_share": bounds[1]}
    return [{**g[0], "trusted_ps": trusted_ps(g, way, **limits)} for g in groups.values()]


def summary() -> None:
    """Print how well each way tells wrong frames, and orders the runs by their right time."""
    whole = [row for row in read(ROWS) if row["arm"] != ADVERSARY]
    parts = {
        "chosen on": [r for r in whole if not tested(r)],
        "tested on": [r for r in whole if tested(r)],
    }
    for name, table in parts.items():
        if not table:
            continue
        wrong = np.array([r["wrong"] for r in table], bool)
        number = len({(r["arm"], r["seed"]) for r in table})
        print(f"{name}: {number} models, {len(table)} frames, {wrong.mean():.0%} wrong")
        stable = runs(table, "all", BOUNDS[0])
        print(
            f"  stable time: C {resampled(stable, lambda r: index(r, 'stable_ps'))}, "
            f"tau {ranking(stable, 'stable_ps'):.2f}"
        )
        for way in WAYS:
            largest, share = (
                np.minimum([r[f"{k} {way}"] for r in table], 1e9) for k in ("largest", "share")
            )
            print(
                f"  {way}: AUROC of the largest grade {auroc(largest, wrong):.3f}, of the share "
                f"beyond the edge {auroc(share, wrong):.3f}"
            )
            for bounds in BOUNDS:
                found = runs(table, way, bounds)
                print(
                    f"    bounds {bounds[0]:g}, {bounds[1]:g}: C "
                    f"{resampled(found, lambda r: index(r, 'trusted_ps'))}, "
                    f"tau {ranking(found, 'trusted_ps'):.2f}"
                )


def main(words: Sequence[str] | None = None) -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("rows").add_argument("--work", type=Path, required=True)
    commands.add_parser("summary")
    given = parser.parse_args(words)
    torch.set_num_threads(1)
    if given.what == "rows":
        rows(given.work.resolve())
    else:
        summary()


if __name__ == "__main__":
    main()
