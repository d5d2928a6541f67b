"""Is there a setting in which the term lengthens MD? The questions of ``TERM_PROTOCOL.md``.

Each step is kept in the work folder and not done again. Models and data are those of ``grade.py``
(``{stock,decorrelated}_N``, ``data``, ``heldout``), and are made where they are not there.

    python benchmarks/term_questions.py md --work DIR        # 16 models, six cells
    python benchmarks/term_questions.py edges --work DIR     # 1: are edges alike?
    python benchmarks/term_questions.py starts --work DIR    # 3: failure at step ten
    python benchmarks/term_questions.py truncated --work DIR # 2: the nearest ten neighbours
    python benchmarks/term_questions.py early --work DIR     # 5: EMA, an early term, SAM
    python benchmarks/term_questions.py long --work DIR      # 4: more steps; also `wide`, `wider`,
                                                             # `unit_cells`, `real`
    python benchmarks/term_questions.py summary              # the figures, from the raw rows alone

Raw rows: ``results/term_*.csv``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import ase.io
import numpy as np
import torch
import yaml
from ase import Atoms
from ase.data import covalent_radii
from hardware import add, describe, write

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from correlation_and_accuracy import BLOCK_SIZE, CONFIGS  # noqa: E402
from grade import trained  # noqa: E402
from term_parts import alike  # noqa: E402

from benchmarks.study.swap import swap_weights  # noqa: E402
from nequip_decorr import stability  # noqa: E402
from nequip_decorr.campaign.times import until  # noqa: E402
from nequip_decorr.datasets.siox import (  # noqa: E402
    Reference,
    cristobalite,
    quartz,
    relaxed,
    remove_oxygens,
    sample,
)
from nequip_decorr.demo import TEMPERATURE_K  # noqa: E402
from nequip_decorr.features.frames import load_model, outputs  # noqa: E402
from nequip_decorr.inspection.evaluate import evaluate_files  # noqa: E402
from nequip_decorr.md.record import read_record  # noqa: E402
from nequip_decorr.processes import call, script  # noqa: E402
from nequip_decorr.resources import configs_dir  # noqa: E402
from nequip_decorr.training.resume import go_on  # noqa: E402

RESULTS: Final = ROOT / "benchmarks" / "results"
SEEDS: Final = tuple(range(1, 9))
GATE: Final = (1, 2, 3, 4)
NEIGHBOURS: Final = 10
VELOCITIES: Final = 11
NARROW_EV: Final = (-0.35, 0.8)  # per atom; the reference goes from -0.22 to 0.52 at 2000 K
RADIUS: Final = 0.05
UNIT_CELLS: Final = {"train": 4, "val": 2, "test_id": 10}
"""Frames of each crystal."""
SIZES: Final = ("long", "wide", "wider", "unit_cells", "real")

TERM: Final = {
    "_target_": "nequip_decorr.FeatureDecorrelation", "block_size": BLOCK_SIZE,
    "schedule": {"start": 5.0, "finish": 0.5},
}  # fmt: skip
EARLY: Final = {
    "loss": {"extra_metrics": [{"name": "decorrelation", "coeff": 0.0, "metric": TERM}]}
}
EMA: Final = {"_target_": "nequip.train.EMALightningModule", "ema_decay": 0.99}
SLOW: Final = {"learning_rate": 0.002, "trainer": {"check_val_every_n_epoch": 1}}
FLAT: Final = {"lr_scheduler": {"scheduler": {"eta_min": "${learning_rate}"}}}
SAM: Final = {"_target_": "term_parts.SharpnessAwareAdam", "radius": RADIUS}
LARGE: Final = {
    "l_max": 2, "num_scalar_features": 128, "num_tensor_features": 16,
    "scalar_embed_mlp_hidden_layers_width": 128, "allegro_mlp_hidden_layers_width": 128,
    "readout_mlp_hidden_layers_width": 128,
}  # fmt: skip
WIDER: Final = {**LARGE, "num_scalar_features": 256, "num_tensor_features": 32}
REAL: Final = {
    "l_max": 2, "num_layers": 3, "num_scalar_features": 512, "num_tensor_features": 32,
    "scalar_embed_mlp_hidden_layers_depth": 3, "scalar_embed_mlp_hidden_layers_width": 256,
    "allegro_mlp_hidden_layers_width": 512, "readout_mlp_hidden_layers_width": 128,
}  # fmt: skip
"""An Allegro of the SAIT benchmark's size (``configs/hfo2_samd23_allegro.yaml``)."""
SAIT: Final = {
    "cutoff_radius": 6.0, "learning_rate": 0.002, "training_module": {"model": REAL},
}  # fmt: skip
# Changes of the stock config, by arm.
ARMS: Final[dict[str, dict[str, Any]]] = {
    "ema": {**SLOW, "training_module": {**EMA, **FLAT}},
    "ema_early": {**SLOW, "training_module": {**EMA, **FLAT, **EARLY}},
    "early": {"training_module": EARLY},
    "sam": {"training_module": {"optimizer": SAM}},
    "long": {"epochs": 3000, "trainer": {"check_val_every_n_epoch": 100}},
    "wide": {"training_module": {"model": LARGE}},
    "wider": {"learning_rate": 0.002, "training_module": {"model": WIDER}},
    "real": SAIT,
    "unit_cells": SAIT,
}


