"""Numbers, table and figure of the cure's evidence, from its raw rows alone (``cure.py``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pages
from grade import concordance, interval
from hardware import read
from scipy.stats import kendalltau
from study.paired import Paired

from nequip_decorr.campaign.times import TIMES

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "cure_measured.md"
NOW = "near"
"""How the names of the arms begin that do what the package does."""
ID = "force_mae_test_id_eV_per_A"
WHOLE = "siox2"
ADVERSARY = "saturated"
"""Arm with bounded features, made to fool the grade; see ``monitors.py``."""
WITH_TERM = ", term"
"""How the names of the arms end whose trainings have the term."""
LONGER = "near, 2 rounds, term, longer"
"""The two rounds with twice the steps and each of the first frames three times."""
WITHOUT = "near, 2 rounds, longer"
"""The same without the term."""
LONG_PS = (10.0, 100.0)
"""Lengths of the longer MD."""
FURTHER = "near, 3 rounds, term, longer"
"""A third round, from 10 ps of MD."""
TODAY = ("reference", "rattled")
"""Arms with as many labels as ``LONGER``, chosen as careful users do today; trained as it is."""
LONG = ("baseline", "near, 2 rounds, term", WITHOUT, LONGER, FURTHER, *TODAY)
"""Arms of the longer MD."""
IN_README = {
    "baseline": "no labels",
    WITHOUT: "2 rounds of labels",
    LONGER: "2 rounds of labels,\nwith the term",
    TODAY[0]: "as many labels of the\nreference's own MD",
    TODAY[1]: "as many rattled crystals",
}
"""Arms of the README's figure, and what it calls them."""
RESAMPLES = 1000
Rows = list[dict[str, Any]]


def means(rows: Rows, column: str) -> dict[tuple[str, int], float]:
    """Mean of a column over the rows of each arm and seed."""
    found: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        found.setdefault((row["arm"], row["seed"]), []).append(row[column])
    return {key: float(np.mean(values)) for key, values in found.items()}


def of_arm(values: dict[tuple[str, int], float], arm: str) -> list[float]:
    """One value per training seed."""
    return [v for (a, _), v in values.items() if a == arm]


def ratio(values: dict[tuple[str, int], float], arm: str, base: str) -> str:
    """Geometric mean of arm over base, paired over training seeds, with interval and p."""
    seeds = [s for a, s in values if a == arm and (base, s) in values]
    each = [values[arm, s] / values[base, s] for s in seeds]
    if arm == base or not seeds:
        return ""
    if len(seeds) < 3:
        return " and ".join(f"{x:.2f}" for x in each)
    found = Paired(np.log(each))
    r = found.ratio
    return f"{r.value:.2f} [{r.low:.2f}, {r.high:.2f}] p={found.p_value:.3f}"


def middle(values: Sequence[float]) -> str:
    """Mean over training seeds, with Student's interval where there are three or more."""
    return interval(values, 2) if len(values) > 2 else f"{np.mean(values):.2f}"


def resampled(rows: Rows, statistic: Callable[[Rows], float]) -> str:
    """A statistic with its 95 % interval from resampling training seeds."""
    rng, seeds = np.random.default_rng(0), sorted({r["seed"] for r in rows})
    by_seed = {s: [r for r in rows if r["seed"] == s] for s in seeds}
    drawn = [
        # A seed that is drawn twice counts as two.
        statistic([{**r, "seed": k} for k, s in enumerate(rng.choice(seeds, len(seeds)))
                   for r in by_seed[s]])
        for _ in range(RESAMPLES)
    ]  # fmt: skip
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return f"{statistic(rows):.3f} [{low:.3f}, {high:.3f}]"


def index(rows: Rows, column: str) -> float:
    """C-index of a column with the right time."""
    return concordance(*(np.array([r[k] for r in rows]) for k in (column, "right_ps")))


