"""Labelled frames of a regime and the MD start cells of both halves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import ase.io
import numpy as np
from ase import Atoms

from nequip_decorr.datasets import (
    HOT_K,
    OOD_K,
    cristobalite,
    quartz,
    relaxed,
    remove_oxygens,
    sample,
)
from nequip_decorr.lammps_tools.input import read_structure

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


def make_frames(study: Study, regime: Regime, folder: Path) -> Path:
    """``train.xyz``, ``val.xyz`` and the test sets of a regime, made once."""
    if regime.system == HFO2:
        return hfo2.make_frames(study.test_frames, regime, folder)
    if (folder / "done.json").is_file():
        return folder
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
    (folder / "done.json").write_text(json.dumps(counts) + "\n")
    return folder


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
    return {name: read_structure(path) for name, path in cells.items() if name.endswith("SiO2")}
