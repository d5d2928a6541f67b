"""The settings of a campaign file that all its runs share."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Final

from ..md.spec import (
    ENGINES,
    ENSEMBLES,
    THERMOSTATS,
    ModelSpec,
)
from ..structures import Structure
from .validate import (
    Mistakes,
    check_keys,
    choice,
    duration_s,
    number,
    numbers,
    read_criteria,
)

PLAIN: Final[dict[str, dict[str, Any]]] = {
    "timestep_fs": {"above": 0},
    "thermostat_damping_fs": {"above": 0},
    "barostat_damping_fs": {"above": 0},
    "pressure_GPa": {},
    "record_every": {"least": 1, "whole": True},
    "trajectory_every": {"least": 1, "whole": True},
    "ring_frames": {"least": 0, "whole": True},
}


def read_seeds(given: dict[str, Any], listed: bool, mistakes: Mistakes) -> tuple[int, ...]:
    if listed:
        return numbers("seeds", given["seeds"], mistakes, least=0, whole=True)
    count = number("replicas", given["replicas"], mistakes, least=1, whole=True)
    return tuple(range(1, (count or 0) + 1))


def read_run_fields(
    given: dict[str, Any], models: tuple[ModelSpec, ...], mistakes: Mistakes
) -> dict[str, Any]:
    run: dict[str, Any] = {"criteria": read_criteria(given.get("criteria"), mistakes)}
    for key, bounds in PLAIN.items():
        if key in given:
            run[key] = number(key, given[key], mistakes, **bounds)
    for key, allowed in (("ensemble", ENSEMBLES), ("thermostat", THERMOSTATS)):
        if key in given:
            run[key] = choice(key, given[key], allowed, mistakes)
    run["engine"] = _engine(given, models, mistakes)
    if "lammps_command" in given:
        run["lammps_command"] = _command(given["lammps_command"], mistakes)
    if "walltime" in given:
        run["walltime_s"] = duration_s("walltime", given["walltime"], mistakes)
    run.update(_ramp(given.get("protocol", "constant"), run.get("ensemble", "nvt"), mistakes))
    length_ps = number("length_ps", given["length_ps"], mistakes, above=0)
    run = {key: value for key, value in run.items() if value is not None}
    if length_ps is not None:
        run["steps"] = max(1, round(length_ps * 1e3 / run.get("timestep_fs", 1.0)))
    return run


def _engine(given: dict[str, Any], models: tuple[ModelSpec, ...], mistakes: Mistakes) -> str | None:
    all_ase = bool(models) and all(model.kind == "ase" for model in models)
    engine = choice(
        "engine", given.get("engine", "ase" if all_ase else "lammps-library"), ENGINES, mistakes
    )
    if engine is not None:
        from ..md.engines import available_engines

        reason = available_engines().get(engine)
        if reason:
            mistakes.say(f"engine: {engine} is not available here: {reason}")
    return engine


def _command(value: Any, mistakes: Mistakes) -> tuple[str, ...] | None:
    words = shlex.split(value) if isinstance(value, str) else value
    if not (isinstance(words, list) and words and all(isinstance(word, str) for word in words)):
        mistakes.add("lammps_command", value, "a command, as a text or a list of words")
        return None
    return tuple(words)


def _ramp(protocol: Any, ensemble: str | None, mistakes: Mistakes) -> dict[str, Any]:
    if protocol == "constant":
        return {}
    allowed = "constant, or {ramp: {temperature_end_K: T}} or {ramp: {pressure_end_GPa: P}}"
    ramp = protocol.get("ramp") if isinstance(protocol, dict) and len(protocol) == 1 else None
    if not isinstance(ramp, dict) or not ramp:
        mistakes.add("protocol", protocol, allowed)
        return {}
    check_keys("protocol.ramp", ramp, ("temperature_end_K", "pressure_end_GPa"), mistakes)
    found: dict[str, Any] = {}
    if "temperature_end_K" in ramp:
        what = "protocol.ramp.temperature_end_K"
        found["temperature_end_K"] = number(what, ramp["temperature_end_K"], mistakes, above=0)
        if ensemble == "nve":
            mistakes.add("ensemble", ensemble, "nvt or npt with a temperature ramp")
    if "pressure_end_GPa" in ramp:
        what = "protocol.ramp.pressure_end_GPa"
        found["pressure_end_GPa"] = number(what, ramp["pressure_end_GPa"], mistakes)
        if ensemble != "npt":
            mistakes.add("ensemble", ensemble, "npt with a pressure ramp")
    return found


def read_reference(
    value: Any,
    models: tuple[ModelSpec, ...],
    structures: tuple[Structure, ...],
    folder: Path,
    mistakes: Mistakes,
) -> str | dict[str, dict[str, str]] | None:
    if value is None:
        return None
    names = [model.name for model in models]
    if isinstance(value, str):
        return choice("reference", value, names, mistakes)
    if not isinstance(value, dict):
        mistakes.add("reference", value, "a model's name, or {STRUCTURE: {rdf: FILE, adf: FILE}}")
        return None
    known = [structure.name for structure in structures]
    check_keys("reference", value, known, mistakes)
    found: dict[str, dict[str, str]] = {}
    for name, files in value.items():
        what = f"reference.{name}"
        if not isinstance(files, dict):
            mistakes.add(what, files, "{rdf: FILE.csv} or {rdf: FILE.csv, adf: FILE.csv}")
            continue
        check_keys(what, files, ("rdf", "adf"), mistakes)
        found[str(name)] = {}
        for kind, file in files.items():
            path = (folder / str(file)).resolve()
            if not path.is_file():
                mistakes.say(f"{what}.{kind}: no such file: {path}")
            found[str(name)][str(kind)] = str(path)
    return found
