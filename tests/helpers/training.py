"""Tiny trainings through NequIP's own classes, for tests."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.io
import lightning
import numpy as np
import torch
import yaml
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from nequip.utils.global_state import set_global_state

from tests.helpers.forks import Done, run

TYPES = ["Si", "O"]
BLOCK = 4
DECORRELATION = {
    "name": "decorrelation",
    "coeff": 0.1,
    "metric": {"_target_": "nequip_decorr.FeatureDecorrelation", "block_size": BLOCK},
}


def frames(number: int = 6, seed: int = 0) -> list[Atoms]:
    """Small labelled cells; the labels only need to be smooth."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(number):
        grid = np.stack(np.meshgrid(*[np.arange(2)] * 3), -1).reshape(-1, 3) * 2.1
        atoms = Atoms("SiO2SiO2O2", grid + rng.normal(0, 0.1, grid.shape), cell=[4.2] * 3, pbc=True)
        atoms.calc = LennardJones(sigma=1.8, epsilon=0.2, rc=4.0)
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        made.append(atoms)
    return made


def model_config(dtype: str = "float64") -> dict[str, Any]:
    """A tiny Allegro: two layers of four scalars."""
    return {
        "_target_": "allegro.model.AllegroModel",
        "seed": 1,
        "model_dtype": dtype,
        "type_names": TYPES,
        "r_max": 3.0,
        "l_max": 1,
        "num_layers": 2,
        "num_scalar_features": BLOCK,
        "num_tensor_features": 2,
        "radial_chemical_embed": {
            "_target_": "allegro.nn.TwoBodyBesselScalarEmbed",
            "num_bessels": 4,
        },
        "scalar_embed_mlp_hidden_layers_width": 8,
        "allegro_mlp_hidden_layers_width": 8,
        "readout_mlp_hidden_layers_width": 8,
        "avg_num_neighbors": 12.0,
    }


def module_config(extra: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """A training module; ``extra`` are the ``extra_metrics`` of its loss."""
    config = {
        "_target_": "nequip.train.NequIPLightningModule",
        "loss": {
            "_target_": "nequip.train.EnergyForceLoss",
            "coeffs": {"total_energy": 1.0, "forces": 3.0},
        },
        "val_metrics": {
            "_target_": "nequip.train.EnergyForceMetrics",
            "coeffs": {"forces_mae": 1.0},
        },
        "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
        "model": model_config(),
    }
    if extra:
        config["loss"]["extra_metrics"] = copy.deepcopy(extra)
    return {**config, **changes}


def data_config(
    folder: Path,
    val: Sequence[str] = ("val.xyz",),
    batch_size: int = 2,
    shuffle: bool = False,
    train: str = "train.xyz",
) -> dict[str, Any]:
    """Six training and two validation frames, or the named sets, written if need be."""
    if not (folder / "train.xyz").is_file():
        ase.io.write(folder / "train.xyz", frames())
        ase.io.write(folder / "val.xyz", frames(2, seed=1))
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": batch_size}
    return {
        "_target_": "nequip.data.datamodule.ASEDataModule",
        "seed": 1,
        "train_file_path": str(folder / train),
        "val_file_path": [str(folder / name) for name in val],
        "transforms": [
            {
                "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
                "model_type_names": TYPES,
                "chemical_species_to_atom_type_map": {t: t for t in TYPES},
            },
            {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": 3.0},
        ],
        "train_dataloader": {**loader, "shuffle": shuffle},
        "val_dataloader": loader,
    }


def datamodule(folder: Path, **options: Any) -> Any:
    """What :func:`data_config` describes."""
    return instantiate(data_config(folder, **options), _recursive_=False)


class KillAt(Callback):
    """Kill the process, as a power cut would, after a step."""

    def __init__(self, step: int, only_once: str | None = None) -> None:
        self.step = step
        self.mark = Path(only_once) / "killed" if only_once else None

    def on_train_batch_end(self, trainer: Any, *arguments: Any) -> None:
        """End at once, without a word to anyone."""
        if trainer.global_step == self.step and not (self.mark and self.mark.is_file()):
            if self.mark:
                self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def run_config(
    folder: Path,
    module: dict[str, Any],
    callbacks: Sequence[dict[str, Any]] = (),
    epochs: int = 4,
    **saver: Any,
) -> dict[str, Any]:
    """A whole config of ``nequip-train``, that keeps ``last.ckpt`` in its output folder."""
    output = "${hydra:runtime.output_dir}"
    checkpoint = {
        "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
        "dirpath": output,
        "save_last": True,
        **saver,
    }
    return {
        "run": ["train"],
        "data": data_config(folder, shuffle=True),
        "trainer": {
            "_target_": "lightning.Trainer",
            "accelerator": "cpu",
            "max_epochs": epochs,
            "enable_progress_bar": False,
            "logger": False,
            "callbacks": [*callbacks, checkpoint],
        },
        "training_module": module,
    }


def nequip_train(
    folder: Path, config: dict[str, Any], name: str, *overrides: str, flags: Sequence[str] = ()
) -> Done:
    """Run ``nequip-train`` on a config."""
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    return run(
        "nequip-train", "-cp", folder, "-cn", name, *flags,
        f"hydra.run.dir={folder / 'runs' / name}", *overrides,
    )  # fmt: skip


def trainer(folder: Path, callbacks: list[Any] = (), epochs: int = 3, **options: Any) -> Any:
    """A quiet trainer on the CPU."""
    return lightning.Trainer(
        accelerator="cpu",
        devices=options.pop("devices", 1),
        max_epochs=epochs,
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=bool(options.pop("checkpoint", False)),
        callbacks=list(callbacks),
        inference_mode=False,
        num_sanity_val_steps=0,
        **options,
    )


def build(config: dict[str, Any], val: int = 1) -> Any:
    """The training module of a config, as ``nequip-train`` builds it."""
    set_global_state()
    return instantiate(
        config,
        _recursive_=False,
        _convert_="all",
        num_datasets={"train": 1, "val": val, "test": 0, "predict": 0},
        info_dict={"training_module": config, "versions": {}},
    )


def fit(
    folder: Path,
    config: dict[str, Any],
    callbacks: list[Any] = (),
    ckpt_path: str | None = None,
    **options: Any,
) -> Any:
    """Train, and return the module."""
    lightning.seed_everything(7, verbose=False)
    module = build(config)
    data = datamodule(folder)
    trainer(folder, callbacks, **options).fit(
        module, datamodule=data, ckpt_path=ckpt_path, weights_only=False
    )
    return module


def weights(module: Any) -> dict[str, torch.Tensor]:
    """The model's parameters and buffers."""
    return {name: value.clone() for name, value in module.model.state_dict().items()}


def nequip_config(target: str = "_target_", **changes: Any) -> dict[str, Any]:
    """A tiny NequIP: two layers, the second of scalars alone."""
    return {
        target: "nequip.model.NequIPGNNModel",
        "seed": 1,
        "model_dtype": "float64",
        "type_names": TYPES,
        "r_max": 3.0,
        "num_layers": 2,
        "l_max": 1,
        "parity": False,
        "num_features": BLOCK,
        "radial_mlp_width": 8,
        "num_bessels": 4,
        "avg_num_neighbors": 12.0,
        "per_type_energy_scales": 1.0,
        "per_type_energy_shifts": 0.0,
        **changes,
    }


def tapped_config(taps: list[str], **changes: Any) -> dict[str, Any]:
    """The same with taps."""
    config = nequip_config("builder", **changes)
    return {"_target_": "nequip_decorr.TapFeatures", "taps": taps, **config}
