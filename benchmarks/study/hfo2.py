"""Hafnium oxide by DFT: frames, start cells and the RDFs of ab initio MD, where the data lie.

The data are optional and no part of the project: ``../shared/data/hfo2`` beside the checkout, or
the folder that ``NEQUIP_DECORR_HFO2`` names. There is no reference potential; a cell of
``NAME_TEMPERATUREK.vasp`` has its RDF in ``NAME_TEMPERATUREK.rdf.csv``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import ase.io
import yaml

from nequip_decorr.resources import configs_dir

from .declared import SCHEDULER, Half, Regime

TEST_SETS: Final = ("test_id", "ood_melt", "ood_vacancy")
VAL_FRAMES: Final = 20
VARIABLE: Final = "NEQUIP_DECORR_HFO2"


def data_folder() -> Path:
    """Where the data lie.

    Raises:
        ValueError: they are not there.
    """
    default = Path(__file__).parents[3] / "shared" / "data" / "hfo2"
    folder = Path(os.environ.get(VARIABLE, default))
    if not (folder / "train.xyz").is_file():
        raise ValueError(f"no HfO2 data in {folder}; set {VARIABLE} to the folder that has them")
    return folder


def make_frames(test_frames: int, regime: Regime, folder: Path) -> Path:
    """Evenly strided subsets of the data, made once."""
    if (folder / "done.json").is_file():
        return folder
    source = data_folder()
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {"train": regime.frames, "val": VAL_FRAMES, **dict.fromkeys(TEST_SETS, test_frames)}
    counts = {}
    for name, count in wanted.items():
        frames = list(ase.io.iread(source / f"{name}.xyz", ":"))
        chosen = frames[:: max(1, len(frames) // count)][:count]
        ase.io.write(folder / f"{name}.xyz", chosen, format="extxyz")
        counts[name] = len(chosen)
    (folder / "done.json").write_text(json.dumps(counts) + "\n")
    return folder


def make_cells(half: Half) -> dict[str, Path]:
    """Start cells of a half by name, as they lie in the data."""
    return {name: data_folder() / "md" / f"{name}.vasp" for name in half.cells}


def radial_distributions(half: Half) -> dict[str, dict[str, str]]:
    """Files of the reference RDF by cell, as a campaign takes them."""
    md = data_folder() / "md"
    return {name: {"rdf": str(md / f"{name}.rdf.csv")} for name in half.cells}


def stock_config(frames: Path) -> dict[str, Any]:
    """The shipped config for files of one's own, without the decorrelation block."""
    config = yaml.safe_load((configs_dir() / "hfo2_files_allegro_decorr.yaml").read_text())
    del config["training_module"]["loss"]["extra_metrics"]
    callbacks = config["trainer"]["callbacks"]
    config["trainer"]["callbacks"] = [c for c in callbacks if c["_target_"] != SCHEDULER]
    tests = [str(frames / f"{name}.xyz") for name in TEST_SETS]
    files = {"train_file": str(frames / "train.xyz"), "val_file": str(frames / "val.xyz")}
    return {**config, **files, "test_files": tests}
