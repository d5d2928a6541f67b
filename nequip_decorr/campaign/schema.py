"""A campaign: one YAML file (or mapping) that says which runs to make.

Everything is checked before anything runs, and every mistake is reported at once. Paths are
relative to the file. The keys are listed in ``docs/stability.md`` and, with comments, by
``nequip-decorr stability example``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ase.data import chemical_symbols

from ..md.spec import ModelSpec
from ..models.compiling import type_names
from ..structures import Structure, check_structure
from .models import read_models
from .settings import (
    PLAIN,
    read_reference,
    read_run_fields,
    read_seeds,
)
from .structures import read_structures
from .validate import (
    CampaignError,
    Mistakes,
    check_keys,
    choice,
    load_yaml,
    numbers,
)

__all__ = ["MODES", "Campaign", "CampaignError", "load_campaign", "parse_campaign"]

# What a mode sets; each may be set by its own key as well.
MODES: Final[dict[str, dict[str, Any]]] = {
    "quick": {"length_ps": 1.0, "replicas": 1, "record_every": 10, "trajectory_every": 50},
    "standard": {"length_ps": 10.0, "replicas": 3, "record_every": 10, "trajectory_every": 100},
    "full": {"length_ps": 100.0, "replicas": 10, "record_every": 50, "trajectory_every": 1000},
}
DEFAULT_MODE: Final = "standard"
KEYS: Final = (
    *("name", "models", "structures", "temperatures_K", "seeds", "replicas", "ensemble"),
    *("thermostat", "length_ps", "protocol", "engine", "lammps_command", "device", "criteria"),
    *("walltime", "mode", "out", "reference", *PLAIN),
)


@dataclass(frozen=True)
class Campaign:
    """A validated campaign; :func:`load_campaign` and :func:`parse_campaign` make one.

    Attributes:
        name: shown in tables and reports.
        out: folder of the results.
        models: the models, paths absolute, not compiled yet.
        structures: the start structures, read.
        temperatures_K: start temperatures.
        seeds: one replica each.
        run: the fields of :class:`~nequip_decorr.md.spec.RunSpec` that all runs share.
        device: device that checkpoints are compiled for.
        reference: a model's name, or ``{structure: {"rdf": path, "adf": path}}``, or ``None``.
        warnings: what is odd but allowed.
    """

    name: str
    out: Path
    models: tuple[ModelSpec, ...]
    structures: tuple[Structure, ...]
    temperatures_K: tuple[float, ...]
    seeds: tuple[int, ...]
    run: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    reference: str | dict[str, dict[str, str]] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def num_runs(self) -> int:
        """How many runs the campaign has."""
        return len(self.models) * len(self.structures) * len(self.temperatures_K) * len(self.seeds)

    def summary(self) -> str:
        """What would run, in a few lines."""
        first = self.structures[0].atoms
        steps = self.run["steps"]
        sizes = [len(structure.atoms) for structure in self.structures]
        return (
            f"{self.name}: {self.num_runs} runs = {len(self.models)} models x "
            f"{len(self.structures)} structures x {len(self.temperatures_K)} temperatures x "
            f"{len(self.seeds)} seeds\n"
            f"each {steps} steps with {min(sizes)} to {max(sizes)} atoms ({first.symbols}, ...), "
            f"{self.num_runs * steps} steps in all, engine {self.run['engine']}\n"
            f"results: {self.out}"
        )


def load_campaign(path: str | Path, out: str | Path | None = None) -> Campaign:
    """Read and check a campaign file.

    Args:
        path: the YAML file.
        out: results folder, instead of the file's own ``out``.

    Raises:
        CampaignError: the file has mistakes; all of them are listed.
    """
    path = Path(path)
    mistakes = Mistakes()
    data = load_yaml(path, mistakes)
    if data is None:
        mistakes.raise_if_any(str(path))
    return _parse(data or {}, path.resolve().parent, path.stem, out, mistakes, str(path))


def parse_campaign(
    data: dict[str, Any],
    folder: str | Path = ".",
    name: str = "campaign",
    out: str | Path | None = None,
) -> Campaign:
    """A campaign from a mapping with the keys of the YAML file.

    Args:
        data: the mapping.
        folder: what paths in it are relative to.
        name: the campaign's name, unless ``data`` gives one.
        out: results folder, instead of ``data``'s own ``out``.

    Raises:
        CampaignError: the mapping has mistakes; all of them are listed.
    """
    return _parse(data, Path(folder).resolve(), name, out, Mistakes(), name)


def _parse(
    data: dict[str, Any],
    folder: Path,
    name: str,
    out: str | Path | None,
    mistakes: Mistakes,
    source: str,
) -> Campaign:
    check_keys("campaign", data, KEYS, mistakes)
    mode = choice("mode", data.get("mode", DEFAULT_MODE), MODES, mistakes) or DEFAULT_MODE
    given = {**MODES[mode], **{key: value for key, value in data.items() if value is not None}}

    models = read_models(given.get("models"), folder, mistakes)
    structures = read_structures(given.get("structures"), folder, mistakes)
    temperatures_K = numbers("temperatures_K", given.get("temperatures_K"), mistakes, above=0)
    if "seeds" in data and "replicas" in data:
        mistakes.say("seeds, replicas: both are given; allowed: one of them")
    seeds = read_seeds(given, "seeds" in data, mistakes)
    run = read_run_fields(given, models, mistakes)
    if not isinstance(given.get("name", name), str):
        mistakes.add("name", given["name"], "a text")
    chosen = given.get("out", f"{name}_stability") if out is None else str(Path(out).absolute())
    if not isinstance(chosen, str):
        mistakes.add("out", chosen, "a folder name")
        chosen = "."
    device = given.get("device", "cpu")
    if not isinstance(device, str) or device.split(":")[0] not in ("cpu", "cuda"):
        mistakes.add("device", device, "cpu, cuda or cuda:N")
    reference = read_reference(given.get("reference"), models, structures, folder, mistakes)

    for structure in structures:
        for finding in check_structure(
            structure.atoms,
            f"structure {structure.name!r}",
            ensemble=run.get("ensemble", "nvt"),
            contact_fraction=run["criteria"].contact_fraction,
            timestep_fs=run.get("timestep_fs", 1.0),
        ):
            mistakes.note(finding)
    _check_damping(run, mistakes)
    check_elements(models, structures, mistakes)
    mistakes.raise_if_any(source)
    return Campaign(
        name=str(given.get("name", name)),
        out=(folder / Path(chosen).expanduser()).resolve(),
        models=models,
        structures=structures,
        temperatures_K=temperatures_K,
        seeds=seeds,
        run=run,
        device=device,
        reference=reference,
        warnings=tuple(mistakes.warnings),
    )


def _check_damping(run: dict[str, Any], mistakes: Mistakes) -> None:
    timestep_fs = run.get("timestep_fs", 1.0)
    for key in ("thermostat_damping_fs", "barostat_damping_fs"):
        if run.get(key) is not None and run[key] < 10 * timestep_fs:
            mistakes.warn(f"{key}: {run[key]:g} fs is below 10 time steps of {timestep_fs:g} fs")


def check_elements(
    models: tuple[ModelSpec, ...], structures: tuple[Structure, ...], mistakes: Mistakes
) -> None:
    """Note every element of a structure that a model does not know, where that can be told."""
    for model in models:
        try:
            types = type_names(model)
        except ValueError as err:
            mistakes.say(f"models.{model.name}: {err}")
            continue
        if types is None or any(name not in chemical_symbols for name in types):
            continue
        for structure in structures:
            unknown = sorted(set(structure.atoms.symbols) - set(types))
            if unknown:
                mistakes.say(
                    f"models.{model.name}: does not know {', '.join(unknown)} of structure "
                    f"{structure.name!r}; it knows {', '.join(types)}"
                )
