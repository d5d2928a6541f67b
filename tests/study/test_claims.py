"""Verdicts follow the rules of the protocol: what is planted is said, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from benchmarks.study import claims
from benchmarks.study.analysis import Relation, Tables
from nequip_decorr.survival.arrays import Estimate

SEEDS = tuple(range(101, 109))


def planted(
    ratios: dict[str, float],
    errors: dict[str, Sequence[float]] | None = None,
    seeds: Sequence[int] = SEEDS,
    noise: float = 0.05,
    stock_ps: float = 0.1,
    **columns: float | None,
) -> Tables:
    """Held-out runs whose stable times are stock's times a ratio, with a seed's scatter.

    ``errors``: ID force error by seed, 1 elsewhere; ``columns``: of every condition but stock.
    """
    rng = np.random.default_rng(5)
    models: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    for name, ratio in {"stock": 1.0, **ratios}.items():
        for k, seed in enumerate(seeds):
            key = {"regime": "harsh", "condition": name, "train_seed": seed}
            error = (errors or {}).get(name, [1.0] * len(seeds))[k]
            extra = {} if name == "stock" else columns
            models.append({**key, "force_mae_test_id": error, "correlation_test_id": 0.5, **extra})
            for structure in ("a", "b"):
                time = stock_ps * ratio * (1 + 0.5 * (k % 3)) * np.exp(noise * rng.normal())
                time = min(time, 10.0)
                alive = time >= 10
                runs.append(
                    {**key, "half": "heldout", "structure": structure, "temperature_K": 2000.0}
                    | {"seed": 11, "length_ps": 10.0, "stable_time_ps": float(time)}
                    | {"status": "survived" if alive else "failed", "cause": "contact"}
                )
    return Tables.of("harsh", models, runs)


@pytest.mark.parametrize(
    ("ratio", "noise", "verdict"),
    [
        (20.0, 0.05, "**reproduced**, by an order of magnitude"),
        (3.0, 0.05, "**reproduced** in direction, not in size"),
        (1.0, 0.8, claims.NOT_SHOWN),
        (1 / 3, 0.05, "**not reproduced**: MD is shorter"),
    ],
)
def test_the_verdict_is_that_of_the_planted_ratio(ratio: float, noise: float, verdict: str) -> None:
    rows = claims._confirmed_claims(planted({"paper": ratio}, noise=noise), "paper")
    assert rows[0][1] == verdict


def test_no_order_of_magnitude_is_asked_for_where_the_horizon_has_none() -> None:
    tables = planted({"paper": 3.0}, stock_ps=1.0)
    ((_, verdict, evidence), *_) = claims._confirmed_claims(tables, "paper")
    assert verdict == "**reproduced** in direction, its size is beyond the horizon"
    assert "a model that never fails has 6." in evidence


def test_cells_fixed_by_design_are_no_clusters() -> None:
    """Stock lasts 30 times as long in one cell as in the other, and a wall survives in both."""
    tables = planted({"wall": 1000.0})
    runs = [
        {**r, "stable_time_ps": 30 * r["stable_time_ps"]}
        if (r["condition"], r["structure"]) == ("stock", "b")
        else r
        for r in tables.runs
    ]
    ((_, verdict, _),) = claims._core_claims(Tables("harsh", tables.models, runs))
    assert verdict.startswith("**shown**")
    drawn = claims.against(Tables("harsh", tables.models, runs), "heldout", "stock", "wall")
    assert drawn is not None and drawn.ratio.low < 1


def test_fewer_seeds_than_asked_for_are_provisional() -> None:
    few = planted({"paper": 3.0, "wall": 3.0, "correlating": 3.0}, seeds=SEEDS[:5])
    marked = "provisional, 5 of 8 training seeds: "
    assert claims._confirmed_claims(few, "paper")[0][1].startswith(marked)
    assert claims._core_claims(few)[0][1].startswith(marked)
    assert claims._probe_claim(few)[0][1].startswith(marked)
    one = planted({"paper": 3.0, "wall": 3.0, "correlating": 3.0}, seeds=SEEDS[:1])
    assert claims._confirmed_claims(one, "paper") == []
    assert claims._core_claims(one) == []
    assert claims._probe_claim(one) == []


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        ([1.0, 1.01] * 4, "**reproduced**"),
        ([1.05, 1.06] * 4, "**not reproduced**"),
        ([0.9, 1.1] * 4, claims.NOT_SHOWN),
        ([1.01, 1.03] * 4, "**not reproduced**: a loss is shown, whether it is above 2 % is not"),
    ],
)
def test_accuracy_is_judged_by_its_interval(errors: list[float], verdict: str) -> None:
    rows = claims._confirmed_claims(planted({"paper": 1.0}, {"paper": errors}), "paper")
    assert rows[1][1] == verdict


@pytest.mark.parametrize(
    ("energy_eV", "words"),
    [
        (2.0, "**shown** for the stable time; **the MD is wrong**"),
        (0.1, "**shown** for the stable time"),
        (None, "**shown** for the stable time; whether the MD is right is not known"),
    ],
)
def test_a_core_that_survives_is_never_said_to_be_right_unasked(
    energy_eV: float | None, words: str
) -> None:
    tables = planted({"wall": 1000.0}, survived_energy_change_mae_heldout=energy_eV)
    ((_, verdict, evidence),) = claims._core_claims(tables)
    assert verdict.startswith(words)
    assert ("wrong" in verdict) == (energy_eV == 2.0)
    assert "16 of 16 runs survive" in evidence


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [(0.3, "**reproduced**: they fail sooner"), (3.0, "**not reproduced**: they fail later")],
)
def test_the_probe_is_judged_alike_in_both_directions(ratio: float, verdict: str) -> None:
    assert claims._probe_claim(planted({"correlating": ratio}))[0][1] == verdict
    unclear = planted({"correlating": 1.0}, noise=0.8)
    assert claims._probe_claim(unclear)[0][1] == claims.NOT_SHOWN


def _relations(across: tuple[float, float], within: tuple[float, float]) -> claims.Relations:
    def one(low: float, high: float) -> Relation:
        estimate = Estimate((low + high) / 2, low, high)
        return Relation(estimate, estimate, 20, 4)

    return {False: one(*across), True: one(*within)}


def test_the_relation_needs_both_intervals() -> None:
    down, none, up = (-0.8, -0.2), (-0.3, 0.3), (0.2, 0.8)

    def verdict(across: Any, within: Any, bare: Any = None) -> str:
        plain = None if bare is None else _relations(bare, none)
        return claims._relation_claim("harsh", _relations(across, within), plain)[1]

    assert verdict(down, down) == "**reproduced**"
    assert "**not shown within one**" in verdict(down, none)
    assert verdict(none, down) == claims.NOT_SHOWN
    assert verdict(up, none) == "**not reproduced**: the opposite sign"
    assert verdict(up, none, none) == claims.NOT_SHOWN
    assert claims._relation_claim("harsh", {False: None, True: None}, None)[1] == "not tested yet"


def test_cost_is_judged_by_pairs_that_have_a_time() -> None:
    tables = planted({"paper": 1.0})
    for row in tables.models:
        row["train_cpu_s"] = 100.0 if row["condition"] == "stock" else 110.0 + row["train_seed"] % 2
    tables.models[0]["train_cpu_s"] = None
    _, verdict, evidence = claims._cost_claim([tables])
    assert verdict == "**not reproduced** with small models"
    assert "(7 pairs)" in evidence
    for row in tables.models:
        row["train_cpu_s"] = 100.0 + (row["train_seed"] % 2)
    assert claims._cost_claim([tables])[1] == "**reproduced** with small models"
