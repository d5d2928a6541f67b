"""How long each run of a campaign was stable, trusted or right: read from what the runs left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from ..errors import UserError
from ..files import read_json
from ..md.record import find_columns
from ..md.times import trusted_time_ps
from .several import Part, planned
from .store import read_runs

LABELS: Final = "labels.json"
TIMES: Final = ("stable", "trusted", "right")
Time = Literal["stable", "trusted", "right"]
Columns = Mapping[str, np.ndarray]


def until(
    folder: Path, row: dict[str, Any], time: Time, record: Columns | None = None
) -> tuple[float | None, bool]:
    """Until when a run was stable, trusted or right, and whether that is known to have ended.

    Args:
        folder: of the run.
        row: of the run table.
        time: which of the three.
        record: its thermo record, if that is read already.
    """
    stable, failed = row["stable_time_ps"], row["status"] == "failed"
    if time == "stable" or stable is None:
        return stable, failed
    if time == "right":
        found = read_json(folder / LABELS)
        if not found:
            return None, False
        passage = found["right_ps"]
    else:
        record = record or find_columns(folder)
        if record is None or not np.isfinite(record["share_above_1"]).any():
            return None, False
        passage = trusted_time_ps(record["time_ps"], record["max_grade"], record["share_above_1"])
    if passage is not None and passage <= stable:
        return passage, True
    return stable, failed


def row_by_time(
    folder: Path, row: dict[str, Any], time: Time, record: Columns | None = None
) -> dict[str, Any] | None:
    """Row of a run that ends with that time; ``None`` if the run does not have it.

    Args:
        folder: of the run.
        row: of the run table.
        time: ``trusted`` or ``right``.
        record: its thermo record, if that is read already.
    """
    until_ps, ended = until(folder, row, time, record)
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
    return _by_time(read_runs(folder), Path(folder), time)


def _by_time(rows: list[dict[str, Any]], folder: Path, time: Time) -> list[dict[str, Any]]:
    if time not in TIMES:
        raise UserError(f"time: got {time!r}; allowed: {', '.join(TIMES)}")
    if time == "stable":
        return rows
    folders = (folder / "runs" / row["run_id"] for row in rows)
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


def known_and_missing(
    parts: Sequence[Part], time: Time = "stable", models: Iterable[str] = ()
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Rows of :func:`runs_by_time` and of errors; by model how many planned runs they lack.

    Raises:
        UserError: as there; or labels of several potentials, for the right times of ``models``.
    """
    found = []
    sources: dict[str | None, str] = {}
    wanted = set(models)
    for part in parts:
        rows = part.rows()
        ended = _by_time(rows, part.folder, time)
        found += ended
        found += [row for row in rows if row["status"] == "error"] if time != "stable" else []
        if time == "right":
            for row in ended:
                if row["model"] in wanted:
                    place = part.folder / "runs" / row["run_id"]
                    sources.setdefault(label_source(place), row["model"])
    if len(sources) > 1:
        whose = " and ".join(dict.fromkeys(sources.values()))
        raise UserError(
            f"the right times of {whose} come from labels of {len(sources)} potentials, so they "
            "cannot be compared; give their campaigns the same `labels:` and start `stability run` "
            "again, which keeps the runs"
        )
    return found, planned(parts) - Counter(row["model"] for row in found)


def label_source(folder: Path) -> str | None:
    """Content hash of the potential that labelled the frames of a run; ``None`` without labels."""
    found = read_json(folder / LABELS)
    return str(found["identity"][1]) if found else None
