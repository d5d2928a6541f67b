"""The later sections of a report's page: structure, dynamics, sweep, runs, and how it was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ..html import (
    Html,
    figure,
    join,
    table,
    tag,
)
from ..md.criteria import criterion
from ..md.distribution import AVERAGE
from ..survival.sensitivity import Point
from .analysis import (
    Findings,
    bounds_as_run,
    settings,
)

WIDTH: Final = 1000
_SHOWN_RUNS: Final = 2000
Pictures = Mapping[str, bytes]


def structure(found: Findings, pictures: Pictures) -> Html | None:
    """Structure against a reference, while the runs are stable."""
    if not (found.structure or found.structure_missing):
        return None
    parts: list[Any] = [tag("h2", "Structure while stable")]
    if found.structure:
        caption = (
            "Mean absolute difference from the reference, averaged over element pairs (RDF) or "
            "triplets (ADF), on stable frames only. Hollow: fewer than 20 frames. Missing: no "
            "stable frame in the window."
        )
        parts.append(figure(pictures["structure"], "structure errors", caption, WIDTH))
        for kind, what in (("rdf", "Radial"), ("adf", "Angular")):
            if kind in pictures:
                text = f"{what} distribution functions over the reference (grey); the conditions "
                text += "that differ most."
                parts.append(figure(pictures[kind], text, text, WIDTH))
        rows = [
            [e.key[0], e.key[1], f"{e.key[2]:g}", e.got.kind.upper(), f"{e.errors[AVERAGE]:.4f}",
             ", ".join(f"{k} {v:.3f}" for k, v in e.errors.items() if k != AVERAGE),
             f"{e.got.frames}{' (few)' if e.got.too_few else ''}", e.runs,
             f"{e.window_ps[0]:.2f} to {e.window_ps[1]:.2f}"]
            for e in found.structure
        ]  # fmt: skip
        header = ["model", "structure", "T / K", "", "error", "by pair or triplet", "frames",
                  "runs", "window / ps"]  # fmt: skip
        parts.append(tag("details", tag("summary", "All errors"), table(header, rows)))
        if any(e.got.too_few for e in found.structure):
            text = "Some distributions rest on fewer than 20 frames: their error is mostly noise."
            parts.append(tag("p", text, class_="note"))
        if any(e.images == "box" for e in found.structure):
            text = (
                "Cells that are not orthogonal are compared in the benchmark's own way, which "
                "takes distances as in a box with the lengths of the cell vectors: numbers then "
                "compare with its paper, though some distances are not those of the crystal."
            )
            parts.append(tag("p", text, class_="note"))
    if found.structure_missing:
        lines = [tag("li", line) for line in found.structure_missing]
        parts.append(tag("details", tag("summary", f"Not compared: {len(lines)}"),
                         tag("ul", lines)))  # fmt: skip
    return join(parts)


def dynamics(found: Findings, pictures: Pictures) -> Html | None:
    """Energy drift in NVE, and mean square displacement."""
    if not (found.drifts or found.displacement):
        return None
    parts: list[Any] = [tag("h2", "Dynamics while stable")]
    if found.drifts:
        rows = []
        for model, drifts in found.drifts.items():
            rates = np.array([d.rate_eV_per_atom_ps for d in drifts]) * 1e3
            largest = rates[np.abs(rates).argmax()]
            away = sum(d.low > 0 or d.high < 0 for d in drifts)
            shown = f"{away} of {len(drifts)}"
            rows.append([model, len(drifts), f"{np.median(rates):.3g}", f"{largest:.3g}", shown])
        header = ["model", "runs in NVE", "median drift / meV per atom and ps", "largest",
                  "interval excludes 0"]  # fmt: skip
        parts += [tag("h3", "Energy drift"), table(header, rows)]
    if found.displacement:
        caption = (
            "Mean square displacement over time origins, centre of mass at rest. Diffusion is "
            "given only where the displacement grows linearly and exceeds 1 A."
        )
        parts.append(figure(pictures["displacement"], "mean square displacement", caption, WIDTH))
        rows = [
            [key[0], key[1], f"{key[2]:g}", p.element, f"{p.msd_A2[-1]:.3g}",
             f"{p.lag_ps[-1]:.3g}", p.verdict]
            for key, parts_of in found.displacement.items() for p in parts_of
        ]  # fmt: skip
        header = ["model", "structure", "T / K", "element", "MSD / A²", "at lag / ps", "diffusion"]
        parts.append(tag("details", tag("summary", "All displacements"), table(header, rows)))
    return join(parts)


def sweep(found: Findings, pictures: Pictures) -> Html | None:
    """How the verdict moves with the thresholds."""
    if "sweep" not in pictures:
        return None
    caption = (
        "Mean stable time if one criterion had been stricter (left of the line) or looser "
        "(right). Stricter is read off the records. Looser is only a bound: runs stop where they "
        "fail, so the band runs from failing there all the same to lasting to the end."
    )
    rows = [
        [criterion(p.criterion).label, f"x {p.scale:g}",
         "–" if p.bound is None else f"{p.bound:.3g}", p.model, _range(p), p.failed, p.open, p.runs]
        for p in found.sweep
    ]  # fmt: skip
    header = ["criterion", "scale", "bound", "model", "mean stable time / ps", "failed", "unknown",
              "runs"]  # fmt: skip
    return join(
        tag("h2", "Does the verdict hang on the thresholds?"),
        tag("p", found.sweep_verdict) if found.sweep_verdict else None,
        figure(pictures["sweep"], "mean stable time by threshold", caption, WIDTH),
        tag("details", tag("summary", "All numbers"), table(header, rows)),
    )


def _range(p: Point) -> str:
    if p.rmst_low_ps is None or p.rmst_high_ps is None:
        return "–"
    if p.rmst_low_ps == p.rmst_high_ps:
        return f"{p.rmst_low_ps:.3g}"
    return f"{p.rmst_low_ps:.3g} to {p.rmst_high_ps:.3g}"


def runs(found: Findings) -> Html:
    """The run table."""
    rows = [
        [r["model"], r["structure"], f"{r['temperature_K']:g}", r["seed"],
         criterion(r["cause"]).label if r["status"] == "failed" else r["status"],
         "–" if r["stable_time_ps"] is None else f"{r['stable_time_ps']:.4g}",
         f"{r['length_ps']:g}", r["message"]]
        for r in found.rows[:_SHOWN_RUNS]
    ]  # fmt: skip
    header = ["model", "structure", "T / K", "seed", "end", "stable / ps", "of / ps", "message"]
    left = len(found.rows) - len(rows)
    more = tag("p", f"{left} more are in runs.csv.", class_="soft") if left > 0 else None
    return join(
        tag("h2", "All runs"),
        tag("details", tag("summary", f"{len(found.rows)} runs"), table(header, rows), more),
    )


def excluded(found: Findings) -> Html | None:
    """Runs that are no evidence, and those that are evidence up to a point."""
    errors = [r for r in found.rows if r["status"] == "error"]
    cut = Counter(r["model"] for r in found.rows if r["status"] == "interrupted")
    if not (errors or cut):
        return None
    parts: list[Any] = [tag("h2", "What was left out")]
    if errors:
        text = (
            f"{len(errors)} runs ended in an error: the engine could not run, which says nothing "
            "about the model."
        )
        rows = [[r["model"], r["structure"], f"{r['temperature_K']:g}", r["seed"], r["message"]]
                for r in errors]  # fmt: skip
        parts += [tag("p", text), table(["model", "structure", "T / K", "seed", "message"], rows)]
    if cut:
        text = ", ".join(f"{count} of {model}" for model, count in sorted(cut.items()))
        parts.append(tag("p", f"Cut short and counted up to that point: {text}."))
    return join(parts)


def method(found: Findings) -> Html:
    """How it was done: criteria, settings, versions."""
    values = settings(found.specs)
    rows = [
        [name.replace("criteria.", "").replace("_", " "), ", ".join(map(_value, seen))]
        for name, seen in values.items()
    ]
    rows.insert(0, ["temperatures / K", _set(f"{r['temperature_K']:g}" for r in found.rows)])
    rows.insert(1, ["seeds", _set(r["seed"] for r in found.rows)])
    mixed = [name for name, seen in values.items() if len(seen) > 1]
    versions: dict[str, set[str]] = {}
    hashes: dict[str, set[str]] = {}
    for run in found.runs:
        for name, version in run.manifest.get("versions", {}).items():
            versions.setdefault(name, set()).add(str(version))
        model = run.manifest.get("inputs", {}).get("model")
        if model:
            hashes.setdefault(run.spec.model.name, set()).add(str(model)[:16])
    note = (
        tag("p", f"Runs differ in: {', '.join(mixed)}. Statistics put them together.",
            class_="note")
        if mixed and len(found.plans) > 1 else None
    )  # fmt: skip
    return join(
        tag("h2", "Method and settings"),
        tag(
            "p",
            "A run fails at the first step at which a criterion is met, even if it would have "
            "recovered. Runs that reach the end, or are cut short, are censored there. The mean "
            "stable time is the restricted mean survival time to a horizon that all models were "
            "observed to; intervals cluster runs by start structure. Two models are compared over "
            "runs from the same start, with a bootstrap over structures and a paired permutation "
            "test; a difference is called shown only where both agree.",
        ),
        note,
        table(["setting", "value"], rows),
        table(["model", "content hash"], [[m, _set(h)] for m, h in sorted(hashes.items())])
        if hashes else None,
        table(["software", "version"], [[n, _set(v)] for n, v in sorted(versions.items())])
        if versions else None,
    )  # fmt: skip


def limits(found: Findings) -> Html:
    """What the report can't tell."""
    every = sorted({spec.criteria.check_every for spec in found.specs})
    lines = [
        f"Nothing is known beyond {found.summary.horizon_ps:g} ps.",
        "It speaks of these structures, temperatures and thermostats; others may order the "
        "models differently.",
        "Bands and intervals are at 95 % for each statement, not for all of them together.",
        "Stable is not right: a stable run may still have the wrong structure or dynamics.",
    ]
    if every[-1] > 1:
        lines.insert(0, f"Criteria were checked every {_set(every)} steps: a failure lies within "
                     "that many steps before the time given.")  # fmt: skip
    if "nve" not in {spec.ensemble for spec in found.specs}:
        lines.append("A thermostat can hide that a model does not conserve energy: run NVE too.")
    if "contact" not in bounds_as_run(found.specs):
        lines.append("Contacts were not judged: atoms may have sat on each other.")
    return join(
        tag("h2", "What this does not say"),
        tag("ul", [tag("li", line) for line in lines]),
    )


def _value(value: Any) -> str:
    return "off" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _set(values: Any) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values))
