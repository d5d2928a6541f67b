"""The page of a report: the verdict first, then what it rests on, then how it was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ..html import Html, figure, join, page, table, tag
from .compare import Comparison
from .distribution import AVERAGE
from .findings import Findings, bounds_as_run, estimate_text, settings
from .style import CAUSE_COLOURS, CUT, STABLE, model_styles
from .summary import WORDS, ModelSummary, deaths
from .sweep import Point

_WIDTH: Final = 1000
_SHOWN_RUNS: Final = 2000
Pictures = Mapping[str, bytes]


def page_of(title: str, found: Findings, pictures: Pictures) -> str:
    """The whole page.

    Args:
        title: shown on top.
        found: from :func:`.findings.gather`.
        pictures: PNG files by name.
    """
    sections = (
        _verdict(title, found),
        _survival(found, pictures),
        _causes(found, pictures),
        _pairs(found, pictures),
        _traces(pictures),
        _structure(found, pictures),
        _dynamics(found, pictures),
        _sweep(found, pictures),
        _runs(found),
        _excluded(found),
        _method(found),
        _limits(found),
    )
    return page(f"MD stability: {title}", sections)


def _verdict(title: str, found: Findings) -> Html:
    summary = found.summary
    rows = found.rows
    size = (
        f"{len(summary.models)} models, {len({r['structure'] for r in rows})} structures, "
        f"{len({r['temperature_K'] for r in rows})} temperatures, "
        f"{len({r['seed'] for r in rows})} seeds, {len(rows)} runs"
    )
    words = []
    for part in size.split(", "):
        words.append(part[:-1] if part.startswith("1 ") else part)
    parts = [tag("h1", f"MD stability: {title}"), tag("p", ", ".join(words), class_="soft small")]
    if summary.comparisons:
        claim, evidence = _claim(summary.comparisons[0])
        parts += [tag("p", claim, class_="headline"), tag("p", evidence, class_="soft")]
    else:
        alone = summary.models[0]
        text = (
            f"{alone.name} is stable for {alone.rmst.rmst_ps:.3g} ps on average within "
            f"{summary.horizon_ps:g} ps ({alone.rmst.level:.0%} interval "
            f"{alone.rmst.low_ps:.3g} to {alone.rmst.high_ps:.3g} ps)."
        )
        parts += [tag("p", text, class_="headline")]
    if found.unfinished:
        text = f"Not finished: {found.unfinished} planned runs have not ended yet."
        parts.append(tag("p", text, class_="note"))
    for warning in summary.warnings:
        parts.append(tag("p", warning, class_="note"))
    for model in summary.silent:
        parts.append(tag("p", f"No run of {model} is evidence: all ended in an error.",
                         class_="note"))  # fmt: skip
    looks = model_styles([m.name for m in summary.models], summary.reference)
    cards = [_card(m, looks[m.name]["color"], m.name == summary.reference) for m in summary.models]
    parts.append(tag("div", cards, class_="cards"))
    if len(summary.comparisons) > 1:
        parts.append(_comparisons(summary.comparisons))
    notes = dict.fromkeys(note for c in summary.comparisons[:1] for note in c.notes)
    if notes:
        parts.append(tag("details", tag("summary", "What to know with this verdict"),
                         tag("ul", [tag("li", note) for note in notes]), open=""))  # fmt: skip
    return join(parts)


def _claim(c: Comparison) -> tuple[str, str]:
    """The conclusion's claim, and the evidence that it gives in brackets."""
    if c.verdict == "none":
        claim = f"No difference shown between {c.model_b} and {c.model_a}."
        return claim, c.conclusion.removeprefix("No difference shown: ")
    at = c.conclusion.rfind(f" ({c.level:.0%} interval ")
    if at < 0:
        return c.conclusion, ""
    return f"{c.conclusion[:at]}.", c.conclusion[at + 2 :].removesuffix(".").removesuffix(")") + "."


