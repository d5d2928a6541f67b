"""A ready LAMMPS folder from a compiled model and a structure: written aside, then moved in."""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import yaml

from ...errors import UserError
from ...models.metadata import MAKE_GRADE, ModelInfo, read_metadata
from ...structures import Reading, Structure, check_structure, read_structure
from ..criteria import Criteria
from ..spec import LAMMPS_LIBRARY, RunSpec
from ..start import extxyz_text, read_start, start_frame
from .run_input import INCLUDES, Pair
from .run_input import write_input as write_run_input
from .scripts import run_script, slurm_script
from .settings import ENSEMBLES, RunSettings, run_spec

# What a run leaves in its folder. A folder with one of these is never written to.
_RESULTS: Final = (
    *("restart.*", "thermo.csv", "trajectory.lammpstrj", "log.*", "start.lmp", "stopped", "ring"),
    *("beyond.lammpstrj", "results"),
)
_SCRIPTS: Final = ("run.sh", "slurm.sh")
# Input of an earlier call, which must not stay beside a new one.
_INPUTS: Final = (
    *_SCRIPTS, *(f"in.{name}" for name in ENSEMBLES), "structure.data", "pair_coeff.lmp",
    "campaign.yaml", *INCLUDES,
)  # fmt: skip


def check_pair(model: ModelInfo, pair: str) -> None:
    """Check that a model was compiled for a way into LAMMPS.

    Raises:
        UserError: it was not; the message says how to make one that is.
    """
    wanted = {"allegro": "allegro", "allegro/kk": "allegro", "nequip": "nequip", "mliap": "mliap"}
    if pair == "library":
        if model.pair == "mliap":
            raise UserError(f"{model.path.name} is for ML-IAP; the library engine reads .nequip.*")
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
        raise UserError(
            f"{model.path.name} was made for {model.pair or 'another program'}, not for pair "
            f"{pair}; make one that is with {made}"
        )


def write_input(
    model_path: str | Path,
    structure_path: str | Path,
    out: str | Path,
    settings: RunSettings,
    warn: Callable[[str], None] = lambda line: None,
    reading: Reading | None = None,
) -> list[str]:
    """Write a folder that is ready to run, the model in it.

    Velocities are drawn as a stability campaign draws them for a structure of this name, this
    temperature and this seed. Everything is written to a folder beside ``out`` first: after an
    error ``out`` is as it was.

    Args:
        model_path: compiled model.
        structure_path: a structure file, as in a campaign; its last frame, or ``FILE@INDEX``.
        out: the folder, made if need be. Input of an earlier call is replaced.
        settings: the run.
        warn: receives a line for each thing that is odd but allowed.
        reading: format and elements, where they cannot be told from the structure file.

    Returns:
        Names of the files written.

    Raises:
        UserError: elements that the model does not know, a model compiled for another program,
            a structure that cannot be run, or a folder that holds results.
        FileNotFoundError: a file is missing.
    """
    folder = Path(out)
    _check_folder(folder)
    model = read_metadata(model_path)
    check_pair(model, settings.pair)
    settings = _with_grade(model, settings)
    structure = read_structure(structure_path, reading)
    elements = model.lammps_types(structure.atoms)
    _check_structure(structure, model, settings, warn)

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as name:
        fresh = Path(name)
        _write(fresh, model, structure, elements, settings)
        names = sorted(path.name for path in fresh.iterdir())
        _move(fresh, folder, names)
    return names


def _with_grade(model: ModelInfo, settings: RunSettings) -> RunSettings:
    """The settings with ``grade`` decided.

    Raises:
        UserError: they ask for a grade, or have a bound for it, and the model has none.
    """
    bound = settings.criteria.extrapolation_grade
    if bound is not None and settings.grade is False:
        raise UserError(f"a grade that is not read cannot stop a run, got the bound {bound}")
    if (settings.grade or bound is not None) and not model.has_grade:
        raise UserError(f"{model.path.name} has no extrapolation grade; {MAKE_GRADE}")
    return replace(settings, grade=model.has_grade and settings.grade is not False)


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; give a folder with --out")
    found = sorted({path.name for pattern in _RESULTS for path in folder.glob(pattern)})
    if found:
        old = shlex.join(["mv", str(folder), f"{folder}.old"])
        raise UserError(
            f"{folder}: holds the results of an earlier run ({', '.join(found[:4])}), which a new "
            f"input would continue or overwrite; give another --out, or move them: {old}"
        )