def merged(config: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A config with changes put in, mappings within mappings."""
    for key, value in changes.items():
        inner = isinstance(value, Mapping) and isinstance(config.get(key), dict)
        config[key] = merged(config[key], value) if inner else value
    return config


def train(work: Path, arm: str, seed: int, base: str = "stock", neighbours: int = 0) -> Path:
    """Checkpoint of an arm, made if it is not there."""
    folder = work / "trained" / f"{arm}_{seed}"
    if not (folder / "done").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        config = yaml.safe_load((configs_dir() / f"{CONFIGS[base]}.yaml").read_text())
        config |= {"run": ["train"], "data_dir": str(data_of(work, arm)), "seed": seed}
        config["trainer"]["enable_progress_bar"] = False
        merged(config, ARMS.get(arm, {}))
        if neighbours:
            config["data"]["transforms"][1] |= {
                "_target_": "term_parts.NearestNeighbours", "neighbours": neighbours
            }  # fmt: skip
        (folder / "train.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        words = ["-cp", str(folder), "-cn", "train", f"hydra.run.dir={folder / 'training'}"]
        words += go_on(folder / "training", folder / "train.yaml", [])
        call([script("nequip-train"), *words], folder / "train.log", _path())
        shutil.copy(folder / "training" / "best.ckpt", folder / "best.ckpt")
        (folder / "done").touch()
    return folder / "best.ckpt"


def data_of(work: Path, arm: str) -> Path:
    """Folder of the data; ``unit_cells`` has as many frames as the demo, of 9 and 12 atoms."""
    folder = work / (arm if arm == "unit_cells" else "data")
    if arm == "unit_cells" and not (folder / "test_id.xyz").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        cells = [relaxed(make((1, 1, 1)), cell=True) for make in (quartz, cristobalite)]
        for seed, (name, number) in enumerate(UNIT_CELLS.items(), 1):
            frames = [frame for atoms in cells for frame in sample(atoms, 300.0, number, seed)]
            ase.io.write(folder / f"{name}.xyz", frames, format="extxyz")
    return folder


def _path() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])}


def compiled(work: Path, checkpoint: Path, name: str, template: str = "template") -> Path:
    """The model for LAMMPS: compiled once per architecture, and then the weights put in."""
    out, first = work / "compiled" / f"{name}.nequip.pt2", work / "compiled" / template
    if not out.is_file():
        out.parent.mkdir(parents=True, exist_ok=True)
        source, made = first.with_suffix(".ckpt"), first.with_suffix(".nequip.pt2")
        if not made.is_file():
            shutil.copy(checkpoint, source)
            options = ["--mode", "aotinductor", "--device", "cpu", "--target", "pair_allegro"]
            words = [script("nequip-compile"), str(source), str(made), *options]
            call(words, first.with_suffix(".log"), _path())
        scratch = out.with_suffix(".part")
        swap_weights(made, source, checkpoint, scratch)
        scratch.rename(out)
    return out


def run_md(out: Path, model: Any, structures: Mapping[str, Path], **more: Any) -> None:
    """A campaign of one model."""
    if (out / "done").is_file():
        return
    campaign = {
        "models": {"model": model}, "structures": {k: str(v) for k, v in structures.items()},
        "temperatures_K": [TEMPERATURE_K], "seeds": [VELOCITIES], "length_ps": 6.0,
        "record_every": 5, "trajectory_every": 10, "labels": {"reference": "siox"},
        "out": str(out), **more,
    }  # fmt: skip
    with ThreadPoolExecutor(1) as here:  # a process would import everything again
        found = stability.run(stability.load(campaign), executor=here)
    if found.stopped:
        raise RuntimeError(f"{out}: {found.stopped}")
    (out / "done").touch()


def rows_of(out: Path, **key: Any) -> list[dict[str, Any]]:
    """A row per run of a campaign."""
    rows = []
    for row in stability.read(out):
        folder = out / "runs" / row["run_id"]
        record = read_record(folder)
        change = record["potential_eV_per_atom"] - record["potential_eV_per_atom"][0]
        outside = np.flatnonzero((change < NARROW_EV[0]) | (change > NARROW_EV[1]))
        stable = row["stable_time_ps"]
        narrow = min(stable, record["time_ps"][outside[0]]) if len(outside) else stable
        rows.append({
            **key, "structure": row["structure"], "status": row["status"], "cause": row["cause"],
            "stable_ps": stable, "narrow_ps": float(narrow),
            "right_ps": until(folder, row, "right")[0],
            "lowest_eV_per_atom": float(np.nanmin(change)),
            "highest_eV_per_atom": float(np.nanmax(change)),
        })  # fmt: skip
    return rows


def cells(work: Path) -> dict[str, Path]:
    """The six start cells."""
    return {p.stem: p for p in sorted((work / "heldout" / "md").glob("*.xyz"))}


def checkpoints(work: Path, seeds: Sequence[int]) -> dict[tuple[str, int], Path]:
    """The models of both ways of training."""
    return trained(work, list(CONFIGS), seeds, 1)


def save(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Raw rows."""
    write(RESULTS / f"term_{name}.csv", rows, describe())


def md(work: Path, seeds: Sequence[int]) -> None:
    """MD of the 16 models."""
    rows = []
    for (model, seed), checkpoint in checkpoints(work, seeds).items():
        out = work / "md" / f"{model}_{seed}"
        run_md(out, str(compiled(work, checkpoint, f"{model}_{seed}")), cells(work))
        rows += rows_of(out, model=model, seed=seed)
        print(out.name, [r["stable_ps"] for r in rows[-6:]], flush=True)
        save("md", rows)


def edges(work: Path, seeds: Sequence[int]) -> None:
    """Question 1."""
    frames, rows = ase.io.read(work / "data" / "test_id.xyz", ":"), []
    for (name, seed), checkpoint in checkpoints(work, seeds).items():
        model, found = load_model(checkpoint), defaultdict(list)
        for data, true in outputs(model, frames, batch_size=1):
            error = (data["forces"] - true["forces"]).abs().mean()
            found["force_mae_eV_per_A"].append(float(error))
            blocks = data["edge_features"].split(BLOCK_SIZE, dim=1)
            for k, block in enumerate(blocks):
                pairs = alike(block, data["edge_index"][0])
                for kind, value in zip(("all", "centre"), pairs, strict=True):
                    found[f"{kind}_{k}"].append(value)
        means = {k: float(np.mean(v)) for k, v in found.items()}
        for kind in ("all", "centre"):
            means[kind] = float(np.mean([v for k, v in means.items() if k.startswith(f"{kind}_")]))
        rows.append({"model": name, "seed": seed, **means})
        print(rows[-1], flush=True)
    save("edges", rows)


def packed(like: Atoms, ratio: float, seed: int) -> Atoms:
    """Random atoms at the number density of a crystal, none closer than 0.85 to 1.1 bonds."""
    rng = np.random.default_rng(seed)
    poor = remove_oxygens(like, ratio, rng)
    cell = like.cell.array * (len(poor) / len(like)) ** (1 / 3)
    atoms = Atoms(cell=cell, pbc=True)
    while len(atoms) < len(poor):
        number = poor.numbers[len(atoms)]
        trial = atoms + Atoms([number], scaled_positions=[rng.random(3)], cell=cell, pbc=True)
        others = atoms.numbers
        bond = covalent_radii[number] + covalent_radii[others]
        allowed = np.where(others == number, 1.1, 0.85) * bond
        if (
            not len(others)
            or (trial.get_distances(-1, range(len(others)), mic=True) > allowed).all()
        ):
            atoms = trial
    return atoms


def start_cells(work: Path) -> dict[str, Path]:
    """Starts of question 3, made once."""
    folder = work / "starts"
    if not (folder / "done").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(404)
        crystals = {
            "quartz": relaxed(quartz(), cell=True),
            "cristobalite": relaxed(cristobalite(), cell=True),
        }
        poor = {k: remove_oxygens(a, 1.1, rng) for k, a in crystals.items()}
        one = crystals["cristobalite"], poor["cristobalite"]
        made = {
            "relaxed_siox2": one[0], "relaxed_siox1.1": relaxed(one[1]),
            **{f"poor_{k}": a for k, a in poor.items()},
            "packed_siox2": packed(one[0], 2.0, 1), "packed_siox1.1": packed(one[0], 1.1, 2),
            **{f"melt_{n}": list(sample(a, 4000.0, 10, 5))[-1]
               for n, a in zip(("siox2", "siox1.1"), one, strict=True)},
        }  # fmt: skip
        for name, atoms in made.items():
            bare = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
            with Reference(bare) as reference:
                ase.io.write(folder / f"{name}.xyz", reference.frame(), format="extxyz")
        (folder / "done").touch()
    return {p.stem: p for p in sorted(folder.glob("*.xyz"))}


def starts(work: Path, seeds: Sequence[int]) -> None:
    """Question 3."""
    paths = start_cells(work)
    frames = {k: ase.io.read(p) for k, p in paths.items()}
    options = {"length_ps": 3.0, "timestep_fs": 3.0, "record_every": 1, "trajectory_every": 2}
    rms = {k: float(np.sqrt((f.get_forces() ** 2).mean())) for k, f in frames.items()}
    run_md(work / "starts_md" / "reference", {"reference": "siox"}, paths, **options)
    rows = [
        {**r, "kind": r["structure"].split("_")[0], "force_mae_eV_per_A": 0.0,
         "force_rms_eV_per_A": rms[r["structure"]]}
        for r in rows_of(work / "starts_md" / "reference", model="reference", seed=0)
    ]  # fmt: skip
    for (name, seed), checkpoint in checkpoints(work, seeds).items():
        out = work / "starts_md" / f"{name}_{seed}"
        run_md(out, str(compiled(work, checkpoint, f"{name}_{seed}")), paths, **options)
        found = [o for o, _ in outputs(load_model(checkpoint), list(frames.values()), batch_size=1)]
        errors = {
            k: float(np.abs(o["forces"].numpy() - f.get_forces()).mean())
            for (k, f), o in zip(frames.items(), found, strict=True)
        }
        for r in rows_of(out, model=name, seed=seed):
            start = r["structure"]
            rows.append({
                **r, "kind": start.split("_")[0], "force_mae_eV_per_A": errors[start],
                "force_rms_eV_per_A": rms[start],
            })  # fmt: skip
        print(out.name, [(r["structure"], r["stable_ps"]) for r in rows[-8:]], flush=True)
        save("starts", rows)


def truncated(work: Path, seeds: Sequence[int]) -> None:
    """Question 2."""
    rows = []
    for seed in seeds:
        for base in CONFIGS:
            name = f"nearest_{base}"
            checkpoint = train(work, name, seed, base, NEIGHBOURS)
            model = compiled(work, checkpoint, f"{name}_{seed}", "template_nearest")
            for neighbours in (None, NEIGHBOURS):
                kind = "all" if neighbours is None else "nearest"
                out = work / "truncated" / f"{base}_{seed}_{kind}"
                arguments = {"path": str(model), "neighbours": neighbours}
                calculator = {"calculator": "term_parts.Truncated", "arguments": arguments}
                run_md(out, {"ase": calculator}, cells(work), length_ps=3.0)
                rows += rows_of(out, model=base, seed=seed, neighbours=kind)
                print(out.name, [r["stable_ps"] for r in rows[-6:]], flush=True)
            save("truncated", rows)


def arm_rows(work: Path, arm: str, seed: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Train, compile, MD: rows of the runs, and errors and correlation of the model."""
    checkpoint = train(work, arm, seed)
    model = compiled(
        work, checkpoint, f"{arm}_{seed}", "template_ema" if "ema" in arm else "template"
    )
    out = work / "early" / f"{arm}_{seed}"
    run_md(out, str(model), cells(work))
    return rows_of(out, model=arm, seed=seed), quality(work, checkpoint, arm, seed)


def quality(work: Path, checkpoint: Path, arm: str, seed: int) -> dict[str, Any]:
    """Errors and mean absolute correlation on the test frames in distribution."""
    changed: Any = ARMS.get(arm, {}).get("training_module", {}).get("model", {})
    size = changed.get("num_scalar_features", BLOCK_SIZE)
    (found,) = evaluate_files(checkpoint, {"id": data_of(work, arm) / "test_id.xyz"}, size).values()
    return {
        "model": arm, "seed": seed, "force_mae_eV_per_A": found.force_mae_eV_per_A,
        "energy_mae_eV_per_atom": found.energy_mae_eV_per_atom,
        "correlation": found.mean_correlation,
        **{f"correlation_{k}": v for k, v in found.correlation.items()},
    }  # fmt: skip


def early(work: Path, seeds: Sequence[int]) -> None:
    """Question 5."""
    runs, models = [], []
    for seed in seeds:
        models += [quality(work, work / f"stock_{seed}" / "best.ckpt", "stock", seed)]
        for arm in ("ema", "ema_early", "early", "sam"):
            found, model = arm_rows(work, arm, seed)
            runs += found
            models.append(model)
            print(arm, seed, [r["stable_ps"] for r in found], flush=True)
            save("early", runs)
            save("early_models", models)


def sizes(work: Path, arm: str, seeds: Sequence[int]) -> None:
    """Question 4: the correlation of a longer training or a wider model."""
    rows = [quality(work, train(work, arm, seed), arm, seed) for seed in seeds]
    add(RESULTS / "term_sizes.csv", rows, describe(), ("model", "seed"))


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = {"md": md, "edges": edges, "starts": starts, "truncated": truncated, "early": early}
    parser.add_argument("what", choices=(*steps, *SIZES, "summary"))
    parser.add_argument("--work", type=Path, help="folder of everything made")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: those of the protocol")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "summary":
        import term_summary

        return term_summary.summary()
    if given.work is None:
        parser.error("--work is needed")
    if given.what in SIZES:
        return sizes(given.work.resolve(), given.what, given.seeds or [1])
    seeds = given.seeds or (GATE if given.what in ("truncated", "early") else SEEDS)
    return steps[given.what](given.work.resolve(), seeds)


if __name__ == "__main__":
    main()
