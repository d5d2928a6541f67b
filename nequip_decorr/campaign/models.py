"""The ``models:`` of a campaign file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ..md.spec import ModelSpec
from ..models.compiling import (
    COMPILED,
    REFERENCES,
    SOURCES,
    check_calculator,
    resolve_pair_coeff,
)
from .validate import (
    Mistakes,
    check_keys,
    choice,
)

_FORMS: Final = (
    "a file name, {path: FILE}, {lammps: {pair_style: ..., pair_coeff: ...}}, "
    "{ase: {calculator: module.Class}} or {reference: siox}"
)
_KINDS: Final = ("path", "lammps", "ase", "reference")


def read_models(data: Any, folder: Path, mistakes: Mistakes) -> tuple[ModelSpec, ...]:
    """Models by name; what is wrong with each is noted.

    Args:
        data: ``{name: path | mapping}``.
        folder: what paths are relative to.
        mistakes: where mistakes go.
    """
    if not isinstance(data, dict) or not data:
        mistakes.add("models", data, f"a mapping of name to model; a model is {_FORMS}")
        return ()
    found = (_read(str(name), entry, folder, mistakes) for name, entry in data.items())
    return tuple(model for model in found if model is not None)


def _read(name: str, entry: Any, folder: Path, mistakes: Mistakes) -> ModelSpec | None:
    what = f"models.{name}"
    if isinstance(entry, str):
        entry = {"path": entry}
    if not isinstance(entry, dict) or not entry:
        mistakes.add(what, entry, _FORMS)
        return None
    given = [kind for kind in _KINDS if kind in entry]
    if len(given) != 1:
        mistakes.add(what, entry, _FORMS)
        return None
    kind = given[0]
    extra = ("arguments",) if kind == "path" else ()
    check_keys(what, entry, (kind, *extra), mistakes)
    if kind == "path":
        return _file(name, entry, folder, mistakes)
    if kind == "lammps":
        return _lammps(name, entry[kind], folder, mistakes)
    if kind == "ase":
        return _ase(name, entry[kind], folder, mistakes)
    chosen = choice(f"{what}.reference", entry[kind], REFERENCES, mistakes)
    return _lammps(name, REFERENCES[chosen], folder, mistakes) if chosen else None


def _file(name: str, entry: dict[str, Any], folder: Path, mistakes: Mistakes) -> ModelSpec | None:
    what, value = f"models.{name}", entry["path"]
    suffixes = (*COMPILED, *SOURCES)
    if not isinstance(value, str) or not value.endswith(suffixes):
        mistakes.add(what, value, f"a file ending in {', '.join(suffixes)}")
        return None
    path = (folder / Path(value).expanduser()).resolve()
    if not path.is_file():
        mistakes.say(f"{what}: no such file: {path}")
        return None
    return ModelSpec(
        name, "nequip", path=str(path), arguments=_arguments(what, entry, folder, mistakes)
    )


def _lammps(name: str, entry: Any, folder: Path, mistakes: Mistakes) -> ModelSpec | None:
    what = f"models.{name}.lammps"
    if not isinstance(entry, dict):
        mistakes.add(what, entry, "{pair_style: ..., pair_coeff: ...}")
        return None
    check_keys(what, entry, ("pair_style", "pair_coeff"), mistakes)
    for key in ("pair_style", "pair_coeff"):
        value = entry.get(key)
        # One command per line: a line break could smuggle another command in.
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            mistakes.add(f"{what}.{key}", value, "the words after the LAMMPS command, on one line")
            return None
    try:
        pair_coeff = resolve_pair_coeff(entry["pair_coeff"], folder)
    except FileNotFoundError as err:
        mistakes.say(f"{what}.pair_coeff: no such file beside the campaign file; {err}")
        return None
    return ModelSpec(name, "lammps", pair_style=entry["pair_style"], pair_coeff=pair_coeff)


def _ase(name: str, entry: Any, folder: Path, mistakes: Mistakes) -> ModelSpec | None:
    what = f"models.{name}.ase"
    if not isinstance(entry, dict) or not isinstance(entry.get("calculator"), str):
        mistakes.add(what, entry, "{calculator: module.Class, arguments: {...}}")
        return None
    check_keys(what, entry, ("calculator", "arguments"), mistakes)
    try:
        check_calculator(entry["calculator"])
    except ValueError as err:
        mistakes.say(f"{what}.calculator: {err}; allowed: a calculator class, as module.Class")
        return None
    return ModelSpec(
        name,
        "ase",
        calculator=entry["calculator"],
        arguments=_arguments(what, entry, folder, mistakes),
    )


def _arguments(
    what: str, entry: dict[str, Any], folder: Path, mistakes: Mistakes
) -> dict[str, Any]:
    """Arguments as given; a text that names a file beside the campaign file becomes its path."""
    value = entry.get("arguments") or {}
    if not isinstance(value, dict):
        mistakes.add(f"{what}.arguments", value, "a mapping of argument to value")
        return {}
    return {
        str(key): str((folder / item).resolve())
        if isinstance(item, str) and item and (folder / item).is_file()
        else item
        for key, item in value.items()
    }
