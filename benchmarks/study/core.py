"""A repulsive wall that the training data never touch.

NequIP's ZBL core reaches to the cutoff of the model, so that training has to take it back at every
bond. :class:`ShortZBL` ends, for each pair of types, at the shortest distance of the training data:
nothing that is seen in training changes, and where no data are, atoms cannot meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from e3nn.util.jit import compile_mode
from nequip.data import AtomicDataDict
from nequip.nn.pair_potential import ZBL
from nequip.nn.utils import with_edge_vectors_


@compile_mode("script")
class ShortZBL(ZBL):
    """ZBL repulsion that falls to 0 at a distance of its own for each pair of types.

    Args:
        reach_A: ``[types, types]``, symmetric, positive and at most the cutoff of the model.
        **zbl: as :class:`nequip.nn.pair_potential.ZBL`, whose polynomial ends at ``reach_A`` here.

    Raises:
        ValueError: ``reach_A`` is of another shape, not symmetric or not positive.

    .. code-block:: yaml

        pair_potential:
          _target_: benchmarks.study.core.ShortZBL
          chemical_species: [Si, O]
          units: metal
          reach_A: [[2.9, 1.5], [1.5, 2.4]]
    """

    def __init__(self, reach_A: Sequence[Sequence[float]], **zbl: Any) -> None:
        super().__init__(**zbl)
        reach = torch.as_tensor(reach_A, dtype=torch.get_default_dtype())
        types = len(zbl["type_names"])
        if reach.shape != (types, types) or not torch.equal(reach, reach.T):
            raise ValueError(f"reach_A must be a symmetric {types} x {types} matrix, got {reach_A}")
        if not bool((reach > 0).all()):
            raise ValueError(f"reach_A must be positive, got {reach_A}")
        self.register_buffer("reach", reach)

    def forward(self, data: AtomicDataDict.Type) -> AtomicDataDict.Type:
        """Add the repulsion to the energies of the atoms."""
        data = with_edge_vectors_(data, with_lengths=True)
        centre, neighbour = data[AtomicDataDict.EDGE_INDEX_KEY]
        types = data[AtomicDataDict.ATOM_TYPE_KEY].view(-1)
        pair = types[centre] * self.reach.shape[0] + types[neighbour]
        reach = torch.index_select(self.reach.view(-1), 0, pair).unsqueeze(-1)
        cutoff_length = data[AtomicDataDict.NORM_LENGTH_KEY]
        length = data[AtomicDataDict.EDGE_LENGTH_KEY].view(-1, 1)
        data[AtomicDataDict.NORM_LENGTH_KEY] = length / reach
        data = super().forward(data)
        data[AtomicDataDict.NORM_LENGTH_KEY] = cutoff_length
        return data


def shortest_distances(frames: Path, symbols: Sequence[str]) -> list[list[float]]:
    """Shortest distance (A) of each pair of elements in a file of frames.

    Returns:
        ``[len(symbols), len(symbols)]``, infinite where no frame has the pair.
    """
    shortest = np.full((len(symbols), len(symbols)), np.inf)
    for atoms in ase.io.iread(frames, ":"):
        kinds = np.array(atoms.get_chemical_symbols())
        distances = atoms.get_all_distances(mic=True)
        np.fill_diagonal(distances, np.inf)
        for (i, a), (j, b) in product(enumerate(symbols), repeat=2):
            between = distances[np.ix_(kinds == a, kinds == b)]
            shortest[i, j] = min(shortest[i, j], between.min(initial=np.inf))
    return [[round(float(d), 4) for d in row] for row in shortest]
