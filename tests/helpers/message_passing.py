"""A very small NequIP: trained for a step by ``nequip-train``, and made ready for LAMMPS."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ase.io

from nequip_decorr.resources import configs_dir
from tests.helpers.training import frames

_MODEL = {
    "_target_": "nequip.model.NequIPGNNModel",
    "seed": 1,
    "model_dtype": "float32",
    "type_names": "[Si,O]",
    "r_max": 3.5,
    "l_max": 1,
    "num_layers": 2,
    "num_features": 4,
    "radial_mlp_width": 8,
    "avg_num_neighbors": 20.0,
    "per_type_energy_scales": 0.05,
    # Keeps atoms apart, so that MD of a model that has learnt nothing does not end at once.
    "pair_potential": "{_target_:nequip.nn.pair_potential.ZBL,units:metal,chemical_species:[Si,O]}",
}


def train_nequip(folder: Path) -> Path:
    """A checkpoint, after a step on made-up labels; about ten seconds on a core."""
    names = ("train", "val", "test_id", "test_hot", "test_siox1.55", "test_siox1.1")
    for name in names:
        ase.io.write(folder / f"{name}.xyz", frames(2))
    model = ",".join(f"{key}:{value}" for key, value in _MODEL.items())
    _nequip(
        "train", "-cp", str(configs_dir()), "-cn", "siox_allegro", f"data_dir={folder}",
        f"hydra.run.dir={folder / 'training'}", "run=[train]", "epochs=1", "cutoff_radius=3.5",
        "trainer.check_val_every_n_epoch=1", "~training_module.model",
        f"+training_module.model={{{model}}}",
    )  # fmt: skip
    return folder / "training" / "last.ckpt"


def compile_nequip(folder: Path) -> Path:
    """Train and compile for ``pair_style nequip``; about a minute on a core."""
    compiled = folder / "nequip.nequip.pt2"
    _nequip(
        "compile", str(train_nequip(folder)), str(compiled),
        "--mode", "aotinductor", "--device", "cpu", "--target", "pair_nequip",
    )  # fmt: skip
    return compiled


def prepare_mliap(folder: Path) -> Path:
    """Train and write the file for ``pair_style mliap unified``."""
    prepared = folder / "nequip.nequip.lmp.pt"
    _nequip("prepare-lmp-mliap", str(train_nequip(folder)), str(prepared))
    return prepared


def _nequip(command: str, *arguments: str) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / f"nequip-{command}"), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"nequip-{command} failed:\n{done.stderr[-3000:]}")
