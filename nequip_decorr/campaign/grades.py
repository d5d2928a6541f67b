"""The extrapolation grade of models of a campaign that do not give it in MD: from stored frames."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import Atoms

from ..errors import Finding, UserError
from ..md.criteria import criterion
from ..md.judge import failed
from ..md.record import THERMO, RecordWriter, grade_columns, read_record, read_trajectory
from ..md.spec import RunResult, RunSpec
from ..models.compiling import SOURCES, is_compiled
from ..models.metadata import read_info
from ..models.spec import ModelSpec

_ENDING: Final = ".grade.npz"
_TOLERANCE: Final = 1e-3
"""Of the forces of a compiled model beside its checkpoint's, as a share of the largest."""


def check_files(model: ModelSpec) -> None:
    """Check that the files of a model's grade are there.

    Raises:
        UserError: no grade, no checkpoint to compute it with, or a model with a grade of its own.
    """
    if model.grade is None:
        return
    if is_compiled(str(model.path)) and read_info(str(model.path)).has_grade:
        raise UserError(
            f".grade: got {model.grade}, but {model.path} was compiled with its grade, which MD "
            "would read; leave `grade` out, or compile the checkpoint again with the new one "
            "(`nequip-decorr compile`)"
        )
    if not (model.grade.endswith(_ENDING) and Path(model.grade).is_file()):
        raise UserError(
            f".grade: got {model.grade}; allowed: a file that `nequip-decorr extrapolation fit` "
            f"wrote, ending in {_ENDING}"
        )
    _source(model)


def check_grade(model: ModelSpec, frame: Atoms) -> list[Finding]:
    """Find whether a model has a grade that was fitted to another model.

    Args:
        model: compiled.
        frame: a structure, to compare the compiled model with the checkpoint on.
    """
    if not _from_frames(model):
        return []
    from ..features.frames import outputs
    from ..models.potential import CompiledPotential

    what = f"models.{model.name}.grade"
    try:
        _, eager = _loaded(str(model.grade), _source(model))
    except UserError as err:
        return [Finding(f"{what}: {err}")]
    potential = CompiledPotential(str(model.path), model.arguments.get("device"))
    types = potential.types_of(frame)
    found = potential.evaluate(frame.positions, types, frame.cell.array, frame.pbc).forces_eV_per_A
    expected = next(outputs(eager, [frame], 1))[0]["forces"].numpy()
    if np.abs(found - expected).max() <= _TOLERANCE * max(1.0, np.abs(expected).max()):
        return []
    message = f"{what}: {_source(model)} gives other forces than {model.path}"
    return [Finding(message, remedy="give the grade of the checkpoint that was compiled")]


def grade_frames(spec: RunSpec, folder: Path, result: RunResult) -> RunResult:
    """Grade the stored frames of a run, put the grades into its record, and judge them.

    Args:
        spec: the run; nothing is done where its model gives the grade in MD.
        folder: of the run.
        result: of the MD.

    Returns:
        The result; a failure at the first frame with a grade beyond the bound.
    """
    if not _from_frames(spec.model):
        return result
    grade, eager = _loaded(str(spec.model.grade), _source(spec.model))
    frames = [f for f in read_trajectory(folder) if np.isfinite(f.positions).all()]
    record, bound = read_record(folder).columns, spec.criteria.extrapolation_grade
    beyond: dict[int, float] = {}
    for frame, gamma in zip(frames, grade.score(eager, frames), strict=True):
        step, values = int(frame.info["step"]), grade_columns(gamma)
        if bound is not None and step <= result.last_step and values["max_grade"] > bound:
            beyond[step] = values["max_grade"]
        row = int(np.searchsorted(record["step"], step))  # the row at the frame's step or after
        if row < len(record["step"]) and not record["max_grade"][row] > values["max_grade"]:
            for name, value in values.items():
                record[name][row] = value
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        writer = RecordWriter(Path(aside))
        for row in range(len(record["step"])):
            writer.write({name: column[row] for name, column in record.items()})
        writer.close()
        (Path(aside) / THERMO).replace(folder / THERMO)
    if not beyond or result.status == "error":
        return result
    step = min(beyond)
    found = criterion("extrapolation").violation(step, beyond[step], float(bound or 0.0))
    message = f"{found.message}, in a stored frame"
    ended = failed(spec, replace(found, message=message))
    return replace(ended, check_every=spec.trajectory_every, wall_s=result.wall_s)


def _from_frames(model: ModelSpec) -> bool:
    return model.grade is not None and not read_info(str(model.path)).has_grade


def _source(model: ModelSpec) -> Path:
    """Checkpoint or package of a model: its file, or the one beside its grade."""
    if not is_compiled(str(model.path)):
        return Path(str(model.path))
    stem = str(model.grade).removesuffix(_ENDING)
    for path in (Path(stem + ending) for ending in SOURCES):
        if path.is_file():
            return path
    names = " or ".join(stem + ending for ending in SOURCES)
    raise UserError(f".grade: the grade of stored frames needs the checkpoint: no file {names}")


@lru_cache(maxsize=4)
def _loaded(grade: str, source: Path) -> tuple[Any, Any]:
    """The grade and the eager model that it was fitted to."""
    from ..extrapolation.grade import ExtrapolationGrade
    from ..features.frames import load_model

    found, eager = ExtrapolationGrade.load(grade), load_model(source)
    found.check_model(eager)
    return found, eager
