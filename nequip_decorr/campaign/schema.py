"""A campaign: one YAML file (or mapping) that says which runs to make.

Everything is checked before anything runs, and every mistake is reported at once. Paths are
relative to the file. The keys are listed in ``docs/campaign_file.md`` and, with comments, by
``nequip-decorr stability example``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..errors import Finding, did_you_mean
from ..md.criteria import Criteria
from ..md.engines import available_engines, get_engine
from ..md.spec import ASE, LAMMPS_LIBRARY
from ..models.spec import ModelSpec
from ..structures import Structure, check_structure
from .keys import DEFAULT_MODE, KEYS, MODES, REQUIRED, CampaignFile, Ramp
from .models import FORMS, in_words, read_models
from .structures import read_structures
from .validate import CampaignError, Mistakes, check_keys, validate
from .yaml_file import load_yaml

__all__ = ["KEYS", "MODES", "Campaign", "CampaignError", "load_campaign", "parse_campaign"]

# Keys that are fields of a run; RunSpec has the default of one that is not given.
_RUN_KEYS: Final = (
    *("ensemble", "thermostat", "timestep_fs", "thermostat_damping_fs", "barostat_damping_fs"),
    *("pressure_GPa", "record_every", "trajectory_every", "ring_frames", "lammps_command"),
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
        findings: what is odd but allowed; the plan and the report repeat it.
        labels: what labels stored frames after the runs, or ``None``.
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
    findings: tuple[Finding, ...] = ()
    labels: ModelSpec | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """The findings as text."""
        return tuple(str(finding) for finding in self.findings)

    @property
    def num_runs(self) -> int:
        """How many runs the campaign has."""
        return len(self.models) * len(self.structures) * len(self.temperatures_K) * len(self.seeds)

    def summary(self) -> str:
        """What would run, by which models and on which structures, in a few lines."""
        steps = self.run["steps"]
        read = "\n".join(
            f"  {s.name}: {s.atoms.get_chemical_formula()}, {len(s.atoms)} atoms, read as "
            f"{s.format}"
            for s in self.structures
        )
        models = "\n".join(f"  {model.name}: {in_words(model)}" for model in self.models)
        return (
            f"{self.name}: runs {self.num_runs} = models {len(self.models)} x structures "
            f"{len(self.structures)} x temperatures {len(self.temperatures_K)} x seeds "
            f"{len(self.seeds)}\n{models}\n{read}\n"
            f"each {steps} steps, {self.num_runs * steps} steps in all, engine "
            f"{self.run['engine']}\nresults: {self.out}"
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
    """Check a campaign given as a mapping with the keys of the YAML file.

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
    mode = MODES.get(str(data.get("mode")), MODES[DEFAULT_MODE])
    given = {str(key): value for key, value in data.items() if value is not None}
    file = validate(CampaignFile, {**mode, **given}, mistakes, partial=True)
    assert file is not None
    for key, allowed in REQUIRED.items():
        if data.get(key) is None:
            mistakes.add(key, None, allowed)
    models = read_models(file.models, folder, mistakes)
    structures = read_structures(file.structures, folder, mistakes)
    if "seeds" in data and "replicas" in data:
        mistakes.say("seeds, replicas: both are given; allowed: one of them")
    run = _run_fields(file, models, mistakes)
    names = [str(name) for name in file.models]
    labels = next((model for model in models if model.name == file.labels), None)
    if file.labels is not None and file.labels not in names:
        if isinstance(file.labels, str) and not (folder / file.labels).exists():
            allowed = f"one of {', '.join(names)}{did_you_mean(file.labels, names)}, {FORMS}"
            mistakes.add("labels", file.labels, allowed)
        else:
            labels = next(iter(read_models({"labels": file.labels}, folder, mistakes, "")), None)
    reference = _reference(file.reference, names, structures, folder, mistakes)
    coldest = {"temperature_K": min(file.temperatures_K)} if file.temperatures_K else {}
    _check(models, structures, {**run, **coldest}, mistakes)
    mistakes.raise_if_any(source)
    chosen = Path(file.out or f"{name}_stability") if out is None else Path(out).absolute()
    return Campaign(
        name=file.name or name,
        out=(folder / chosen.expanduser()).resolve(),
        models=models,
        structures=structures,
        temperatures_K=file.temperatures_K,
        seeds=file.seeds or tuple(range(1, file.replicas + 1)),
        run=run,
        device=file.device,
        reference=reference,
        findings=tuple(mistakes.warnings),
        labels=labels,
    )


