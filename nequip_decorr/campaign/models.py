"""The ``models:`` of a campaign file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from ..errors import UserError
from ..extrapolation.beside import grade_file
from ..model_files import require
from ..models.classical import REFERENCES, resolve_pair_coeff
from ..models.compiling import COMPILED, SOURCES, calculator_class, is_compiled
from ..models.metadata import read_info
from ..models.spec import ModelSpec
from .grades import check_files
from .validate import Mistakes, NotAllowed, Strict, of_kind, one_of, validate

FORMS: Final = (
    "a file name, {path: FILE, grade: FILE}, {lammps: {pair_style: ..., pair_coeff: ...}}, "
    "{ase: {calculator: module.Class}} or {reference: siox}"
)
_KINDS: Final = ("path", "lammps", "ase", "reference")
_FILE: Final = f"a file ending in {', '.join((*COMPILED, *SOURCES))}"
_ONE_LINE: Final = "the words after the LAMMPS command, on one line"


def _line(value: Any) -> str:
    # One command per line: a line break could smuggle another command in.
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise NotAllowed(_ONE_LINE)
    return value


def _pair_coeff(value: Any) -> str:
    lines = value.strip().splitlines() if isinstance(value, str) else value
    if not isinstance(lines, list) or not lines:
        raise NotAllowed(_ONE_LINE)
    lines = [_line(line).strip() for line in lines]
    if not all(re.match(r"[\d*]+ +[\d*]+( |$)", re.sub(r"\s+", " ", x)) for x in lines):
        many = "several as a list or a block of lines"
        raise NotAllowed(f"{_ONE_LINE}, e.g. '* * FILE Si O'; {many}")
    return "\n".join(lines)


def _calculator(value: Any) -> str:
    if not isinstance(value, str):
        raise NotAllowed("a calculator class, as module.Class")
    try:
        calculator_class(value)
    except ValueError as err:
        raise UserError(f"{err}; allowed: a calculator class, as module.Class") from None
    return value


_Arguments = Annotated[dict[Any, Any], of_kind(dict, "a mapping of argument to value", empty=True)]


class _Lammps(Strict):
    pair_style: Annotated[str, BeforeValidator(_line)] = Field(None, validate_default=True)
    pair_coeff: Annotated[str, BeforeValidator(_pair_coeff)] = Field(None, validate_default=True)


class _Ase(Strict):
    calculator: Annotated[str, BeforeValidator(_calculator)] = Field(None, validate_default=True)
    arguments: _Arguments = {}  # noqa: RUF012


class _Model(Strict):
    path: Annotated[str | None, of_kind(str, _FILE)] = None
    lammps: Annotated[_Lammps | None, of_kind(dict, "{pair_style: ..., pair_coeff: ...}")] = None
    ase: Annotated[_Ase | None, of_kind(dict, "{calculator: module.Class, arguments: {...}}")] = (
        None
    )
    reference: Annotated[str | None, one_of(REFERENCES)] = None
    arguments: _Arguments = {}  # noqa: RUF012
    grade: Annotated[str | None, of_kind(str, "a file ending in .grade.npz")] = None


def read_models(
    data: dict[Any, Any], folder: Path, mistakes: Mistakes, within: str = "models."
) -> tuple[ModelSpec, ...]:
    """Read models by name; what is wrong with each is noted.

    Args:
        data: ``{name: path | mapping}``.
        folder: what paths are relative to.
        mistakes: where mistakes go.
        within: where in the file the names stand.
    """
    found = (_read(str(name), entry, folder, mistakes, within) for name, entry in data.items())
    return tuple(model for model in found if model is not None)


def entry_of(model: ModelSpec) -> dict[str, Any]:
    """What a campaign file says of a model, wherever the file lies: every path is absolute."""
    given: dict[str, Any]
    if model.kind == "lammps":
        return {"lammps": {"pair_style": model.pair_style, "pair_coeff": model.pair_coeff}}
    if model.kind == "ase":
        given = {"calculator": model.calculator, "arguments": model.arguments}
        return {"ase": {key: value for key, value in given.items() if value}}
    given = {"path": model.path, "arguments": model.arguments, "grade": model.grade}
    return {key: value for key, value in given.items() if value}


def in_words(model: ModelSpec) -> str:
    """What runs MD under a model's name; of a file, also whether it has an extrapolation grade."""
    if model.path is None:
        return model.calculator or f"pair_style {model.pair_style}"
    path = Path(model.path)
    first = "" if is_compiled(path) else ", compiled before the runs (a minute or more)"
    if model.grade is not None:
        grade = f"grade {Path(model.grade).name}"
    elif is_compiled(path) and read_info(path).has_grade:
        grade = "with its extrapolation grade"
    else:
        grade = "no extrapolation grade, so no trusted time"
        beside = grade_file(path)
        if beside.is_file() and not is_compiled(path):
            grade += f" (to use that beside it: {{path: {path}, grade: {beside}}})"
        elif not is_compiled(path):
            grade += f" (to make one: nequip-decorr extrapolation fit {path} TRAINING_DATA)"
    return f"{path.name}{first}; {grade}"


def _read(name: str, entry: Any, folder: Path, mistakes: Mistakes, within: str) -> ModelSpec | None:
    what = f"{within}{name}"
    mapping = {"path": entry} if isinstance(entry, str) else entry
    kinds = [kind for kind in _KINDS if kind in mapping] if isinstance(mapping, dict) else []
    if len(kinds) != 1:
        mistakes.add(what, entry, FORMS)
        return None
    model = validate(_Model, mapping, mistakes, what)
    if model is None:
        return None
    for key in ("arguments", "grade"):
        if getattr(model, key) and kinds != ["path"]:
            mistakes.say(f"{what}: unknown key {key!r}; allowed: {kinds[0]}")
            return None
    try:
        return _spec(name, model, folder)
    except (UserError, FileNotFoundError) as err:
        mistakes.say(f"{what}{err}")
        return None


def _spec(name: str, model: _Model, folder: Path) -> ModelSpec:
    if model.path is not None:
        path = (folder / Path(model.path).expanduser()).resolve()
        if not path.exists():
            raise UserError(f": no such file: {path}")
        try:
            require(path)
        except UserError as err:
            raise UserError(f": {err}") from None
        arguments, grade = _arguments(model.arguments, folder), None
        if model.grade is not None:
            grade = str((folder / Path(model.grade).expanduser()).resolve())
        spec = ModelSpec(name, "nequip", path=str(path), arguments=arguments, grade=grade)
        check_files(spec)
        return spec
    if model.ase is not None:
        arguments = _arguments(model.ase.arguments, folder)
        return ModelSpec(name, "ase", calculator=model.ase.calculator, arguments=arguments)
    lammps = model.lammps or _Lammps(**REFERENCES[model.reference or ""])
    try:
        lines = [resolve_pair_coeff(x, folder) for x in lammps.pair_coeff.splitlines()]
    except FileNotFoundError as err:
        raise UserError(
            f".lammps.pair_coeff: no such file beside the campaign file; {err}"
        ) from None
    return ModelSpec(name, "lammps", pair_style=lammps.pair_style, pair_coeff="\n".join(lines))


def _arguments(given: dict[Any, Any], folder: Path) -> dict[str, Any]:
    """Arguments as given; a text that names a file beside the campaign file becomes its path."""
    return {
        str(key): str((folder / item).resolve())
        if isinstance(item, str) and item and (folder / item).is_file()
        else item
        for key, item in given.items()
    }
