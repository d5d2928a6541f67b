"""Atom features: one row per atom, from fields of atoms or of edges in a model's output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..features.fields import ATOM_TYPE, EDGE_INDEX


@dataclass(frozen=True)
class AtomFeatures:
    """Read one row of features per atom from a model's output.

    A field of edges is summed over the edges of their centre and divided by the square root of
    their number, so that an atom without edges has zeros. A field of atoms is taken as it is.

    Attributes:
        fields: names of the fields, which stand side by side.
        on_edges: whether the rows of the fields are edges; else they are atoms.
        channels: indices of the channels to take, of all fields side by side; ``None`` for all.
    """

    fields: tuple[str, ...]
    on_edges: bool
    channels: tuple[int, ...] | None = None

    def __call__(self, data: Mapping[str, Tensor], index: Tensor | None = None) -> Tensor:
        """Features of each atom, ``[num_atoms, D]``, without gradient.

        Args:
            data: the model's output.
            index: ``channels`` as a tensor on the device of the data, made if not given.
        """
        rows = torch.cat([data[field].detach() for field in self.fields], -1)
        if self.channels is not None:
            if index is None:
                index = torch.tensor(self.channels, device=rows.device)
            rows = rows.index_select(1, index)
        if not self.on_edges:
            return rows
        centre = data[EDGE_INDEX][0]
        num_atoms = data[ATOM_TYPE].shape[0]
        total = rows.new_zeros(num_atoms, rows.shape[1]).index_add(0, centre, rows)
        number = rows.new_zeros(num_atoms).index_add(0, centre, torch.ones_like(rows[:, 0]))
        return total * number.clamp(min=1).rsqrt()[:, None]