def ranking(rows: Rows, column: str) -> float:
    """Kendall's tau of the arms' means with those of the right time."""
    arms = sorted({r["arm"] for r in rows})
    both = [[np.mean(of_arm(means(rows, k), arm)) for arm in arms] for k in (column, "right_ps")]
    return float(kendalltau(*both).statistic)


def arm_rows(runs: Rows, models: Rows) -> list[list[str]]:
    """Cells of the table, a row per arm."""
    columns = {t: means(runs, f"{t}_ps") for t in TIMES}
    alive = means([{**r, "alive": r["status"] == "survived"} for r in runs], "alive")
    error, labels = means(models, ID), means(models, "labels")
    whole = means([r for r in runs if r["structure"].endswith(WHOLE)], "right_ps")
    poor = means([r for r in runs if not r["structure"].endswith(WHOLE)], "right_ps")
    found = []
    for arm in dict.fromkeys(r["arm"] for r in runs):
        number = len(of_arm(alive, arm))
        found.append(
            [
                arm, str(number), f"{np.mean(of_arm(labels, arm)):.1f}",
                *(middle(of_arm(v, arm)) for v in (*columns.values(), whole, poor)),
                f"{100 * np.mean(of_arm(alive, arm)):.0f} %",
                ratio(columns["right"], arm, "baseline"),
                ratio(columns["right"], arm, _rival(arm)),
                ratio(error, arm, "baseline"),
            ]
        )  # fmt: skip
    return found


def _rival(arm: str) -> str:
    """Random labels of as many rounds, for the arms that have such a rival; else the arm itself."""
    without = ("baseline", "wall", "term", "far", ADVERSARY)
    if arm.startswith(without) or "random" in arm or arm.endswith(WITH_TERM):
        return arm
    for start in ("near", "learnt"):
        if arm.startswith(start):
            return arm.replace(start, f"{start}, random", 1)
    return "random, 2 rounds" if arm == "ours, 2 rounds" else "random"


def rounds_of(arm: str) -> list[str]:
    """The arms of no labels and of one, two and three rounds, by the one of the first round."""
    mark = WITH_TERM if arm.endswith(WITH_TERM) else ""
    name = arm.removesuffix(mark)
    rounds = (f"{name}{number}{mark}" for number in ("", ", 2 rounds", ", 3 rounds"))
    return ["term" if mark else "baseline", *rounds]


def labels_needed(runs: Rows, models: Rows, arm: str, rival: str) -> list[float]:
    """Labels that the rounds of one arm need over those of another, for the same right time.

    A seed each. Right time against labels is the running maximum over no labels and the rounds,
    linear in between; the time is the longest that both reach. A seed in which one of them never
    passes the time without labels has none.
    """
    right, number = means(runs, "right_ps"), means(models, "labels")

    def curve(seed: int, start: str) -> tuple[np.ndarray, np.ndarray] | None:
        rounds = rounds_of(start)
        if any((name, seed) not in right for name in rounds):
            return None
        labels = np.array([number[name, seed] for name in rounds])
        return labels, np.maximum.accumulate([right[name, seed] for name in rounds])

    found = []
    for seed in sorted({seed for _, seed in right}):
        ours, theirs = curve(seed, arm), curve(seed, rival)
        if ours and theirs:
            target = min(ours[1][-1], theirs[1][-1])
            if target > max(ours[1][0], theirs[1][0]):
                found.append(first(*ours, target) / first(*theirs, target))
    return found


def first(labels: np.ndarray, time_ps: np.ndarray, target_ps: float) -> float:
    """Fewest labels at which a curve that never falls reaches a time that it does reach."""
    at = int(np.argmax(time_ps >= target_ps))
    if at == 0:
        return float(labels[0])
    share = (target_ps - time_ps[at - 1]) / (time_ps[at] - time_ps[at - 1])
    return float(labels[at - 1] + share * (labels[at] - labels[at - 1]))


