"""The page of ``improve``: how far MD comes inside the data, and what the best model is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from .. import html
from ..campaign.times import TIMES, runs_by_time
from ..errors import UserError
from ..md.criteria import criterion
from ..style import figure, grid, style

Row = Mapping[str, Any]


def times(folder: Path, model: str | None = None, structure: str | None = None) -> dict[str, Any]:
    """Mean stable, trusted and right time of a campaign's runs, and how they ended.

    Args:
        folder: of the campaign.
        model: counts its runs only.
        structure: counts the runs that start there only.

    Returns:
        The times in ps by name, ``None`` where unknown, which the right time is where runs are
        ``unlabelled``; ``runs``, those that ``left`` the data, those that ``survived`` and those
        ``right_to_the_end``; ``causes`` of the others.
    """
    found: dict[str, Any] = {}
    finished = 0
    for time in TIMES:
        try:
            rows = runs_by_time(folder, time)
        except UserError:  # no run has this time
            found[time] = None
            continue
        rows = [row for row in rows if model is None or row["model"] == model]
        rows = [row for row in rows if structure is None or row["structure"] == structure]
        known = [row["stable_time_ps"] for row in rows if row["stable_time_ps"] is not None]
        found[time] = float(np.mean(known)) if known else None
        if time == "right":
            found["right_to_the_end"] = sum(row["status"] == "survived" for row in rows)
            found["unlabelled"] = finished - len(rows)
            if found["unlabelled"]:  # the mean of the others would be of another kind of run
                found["right"] = None
        if time == "stable":
            finished = sum(row["status"] != "error" for row in rows)
            grade = criterion("extrapolation").name
            left = [row for row in rows if row["cause"] == grade]
            found |= {"runs": len(rows), "left": len(left)}
            found["at_start"] = sum(row["stable_time_ps"] == 0 for row in left)
            found["survived"] = sum(row["status"] == "survived" for row in rows)
            found["causes"] = sorted({row["cause"] for row in rows} - {grade, None, ""})
    return found


def times_by_structure(folder: Path, model: str) -> dict[str, Any]:
    """Times of a model's runs, and of those from each structure under ``structures``."""
    names = {row["structure"] for row in runs_by_time(folder, "stable") if row["model"] == model}
    each = {name: times(folder, model, name) for name in sorted(names)}
    return {**times(folder, model), "structures": each}


def force_errors(checkpoint: Path, sets: Mapping[str, Sequence[Atoms]]) -> dict[str, float]:
    """Mean absolute force error of a model on labelled frames, in eV/A by the set's name."""
    from ..features.frames import load_model, outputs

    model = load_model(checkpoint) if sets else None
    found = {}
    for name, frames in sets.items():
        pairs = outputs(model, frames)
        off = [(got["forces"] - true["forces"]).abs().flatten() for got, true in pairs]
        found[name] = float(np.concatenate(off).mean())
    return found


def chosen(frames: Sequence[Atoms]) -> list[list[str]]:
    """Cells of a table row for each frame that `collect` has chosen: whence, and what for.

    What the file does not say, for people may edit it, stays empty.
    """
    found = []
    for frame in frames:
        about, worst = frame.info, frame.info.get("worst_atom")
        atom = "" if worst is None else f"{frame.symbols[worst]} {worst}"
        times = (_number(about.get(k)) for k in ("time_ps", "largest_grade"))
        words = (str(about.get(k, "")) for k in ("structure", "chosen_for"))
        found.append([next(words), *times, atom, next(words)])
    return found


def in_words(row: Row) -> str:
    """What a round's MD did, in a line."""
    text = f"{row['left']} of {row['runs']} runs left the data"
    if row["at_start"]:
        text += f" ({row['at_start']} at step 0: their start cell is beyond the halt)"
    if row["causes"]:
        failed = row["runs"] - row["left"] - row["survived"]
        text += f", {failed} failed before ({', '.join(row['causes'])})"
    text += f"; mean length of a run {_ps(row['stable'])}, right for {_ps(row['right'])}"
    missing = row.get("unlabelled")
    return f"{text} ({missing} runs could not be labelled)" if missing else text


def render(
    name: str,
    rows: Sequence[Row],
    best: int,
    judged: Mapping[str, Row],
    halt: float,
    md: str,
    length_ps: float,
    labelled: Sequence[Sequence[Atoms]],
) -> str:
    """The page.

    Args:
        name: of the improvement.
        rows: a round each: ``round``, ``labels``, ``force_mae_eV_per_A`` and what :func:`times`
            gives.
        best: the round whose model is taken.
        judged: what :func:`times` gives for the first and the best model without the halt.
        halt: grade at which the MD of the rounds stops.
        md: of each model, in words.
        length_ps: of its runs.
        labelled: the frames that each round chose.
    """
    # Round 0 has no labels to be wrong on.
    errors = list(dict.fromkeys(k for row in rows for k in row["force_mae_eV_per_A"]))
    return html.render(
        "improve.html",
        title=f"Improvement: {name}",
        headline=headline(rows, best, judged),
        halt=f"{halt:g}",
        md=md,
        head=["round", "labels", "runs that left the data", "length of a run, ps",
              "right before the halt, ps"],
        rows=[
            [str(r["round"]), str(r["labels"]), f"{r['left']} of {r['runs']}",
             *(_number(r[t]) for t in ("stable", "right"))]
            for r in rows
        ],
        judged_head=["model", "start", "survived", *(f"{time}, ps" for time in TIMES),
                     "right to the end"],
        judged_rows=[
            [model, name, f"{r['survived']} of {r['runs']}", *(_number(r[t]) for t in TIMES),
             _right_to_the_end(r)]
            for model, all_of in judged.items()
            for name, r in {"all": all_of, **all_of["structures"]}.items()
        ],
        error_head=["round", *errors],
        error_rows=[
            [str(r["round"]), *(_number(r["force_mae_eV_per_A"].get(k)) for k in errors)]
            for r in rows if errors
        ],
        labelled_head=["round", "structure", "time, ps", "largest grade", "of atom", "chosen for"],
        labelled_rows=[
            [str(k), *cells] for k, frames in enumerate(labelled) for cells in chosen(frames)
        ],
        picture=html.png_bytes(_figure(rows, judged, length_ps)),
    )  # fmt: skip


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _ps(value: float | None) -> str:
    return "an unknown time" if value is None else f"{value:.3g} ps"