def _card(model: ModelSummary, color: str, is_reference: bool) -> Html:
    mean = model.rmst
    pieces = [("survived", model.counts["survived"], STABLE, "survived")]
    pieces += [(c, n, CAUSE_COLOURS[c], WORDS[c]) for c, n in model.causes.items()]
    pieces.append(("interrupted", model.counts["interrupted"], CUT, "cut short"))
    pieces = [piece for piece in pieces if piece[1]]
    bar = [tag("div", style=f"flex:{n};background:{c}", title=f"{w}: {n}") for _, n, c, w in pieces]
    legend = [
        tag("span", tag("span", class_="key", style=f"background:{c}"), f"{n} {w}")
        for _, n, c, w in pieces
    ]
    return tag(
        "div",
        tag("div", model.name, tag("span", " (reference)", class_="soft") if is_reference else None,
            class_="name", title=model.name),
        tag("div", f"{mean.rmst_ps:.3g} ps", class_="big"),
        tag("p", f"stable on average, of {mean.horizon_ps:g} ps", class_="soft"),
        tag("p", f"{mean.level:.0%} interval {mean.low_ps:.3g} to {mean.high_ps:.3g} ps"),
        tag("div", bar, class_="bar"),
        tag("div", legend, class_="legend"),
        class_="card",
        style=f"border-top-color:{color}",
    )  # fmt: skip


def _comparisons(comparisons: tuple[Comparison, ...]) -> Html:
    words = {"a": "shown", "b": "shown", "these": "on these structures", "none": "not shown"}
    rows = [
        [c.model_b, c.model_a, estimate_text(c.ratio), estimate_text(c.difference_ps),
         f"{c.permutation.p_value:.2g}", c.n_pairs, words[c.verdict]]
        for c in comparisons
    ]  # fmt: skip
    header = ["model", "against", "ratio (95 %)", "difference / ps (95 %)", "p", "pairs",
              "difference"]  # fmt: skip
    note = "Not corrected for making several comparisons at once."
    return join(tag("h3", "Every two models"), table(header, rows),
                tag("p", note, class_="soft small"))  # fmt: skip


def _survival(found: Findings, pictures: Pictures) -> Html:
    summary = found.summary
    times = list(summary.models[0].survival_at)
    rows = [
        [
            m.name,
            estimate_text(m.median_ps),
            *(_percent(m.survival_at[t]) for t in times),
            m.evidence,
        ]
        for m in summary.models
    ]
    header = ["model", "median stable time / ps", *(f"stable beyond {t} ps" for t in times), "runs"]
    caption = (
        "Fraction of runs still stable (Kaplan-Meier) with pointwise 95 % bands, runs of one "
        "structure taken as alike. A tick is a run cut short: it counts up to there."
    )
    mean = "Mean stable time up to the common horizon, which is the area under the curve above."
    return join(
        tag("h2", "How long"),
        figure(pictures["survival"], "survival curves", caption, _WIDTH),
        figure(pictures["rmst"], "mean stable time of each model", mean, _WIDTH),
        table(header, rows),
    )


def _causes(found: Findings, pictures: Pictures) -> Html:
    models = found.summary.models
    parts: list[Any] = [tag("h2", "How each died")]
    parts.append(tag("ul", [tag("li", tag("b", m.name), f": {deaths(m)}.") for m in models]))
    if "causes" in pictures:
        caption = (
            "Cumulative incidence by cause: what share of the runs had failed of it by then, the "
            "causes competing. Hatched: no run was observed that long."
        )
        parts.append(figure(pictures["causes"], "causes of failure over time", caption, _WIDTH))
        rows = []
        for m in models:
            for cause in m.causes:
                mine = [r for r in found.rows if r["model"] == m.name and r["cause"] == cause]
                times = [r["stable_time_ps"] for r in mine]
                at_end = m.incidence[cause].at(found.summary.horizon_ps)
                rows.append([m.name, WORDS[cause], len(mine), f"{np.median(times):.3g}",
                             f"{min(times):.3g}", _percent(at_end)])  # fmt: skip
        header = ["model", "cause", "runs", "median time / ps", "first / ps",
                  f"incidence at {found.summary.horizon_ps:g} ps"]  # fmt: skip
        parts.append(table(header, rows))
    return join(parts)


def _pairs(found: Findings, pictures: Pictures) -> Html:
    caption = (
        "Each point is a run; a line joins runs from the same start (same atoms, same "
        "velocities). Hollow: the run did not fail."
    )
    return join(
        tag("h2", "Structure by structure"),
        figure(pictures["pairs"], "stable time of each run by structure", caption, _WIDTH),
    )


def _traces(pictures: Pictures) -> Html | None:
    if "traces" not in pictures:
        return None
    caption = (
        "Every run up to its end, coloured by its cause of failure. A model can keep its "
        "temperature while its energy sinks or its atoms meet, so all three are judged."
    )
    return join(
        tag("h2", "What happened in the runs"),
        figure(pictures["traces"], "temperature, energy and closest contact", caption, _WIDTH),
    )


