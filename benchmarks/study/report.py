"""``docs/results.md``, ``results_details.md`` and their figures, from the two tables alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console

from ..hardware import read as read_table
from . import figures, summary, text
from .analysis import BARRIER, Tables, across_and_within, lowest_barriers, select
from .claims import claims
from .collect import HALVES, RESULTS
from .declared import CHOSEN_REGIME, HERE, STOCK, read_study
from .model import REFERENCE
from .words import section

DOCS: Final = HERE.parents[1] / "docs"
RERUN: Final = "rerun"
MARKS: Final = ("<!-- study: made by `python -m benchmarks.study report` -->", "<!-- /study -->")


def write_report(console: Console, results: Path = RESULTS, docs: Path = DOCS) -> Path:
    """Write the page and its figures.

    Raises:
        FileNotFoundError: no tables yet.
        ValueError: no models of the regime that the claims are about.
    """
    for name in ("models.csv", "runs.csv"):
        if not (results / name).is_file():
            raise FileNotFoundError(f"no {results / name}; run a stage first")
    models, runs = read_table(results / "models.csv"), read_table(results / "runs.csv")
    study = read_study()
    reference = [r for r in runs if r["regime"] == REFERENCE]
    every = [t for name in study.regimes if (t := Tables.of(name, models, runs)).models]
    main = next((t for t in every if t.regime == CHOSEN_REGIME), None)
    if main is None:
        got = ", ".join(t.regime for t in every) or "none"
        raise ValueError(
            f"{results / 'models.csv'} has no models of the regime {CHOSEN_REGIME}, which the "
            f"claims are about; it has {got}"
        )
    pictures = docs / "results.new"
    pictures.mkdir(parents=True, exist_ok=True)

    with_stock = [t for t in every if t.half("tuning", STOCK)]
    figures.regimes(with_stock, pictures / "regimes.png")
    candidates = [c.name for c in study.conditions.values() if c.candidate]
    screened = [t for t in every if len(t.conditions("tuning")) > 1]
    picks = {t.regime: select(t, candidates, STOCK) for t in screened}
    held_out = {t.regime: t.conditions("heldout") for t in every}
    confirmed = [t for t in every if STOCK in (names := held_out[t.regime]) and len(names) > 1]
    groups = {c.name: c.group for c in study.conditions.values()}
    cores = [c.name for c in study.conditions.values() if c.core]
    relations, bare_relations = {}, {}
    for t in every:
        found = across_and_within(t, HALVES)
        if found[False] is not None:
            relations[t.regime] = found
            if set(cores) & {m["condition"] for m in t.models}:
                bare_relations[t.regime] = across_and_within(t.without(cores), HALVES)
            figures.relation(t, HALVES, pictures / f"relation_{t.regime}.png", groups)

    parts = [section("head")]
    terms = list(dict.fromkeys([*study.confirm, *(best for best, _ in picks.values() if best)]))
    # A second round is another way of training than the paper's: PROTOCOL.md, departure 25.
    papers = {r.name for r in study.regimes.values() if not r.collected}
    paper_relations = {name: found for name, found in relations.items() if name in papers}
    others = [t for t in confirmed if t is not main and t.regime in papers]
    parts.append(claims(main, terms, paper_relations, bare_relations, others))
    parts.append(summary.pairs([t for t in confirmed if t.regime in papers], study))
    parts.append(
        text.what_was_run(
            study, every, reference, json.loads((results / "hardware.json").read_text())
        )
    )
    parts.append(text.regimes(with_stock, reference))
    for t in screened:
        names = t.conditions("tuning")
        figures.forest(t, "tuning", names, pictures / f"screening_{t.regime}.png")
        parts.append(text.screening(t, study, *picks[t.regime]))
    for t in confirmed:
        order = [STOCK, *(n for n in t.conditions("heldout") if n != STOCK)]
        figures.survival(t, "heldout", order, pictures / f"confirmation_{t.regime}.png")
        parts.append(text.confirmation(t, study, order))
        source = study.regime(t.regime).collected.get("regime")
        parts += [text.second_round(first, t, study) for first in every if first.regime == source]
    if (results / RERUN / "runs.csv").is_file():
        again = (read_table(results / RERUN / f"{n}.csv") for n in ("models", "runs", "stages"))
        models_again, runs_again, stages = again
        parts.append(text.rerun(main, Tables.of(main.regime, models_again, runs_again), stages))
    if relations:
        parts.append(text.related(relations, bare_relations))
    walls, bare_found = replace(main, models=lowest_barriers(main.models)), {}
    if (reference_barriers := results / "reference_barriers.json").is_file():
        bare = walls.without(cores)
        found, bare_found = (across_and_within(t, HALVES, BARRIER) for t in (walls, bare))
        reference_eV = json.loads(reference_barriers.read_text())
        figures.relation(
            walls, HALVES, pictures / "barrier.png", groups, BARRIER,
            "lowest barrier to a contact (eV, logarithmic)", min(reference_eV.values()),
        )  # fmt: skip
        parts.append(text.why(walls, study, reference_eV, found, bare_found))
    parts.append(text.missing(study, [t.regime for t in with_stock], main, screened, confirmed))
    page = docs / "results_details.md"
    page.write_text("\n".join(parts).rstrip() + "\n")
    first = summary.summary(study, [t for t in confirmed if t.regime in papers], confirmed, main)
    if first:
        titles = {t.regime: study.regime(t.regime).title for t in confirmed}
        readings = summary.readings([t for t in confirmed if t.regime in papers])
        summary.forest(readings, titles, pictures / "paired.png")
        page = docs / "results.md"
        page.write_text(first["page"].strip() + "\n")
        _into_readme(docs.parent / "README.md", first["lines"].strip() + "\n")
    _replace_pictures(docs / "results", pictures)
    console.print(f"{page} and {len(list(docs.glob('results/*.png')))} figures")
    return page


def _replace_pictures(old: Path, new: Path) -> None:
    """Only when all new ones are drawn."""
    old.mkdir(exist_ok=True)
    for path in old.glob("*.png"):
        path.unlink()
    for path in new.glob("*.png"):
        path.rename(old / path.name)
    new.rmdir()


def _into_readme(path: Path, words: str) -> None:
    """Put the headline between its two marks, where a file has them."""
    if not path.is_file() or MARKS[0] not in path.read_text():
        return
    before, rest = path.read_text().split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    path.write_text(f"{before}{MARKS[0]}\n\n{words}\n{MARKS[1]}{after}")
