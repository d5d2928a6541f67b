"""Write the measured tables of docs/performance.md from the raw data.

    python benchmarks/performance_page.py

reads what training_overhead.py, grade_cost.py, engine_overhead.py, lammps_scaling.py,
campaign_cost.py and gpu.py left in `benchmarks/results`, and replaces what stands between
`<!-- NAME -->` and `<!-- /NAME -->`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from hardware import read
from pages import fill, table

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
PLACES = {"pair_style": "pair style", "library engine": "library engine"}


def loaded(name: str) -> dict[str, Any]:
    """A JSON of the results."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def on_gpu() -> dict[str, Any]:
    """Parts of the GPU benchmark; those of older code than the others' have a mark."""
    found = loaded("gpu_cuda")
    now = found["hardware"]["commit"]
    return {
        name: {**part, "mark": "" if part["commit"] == now else " †"}
        for name, part in found["parts"].items()
    }


def interval(quartiles: list[float]) -> str:
    """Quartiles in words."""
    return f"{quartiles[0]:.2f} to {quartiles[1]:.2f}"


def term_rows(where: str, result: dict[str, Any]) -> list[list[str]]:
    """Row of the term's cost, and one of the term in every second step where that was measured."""
    ways = {"term": "", "term_every_2": ", `every_n_steps: 2`"}
    return [
        [
            where, f"{result['model']}, {result['mode']}{words}", str(result["frames"]),
            f"{result['edges']:,}", f"{1e3 * result['stock_step_s']:.0f} ms",
            f"{result[f'{way}_alone']['over_stock_median']:.1%}",
            f"{result[way]['over_stock_median']:.2f} "
            f"({interval(result[way]['over_stock_quartiles'])})",
        ]
        for way, words in ways.items() if way in result
    ]  # fmt: skip


TRAINING = tuple(
    f"training_overhead_{name}"
    for name in ("demo", "small", "small_compile", "sait", "sait_compile")
)


def training() -> str:
    """The term in training, on a CPU and on a GPU."""
    head = (
        "where",
        "model",
        "frames",
        "edges",
        "stock step",
        "term alone",
        "step with the term over without",
    )
    rows = [
        row for name in TRAINING for r in loaded(name)["results"] for row in term_rows("CPU", r)
    ]
    rows += [
        row
        for name, part in sorted(on_gpu().items())
        if name.startswith("train-")
        for row in term_rows("GPU" + part["mark"], part["summary"])
    ]
    return table(head, rows)


def grade_on_cpu() -> str:
    """The grade in MD on one CPU core."""
    head = ("model", "where", "step without", "with over without (middle half)", "turns")
    rows = []
    found = read(RESULTS / "grade_cost.csv")
    for key in dict.fromkeys((r["model"], r["where"]) for r in found):
        mine = [r for r in found if (r["model"], r["where"]) == key]
        ratios = [r["graded_cpu_ms"] / r["plain_cpu_ms"] for r in mine]
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        step = np.median([r["plain_cpu_ms"] for r in mine])
        rows.append(
            [key[0], PLACES[key[1]], f"{step:.0f} ms", f"{middle:.2f} ({low:.2f} to {high:.2f})",
             len(mine)]
        )  # fmt: skip
    return table(head, rows)


def md_on_gpu() -> str:
    """MD and the grade on a GPU."""
    head = ("LAMMPS", "model", "atoms", "step without", "atom-steps/s",
            "with the grade over without (middle half)", "GPU memory")  # fmt: skip
    rows = []
    for name, part in on_gpu().items():
        if name.startswith("md-"):
            _, lammps, model, _ = name.split("-")
            kind, memory = (
                {"plain": "pair style", "kokkos": "KOKKOS"}[lammps],
                part["GPU_MB"]["plain"],
            )
            rows.append(
                [
                    kind + part["mark"], model,
                    f"{part['atoms']:,}", f"{part['plain_ms']:.1f} ms",
                    f"{part['atom_steps_per_s']:,.0f}",
                    f"{part['ratio']:.2f} ({interval(part['quartiles'])})",
                    f"{memory:.0f} MB" if memory else "",
                ]
            )  # fmt: skip
    return table(head, sorted(rows, key=lambda row: (row[0], row[1], len(row[2]), row[2])))