def _run_fields(
    file: CampaignFile, models: Sequence[ModelSpec], mistakes: Mistakes
) -> dict[str, Any]:
    run: dict[str, Any] = {
        key: getattr(file, key) for key in _RUN_KEYS if key in file.model_fields_set
    }
    run["criteria"] = Criteria(**file.criteria.model_dump())
    all_ase = bool(models) and all(model.kind == "ase" for model in models)
    run["engine"] = file.engine or (ASE if all_ase else LAMMPS_LIBRARY)
    if reason := available_engines().get(run["engine"]):
        mistakes.say(f"engine: {run['engine']} is not available here: {reason}")
    if file.walltime is not None:
        run["walltime_s"] = file.walltime
    ramp = file.protocol.ramp or Ramp()
    if ramp.temperature_end_K is not None and file.ensemble == "nve":
        mistakes.add("ensemble", file.ensemble, "nvt or npt with a temperature ramp")
    if ramp.pressure_end_GPa is not None and file.ensemble != "npt":
        mistakes.add("ensemble", file.ensemble, "npt with a pressure ramp")
    run.update(ramp.model_dump(exclude_none=True))
    run["steps"] = max(1, round(file.length_ps * 1e3 / file.timestep_fs))
    for key in ("thermostat_damping_fs", "barostat_damping_fs"):
        if key in run and run[key] < 10 * file.timestep_fs:
            mistakes.warn(
                f"{key}: {run[key]:g} fs is below 10 time steps of {file.timestep_fs:g} fs"
            )
    return run


def _reference(
    value: Any,
    names: Sequence[str],
    structures: Sequence[Structure],
    folder: Path,
    mistakes: Mistakes,
) -> str | dict[str, dict[str, str]] | None:
    if value is None or value in names:
        return value  # type: ignore[no-any-return]
    if not isinstance(value, dict):
        hint = did_you_mean(value, names)
        mistakes.add("reference", value, f"one of {', '.join(names)}{hint}, or a mapping "
                     "{STRUCTURE: {rdf: FILE, adf: FILE}}")  # fmt: skip
        return None
    check_keys("reference", value, [structure.name for structure in structures], mistakes)
    found: dict[str, dict[str, str]] = {}
    for name, files in value.items():
        what = f"reference.{name}"
        if not isinstance(files, dict):
            mistakes.add(what, files, "{rdf: FILE.csv} or {rdf: FILE.csv, adf: FILE.csv}")
            continue
        check_keys(what, files, ("rdf", "adf"), mistakes)
        found[str(name)] = {str(k): str((folder / str(f)).resolve()) for k, f in files.items()}
        for kind, path in found[str(name)].items():
            if not Path(path).is_file():
                mistakes.say(f"{what}.{kind}: no such file: {path}")
    return found


def _check(
    models: Sequence[ModelSpec],
    structures: Sequence[Structure],
    run: dict[str, Any],
    mistakes: Mistakes,
) -> None:
    """Note what the checks of structures and of the engine find."""
    sound: dict[str, Structure] = {}
    for structure in structures:
        findings = check_structure(
            structure.atoms,
            f"structure {structure.name!r}",
            ensemble=run.get("ensemble", "nvt"),
            contact_fraction=run["criteria"].contact_fraction,
            timestep_fs=run.get("timestep_fs", 1.0),
        )
        mistakes.note(findings)
        if all(finding.severity == "warning" for finding in findings):
            sound[structure.name] = structure
    mistakes.note(check_engine(models, tuple(sound.values()), run))


def check_engine(
    models: Sequence[ModelSpec], structures: Sequence[Structure], run: Mapping[str, Any]
) -> list[Finding]:
    """Ask the engine what it would refuse.

    Args:
        models: compiled or not.
        structures: start structures.
        run: the fields of :class:`~nequip_decorr.md.spec.RunSpec` that all runs share, and the
            lowest ``temperature_K``.
    """
    engine, frames = get_engine(run["engine"]), {s.name: s.atoms for s in structures}
    found: list[Finding] = []
    for model in models:
        try:
            found += engine.check(model, frames, run)
        except ValueError as err:
            found.append(Finding(f"models.{model.name}: {err}"))
    return list(dict.fromkeys(found))
