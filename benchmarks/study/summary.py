"""The first page of the results and the README's lines: the paired reading, in a minute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from nequip_decorr.style import SOFT, figure, grid, style

from ..term_summary import STOCK as OF_STOCK
from ..term_summary import TERM, means, read_tables, stable_times
from ..term_summary import paired as paired_again
from .analysis import CORRELATION, Tables, error_ratio, survivors
from .declared import STOCK, Study
from .paired import Paired, paired, pooled, spreads
from .stages import PAPER
from .text import ID_ERROR
from .words import interval, number, section

HALF: Final = "heldout"
OFF: Final = "survived_energy_change_mae_heldout"
POOLED: Final = "all together"
SIZES: Final = {
    "long": "ten times the steps", "wide": "four times the width",
    "unit_cells": "the SAIT benchmark's size (on unit cells)",
}  # fmt: skip
GATE: Final = 4  # fewer pairs are no evidence for the first page
AGAIN: Final = "SiOx, 8 frames, again"


def readings(confirmed: Sequence[Tables], condition: str = PAPER) -> dict[str, Paired]:
    """The paired reading of a condition against stock by regime, where it can be had."""
    found = {t.regime: paired(t, HALF, STOCK, condition) for t in confirmed}
    return {regime: reading for regime, reading in found.items() if reading is not None}


def summary(
    study: Study, papers: Sequence[Tables], confirmed: Sequence[Tables], main: Tables
) -> dict[str, str]:
    """The page (``page``) and the README's lines (``lines``); none without a paired reading.

    Args:
        study: what is declared.
        papers: confirmed regimes that train as the paper does.
        confirmed: all of them.
        main: the regime that the claims are about.
    """
    found = readings(papers)
    if not found:
        return {}
    all_of = pooled(list(found.values()))
    tables = {t.regime: t for t in confirmed}
    rows: list[list[Any]] = [
        [study.regime(name).title, p.ratio, error_ratio(tables[name], STOCK, PAPER, ID_ERROR), "-"]
        for name, p in found.items()
    ]
    rows.append([POOLED, all_of.ratio, "-", "-"])
    again = again_row()
    rows += [again[0]] if again else []
    falls = [error_ratio(tables[name], STOCK, PAPER, CORRELATION) for name in found]
    moves = spreads(main, HALF, STOCK)
    values: dict[str, Any] = {
        "ratio": interval(all_of.ratio), "pairs": len(all_of.logs), "systems": len(found),
        "detectable": number(all_of.detectable), "p": number(all_of.p_value),
        "correlation": sorted(number(f.value) for f in falls if f),
        "moves": {name: number(factor) for name, factor in moves.items()},
        "wall": _wall(main), "second": _second(study, confirmed), "rows": rows,
        "again": again and again[1], "further": further(),
    }  # fmt: skip
    return {"page": section("summary", **values), "lines": section("lines", **values)}


def further() -> dict[str, Any]:
    """The questions of ``TERM_PROTOCOL.md``: comparisons, those in which the term helps, sizes."""
    table = read_tables()
    read = stable_times(table)
    return {
        "number": len(read),
        "helps": [
            f"{name}: {interval(reading.ratio)} ({len(reading.logs)} pairs, sign-flip "
            f"p = {number(reading.p_value)})"
            for name, reading in read.items()
            if reading.ratio.low > 1
        ],
        "largest": number(max((r["correlation"] for r in table.get("sizes", [])), default=0.0)),
        "sizes": " or ".join(
            words
            for arm, words in SIZES.items()
            if any(r["model"] == arm for r in table.get("sizes", []))
        ),
    }


def again_row() -> tuple[list[Any], list[str]] | None:
    """The demo's models, whose right times are known (`term_questions.py md`): row and times."""
    table = read_tables()
    if "md" not in table:
        return None
    runs, models = table["md"], table.get("edges", [])
    logs = {time: means(runs, time) for time in ("stable_ps", "right_ps")}
    stable, right = (paired_again(found, OF_STOCK, TERM) for found in logs.values())
    error = paired_again(means(models, "force_mae_eV_per_A"), OF_STOCK, TERM)
    if stable is None or right is None or len(stable.logs) < GATE:
        return None
    times = [
        number(float(np.exp(np.mean([v for (m, _), v in logs["right_ps"].items() if m == model]))))
        for model in (OF_STOCK, TERM)
    ]
    return [AGAIN, stable.ratio, error.ratio if error else "-", right.ratio], times


