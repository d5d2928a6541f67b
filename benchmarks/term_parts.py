"""For ``term_questions.py``: likeness of edges, a truncated neighbour list, another optimiser."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from matscipy.neighbours import neighbour_list
from nequip.data.transforms import NeighborListTransform

from nequip_decorr.models import potential
from nequip_decorr.models.potential import CompiledCalculator, CompiledPotential


def alike(rows: torch.Tensor, centres: torch.Tensor) -> tuple[float, float]:
    """Mean uncentred cosine of the rows of features, over all pairs and over those of one centre.

    Args:
        rows: features of the edges, ``[num_edges, channels]``.
        centres: of the edges, ``[num_edges]``.
    """
    unit = torch.nn.functional.normalize(rows.double(), dim=1)
    totals = torch.zeros(int(centres.max()) + 1, unit.shape[1], dtype=unit.dtype)
    totals.index_add_(0, centres, unit)
    counts = torch.bincount(centres).double()
    n = len(unit)
    own = (totals.square().sum(1) - counts)[counts > 1] / (counts * (counts - 1))[counts > 1]
    return float((unit.sum(0).square().sum() - n) / (n * (n - 1))), float(own.mean())


def nearest(centre: np.ndarray, length: np.ndarray, number: int) -> np.ndarray:
    """Which edges go to the ``number`` nearest neighbours of their centre, ``[num_edges]``."""
    order = np.lexsort((length, centre))
    _, first, counts = np.unique(centre[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(first, counts)
    kept = np.zeros(len(order), dtype=bool)
    kept[order] = rank < number
    return kept


class NearestNeighbours(NeighborListTransform):
    """NequIP's neighbour list, cut to the nearest neighbours of each atom."""

    def __init__(self, neighbours: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.neighbours = neighbours

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Add the list."""
        data = super().forward(data)
        edges, shift = data["edge_index"], data["edge_cell_shift"].to(data["pos"].dtype)
        cell = data["cell"].reshape(3, 3)
        vectors = data["pos"][edges[1]] - data["pos"][edges[0]] + shift @ cell
        length = vectors.norm(dim=-1).numpy()
        kept = torch.from_numpy(nearest(edges[0].numpy(), length, self.neighbours))
        data["edge_index"], data["edge_cell_shift"] = (
            edges[:, kept],
            data["edge_cell_shift"][kept],
        )
        return data


class Truncated(CompiledCalculator):
    """A compiled model that sees the nearest neighbours of each atom alone, chosen at each step.

    Args:
        path: the compiled model.
        neighbours: how many; ``None`` for all.
    """

    def __init__(self, path: str, neighbours: int | None = None) -> None:
        model = CompiledPotential(Path(path))
        model._probed = True  # a list that is not symmetric looks as if the model were not local
        super().__init__(model)
        self.neighbours = neighbours

    def calculate(self, *arguments: Any, **more: Any) -> None:
        """Fill ``results``."""
        if self.neighbours is None:
            return super().calculate(*arguments, **more)
        cut = partial(_cut_list, self.neighbours)
        with mock.patch.object(potential, "neighbour_list", cut):
            return super().calculate(*arguments, **more)


def _cut_list(number: int, quantities: str, **arguments: Any) -> tuple[np.ndarray, ...]:
    i, length, *others = neighbour_list("id" + quantities[1:], **arguments)
    kept = nearest(i, length, number)
    return (i[kept], *(x[kept] for x in others))


class SharpnessAwareAdam(torch.optim.Adam):
    """Adam on the gradient at the worst point of a ball (Foret et al. 2021).

    Args:
        params: as Adam has them.
        radius: of the ball, in the Euclidean norm of all weights.
        **arguments: of Adam.
    """

    def __init__(self, params: Any, radius: float = 0.05, **arguments: Any) -> None:
        super().__init__(params, **arguments)
        self.radius = radius

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Take the gradient, climb, take it again, go back, and do Adam's step with it."""
        assert closure is not None
        with torch.enable_grad():
            loss = closure()
        held = [p for g in self.param_groups for p in g["params"] if p.grad is not None]
        norm = torch.stack([p.grad.norm() for p in held]).norm()
        ascent = [p.grad * (self.radius / (norm + 1e-12)) for p in held]
        with torch.no_grad():
            torch._foreach_add_(held, ascent)
        with torch.enable_grad():
            closure()
        with torch.no_grad():
            torch._foreach_sub_(held, ascent)
        super().step()
        return loss
