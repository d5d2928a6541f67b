"""How numbers are written in ``docs/results.md``, and its words beside the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from nequip_decorr.stability.outcomes import Estimate

from .analysis import Tables
from .declared import Study

HEAD: Final = """# Does decorrelation lengthen MD?

Made from `benchmarks/study/results/*.csv` by `python -m benchmarks.study report`; not edited by
hand. What is compared with what, and what counts as shown, was fixed beforehand in
[the protocol](../benchmarks/study/PROTOCOL.md), which also lists every departure from it. The ways
of training are declared in [conditions.yaml](../benchmarks/study/conditions.yaml), each with the
prediction made before it was run.

RMST is the restricted mean stable time to 10 ps: the mean time to the first failure, a run that
survives counting as 10 ps. Brackets hold 95 % intervals.
"""


def number(value: float | None) -> str:
    """Three digits."""
    if value is None or np.isnan(value):
        return "-"
    return "inf" if np.isinf(value) else f"{value:.3g}"


def interval(estimate: Estimate | None) -> str:
    """A value and its interval."""
    if estimate is None:
        return "-"
    if not np.isfinite(estimate.high) and estimate.low == 0:
        return f"{number(estimate.value)} (one seed)"
    return f"{number(estimate.value)} [{number(estimate.low)}, {number(estimate.high)}]"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def missing(
    study: Study, tables: Tables, screened: Sequence[Tables], confirmed: Sequence[Tables]
) -> str:
    """What was not done.

    Args:
        study: what is declared.
        tables: of the chosen regime.
        screened: the regimes that have a screening.
        confirmed: the regimes that have a confirmation.
    """
    left = [n for n in study.conditions if n not in tables.conditions("tuning")]
    lines = ["## What is missing", ""]
    if left:
        lines.append("- Declared, not screened yet: " + ", ".join(f"`{n}`" for n in left) + ".")
    regimes = {t.regime for t in confirmed}
    undone = {
        "hfo2_many": "A small Allegro on hafnium oxide (DFT)",
        "nequip": "A small NequIP",
        "medium": "SiOx with 32 training frames",
        "mild": "SiOx with 96 training frames, to which the rule of the protocol pointed",
        "hfo2": "Hafnium oxide (DFT) with the shipped config",
    }
    lines += [f"- {text}: not confirmed." for name, text in undone.items() if name not in regimes]
    done = ", ".join(t.regime for t in screened) or tables.regime
    lines.append(f"- Screening in any regime but {done}: not done.")
    lines += [
        "- The SAIT-size Allegro, for which a GPU is needed: not done. The paper's claim, from "
        "0.03 ps to 10 ps, is about such a model on hafnium oxide, with data of its own.",
        "",
        "## Rerun, or go on",
        "",
        "```",
        "python -m benchmarks.study regime  --work DIR   # stock in every regime",
        "python -m benchmarks.study screen  --work DIR --seeds 1 2",
        "python -m benchmarks.study screen  --work DIR --seeds 1 2 --regimes hfo2_many "
        "--conditions stock paper share_0.1",
        "python -m benchmarks.study confirm --work DIR   # stock, paper's form, share_0.1",
        "python -m benchmarks.study confirm --work DIR --conditions careful correlating",
        "python -m benchmarks.study confirm --work DIR --regimes hfo2_many nequip "
        "--conditions stock paper",
        "python -m benchmarks.study report  --work DIR   # tables, figures, this page",
        "```",
        "",
        "Each goes on where it was stopped. More seeds and more conditions redo nothing.",
    ]
    return "\n".join(lines) + "\n"
