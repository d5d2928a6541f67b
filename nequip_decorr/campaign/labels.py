"""``labels:`` of a campaign: labels for stored frames of its runs, and how long each was right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import Atoms

from ..files import csv_text, read_json, write_atomic, write_json
from ..md.labels import Labeller
from ..md.record import read_trajectory
from ..md.spec import RunSpec
from ..md.times import first_passage, frames_to_label, wrong_frames
from ..models.spec import ModelSpec
from .store import MANIFEST, read_plan, read_runs
from .times import LABELS, TIMES, until

UNLABELLED: Final = "runs without labels"
"""How the line begins that says how many runs could not be labelled."""


def label_runs(out: Path, labels: ModelSpec, say: Callable[[str], None] = lambda line: None) -> int:
    """Label stored frames of every finished run that has no labels yet; ``times.csv`` lists all.

    Labels that another potential gave are removed first, so that all are always of one.

    Args:
        out: folder of the campaign.
        labels: gives the labels.
        say: receives a line for each run that cannot be labelled.

    Returns:
        How many runs could not be labelled.
    """
    truth = Labeller(labels, say)
    specs = {i["spec"]["run_id"]: RunSpec.from_dict(i["spec"]) for i in read_plan(out)["runs"]}
    models: dict[str, Labeller] = {}
    failed = 0
    for row, identity in _without_labels(out, truth.source):
        folder, spec = out / "runs" / row["run_id"], specs[row["run_id"]]
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
            failed += 1
            continue
        columns = {name: [c[name] for c in compared] for name in compared[0]}
        time, *rest = (np.array(column, dtype=float) for column in columns.values())
        right = first_passage(time, wrong_frames(*rest))
        write_json(folder / LABELS, {"identity": identity, "right_ps": right, "frames": columns})
    table = []
    names = ["run_id", "status", *(f"{time}_time_ps" for time in TIMES)]
    for row in read_runs(out):
        folder = out / "runs" / row["run_id"]
        found = {f"{time}_time_ps": until(folder, row, time)[0] for time in TIMES}
        times = {name: None if ps is None else round(ps, 9) for name, ps in found.items()}
        table.append({"run_id": row["run_id"], "status": row["status"], **times})
    write_atomic(out / "times.csv", csv_text(table, names))
    return failed


def _without_labels(out: Path, source: str) -> list[tuple[dict[str, Any], list[str | None]]]:
    """Rows of the runs to label and the identity of their labels; others' labels are removed."""
    found = []
    for row in read_runs(out):
        folder = out / "runs" / row["run_id"]
        identity = [(read_json(folder / MANIFEST) or {}).get("attempt"), source]
        old = read_json(folder / LABELS)
        if not old or old["identity"] != identity:
            (folder / LABELS).unlink(missing_ok=True)
            if row["status"] != "error":
                found.append((row, identity))
    return found


def _compare(atoms: Atoms, model: Labeller, truth: Labeller) -> dict[str, float]:
    """Time, and the columns of :func:`~nequip_decorr.md.times.wrong_frames` in its order."""
    got, true = model(atoms), truth(atoms)
    forces, size = true.get_forces(), len(atoms)
    return {
        "time_ps": float(atoms.info["time_ps"]),
        "energy_eV_per_atom": got.get_potential_energy() / size,
        "true_energy_eV_per_atom": true.get_potential_energy() / size,
        "force_mae_eV_per_A": float(np.abs(got.get_forces() - forces).mean()),
        "force_rms_eV_per_A": float(np.sqrt((forces**2).mean())),
    }
