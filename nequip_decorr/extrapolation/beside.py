"""Where the grade of a checkpoint or package is kept: beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..model_files import require

if TYPE_CHECKING:
    from .grade import ExtrapolationGrade


def grade_file(model: Path) -> Path:
    """Where the grade of a model is kept: ``best.ckpt`` has ``best.grade.npz``."""
    name = model.name.removesuffix(".nequip.zip").removesuffix(".ckpt")
    return model.with_name(f"{name}.grade.npz")


def grade_of(model: Path, path: Path | str | None = None) -> ExtrapolationGrade:
    """Load the grade of a checkpoint or package, from ``path`` or the file beside it.

    Raises:
        UserError: there is none, or the model is no checkpoint or package.
    """
    from .grade import ExtrapolationGrade

    require(model, ("checkpoint", "package"))
    path = Path(path or grade_file(model))
    if not path.is_file():
        raise UserError(
            f"no extrapolation grade at {path}; make it with `nequip-decorr extrapolation fit "
            f"{model} TRAINING_FILE`, or name another file with --grade"
        )
    return ExtrapolationGrade.load(path)
