"""``docs/results.md`` and its figures, from the two tables alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from rich.console import Console

from . import figures, text, words
from .analysis import Tables, relation, select
from .collect import RESULTS, read_table
from .declared import HERE, STOCK, read_study
from .model import REFERENCE

DOCS: Final = HERE.parents[1] / "docs"


def write_report(console: Console, results: Path = RESULTS, docs: Path = DOCS) -> Path:
    """Write the page and its figures.

    Raises:
        FileNotFoundError: no tables yet.
    """
    for name in ("models.csv", "runs.csv"):
        if not (results / name).is_file():
            raise FileNotFoundError(f"no {results / name}; run a stage first")
    models, runs = read_table(results / "models.csv"), read_table(results / "runs.csv")
    study = read_study()
    reference = [r for r in runs if r["regime"] == REFERENCE]
    every = [t for name in study.regimes if (t := Tables.of(name, models, runs)).models]
    main = max(every, key=lambda t: len(t.models))
    pictures = docs / "results"
    pictures.mkdir(parents=True, exist_ok=True)

    with_stock = [t for t in every if t.half("tuning", STOCK)]
    figures.regimes(with_stock, pictures / "regimes.png")
    candidates = [c.name for c in study.conditions.values() if c.candidate]
    best, bound = select(main, [c for c in candidates if c in main.conditions("tuning")], STOCK)
    screened = main.conditions("tuning")
    confirmed = main.conditions("heldout")
    halves = [h for h in ("tuning", "heldout") if main.conditions(h)]
    relations = {w: relation(main, halves, within=w) for w in (False, True)}

    parts = [words.HEAD]
    parts.append(text.claims(main, best, relations))
    parts.append(
        text.what_was_run(every, reference, json.loads((results / "hardware.json").read_text()))
    )
    parts.append(text.regimes(with_stock, reference))
    if len(screened) > 1:
        figures.forest(main, "tuning", screened, pictures / "screening.png")
        parts.append(text.screening(main, study, best, bound))
    if STOCK in confirmed:
        order = [STOCK, *(n for n in confirmed if n != STOCK)]
        figures.survival(main, "heldout", order, pictures / "confirmation.png")
        parts.append(text.confirmation(main, order))
    if relations[False] is not None:
        figures.relation(main, halves, pictures / "relation.png")
        parts.append(text.related(relations))
    parts.append(words.missing(study, main))
    page = docs / "results.md"
    page.write_text("\n".join(parts).rstrip() + "\n")
    console.print(f"{page} and {len(list(pictures.glob('*.png')))} figures")
    return page
