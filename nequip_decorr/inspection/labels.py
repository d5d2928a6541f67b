"""Labels in the frames: which were read, and how far the model is from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

# NequIP's own files of predictions hold what it predicted under the plain names.
_NAMES: Final = {
    "forces": ("original_dataset_forces", "forces"),
    "energy": ("original_dataset_energy", "energy"),
}
_OUTPUT: Final = {"forces": "forces", "energy": "total_energy"}
_UNITS: Final = {"forces": ("eV/Å", 1.0), "energy": ("meV/atom", 1000.0)}
_SAME: Final = 1e-7


@dataclass
class Labels:
    """Labels of one quantity, and the mean absolute error of the model.

    Attributes:
        quantity: ``forces`` or ``energy``.
        total: frames in all.
        compared: frames by the name of the label that was read.
        not_finite: frames left out because a label is not finite.
        others: names that look like this quantity and were not read.
        error_sum: of absolute errors, in eV/Å or eV/atom.
        values: number of errors.
    """

    quantity: str
    total: int = 0
    compared: dict[str, int] = field(default_factory=dict)
    not_finite: int = 0
    others: set[str] = field(default_factory=set)
    error_sum: float = 0.0
    values: int = 0

    @property
    def mae(self) -> float | None:
        """Mean absolute error, in eV/Å or eV/atom; ``None`` without labels."""
        return self.error_sum / self.values if self.values else None

    def add(self, frames: Sequence[Atoms], output: Mapping[str, Tensor]) -> None:
        """Compare a batch.

        Args:
            frames: its structures.
            output: of the model.
        """
        self.total += len(frames)
        if _OUTPUT[self.quantity] not in output:
            return
        predicted = output[_OUTPUT[self.quantity]].detach().double().cpu()
        per_atom = self.quantity == "forces"
        sizes = [len(f) if per_atom else 1 for f in frames]
        for frame, part in zip(frames, predicted.split(sizes), strict=True):
            found = _candidates(frame, self.quantity)
            name = next((name for name in _NAMES[self.quantity] if name in found), None)
            self.others |= set(found) - {name}
            if name is None:
                continue
            error = (part.flatten() - torch.from_numpy(found[name]).flatten()).abs()
            if not torch.isfinite(error).all():
                self.not_finite += 1
                continue
            self.compared[name] = self.compared.get(name, 0) + 1
            self.error_sum += float(error.sum()) / (1 if per_atom else len(frame))
            self.values += len(error)

    def sentence(self) -> str:
        """Say what was read and what was not."""
        unit, scale = _UNITS[self.quantity]
        if self.mae is None:
            text = f"no label was found under the name `{self.quantity}`"
            if self.not_finite:
                text = f"no finite label `{self.quantity}`"
        else:
            names = ", ".join(
                f"`{n}` of {k} of {self.total} frames" for n, k in self.compared.items()
            )
            text = f"MAE {scale * self.mae:.3f} {unit} from {names}"
            if self.mae < _SAME:
                text += " (the same numbers as the model's: perhaps its own predictions)"
        if self.not_finite:
            text += f"; {self.not_finite} frames with labels that are not finite are left out"
        if self.others:
            text += f"; not read: {', '.join(f'`{n}`' for n in sorted(self.others))}"
        return f"{self.quantity}: {text}"


def _candidates(frame: Atoms, quantity: str) -> dict[str, np.ndarray]:
    """Values of a frame that look like the quantity, by name."""
    per_atom = quantity == "forces"
    results = dict(frame.calc.results) if frame.calc is not None else {}
    stored = frame.arrays if per_atom else frame.info
    shape = (len(frame), 3) if per_atom else ()
    found = {}
    for name, value in {**stored, **results}.items():
        if quantity.rstrip("s") not in str(name).lower() or name == "free_energy":
            continue
        try:
            array = np.asarray(value, dtype=float)
        except (TypeError, ValueError):
            continue
        if array.shape == shape or (not per_atom and array.size == 1):
            found[str(name)] = array.reshape(shape)
    return found
