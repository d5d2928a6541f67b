"""Labelled frames of a regime and the MD start cells of both halves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import ase.io
import numpy as np
from ase import Atoms

from nequip_decorr.datasets.siox import (
    HOT_K,
    OOD_K,
    Reference,
    cristobalite,
    quartz,
    relaxed,
    remove_oxygens,
    sample,
)
from nequip_decorr.report.loading import load_runs
from nequip_decorr.structures import read_structure

from . import hfo2
from .declared import HFO2, Half, Regime, Study

TEST_SETS: Final = ("test_id", "test_hot", "test_siox1.55", "test_siox1.1")
TEST_REMOVAL_SEED: Final = 303
BUILDERS: Final = {"quartz": quartz, "cristobalite": cristobalite}


def test_sets(regime: Regime) -> tuple[str, ...]:
    """Names of the labelled test sets, the one in distribution first."""
    return hfo2.TEST_SETS if regime.system == HFO2 else TEST_SETS


def crystals() -> dict[str, Atoms]:
    """Both crystals, relaxed in the reference potential."""
    return {name: relaxed(build(), cell=True) for name, build in BUILDERS.items()}


def poor_cells(cells: dict[str, Atoms], ratio: float, removal_seed: int) -> dict[str, Atoms]:
    """The crystals with random oxygens out, relaxed."""
    rng = np.random.default_rng([removal_seed, round(100 * ratio)])
    return {name: relaxed(remove_oxygens(atoms, ratio, rng)) for name, atoms in cells.items()}


def collected_from(regime: Regime, work: Path) -> list[Path]:
    """The MD whose frames a regime trains on, none for most.

    Raises:
        ValueError: it has not been run.
    """
    wanted = regime.collected
    if not wanted:
        return []
    models = work / "models" / wanted["regime"] / wanted["condition"]
    folders = [models / str(seed) / "md_tuning" for seed in wanted["seeds"]]
    missing = [str(f) for f in folders if not f.with_suffix(".json").is_file()]
    if missing:
        seeds = " ".join(map(str, wanted["seeds"]))
        raise ValueError(
            f"{regime.name} trains on frames of MD that is not there: {', '.join(missing)}; run it "
            f"first: screen --work {work} --regimes {wanted['regime']} --conditions "
            f"{wanted['condition']} --seeds {seeds}"
        )
    return folders


def log_spaced(frames: Sequence[Atoms], count: int) -> list[Atoms]:
    """Frames evenly spaced in the logarithm of time, the last among them and the first not."""
    if len(frames) < 2:
        return []
    return [
        frames[k] for k in np.unique(np.geomspace(1, len(frames) - 1, count).round().astype(int))
    ]


def make_frames(study: Study, regime: Regime, folder: Path) -> Path:
    """``train.xyz``, ``val.xyz`` and the test sets of a regime, made once.

    ``folder`` lies in ``data`` of the folder of everything heavy.
    """
    if regime.system == HFO2:
        return hfo2.make_frames(study.test_frames, regime, folder)
    if (folder / "done.json").is_file():
        return folder
    sources = collected_from(regime, folder.parents[1])
    folder.mkdir(parents=True, exist_ok=True)
    cells = crystals()
    seeds = iter(np.random.SeedSequence(20).generate_state(200) % 900_000_000 + 1)

    def draw(
        name: str, sources: dict[str, Atoms], per_kind: int, temperatures: tuple[float, ...]
    ) -> int:
        frames = []
        for label, atoms in sources.items():
            for temperature in temperatures:
                for frame in sample(atoms, temperature, per_kind, int(next(seeds))):
                    frame.info.update(structure=label, temperature_K=temperature)
                    frames.append(frame)
        ase.io.write(folder / f"{name}.xyz", frames, format="extxyz")
        return len(frames)

    cool = regime.temperatures_K
    each = max(1, study.test_frames // (2 * len(cool)))
    half = max(1, study.test_frames // 2)
    counts = {
        "test_id": draw("test_id", cells, each, cool),
        "test_hot": draw("test_hot", cells, half, (HOT_K,)),
    }
    for ratio in (1.55, 1.1):
        name = f"test_siox{ratio}"
        counts[name] = draw(name, poor_cells(cells, ratio, TEST_REMOVAL_SEED), half, (OOD_K,))
    counts["val"] = draw("val", cells, 2, cool)
    counts["train"] = draw("train", cells, regime.frames, cool)
    if sources:
        runs, per_run = load_runs(sources)[0], regime.collected["per_run"]
        ways = [log_spaced(run.stable_frames(), per_run) for run in runs]
        frames = [labelled(frame) for way in ways for frame in way]
        ase.io.write(folder / "train.xyz", frames, format="extxyz", append=True)
        counts["train"] += len(frames)
    (folder / "done.json").write_text(json.dumps(counts) + "\n")
    return folder


def labelled(frame: Atoms) -> Atoms:
    """A frame with the reference's energy and forces."""
    with Reference(frame) as reference:
        return reference.frame()


def make_cells(half: Half, folder: Path) -> dict[str, Path]:
    """Start cells of a half by name, made once."""
    if half.system == HFO2:
        return hfo2.make_cells(half)
    names = {
        f"{crystal} SiO{ratio:g}": folder / f"{crystal}_siox{ratio:g}.xyz"
        for ratio in half.ratios
        for crystal in BUILDERS
    }
    if not (folder / "done").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        whole = crystals()
        for ratio in half.ratios:
            cells = whole if ratio == 2 else poor_cells(whole, ratio, half.removal_seed)
            for crystal, atoms in cells.items():
                path = names[f"{crystal} SiO{ratio:g}"]
                ase.io.write(path, atoms, format="extxyz")
        (folder / "done").touch()
    return names


def whole_cells(half: Half, work: Path) -> dict[str, Atoms]:
    """The crystals that no oxygen was taken from, at rest."""
    cells = make_cells(half, work / "cells" / half.name)
    return {
        name: read_structure(path).atoms for name, path in cells.items() if name.endswith("SiO2")
    }
