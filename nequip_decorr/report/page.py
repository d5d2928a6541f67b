"""The page of a report: values for its template, ``templates/report.html``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..html import render
from ..md.criteria import CRITERIA, criterion
from ..md.spec import settings
from ..style import CUT, STABLE, model_styles
from ..survival.summary import ModelSummary
from .analysis import Analysis
from .right import label_frames, labelling_models, meanings, wrong_sentences
from .tables import tables_of


def page_of(title: str, found: Analysis, pictures: Mapping[str, bytes]) -> str:
    """The whole page.

    Args:
        title: shown on top.
        found: from :func:`.analysis.analyse`.
        pictures: PNG files by name.
    """
    summary, rows = found.summary, found.rows
    looks = model_styles([m.name for m in summary.models], summary.reference)
    values = settings(found.specs)
    cut = Counter(row["model"] for row in rows if row["status"] == "interrupted")
    frames = label_frames(found.runs)
    labelling = labelling_models(frames)
    mixed = [name.removeprefix("criteria.") for name, seen in values.items() if len(seen) > 1]
    return render(
        "report.html",
        title=f"MD stability: {title}",
        pictures=pictures,
        tables=tables_of(found),
        summary=summary,
        labels={c.name: c.label for c in CRITERIA},
        first=next(iter(summary.comparisons), None),
        shown=[c for c in summary.comparisons if c.verdict in ("a_better", "b_better")],
        sizes={
            "model": len(summary.models),
            "structure": len({row["structure"] for row in rows}),
            "temperature": len({row["temperature_K"] for row in rows}),
            "seed": len({row["seed"] for row in rows}),
            "run": len(rows),
        },
        unfinished=found.unfinished,
        wrong=wrong_sentences(rows, {summary.reference, *labelling}),
        meanings=meanings((t for known in found.times.values() for t in known), frames, labelling),
        findings=found.findings,
        renamed=found.renamed,
        cards=[{"model": m, "colour": looks[m.name]["color"], "ends": _ends(m),
                "times": found.times.get(m.name, {})} for m in
               summary.models],
        structure_missing=found.structure_missing,
        few_frames=any(e.got.too_few for e in found.structure),
        as_boxes=any(e.images == "box" for e in found.structure),
        sweep_verdict=found.sweep_verdict,
        cut=sorted(cut.items()),
        mixed=mixed if len(found.plans) > 1 else [],
        check_every=sorted({spec.criteria.check_every for spec in found.specs}),
        has_nve=any(spec.ensemble == "nve" for spec in found.specs),
        judges_contact=any(spec.criteria.contact_fraction is not None for spec in found.specs),
    )  # fmt: skip


def _ends(model: ModelSummary) -> list[dict[str, Any]]:
    """How the runs of a model ended: number, colour and words of each end that occurs."""
    found = [(model.counts["survived"], STABLE, "survived")]
    found += [(n, criterion(c).colour, criterion(c).label) for c, n in model.causes.items()]
    found.append((model.counts["interrupted"], CUT, "cut short"))
    return [{"count": n, "colour": c, "label": text} for n, c, text in found if n]
