"""Words of ``docs/results.md`` that do not depend on the results, and how numbers are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from nequip_decorr.stability.outcomes import Estimate

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