HEAD = (
    "arm", "seeds", "labels", "stable (ps)", "trusted (ps)", "right (ps)",
    "right, SiO2", "right, oxygen-poor", "survive",
    "right / baseline", "right / random", "ID force error / baseline",
)  # fmt: skip


LONG_HEAD = (
    "MD", "arm", "seeds", "labels", "stable (ps)", "right (ps)", "survive",
    "right / baseline", "ID force error / baseline", "training of the last round (min)",
)  # fmt: skip


def long_rows(rows: Rows) -> list[list[str]]:
    """Cells of the table of longer MD, a row per length and arm.

    Runs of the baseline are all wrong within the shortest length, so they stand for every one.
    """
    base = [row for row in rows if row["arm"] == "baseline"]
    assert all(row["right_ps"] < row["horizon_ps"] for row in base), "a baseline that is right"
    found = []
    for horizon in sorted({row["horizon_ps"] for row in rows}):
        mine = [row for row in rows if row["horizon_ps"] == horizon]
        for arm in (arm for arm in LONG if any(row["arm"] == arm for row in mine)):
            both = [*base, *(row for row in mine if row["arm"] == arm != "baseline")]
            values = {k: means(both, k) for k in ("labels", "stable_ps", "right_ps", ID, "train_s")}
            each = {name: of_arm(column, arm) for name, column in values.items()}
            alive = np.mean([r["status"] == "survived" for r in both if r["arm"] == arm])
            found.append(
                [
                    f"{horizon:g} ps", arm, str(len(each["labels"])),
                    f"{np.mean(each['labels']):.1f}", middle(each["stable_ps"]),
                    middle(each["right_ps"]), f"{100 * alive:.0f} %",
                    ratio(values["right_ps"], arm, "baseline"), ratio(values[ID], arm, "baseline"),
                    f"{np.mean(each['train_s']) / 60:.1f}",
                ]
            )  # fmt: skip
    return found


def of_longer() -> None:
    """Print what the term changes in the longer training, and each seed's right time."""
    table = read(RESULTS / "cure_long.csv")
    rows = [row for row in table if row["horizon_ps"] == min(LONG_PS)]
    print("\nlonger MD")
    for cells in [LONG_HEAD, *long_rows(table)]:
        print(" | ".join(cells))
    right = means(rows, "right_ps")
    for arm in (arm for arm in LONG if of_arm(right, arm)):
        print(f"  {arm}, a seed each: {[round(x, 2) for x in of_arm(right, arm)]}")
    for arm in (arm for arm in TODAY if of_arm(right, arm)):
        alive = np.mean([r["status"] == "survived" for r in rows if r["arm"] == arm])
        print(f"  {arm} over {LONGER}: right {ratio(right, arm, LONGER)}, {alive:.0%} survive")
        for name in (k for k in rows[0] if k.startswith("force_mae_test_")):
            print(f"    {name} {ratio(means(rows, name), arm, LONGER)}")
    if not of_arm(right, WITHOUT):
        return
    seeds = {row["seed"] for row in rows if row["arm"] == WITHOUT}
    shared = [{**r, "alive": r["status"] == "survived"} for r in rows if r["seed"] in seeds]
    alive = means(shared, "alive")
    print(f"  with the term over without it: right {ratio(right, LONGER, WITHOUT)}")
    print(f"    ID force error {ratio(means(rows, ID), LONGER, WITHOUT)}")
    shares = (np.mean(of_arm(alive, arm)) for arm in (LONGER, WITHOUT))
    print("    share that survives", *(f"{share:.2f}" for share in shares))


def mean_of(rows: Rows, name: str) -> float:
    """Mean of the values there are: the first baselines were made without errors on labels."""
    return float(np.mean([r[name] for r in rows if r[name] is not None]))