def _right_to_the_end(row: Row) -> str:
    return "" if row["right"] is None else f"{row['right_to_the_end']} of {row['runs']}"


def _last_known(judged: Mapping[str, Row]) -> str | None:
    """The right time where both models have it, else the trusted or the stable one."""
    known = [t for t in TIMES if all(row[t] is not None for row in judged.values())]
    return known[-1] if known else None


def is_better(judged: Mapping[str, Row], first: Row, best: Row) -> bool:
    """Whether the second model lasts longer than the first, or nobody knows.

    Where both last as long, the force errors of the rounds ``first`` and ``best`` decide.
    """
    time, (before, after) = _last_known(judged), judged.values()
    if time is None or after[time] != before[time]:
        return time is None or after[time] > before[time]
    old, new = (row["force_mae_eV_per_A"] for row in (first, best))
    common = old.keys() & new.keys()
    return bool(common) and sum(new[k] for k in common) < sum(old[k] for k in common)


def headline(rows: Sequence[Row], best: int, judged: Mapping[str, Row]) -> str:
    """First and best model in a sentence: their right time, else the trusted or stable one."""
    row, last = rows[best], rows[-1]
    if not judged:
        return f"Round {row['round']}, {row['labels']} labels: {in_words(row)}."
    time, (before, after) = _last_known(judged), judged.values()
    if time is None:
        return "No run has ended."
    if after[time] == before[time]:
        kept = f"that of {row['labels']} labels" if is_better(judged, rows[0], row) else "the first"
        return (
            f"Both models are {time} for {_ps(after[time])} in the mean: this MD does not tell "
            f"them apart (raise `length_ps` of `md`). The model that is kept is {kept}, by the "
            "force errors on the test files."
        )
    if after[time] < before[time]:
        return (
            f"No better model yet, so the first one is kept: its mean {time} time is "
            f"{_ps(before[time])}, with {row['labels']} labels it is {_ps(after[time])}. Look at "
            "the force errors on the labels: where they are not learnt, train longer; else do more "
            "rounds."
        )
    text = (
        f"{row['labels']} labels took the mean {time} time from {_ps(before[time])} to "
        f"{_ps(after[time])}."
    )
    if best < last["round"]:
        text += f" The {last['labels'] - row['labels']} labels after them did not help."
    if time == "right":
        text += f" {_right_to_the_end(after)} runs are right to the end."
        if after["right_to_the_end"] < after["runs"]:
            each = {name: r["right"] for name, r in after["structures"].items()}
            first = min(each, key=each.__getitem__)
            text += (
                f" Those from {first} go wrong first, at {_ps(each[first])} in the mean. "
                "To go on, raise `rounds`."
            )
    return text


def errors_in_words(rows: Sequence[Row], best: int) -> str:
    """Force errors of the first and of the best model on the test files; empty without any.

    Also where the first model is the best.
    """
    if not best:
        return ""
    first, last = (row["force_mae_eV_per_A"] for row in (rows[0], rows[best]))
    pairs = [f"{k} {_number(first[k])} -> {_number(last[k])}" for k in first if k in last]
    return f"force errors, eV/A, first -> best model: {', '.join(pairs)}" if pairs else ""


def _figure(rows: Sequence[Row], judged: Mapping[str, Row], length_ps: float) -> Any:
    """Time inside the data by labels; the three times of the first and the best model."""
    with style():
        fig, axes = figure(9.8 if judged else 5.0, 3.4, 1, 2 if judged else 1)
        left = axes[0, 0]
        labels = [r["labels"] for r in rows]
        left.plot(labels, [r["stable"] for r in rows], "o-", color="#0072B2", clip_on=False)
        left.set(
            xlabel="labels", ylabel="mean time (ps)", ylim=(0, None),
            xlim=(0, 1.05 * max(*labels, 1)),
            title="MD until it leaves the data",
        )  # fmt: skip
        left.xaxis.get_major_locator().set_params(integer=True)
        left.axhline(length_ps, color="#6b7480", linestyle=":", label="end of the runs")
        left.legend(loc="lower right")
        grid(left)
        if judged:
            right, width = axes[0, 1], 0.38
            for shift, (model, row), colour in zip(
                (-0.5, 0.5), judged.items(), ("#6b7480", "#009E73"), strict=True
            ):
                places = np.arange(len(TIMES)) + shift * width
                heights = [np.nan if row[t] is None else row[t] for t in TIMES]
                right.bar(places, heights, width, color=colour, label=model)
                each = [[r[t] for r in row["structures"].values() if r[t] is not None]
                        for t in TIMES]  # fmt: skip
                for place, values in zip(places, each, strict=True):
                    right.plot([place] * len(values), values, "o", color="#1c2430", markersize=3)
            right.axhline(length_ps, color="#6b7480", linestyle=":")
            right.plot([], [], "o", color="#1c2430", markersize=3, label="each start cell")
            right.set(xticks=range(len(TIMES)), xticklabels=TIMES, ylabel="mean time (ps)",
                      title="Without the halt")  # fmt: skip
            right.legend(loc="upper left", bbox_to_anchor=(1, 1))
            grid(right)
    return fig
