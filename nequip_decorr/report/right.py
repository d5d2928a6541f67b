"""Whether the models were right, in words: what their labels say, and what the words mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from ..campaign.times import LABELS
from ..files import read_json
from ..md.times import ATOMS_SHARE, ENERGY_BOUND, FORCE_SHARE, GRADE_BOUND, PERSISTENCE
from .loading import Run

_NO_ERROR: Final = 1e-3
"""Force error over root mean square force below which a model gave the labels itself."""


def label_frames(runs: Iterable[Run]) -> dict[str, list[dict[str, np.ndarray]]]:
    """Columns of the labelled frames of each run that has them, by model."""
    found: dict[str, list[dict[str, np.ndarray]]] = {}
    for run in runs:
        if "right_ps" in run.row:
            frames = (read_json(run.folder / LABELS) or {}).get("frames", {})
            columns = {name: np.asarray(values, dtype=float) for name, values in frames.items()}
            found.setdefault(run.row["model"], []).append(columns)
    return found


def labelling_models(frames: Mapping[str, Sequence[Mapping[str, np.ndarray]]]) -> list[str]:
    """Models whose forces are the labels: those gave them."""
    found = []
    for model, runs in frames.items():
        known = [f for f in runs if len(f.get("time_ps", ())) > 1]
        # The first frame is a start at rest, without forces.
        error, size = (
            sum(float(f[name][1:].sum()) for f in known)
            for name in ("force_mae_eV_per_A", "force_rms_eV_per_A")
        )
        if error < _NO_ERROR * size:
            found.append(model)
    return found


def wrong_sentences(
    rows: Iterable[Mapping[str, Any]], not_judged: Iterable[str | None]
) -> list[str]:
    """How many labelled runs of the judged models were wrong before they ended, and by when.

    Args:
        rows: the run table, with ``right_ps`` where it is known.
        not_judged: models that are right by definition.
    """
    left_out = set(not_judged)
    mine = [r for r in rows if "right_ps" in r and r["model"] not in left_out]
    wrong = [r for r in mine if r["right_ps"] < r["stable_time_ps"]]
    if not wrong:
        return []
    models = _listed(list(dict.fromkeys(r["model"] for r in mine)))
    last = f"{max(r['right_ps'] for r in wrong):.3g} ps"
    if len(wrong) == len(mine) == 1:
        text = f"The only run of {models} with labels was wrong by {last}."
    elif len(wrong) == len(mine):
        text = f"All {len(mine)} runs of {models} with labels were wrong by {last}."
    else:
        text = (
            f"Of {len(mine)} runs of {models} with labels, {len(wrong)} became wrong before "
            f"{'its' if len(wrong) == 1 else 'their'} end, by {last} at the latest."
        )
    sentences = [text]
    survived = [r for r in mine if r["status"] == "survived"]
    count = sum(r in wrong for r in survived)
    if len(survived) == count == 1:
        sentences.append(
            "Surviving is not being right: the only run with labels that survived was wrong "
            "before its end (table of all runs)."
        )
    elif count:
        sentences.append(
            f"Surviving is not being right: of {len(survived)} runs with labels that survived, "
            f"{count} {'was' if count == 1 else 'were'} wrong before the end (table of all runs)."
        )
    return sentences


def meanings(
    times: Iterable[str],
    frames: Mapping[str, Sequence[Mapping[str, np.ndarray]]],
    labelling: Sequence[str],
) -> list[str]:
    """What trusted and right mean, with the bounds, and where the labels come from.

    Args:
        times: those that some run has.
        frames: from :func:`label_frames`.
        labelling: from :func:`labelling_models`.
    """
    known, found = set(times), []
    if "trusted" in known:
        found.append(
            f"Trusted: until, on {PERSISTENCE} records in a row, the extrapolation grade of an "
            f"atom is above {GRADE_BOUND:g} or more than {ATOMS_SHARE:.0%} of the atoms are above "
            "1, the edge of the training data."
        )
    if "right" in known:
        source = _listed(labelling) if labelling else "a potential that is not among these models"
        found.append(
            f"Right: until, on {PERSISTENCE} labelled frames in a row, the energy gained since the "
            f"start is off by more than {ENERGY_BOUND:g} eV/atom or the mean absolute force error "
            f"exceeds {FORCE_SHARE:.0%} of the root mean square force. The labels come from "
            f"{source}{_resolution(frames)}."
        )
    if found:
        found.append("A run that fails is neither trusted nor right from there on.")
    return found


def _resolution(frames: Mapping[str, Sequence[Mapping[str, np.ndarray]]]) -> str:
    """How far labelled frames are apart, in words."""
    columns = [f["time_ps"] for runs in frames.values() for f in runs if "time_ps" in f]
    steps = np.concatenate([np.zeros(0), *map(np.diff, columns)])
    if not len(steps):
        return ""
    ends = dict.fromkeys(f"{x:.3g}" for x in (steps.min(), steps.max()))
    return f"; a right time is known to the spacing of the labelled frames, {' to '.join(ends)} ps"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
