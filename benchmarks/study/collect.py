"""From the work folder to two small tables: a row per model, a row per MD run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
from filelock import FileLock

from nequip_decorr.campaign.store import read_runs
from nequip_decorr.files import write_atomic

from ..hardware import csv_text, describe
from ..hardware import read as read_table
from .model import REFERENCE, Model

RESULTS: Final = Path(__file__).parent / "results"
MODEL_KEY: Final = ("regime", "condition", "train_seed")
RUN_COLUMNS: Final = (
    *("regime", "condition", "train_seed", "half", "structure", "temperature_K", "seed"),
    *("status", "cause", "value", "stable_time_ps", "length_ps", "wall_s", "message"),
)
HALVES: Final = ("tuning", "heldout")
BLOCKS: Final = ("two_body", "layer_1", "layer_2")


def model_row(model: Model) -> dict[str, Any] | None:
    """What is known of a model, ``None`` before it is evaluated."""
    found = model.note("evaluated")
    if found is None:
        return None
    inside = found["test_id"]
    row: dict[str, Any] = dict(
        zip(MODEL_KEY, (model.regime, model.condition, model.seed), strict=True)
    )
    for name in found:
        row[f"force_mae_{name}"] = found[name]["force_mae_eV_per_A"]
        row[f"energy_mae_{name}"] = found[name]["energy_mae_eV_per_atom"]
    row["force_mae_ood"] = float(np.mean([row[f"force_mae_{n}"] for n in found if n != "test_id"]))
    for name in found:
        row[f"correlation_{name}"] = _mean(found[name]["correlation"])
        row[f"effective_rank_{name}"] = _mean(found[name]["effective_rank"])
    row |= {f"correlation_{b}": inside["correlation"].get(b) for b in BLOCKS}
    trained, compiled = model.note("trained") or {}, model.note("compiled") or {}
    # A resumed training has no meaningful time.
    for kind in ("wall", "cpu"):
        row[f"train_{kind}_s"] = None if trained.get("resumed") else trained.get(f"{kind}_s")
    row["compile_wall_s"] = None if compiled.get("swapped") else compiled.get("wall_s")
    for half in HALVES:
        note = _md_note(model, half)
        errors = list(note.get("rdf_error", {}).values())
        row[f"rdf_error_{half}"] = float(np.mean(errors)) if errors else None
        row[f"md_wall_s_{half}"] = note.get("wall_s")
        found = model.note(f"why_{half}") or {}
        row |= {f"barrier_{k}_eV": v for k, v in found.get("barriers_eV", {}).items()}
        end = found.get("end", {})
        row |= {f"end_{k}_{half}": end.get(k) for k in ("force_mae", "correlation")}
        alive = found.get("survived", {})
        row |= {f"survived_{k}_{half}": alive.get(k) for k in ("force_mae", "energy_change_mae")}
    return row


def _mean(values: dict[str, float]) -> float:
    return float(np.mean(list(values.values())))


def _md_folders(model: Model, half: str) -> list[Path]:
    """The MD of a half; other systems than silicon oxide have their name in front."""
    notes = (*model.folder.glob(f"md_{half}.json"), *model.folder.glob(f"md_*_{half}.json"))
    return [path.with_suffix("") for path in notes]


def _md_note(model: Model, half: str) -> dict[str, Any]:
    folders = _md_folders(model, half)
    return (model.note(folders[0].name) if folders else None) or {}


def run_rows(model: Model, half: str) -> list[dict[str, Any]]:
    """The MD runs of a model on a half, none before they are all done."""
    key = {"regime": model.regime, "condition": model.condition, "train_seed": model.seed}
    return [r for folder in _md_folders(model, half) for r in _rows(folder, key, half)]


def _rows(folder: Path, key: dict[str, Any], half: str) -> list[dict[str, Any]]:
    found = []
    for run in read_runs(folder):
        row = {**run, **key, "half": half}
        row["wall_s"] = round(row["wall_s"], 2)
        found.append({name: row[name] for name in RUN_COLUMNS})
    return found


def collect(work: Path, results: Path = RESULTS) -> None:
    """Write ``models.csv`` and ``runs.csv``; rows of models that are not in ``work`` are kept."""
    models, runs = [], []
    for folder in sorted((work / "models").glob("*/*/*")):
        model = Model(work, folder.parts[-3], folder.parts[-2], int(folder.name))
        row = model_row(model)
        if row is None:
            continue
        models.append(row)
        runs += [r for half in HALVES for r in run_rows(model, half)]
    for table in sorted((work / REFERENCE).glob("*/runs.csv")):
        key = {"regime": REFERENCE, "condition": REFERENCE, "train_seed": 0}
        runs += _rows(table.parent, key, table.parent.name)
    results.mkdir(parents=True, exist_ok=True)
    with _alone(results):
        _merge(results / "models.csv", models, MODEL_KEY)
        _merge(results / "runs.csv", runs, (*MODEL_KEY, "half", "structure", "seed"))
        barriers = work / REFERENCE / "barriers.json"
        if barriers.is_file():
            shutil.copy(barriers, results / "reference_barriers.json")
        (results / "hardware.json").write_text(json.dumps(describe(), indent=2) + "\n")


def log_stage(results: Path, row: dict[str, Any]) -> None:
    """Add a stage that ran to its end to ``stages.csv``: what was asked for, and its wall time."""
    path = results / "stages.csv"
    with _alone(results):
        rows = read_table(path) if path.is_file() else []
        write_atomic(path, csv_text([*rows, row]))


def _alone(folder: Path) -> FileLock:
    """Stages side by side write the same tables, one after the other."""
    return FileLock(folder / ".lock")


def _merge(path: Path, rows: list[dict[str, Any]], key: tuple[str, ...]) -> None:
    if not rows:
        return
    merged = {_key(row, key): row for row in read_table(path)} if path.is_file() else {}
    merged |= {_key(row, key): row for row in rows}
    ordered = sorted(merged.values(), key=lambda row: _key(row, key))
    short = [{k: _short(v) for k, v in row.items()} for row in ordered]
    write_atomic(path, csv_text(short))


def _key(row: dict[str, Any], key: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(row[name] for name in key)


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value