def summary() -> None:
    """Print the numbers."""
    runs, models = (read(RESULTS / f"cure_{k}.csv") for k in ("runs", "models"))
    for row in [HEAD, *arm_rows(runs, models)]:
        print(" | ".join(row))
    print("\nby cell, mean right time (ps)")
    cells = sorted({r["structure"] for r in runs})
    print("arm", cells)
    for arm in dict.fromkeys(r["arm"] for r in runs):
        mine = [
            [r["right_ps"] for r in runs if (r["arm"], r["structure"]) == (arm, c)] for c in cells
        ]
        print(f"  {arm:20s}", " ".join(f"{np.mean(m):6.2f}" for m in mine))
    print("\nerrors (eV/A and eV/atom), mean over seeds; steps, training s, compiling s, all s")
    for arm in dict.fromkeys(r["arm"] for r in models):
        mine = [r for r in models if r["arm"] == arm]
        names = [k for k in mine[0] if "_mae_" in k and any(r[k] is not None for r in mine)]
        cost = [np.mean([r[k] for r in mine]) for k in ("steps", "train_s", "compile_s", "wall_s")]
        print(
            f"  {arm:20s}", " ".join(f"{c:.0f}" for c in cost),
            " ".join(f"{k.split('_eV')[0]} {mean_of(mine, k):.3f}" for k in names),
        )  # fmt: skip
    print("\nforce errors on the test sets, ours over random, paired over seeds")
    for name in (k for k in models[0] if k.startswith("force_mae_test_")):
        print(f"  {name}: {ratio(means(models, name), 'ours', 'random')}")
    print_needed("\n", runs, models, "near", "near, random")
    of_term(runs, models)
    of_longer()
    runs = [row for row in runs if row["arm"] != ADVERSARY]
    print(f"\n{len(runs)} runs, C-index with the right time [95 %, seeds resampled]")
    for time in ("trusted", "stable"):
        print(f"  {time}: {resampled(runs, lambda r, t=time: index(r, f'{t}_ps'))}")
    difference = resampled(runs, lambda r: index(r, "trusted_ps") - index(r, "stable_ps"))
    print(f"  difference: {difference}")
    labelled = [r for r in runs if r["arm"] not in ("baseline", "wall", "term")]
    for time in ("trusted", "stable"):
        if labelled:
            print(f"  {time}, arms with labels alone: {index(labelled, f'{time}_ps'):.3f}")
    if len({r["arm"] for r in runs}) > 2:
        for time in ("trusted", "stable"):
            tau = resampled(runs, lambda r, t=time: ranking(r, f"{t}_ps"))
            print(f"  Kendall tau of arms, {time}: {tau}")
    for time in TIMES:
        found = {
            a: np.mean(of_arm(means(runs, f"{time}_ps"), a))
            for a in sorted({r["arm"] for r in runs})
        }
        print(f"  order by {time}:", " < ".join(sorted(found, key=found.__getitem__)))


def print_needed(start: str, runs: Rows, models: Rows, arm: str, rival: str) -> None:
    """Print the labels that an arm needs over those of another, and their geometric mean."""
    if needed := labels_needed(runs, models, arm, rival):
        print(
            f"{start}labels for the same right time, `{arm}` over `{rival}`, a seed each:", needed
        )
        if len(needed) > 2:
            print("  geometric mean", Paired(np.log(needed)).ratio)


def of_term(runs: Rows, models: Rows) -> None:
    """Print what the term changes after each number of rounds, and in the labels needed."""
    right, labels = means(runs, "right_ps"), means(models, "labels")
    print("\nwith the term over without it, after each number of rounds")
    for arm, base in zip(rounds_of(f"{NOW}{WITH_TERM}"), rounds_of(NOW), strict=True):
        seeds = [s for a, s in labels if a == arm]
        number = [f"{labels[arm, s]:.0f} ({labels[base, s]:.0f})" for s in seeds]
        print(
            f"  {arm}: right {ratio(right, arm, base)}, ID force error "
            f"{ratio(means(models, ID), arm, base)}, labels (without) {', '.join(number)}"
        )
    print_needed("  ", runs, models, f"{NOW}{WITH_TERM}", NOW)