def agreement_on_gpu() -> str:
    """Step 0 in LAMMPS on a GPU against the eager model on a CPU."""
    head = ("model", "energy, meV/atom", "force, meV/Å", "grade, relative")
    rows = []
    for name, part in sorted(on_gpu().items()):
        if name.startswith("step0-"):
            largest = part["largest"].values()
            rows.append([name.split("-")[-1], *(f"{value:.1g}" for value in largest)])
    return table(head, rows)


def engines() -> str:
    """The library engine against ASE."""
    rows = read(RESULTS / "engine_overhead.csv")
    ratios = [r["ase_ms_per_step"] / r["library_ms_per_step"] for r in rows]
    step = np.median([r["library_ms_per_step"] for r in rows])
    return (
        f"A step of 96 atoms takes {step:.1f} ms in the library engine. ASE takes "
        f"{np.median(ratios):.2f} times as long ({min(ratios):.2f} to {max(ratios):.2f} over "
        f"{len(ratios)} pairs)."
    )


def scaling() -> str:
    """Throughput on one CPU core."""
    head = ("model", "atoms", "ms per step", "atom-steps/s", "peak memory (MB)")
    rows = []
    for row in read(RESULTS / "lammps_scaling.csv"):
        if row["scaling"] == "size":
            own_ms = row["cpu_ms_per_step"]
            rows.append(
                [row["model"], f"{row['atoms']:,}", f"{own_ms:.0f}",
                 f"{1e3 * row['atoms'] / own_ms:,.0f}", f"{row['peak_rss_MB']:.0f}"]
            )  # fmt: skip
    return table(head, rows)


def campaigns() -> str:
    """What a campaign and a report take."""
    head = ("command", "runs", "processor time", "of it MD", "peak memory")
    rows = []
    for row in read(RESULTS / "campaign_cost.csv"):
        share = f"{row['md_s'] / row['wall_s']:.1%} of wall time" if row["md_s"] else ""
        memory = f"{row['peak_MB']:.0f} MB"
        name = f"`stability {row['part']}`"
        rows.append([name, f"{row['runs']:,}", f"{row['cpu_s']:.0f} s", share, memory])
    return table(head, rows)


def machine(*results: str) -> str:
    """What measurements were made on, of the first of them, and the commits of their code."""
    records = [loaded(name) for name in results]
    made = records[0].get("hardware", records[0])
    words = (
        made.get("gpu") or made.get("words") or f"{made['cores']} cores of an {made['processor']}"
    )
    parts = [p for r in records for p in r.get("parts", {"": r.get("hardware", r)}).values()]
    commits = {part.get("commit") for part in parts}
    tables = [RESULTS / f"{name}.csv" for name in results]
    commits |= {row.get("commit") for path in tables if path.is_file() for row in read(path)}
    known = ", ".join(sorted(c[:9] for c in commits if c))
    code = f"commit {known}" if known else "made before records held the commit"
    names = ("torch", "nequip", "nequip-allegro")
    versions = ", ".join(f"{name} {made['versions'][name]}" for name in names)
    return f"{words}; Python {made['python']}, {versions}; {code}."


def blocks() -> dict[str, str]:
    """Every block of the page."""
    return {
        "training": training(), "training_machine": machine(*TRAINING),
        "gpu_machine": machine("gpu_cuda"), "agreement_on_gpu": agreement_on_gpu(),
        "grade_on_cpu": grade_on_cpu(),
        "grade_machine": machine("grade_cost"), "md_on_gpu": md_on_gpu(), "engines": engines(),
        "scaling": scaling(), "scaling_machine": machine("lammps_scaling"),
        "campaigns": campaigns(), "campaigns_machine": machine("campaign_cost"),
    }  # fmt: skip


def main() -> None:
    """Replace the blocks of the page."""
    fill(PAGE, blocks())
    print(f"Wrote {PAGE}")


if __name__ == "__main__":
    main()
