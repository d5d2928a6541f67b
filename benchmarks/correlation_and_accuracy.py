"""How far does the demo's block lower the correlation, and what does it cost in accuracy?

Trains the stock and the decorrelated config, and the latter with the term in every second step, on
the demo data with several seeds, through ``nequip-train``, and writes a row per (seed, model, test
set). A run that is there is kept.

    python benchmarks/correlation_and_accuracy.py --seeds 1 2 3 4 5 6 7 8 --work DIR
"""

from __future__ import annotations

import argparse
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from hardware import describe, write
from study.paired import Paired

from nequip_decorr.datasets.siox import make_siox
from nequip_decorr.demo import TEST_SETS
from nequip_decorr.inspection.evaluate import evaluate_files
from nequip_decorr.processes import script
from nequip_decorr.resources import configs_dir
from nequip_decorr.training.resume import go_on

RESULTS = Path(__file__).parent / "results"
BLOCK_SIZE = 32
CONFIGS = {"stock": "siox_allegro", "decorrelated": "siox_allegro_decorr"}
SECOND = "every_second_step"
WORDS = {
    **{name: ["-cn", config] for name, config in CONFIGS.items()},
    SECOND: ["-cn", "siox_allegro", "+decorr=default", "+decorr.metric.every_n_steps=2"],
}
"""Words of the command line, by model."""


def train(name: str, seed: int, work: Path) -> Path:
    """Checkpoint of one training, made if it is not there."""
    folder = work / f"{name}_{seed}"
    if not (folder / "done").is_file():
        flag, config, *words = WORDS[name]
        words += [f"data_dir={work / 'data'}", f"seed={seed}", "trainer.enable_progress_bar=false"]
        command = [
            script("nequip-train"),
            "-cp", str(configs_dir()), flag, config, *words, f"hydra.run.dir={folder}",
            *go_on(folder, configs_dir() / f"{config}.yaml", words),
        ]  # fmt: skip
        subprocess.run(
            command, check=True, capture_output=True, env={"OMP_NUM_THREADS": "1", **os.environ}
        )
        (folder / "done").touch()
    return folder / "best.ckpt"


def main() -> None:
    """Train, evaluate, write the CSV, print the summary."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options.add_argument("--work", type=Path, required=True, help="folder for the trainings")
    options.add_argument("--workers", type=int, default=2)
    arguments = options.parse_args()
    work = arguments.work.resolve()
    files = {name: work / "data" / f"{name}.xyz" for name in TEST_SETS}
    make_siox(work / "data", "demo")
    jobs = [(name, seed) for seed in arguments.seeds for name in WORDS]
    with ThreadPoolExecutor(arguments.workers) as pool:
        checkpoints = dict(zip(jobs, pool.map(lambda j: train(*j, work), jobs), strict=True))
    rows = []
    for (name, seed), checkpoint in checkpoints.items():
        for kind, found in evaluate_files(checkpoint, files, BLOCK_SIZE).items():
            rows.append(
                {
                    "seed": seed,
                    "model": name,
                    "test_set": kind,
                    "force_mae_eV_per_A": found.force_mae_eV_per_A,
                    "energy_mae_eV_per_atom": found.energy_mae_eV_per_atom,
                    **{f"correlation_{b}": c for b, c in found.correlation.items()},
                    "mean_correlation": found.mean_correlation,
                }
            )
    write(RESULTS / "correlation_and_accuracy.csv", rows, describe())
    summarise(rows)


def summarise(rows: list[dict]) -> None:
    """Ratios, decorrelated over stock and every second step over all, seed by seed.

    Before them the geometric mean over the seeds with Student's 95 % interval.
    """
    seeds = sorted({r["seed"] for r in rows})
    for kind in TEST_SETS:
        for quantity in ("mean_correlation", "force_mae_eV_per_A", "energy_mae_eV_per_atom"):
            found = {(r["model"], r["seed"]): r[quantity] for r in rows if r["test_set"] == kind}
            for base, name in (("stock", "decorrelated"), ("decorrelated", SECOND)):
                old, new = (np.array([found[m, s] for s in seeds]) for m in (base, name))
                each = " ".join(f"{x:.3f}" for x in new / old)
                middle = ""
                if len(seeds) > 2:
                    r = Paired(np.log(new / old)).ratio
                    middle = f"{r.value:.3f} [{r.low:.3f}, {r.high:.3f}]"
                print(f"{kind:13s} {quantity:22s} {name} over {base}: {middle}; by seed {each}")


if __name__ == "__main__":
    main()