def blocks() -> dict[str, str]:
    """Tables of docs/cure_measured.md: arms that do what the package does, longer MD, others."""
    runs, models = (read(RESULTS / f"cure_{k}.csv") for k in ("runs", "models"))
    found = arm_rows(runs, models)
    now = [row for row in found if row[0].startswith(("baseline", NOW))]
    return {
        "arms": pages.table(HEAD, now),
        "longer": pages.table(LONG_HEAD, long_rows(read(RESULTS / "cure_long.csv"))),
        "first arms": pages.table(HEAD, [row for row in found if row not in now]),
    }


def page() -> None:
    """Write the tables of docs/cure_measured.md, its figure and that of the README."""
    pages.fill(PAGE, blocks())
    runs = read(RESULTS / "cure_runs.csv")
    draw([r for r in runs if r["arm"].startswith(("baseline", NOW))], DOCS / "cure.png", 6.0)
    longer = [r for r in read(RESULTS / "cure_long.csv") if r["horizon_ps"] == min(LONG_PS)]
    shown = [
        {**r, "arm": words} for arm, words in IN_README.items() for r in longer if r["arm"] == arm
    ]
    draw(shown, DOCS / "cure_rounds.png", min(LONG_PS))


def draw(runs: Rows, path: Path, length_ps: float) -> None:
    """Three times of each arm; right time of each run."""
    from scipy.stats import t as student

    from nequip_decorr.style import figure, grid, style

    arms = list(dict.fromkeys(r["arm"] for r in runs))
    values = {t: means(runs, f"{t}_ps") for t in TIMES}
    # Between the axes and the title, whatever the height of the figure.
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderpad": 0, "borderaxespad": 0.4}

    def spread(v: Sequence[float]) -> tuple[float, float]:
        half = student.ppf(0.975, len(v) - 1) * np.std(v, ddof=1) / len(v) ** 0.5 if v[2:] else 0
        return float(np.mean(v)), float(half)

    with style():
        fig, axes = figure(9.4, 1.4 + 0.4 * len(arms), 1, 2, gridspec_kw={"width_ratios": [3, 2]})
        left, right = axes[0]
        styles = zip(TIMES, ("#0072B2", "#D55E00", "#009E73"), "os^", (-0.2, 0, 0.2), strict=True)
        for time, colour, marker, shift in styles:
            middle, half = zip(*(spread(of_arm(values[time], a)) for a in arms), strict=True)
            left.errorbar(
                middle, np.arange(len(arms)) + shift, xerr=half, fmt=marker, color=colour,
                markersize=4, elinewidth=1, label=time,
            )  # fmt: skip
        left.set(
            yticks=range(len(arms)), yticklabels=arms, xlabel="mean time of held-out runs (ps)",
            xlim=(0, 1.03 * length_ps),
        )  # fmt: skip
        left.invert_yaxis()
        left.set_title("Stable is not right", pad=22)
        left.legend(ncols=3, **above)
        kinds = (("SiO2", True, "#0072B2", -0.15), ("oxygen-poor", False, "#D55E00", 0.15))
        for label, is_whole, colour, shift in kinds:
            mine = [r for r in runs if r["structure"].endswith(WHOLE) == is_whole]
            right.plot(
                [r["right_ps"] for r in mine], [arms.index(r["arm"]) + shift for r in mine],
                "o", color=colour, markersize=4, alpha=0.5, label=label, linestyle="",
            )  # fmt: skip
        right.set(
            xscale="log", yticks=range(len(arms)), yticklabels=[], ylim=left.get_ylim(),
            xlabel="right time of each run (ps)",
        )  # fmt: skip
        right.xaxis.set_major_formatter("{x:g}")
        right.set_title("Right time of each run", pad=22)
        right.legend(ncols=2, **above)
        for axis in (left, right):
            grid(axis)
        fig.savefig(path, dpi=130)
