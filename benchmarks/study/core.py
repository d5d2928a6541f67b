"""The shortest distances of a file of frames, and the wall of the study that ends there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import ase.io
import numpy as np

from nequip_decorr import ShortRangeZBL

ShortZBL = ShortRangeZBL  # as the stored configs of the study name it


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
