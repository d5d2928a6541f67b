"""What do the features of the demo's models depend on, and how far does the block change that?

Trains the stock and the decorrelated config on the demo data with several seeds (as
``correlation_and_accuracy.py``, whose runs in the same folder are kept), inspects all on SiO2 and
SiO1.1, and writes the rows over all edges, per seed, model, set and block. The picture in the
documentation is the first seed's.

    python benchmarks/inspect_siox.py --seeds 1 2 3 4 --work DIR
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from correlation_and_accuracy import CONFIGS, RESULTS, train
from hardware import describe, write

from nequip_decorr import inspect_model
from nequip_decorr.datasets.siox import make_siox

SETS = ("test_id", "test_siox1.1")
PICTURE = Path(__file__).parents[1] / "docs" / "inspect.png"


def main() -> None:
    """Train, inspect, write CSV and picture, print the means."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4])
    options.add_argument("--work", type=Path, required=True, help="folder for the trainings")
    arguments = options.parse_args()
    work = arguments.work.resolve()
    make_siox(work / "data", "demo")
    data = {name: work / "data" / f"{name}.xyz" for name in SETS}
    rows: list[dict] = []
    for seed in arguments.seeds:
        stock, ours = (inspect_model(train(name, seed, work), data, name=name) for name in CONFIGS)
        found = stock.beside(ours)
        rows += [{"seed": seed, **row} for row in found.rows() if row["group"] == "all"]
        if seed == arguments.seeds[0]:
            found.to_html(work / "inspection" / "index.html")
            found.to_png(work / "inspection")
            shutil.copy(work / "inspection" / "heat_map_0.png", PICTURE)
    write(RESULTS / "inspect_siox.csv", rows, describe())
    summarise(rows)


def summarise(rows: list[dict]) -> None:
    """Mean over seeds and range, per set, block and model."""
    columns = ("mean_abs", "effective_rank", "variance_explained_by_length",
               "mean_abs_given_length", "variance_explained_by_length_and_kind")  # fmt: skip
    for key in dict.fromkeys((r["dataset"], r["block"], r["model"]) for r in rows):
        mine = [r for r in rows if (r["dataset"], r["block"], r["model"]) == key]
        shown = []
        for column in columns:
            values = np.array([float(r[column]) for r in mine])
            shown.append(f"{column} {values.mean():.3f} ({values.min():.3f}-{values.max():.3f})")
        print(*key, "; ".join(shown))


if __name__ == "__main__":
    main()
