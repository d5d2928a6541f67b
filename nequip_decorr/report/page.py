"""The page of a report: the verdict first, then what it rests on, then how it was made."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..html import (
    Html,
    figure,
    join,
    page,
    table,
    tag,
)
from ..md.criteria import criterion
from ..style import (
    CUT,
    STABLE,
    model_styles,
)
from ..survival.comparison import Comparison
from ..survival.outcomes import Estimate
from ..survival.summary import (
    ModelSummary,
    deaths,
)
from . import details
from .analysis import (
    Findings,
    estimate_text,
)
from .details import (
    WIDTH,
    Pictures,
)


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
        details.structure(found, pictures),
        details.dynamics(found, pictures),
        details.sweep(found, pictures),
        details.runs(found),
        details.excluded(found),
        details.method(found),
        details.limits(found),
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
            f"{alone.rmst_text} ps)."
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
    pieces += [(c, n, criterion(c).colour, criterion(c).label) for c, n in model.causes.items()]
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
        tag("p", f"{mean.level:.0%} interval {model.rmst_text} ps"),
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
    shown = [
        f"{b} over {a}"
        for c in comparisons
        if c.verdict in ("a", "b")
        for a, b in [(c.model_a, c.model_b) if c.verdict == "b" else (c.model_b, c.model_a)]
    ]
    line = f"Shown to be more stable: {'; '.join(shown)}." if shown else "No difference is shown."
    return join(tag("h3", "Every two models"), tag("p", line), table(header, rows),
                tag("p", note, class_="soft small"))  # fmt: skip


def _survival(found: Findings, pictures: Pictures) -> Html:
    summary = found.summary
    times = list(summary.models[0].survival_at)
    rows = [
        [
            m.name,
            _median(m.median_ps, summary.horizon_ps),
            *(_percent(m.survival_at[t]) for t in times),
            m.evidence,
        ]
        for m in summary.models
    ]
    header = ["model", "median stable time / ps", *(f"stable beyond {t} ps" for t in times), "runs"]
    caption = (
        "Fraction of runs still stable (Kaplan-Meier) with pointwise 95 % bands: the wider of "
        "those that take the structures, or the runs, as independent. A tick is a run cut short: "
        "it counts up to there."
    )
    mean = "Mean stable time up to the common horizon, which is the area under the curve above."
    return join(
        tag("h2", "How long"),
        figure(pictures["survival"], "survival curves", caption, WIDTH),
        figure(pictures["rmst"], "mean stable time of each model", mean, WIDTH),
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
        parts.append(figure(pictures["causes"], "causes of failure over time", caption, WIDTH))
        rows = []
        for m in models:
            for cause in m.causes:
                mine = [r for r in found.rows if r["model"] == m.name and r["cause"] == cause]
                times = [r["stable_time_ps"] for r in mine]
                at_end = m.incidence[cause].at(found.summary.horizon_ps)
                rows.append([m.name, criterion(cause).label, len(mine), f"{np.median(times):.3g}",
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
        figure(pictures["pairs"], "stable time of each run by structure", caption, WIDTH),
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
        figure(pictures["traces"], "temperature, energy and closest contact", caption, WIDTH),
    )


def _median(value: Estimate, horizon_ps: float) -> str:
    texts = [
        f"> {horizon_ps:g}" if np.isinf(x) else f"{x:.3g}"
        for x in (value.value, value.low, value.high)
    ]
    return f"{texts[0]} ({texts[1]} to {texts[2]})"


def _percent(value: Estimate) -> str:
    if np.isnan(value.value):
        return "–"
    return f"{value.value:.0%} ({value.low:.0%} to {value.high:.0%})"
