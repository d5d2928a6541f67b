"""``labels:`` of a campaign: labels for stored frames of its runs, and how long each was right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from ase import Atoms

from ..errors import UserError
from ..files import csv_text, read_json, write_atomic, write_json
from ..md.labels import Labeller
from ..md.record import read_record, read_trajectory
from ..md.spec import RunSpec
from ..md.times import frames_to_label, right_time_ps, trusted_time_ps
from ..models.spec import ModelSpec
from .store import MANIFEST, read_plan, read_runs

LABELS: Final = "labels.json"
TIMES: Final = ("stable", "trusted", "right")
Time = Literal["stable", "trusted", "right"]


def label_runs(out: Path, labels: ModelSpec, say: Callable[[str], None] = lambda line: None) -> int:
    """Label stored frames of every finished run that has no labels yet; ``times.csv`` lists all.

    Args:
        out: folder of the campaign.
        labels: gives the labels.
        say: receives a line for each run that cannot be labelled.

    Returns:
        How many runs were labelled now.
    """
    truth = Labeller(labels, say)
    specs = {i["spec"]["run_id"]: RunSpec.from_dict(i["spec"]) for i in read_plan(out)["runs"]}
    models: dict[str, Labeller] = {}
    done = 0
    for row in read_runs(out):
        folder, spec = out / "runs" / row["run_id"], specs[row["run_id"]]
        identity = [(read_json(folder / MANIFEST) or {}).get("attempt"), truth.source]
        old = read_json(folder / LABELS)
        if row["status"] == "error" or (old and old["identity"] == identity):
            continue
        try:
            frames = read_trajectory(folder, spec.timestep_fs)
            frames = [f for f in frames if f.info["step"] <= row["last_step"]]
            chosen = [frames[k] for k in frames_to_label(len(frames))]
            if spec.model.name not in models:
                models[spec.model.name] = Labeller(spec.model)
            compared = [_compare(f, models[spec.model.name], truth) for f in chosen]
        except Exception as err:  # a calculator may raise what it likes
            text = " ".join(f"{err}".split())[:300]
            say(f"{row['run_id']}: no labels ({type(err).__name__}: {text})")
            continue
        columns = {name: [c[name] for c in compared] for name in compared[0]}
        right = right_time_ps(*(np.array(column, dtype=float) for column in columns.values()))
        write_json(folder / LABELS, {"identity": identity, "right_ps": right, "frames": columns})
        done += 1
    table = []
    names = ["run_id", "status", *(f"{time}_time_ps" for time in TIMES)]
    for row in read_runs(out):
        folder = out / "runs" / row["run_id"]
        times = {f"{time}_time_ps": until(folder, row, time)[0] for time in TIMES}
        table.append({"run_id": row["run_id"], "status": row["status"], **times})
    write_atomic(out / "times.csv", csv_text(table, names))
    return done


def _compare(atoms: Atoms, model: Labeller, truth: Labeller) -> dict[str, float]:
    """Columns of :func:`~nequip_decorr.md.times.right_time_ps`, in its order."""
    got, true = model(atoms), truth(atoms)
    forces, size = true.get_forces(), len(atoms)
    return {
        "time_ps": float(atoms.info["time_ps"]),
        "energy_eV_per_atom": got.get_potential_energy() / size,
        "true_energy_eV_per_atom": true.get_potential_energy() / size,
        "force_mae_eV_per_A": float(np.abs(got.get_forces() - forces).mean()),
        "force_rms_eV_per_A": float(np.sqrt((forces**2).mean())),
    }


def until(folder: Path, row: dict[str, Any], time: Time) -> tuple[float | None, bool]:
    """Until when a run was stable, trusted or right, and whether that is known to have ended."""
    stable, failed = row["stable_time_ps"], row["status"] == "failed"
    if time == "stable" or stable is None:
        return stable, failed
    if time == "right":
        found = read_json(folder / LABELS)
        if not found:
            return None, False
        passage = found["right_ps"]
    else:
        try:
            record = read_record(folder)
        except (OSError, ValueError):  # missing or damaged
            return None, False
        if not np.isfinite(record["share_above_1"]).any():
            return None, False
        passage = trusted_time_ps(record["time_ps"], record["max_grade"], record["share_above_1"])
    if passage is not None and passage <= stable:
        return passage, True
    return stable, failed


def row_by_time(folder: Path, row: dict[str, Any], time: Time) -> dict[str, Any] | None:
    """Row of a run that ends with that time; ``None`` if the run does not have it.

    Args:
        folder: of the run.
        row: of the run table.
        time: ``trusted`` or ``right``.
    """
    until_ps, ended = until(folder, row, time)
    if row["status"] == "error" or until_ps is None:
        return None
    status = "failed" if ended else row["status"]
    failed_then = row["status"] == "failed" and until_ps == row["stable_time_ps"]
    cause = row["cause"] if failed_then or not ended else f"not {time}"
    return {**row, "status": status, "cause": cause, "stable_time_ps": until_ps}


def runs_by_time(folder: str | Path, time: Time = "stable") -> list[dict[str, Any]]:
    """Rows of :func:`~nequip_decorr.campaign.store.read_runs` in which a run ends with that time.

    A run that fails is neither trusted nor right from there on.

    Args:
        folder: of the campaign.
        time: ``stable`` (criteria), ``trusted`` (extrapolation grade) or ``right`` (labels).

    Raises:
        UserError: no such time, or no run has it.
    """
    if time not in TIMES:
        raise UserError(f"time: got {time!r}; allowed: {', '.join(TIMES)}")
    rows = read_runs(folder)
    if time == "stable":
        return rows
    folders = (Path(folder) / "runs" / row["run_id"] for row in rows)
    ended = (row_by_time(*item, time) for item in zip(folders, rows, strict=True))
    found = [row for row in ended if row is not None]
    if rows and not found:
        remedy = {
            "right": "it needs `labels:` in the campaign file; add it and start `stability run` "
            "again, which keeps the runs",
            "trusted": "it needs models that are compiled with their extrapolation grade "
            "(`nequip-decorr compile`)",
        }[time]
        raise UserError(f"{folder}: no run has a {time} time; {remedy}")
    return found