def _structure(found: Findings, pictures: Pictures) -> Html | None:
    if not (found.structure or found.structure_missing):
        return None
    parts: list[Any] = [tag("h2", "Structure while stable")]
    if found.structure:
        caption = (
            "Mean absolute difference from the reference, averaged over element pairs (RDF) or "
            "triplets (ADF), on stable frames only. Hollow: fewer than 20 frames."
        )
        parts.append(figure(pictures["structure"], "structure errors", caption, _WIDTH))
        for kind, what in (("rdf", "Radial"), ("adf", "Angular")):
            if kind in pictures:
                text = f"{what} distribution functions over the reference (grey); the conditions "
                text += "that differ most."
                parts.append(figure(pictures[kind], text, text, _WIDTH))
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


def _dynamics(found: Findings, pictures: Pictures) -> Html | None:
    if not (found.drifts or found.displacement):
        return None
    parts: list[Any] = [tag("h2", "Dynamics while stable")]
    if found.drifts:
        rows = []
        for model, drifts in found.drifts.items():
            rates = np.array([d.rate_eV_per_atom_ps for d in drifts]) * 1e3
            away = sum(d.low > 0 or d.high < 0 for d in drifts)
            rows.append([model, len(drifts), f"{np.median(rates):.3g}",
                         f"{rates[np.abs(rates).argmax()]:.3g}", f"{away} of {len(drifts)}"])  # fmt: skip
        header = ["model", "runs in NVE", "median drift / meV per atom and ps", "largest",
                  "interval excludes 0"]  # fmt: skip
        parts += [tag("h3", "Energy drift"), table(header, rows)]
    if found.displacement:
        caption = (
            "Mean square displacement over time origins, centre of mass at rest. Diffusion is "
            "given only where the displacement grows linearly and exceeds 1 A."
        )
        parts.append(figure(pictures["displacement"], "mean square displacement", caption, _WIDTH))
        rows = [
            [key[0], key[1], f"{key[2]:g}", p.element, f"{p.msd_A2[-1]:.3g}",
             f"{p.lag_ps[-1]:.3g}", p.verdict]
            for key, parts_of in found.displacement.items() for p in parts_of
        ]  # fmt: skip
        header = ["model", "structure", "T / K", "element", "MSD / A²", "at lag / ps", "diffusion"]
        parts.append(tag("details", tag("summary", "All displacements"), table(header, rows)))
    return join(parts)


def _sweep(found: Findings, pictures: Pictures) -> Html | None:
    if "sweep" not in pictures:
        return None
    caption = (
        "Mean stable time if one criterion had been stricter (left of the line) or looser "
        "(right). Stricter is read off the records. Looser is only a bound: runs stop where they "
        "fail, so the band runs from failing there all the same to lasting to the end."
    )
    rows = [
        [WORDS[p.criterion], f"x {p.scale:g}", "–" if p.bound is None else f"{p.bound:.3g}",
         p.model, _range(p), p.failed, p.open, p.runs]
        for p in found.sweep
    ]  # fmt: skip
    header = ["criterion", "scale", "bound", "model", "mean stable time / ps", "failed", "unknown",
              "runs"]  # fmt: skip
    return join(
        tag("h2", "Does the verdict hang on the thresholds?"),
        tag("p", found.sweep_verdict) if found.sweep_verdict else None,
        figure(pictures["sweep"], "mean stable time by threshold", caption, _WIDTH),
        tag("details", tag("summary", "All numbers"), table(header, rows)),
    )


def _range(p: Point) -> str:
    if p.rmst_low_ps is None or p.rmst_high_ps is None:
        return "–"
    if p.rmst_low_ps == p.rmst_high_ps:
        return f"{p.rmst_low_ps:.3g}"
    return f"{p.rmst_low_ps:.3g} to {p.rmst_high_ps:.3g}"


def _runs(found: Findings) -> Html:
    rows = [
        [r["model"], r["structure"], f"{r['temperature_K']:g}", r["seed"],
         WORDS[r["cause"]] if r["status"] == "failed" else r["status"],
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


def _excluded(found: Findings) -> Html | None:
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


def _method(found: Findings) -> Html:
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


def _limits(found: Findings) -> Html:
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


def _percent(value: Any) -> str:
    if np.isnan(value.value):
        return "–"
    return f"{value.value:.0%} ({value.low:.0%} to {value.high:.0%})"


def _value(value: Any) -> str:
    return "off" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _set(values: Any) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values))
