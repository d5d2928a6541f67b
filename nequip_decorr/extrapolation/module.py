"""The grade inside a compiled model: one more output per atom."""

from __future__ import annotations

import json
import unittest.mock as mock
from pathlib import Path
from typing import Any, Final

import torch
from nequip.data import AtomicDataDict, register_fields
from nequip.nn import GraphModuleMixin
from nequip.scripts import _compile_utils as targets

from ..errors import UserError
from .grade import FIELD, ExtrapolationGrade
from .statistics import Gaussians

METADATA_KEY: Final = "extrapolation_grade"


class GradeModule(GraphModuleMixin, torch.nn.Module):
    """Add ``extrapolation_grade``, ``[num_atoms, 1]`` in float64, to a model's output.

    Args:
        grade: the fitted grade.
        irreps_in: output of the model before this module.
    """

    channels: torch.Tensor | None

    def __init__(self, grade: ExtrapolationGrade, irreps_in: dict[str, Any]) -> None:
        super().__init__()
        self._init_irreps(irreps_in=irreps_in, irreps_out={FIELD: "1x0e"})  # type: ignore[operator]
        self._grade = grade
        self._names = tuple(grade.gaussians.tensors())
        for name, tensor in grade.gaussians.tensors().items():
            self.register_buffer(name, tensor)
        channels = grade.features.channels
        self.register_buffer("channels", None if channels is None else torch.tensor(channels))

    def forward(self, data: AtomicDataDict.Type) -> AtomicDataDict.Type:
        """Grade the atoms; energies and their gradients are untouched."""
        # The buffers, which follow the model to its device.
        gaussians = Gaussians(**{name: getattr(self, name) for name in self._names})
        distance = gaussians.distance(
            self._grade.features(data, self.channels), data[AtomicDataDict.ATOM_TYPE_KEY]
        )
        data[FIELD] = (distance / self._grade.threshold).unsqueeze(-1)
        return data

    def _get_metadata_contributions(self) -> dict[str, str]:
        return {METADATA_KEY: json.dumps(self._grade.about, separators=(",", ":"))}


def add_grade(model: Any, grade: ExtrapolationGrade) -> Any:
    """Put the grade into an eager model's output, in place; returns the model.

    Raises:
        UserError: the grade was fitted to another model, or the model has one already.
    """
    if FIELD in model.irreps_out:
        raise UserError(f"the model has the output `{FIELD}` already")
    grade.check_model(model)
    energy: Any = model.model
    while not hasattr(energy, "append") and hasattr(energy, "func"):
        energy = energy.func
    if not hasattr(energy, "append"):
        raise UserError(
            f"a model of the kind {type(energy).__name__} has no sequence of modules to add the "
            "grade to; known: Allegro and NequIP models"
        )
    register_fields(node_fields=[FIELD])
    energy.append(FIELD, GradeModule(grade, energy.irreps_out))
    model.irreps_out[FIELD] = energy.irreps_out[FIELD]
    return model


def compile_with_grade(
    model: Path | str, out: Path | str, grade: ExtrapolationGrade, target: str, *arguments: str
) -> None:
    """Run ``nequip-compile`` with the grade as one more output of ``target``.

    Args:
        model: checkpoint or package.
        out: the ``.nequip.pt2`` to write.
        grade: fitted to that model.
        target: a target of ``nequip-compile``, such as ``pair_allegro``.
        *arguments: everything else, passed on (``--device`` is among them).

    Raises:
        UserError: no such target, a grade of another model, or a model that reads a field which
            the target does not pass to it, such as ``charge``.
    """
    from nequip.scripts import compile as script

    known = targets.COMPILE_TARGET_DICT
    if target not in known:
        raise UserError(f"`target` must be one of {sorted(known)}, got {target!r}")
    stock = known[target]
    load = script.load_saved_model
    inputs: list[str] = []

    def load_with_grade(*args: Any, **kwargs: Any) -> Any:
        loaded = load(*args, **kwargs)
        graded = add_grade(loaded[0] if isinstance(loaded, tuple) else loaded, grade)
        inputs.extend(graded.model_input_fields)
        return loaded

    targets.register_compile_targets({target: {**stock, "output": [*stock["output"], FIELD]}})
    try:
        with mock.patch.object(script, "load_saved_model", load_with_grade):
            script.main(
                [str(model), str(out), "--mode", "aotinductor", "--target", target, *arguments]
            )
    except KeyError as err:
        field = next(iter(err.args), None)
        if field not in inputs:
            raise
        raise UserError(
            f"{model} reads `{field}` of each frame beside positions, cell and elements, "
            f"which programs that run the target `{target}` do not pass to a model"
        ) from err
    finally:
        targets.register_compile_targets({target: stock})