def _check_structure(
    structure: Structure, model: ModelInfo, settings: RunSettings, warn: Callable[[str], None]
) -> None:
    findings = check_structure(
        structure.atoms,
        structure.source,
        ensemble="nvt" if settings.ensemble == "ramp" else settings.ensemble,
        contact_fraction=settings.criteria.contact_fraction,
        cutoff_A=model.r_max_A,
        ranks=settings.ranks,
        timestep_fs=settings.timestep_fs,
    )
    for finding in findings:
        if finding.severity == "warning":
            warn(str(finding))
    if errors := [str(finding) for finding in findings if finding.severity == "error"]:
        raise UserError("\n".join(errors))


def _write(
    folder: Path,
    model: ModelInfo,
    structure: Structure,
    elements: tuple[str, ...],
    settings: RunSettings,
) -> None:
    """Write every file of the run; names inside hold no character that LAMMPS or a shell reads."""
    copied = folder / _plain(model.path.name)
    shutil.copy2(model.path, copied)
    model = replace(model, path=copied)
    name = structure.name
    frame = start_frame(structure.atoms, name, settings.temperature_K, settings.seed)
    file = f"{_plain(name)}.xyz"
    (folder / file).write_text(extxyz_text(frame), encoding="utf-8")
    if settings.pair == "library":
        text = yaml.safe_dump(_campaign(model.path.name, name, file, settings), sort_keys=False)
        (folder / "campaign.yaml").write_text(text, encoding="utf-8")
    else:
        spec = run_spec(settings, model.path, name, str(folder / file))
        _write_templates(folder, spec, elements, pair_for(model, elements, settings))
    for script, text in zip(
        _SCRIPTS, (run_script(settings, model), slurm_script(settings, model)), strict=True
    ):
        (folder / script).write_text(text, encoding="utf-8")
        (folder / script).chmod(0o755)


def _write_templates(folder: Path, spec: RunSpec, elements: tuple[str, ...], pair: Pair) -> None:
    """The template with this run's values, and the data file: the engines' own input."""
    write_run_input(spec, folder, read_start(spec.structure_file), elements, pair)


def _plain(name: str) -> str:
    """A file name without blanks, quotes and other signs that a shell or LAMMPS would read."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", name).lstrip("-") or "x"


def _move(fresh: Path, folder: Path, names: Sequence[str]) -> None:
    """Move files into a folder; its scripts go first and come last, so that no half input runs."""
    folder.mkdir(exist_ok=True)
    for name in dict.fromkeys((*_SCRIPTS, *(name for name in _INPUTS if name not in names))):
        (folder / name).unlink(missing_ok=True)
    for name in sorted(names, key=_SCRIPTS.__contains__):
        (fresh / name).replace(folder / name)


def pair_for(model: ModelInfo, elements: Sequence[str], settings: RunSettings) -> Pair:
    """The potential as the templates' variables, the model beside the input."""
    plugin = str(settings.plugin) if settings.plugin else None
    names = " ".join(elements)
    if settings.pair == "mliap":
        return Pair(f"mliap unified {model.path.name} 0", f"* * {names}", plugin)
    style = settings.pair.removesuffix("/kk")
    newton = "off" if style == "nequip" else "on"
    coeff = f"* * {model.path.name} {names}"
    return Pair(style, coeff, plugin, newton, grade=bool(settings.grade))


def _campaign(model: str, name: str, file: str, settings: RunSettings) -> dict[str, Any]:
    """A campaign of one run for the library engine, with the same physics as a template."""
    default = asdict(Criteria())
    campaign: dict[str, Any] = {
        "models": {model.split(".nequip.")[0]: model},
        "structures": {name: {"file": file, "format": "extxyz"}},
        "temperatures_K": [settings.temperature_K],
        "seeds": [settings.seed],
        "ensemble": "nvt" if settings.ensemble == "ramp" else settings.ensemble,
        "thermostat": settings.thermostat,
        "pressure_GPa": settings.pressure_GPa,
        "timestep_fs": settings.timestep_fs,
        "length_ps": settings.steps * settings.timestep_fs * 1e-3,
        "record_every": settings.record_every,
        "trajectory_every": settings.trajectory_every or settings.steps,
        "engine": LAMMPS_LIBRARY,
        "criteria": {k: v for k, v in asdict(settings.criteria).items() if v != default[k]},
        "out": "results",
    }
    if settings.temperature_end_K is not None:
        campaign["protocol"] = {"ramp": {"temperature_end_K": settings.temperature_end_K}}
    if not campaign["criteria"]:
        del campaign["criteria"]
    return campaign