def pairs(confirmed: Sequence[Tables], study: Study) -> str:
    """The section of the details that holds what the first page leaves out."""
    found = readings(confirmed)
    rows: list[list[Any]] = [
        [study.regime(name).title, len(p.logs), p.ratio, number(p.p_value), number(p.detectable),
         number(p.correlation)]
        for name, p in found.items()
    ]  # fmt: skip
    if found:
        p = pooled(list(found.values()))
        rows.append([POOLED, len(p.logs), p.ratio, number(p.p_value), number(p.detectable), "-"])
    return section("pairs", rows=rows)


def _wall(tables: Tables, name: str = "wall") -> dict[str, Any] | None:
    """What a wall does: time, survivors, and the error of the energy where they arrive."""
    found = readings([tables], name).get(tables.regime)
    off = tables.by_seed(name, OFF)
    if found is None or not off:
        return None
    runs = tables.half(HALF, name)
    return {
        "ratio": interval(found.ratio), "alive": survivors(runs), "runs": len(runs),
        "off": number(float(np.median(list(off.values())))),
    }  # fmt: skip


def _second(study: Study, confirmed: Sequence[Tables]) -> dict[str, Any] | None:
    """What labels of MD do: the second round's stock against the first's."""
    by_name = {t.regime: t for t in confirmed}
    for second in confirmed:
        first = by_name.get(study.regime(second.regime).collected.get("regime", ""))
        if first is None:
            continue
        joined = first.joined(second, STOCK, "second")
        found = readings([joined], "second").get(first.regime)
        off = second.by_seed(STOCK, OFF)
        if found is not None and off:
            runs = second.half(HALF, STOCK)
            return {
                "ratio": interval(found.ratio), "alive": survivors(runs), "runs": len(runs),
                "off": number(float(np.median(list(off.values())))),
                "force": interval(error_ratio(joined, STOCK, "second", ID_ERROR)),
                "energy": interval(error_ratio(joined, STOCK, "second", "energy_mae_test_id")),
            }  # fmt: skip
    return None


def forest(readings: Mapping[str, Paired], titles: Mapping[str, str], path: Path) -> None:
    """Ratios of the stable time with their intervals, a row per system and one for all."""
    rows = [*((titles[name], p) for name, p in readings.items())]
    rows.append((POOLED, pooled([p for _, p in rows])))
    with style():
        fig, axes = figure(6.4, 0.9 + 0.36 * len(rows))
        ax = axes[0, 0]
        for y, (_, reading) in enumerate(reversed(rows)):
            ratio = reading.ratio
            each = np.exp(reading.logs)
            ax.plot(each, [y - 0.25] * len(each), "|", color=SOFT, markersize=6)
            ax.plot([ratio.low, ratio.high], [y, y], "-", color="#0072B2", linewidth=2)
            ax.plot(ratio.value, y, "o" if y else "D", color="#0072B2", markersize=6)
        ax.axvline(1, color=SOFT, linewidth=0.8)
        ticks = (0.5, 0.7, 1, 1.4, 2)
        ax.set(xscale="log", xlabel="stable time with the term over that without (logarithmic)")
        ax.set_xticks(ticks, map(str, ticks))
        ax.minorticks_off()
        ax.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)])
        grid(ax, "x")
        fig.savefig(path, dpi=130)
