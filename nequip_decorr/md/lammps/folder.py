"""A ready LAMMPS folder from a compiled model and a structure."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from ase import Atoms
from ase.io import read

from ...models.metadata import (
    ModelInfo,
    read_metadata,
)
from ..engines.base import read_start
from ..spec import (
    Criteria,
    RunSpec,
)
from ..start import (
    extxyz_text,
    start_frame,
)
from .run_input import (
    INCLUDES,
    Pair,
)
from .run_input import write_input as write_run_input
from .scripts import (
    library_script,
    run_script,
    slurm_script,
)
from .settings import (
    RunSettings,
    run_spec,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


def read_structure(path: str | Path) -> Atoms:
    """The last frame of a file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: ase cannot read it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such structure file")
    try:
        atoms = read(path, index=-1)
    except Exception as err:
        raise ValueError(f"{path}: ase cannot read it as a structure ({err})") from None
    assert isinstance(atoms, Atoms)
    return atoms


def check_pair(model: ModelInfo, pair: str) -> None:
    """Whether a model was compiled for a way into LAMMPS.

    Raises:
        ValueError: it was not; the message says how to make one that is.
    """
    wanted = {"allegro": "allegro", "allegro/kk": "allegro", "nequip": "nequip", "mliap": "mliap"}
    if pair == "library":
        if model.pair == "mliap":
            raise ValueError(f"{model.path.name} is for ML-IAP; the library engine reads .nequip.*")
        return
    if model.pair is None and model.path.name.endswith(".pth"):
        return  # TorchScript takes what it is given.
    if model.pair != wanted[pair]:
        made = (
            "`nequip-prepare-lmp-mliap CKPT OUT.nequip.lmp.pt`"
            if pair == "mliap"
            else "`nequip-compile CKPT OUT.nequip.pt2 --mode aotinductor --device "
            f"{model.device or 'cpu'} --target pair_{wanted[pair]}`"
        )
        raise ValueError(
            f"{model.path.name} was made for {model.pair or 'another program'}, not for pair "
            f"{pair}; make one that is with {made}"
        )


def write_input(
    model_path: str | Path, structure_path: str | Path, out: str | Path, settings: RunSettings
) -> list[str]:
    """Write a folder that is ready to run, the model in it.

    Velocities are drawn anew, the same as a stability campaign draws for a structure of this
    name (the file's, without its ending), this temperature and this seed.

    Args:
        model_path: compiled model.
        structure_path: anything ase reads; the last frame is used.
        out: the folder, made if need be. Files of the same names are replaced.
        settings: the run.

    Returns:
        Names of the files written.

    Raises:
        ValueError: elements that the model does not know, a model compiled for another program,
            or a structure that LAMMPS cannot run.
        FileNotFoundError: a file that is not there.
    """
    model = read_metadata(model_path)
    atoms = read_structure(structure_path)
    elements = model.lammps_types(atoms)
    check_pair(model, settings.pair)
    name = Path(structure_path).stem
    atoms = start_frame(atoms, name, settings.temperature_K, settings.seed)

    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    copied = folder / model.path.name
    if not (copied.exists() and copied.samefile(model.path)):
        shutil.copy2(model.path, copied)
    spec = run_spec(settings, model.path, name)
    (folder / spec.structure_file).write_text(extxyz_text(atoms), encoding="utf-8")
    if settings.pair == "library":
        names = _write_campaign(folder, model, name, settings)
    else:
        names = _write_templates(folder, model, elements, spec, settings)
    (folder / "slurm.sh").write_text(slurm_script(settings, model), encoding="utf-8")
    for script in ("run.sh", "slurm.sh"):
        (folder / script).chmod(0o755)
    return sorted([*names, spec.structure_file, model.path.name, "run.sh", "slurm.sh"])


def _write_templates(
    folder: Path,
    model: ModelInfo,
    elements: tuple[str, ...],
    spec: RunSpec,
    settings: RunSettings,
) -> list[str]:
    """The template with this run's values, and the data file: the engines' own input."""
    start = read_start(replace(spec, structure_file=str(folder / spec.structure_file)))
    path = write_run_input(spec, folder, start, elements, pair_for(model, elements, settings))
    (folder / "run.sh").write_text(run_script(settings, model), encoding="utf-8")
    return [path.name, "structure.data", *INCLUDES]


def pair_for(model: ModelInfo, elements: Sequence[str], settings: RunSettings) -> Pair:
    """The potential as the templates' variables, the model beside the input."""
    plugin = str(settings.plugin) if settings.plugin else None
    names = " ".join(elements)
    if settings.pair == "mliap":
        return Pair(f"mliap unified {model.path.name} 0", f"* * {names}", plugin)
    style = settings.pair.removesuffix("/kk")
    newton = "off" if style == "nequip" else "on"
    return Pair(style, f"* * {model.path.name} {names}", plugin, newton)


def _write_campaign(folder: Path, model: ModelInfo, name: str, settings: RunSettings) -> list[str]:
    """A campaign of one run for the library engine, with the same physics as a template."""
    default = asdict(Criteria())
    campaign: dict[str, Any] = {
        "models": {model.path.name.split(".nequip.")[0]: model.path.name},
        "structures": {name: f"{name}.xyz"},
        "temperatures_K": [settings.temperature_K],
        "seeds": [settings.seed],
        "ensemble": "nvt" if settings.ensemble == "ramp" else settings.ensemble,
        "thermostat": settings.thermostat,
        "pressure_GPa": settings.pressure_GPa,
        "timestep_fs": settings.timestep_fs,
        "length_ps": settings.steps * settings.timestep_fs * 1e-3,
        "record_every": settings.record_every,
        "trajectory_every": settings.trajectory_every or settings.steps,
        "engine": "lammps-library",
        "criteria": {k: v for k, v in asdict(settings.criteria).items() if v != default[k]},
        "out": "results",
    }
    if settings.temperature_end_K is not None:
        campaign["protocol"] = {"ramp": {"temperature_end_K": settings.temperature_end_K}}
    if not campaign["criteria"]:
        del campaign["criteria"]
    text = yaml.safe_dump(campaign, sort_keys=False)
    (folder / "campaign.yaml").write_text(text, encoding="utf-8")
    (folder / "run.sh").write_text(library_script(), encoding="utf-8")
    return ["campaign.yaml"]
