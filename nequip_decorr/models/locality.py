"""Test whether a model that was compiled for ``pair_style allegro`` is strictly local."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.spatial import cKDTree

from ..errors import UserError

if TYPE_CHECKING:
    from .potential import CompiledPotential

# Allowed change of an atom's energy (eV) when its neighbours get neighbours of their own, and the
# same relative to its energy, by the precision inside the model.
_LOCAL_WITHIN: Final = {"float32": (1e-5, 5e-7), "float64": (1e-8, 1e-15)}
_PROBED_ATOMS: Final = 4


class NotStrictlyLocalError(UserError):
    """A message-passing model, compiled as if the energy of an atom saw its neighbours alone.

    Attributes:
        change_eV: by how much the energy of an atom changes with neighbours of neighbours.
    """

    def __init__(self, name: str, change_eV: float) -> None:
        self.change_eV = change_eV
        super().__init__(
            f"{name} is compiled for pair_style allegro, but it is not strictly local: the energy "
            f"of an atom changes by {change_eV:.1e} eV when its neighbours get their own "
            "neighbours, which this target leaves out. Compile it with `--target pair_nequip` "
            "(LAMMPS, one rank) or `--target ase` (library engine), or use ML-IAP"
        )


def check_locality(
    potential: CompiledPotential,
    positions_A: np.ndarray,
    types: np.ndarray,
    cell_A: np.ndarray,
    pbc: Any,
) -> float:
    """Find out whether the energy of an atom depends on its own neighbours alone.

    Some atoms are evaluated twice, each as the centre of a cluster of two cutoffs: once with its
    own edges alone, which is all that a pair style without a cell gives, and once with all edges
    of the cluster.

    Args:
        potential: a model whose inputs hold no cell.
        positions_A: ``[num_atoms, 3]``.
        types: indices into ``type_names``, ``[num_atoms]``.
        cell_A: cell vectors in rows, ``[3, 3]``.
        pbc: which directions are periodic, ``[3]``.

    Returns:
        The largest change of an atom's energy, eV.

    Raises:
        NotStrictlyLocalError: the change is larger than the precision of the model.
    """
    largest = 0.0
    cutoff_A = potential.r_max_A
    absolute, relative = _LOCAL_WITHIN.get(potential.dtype, _LOCAL_WITHIN["float32"])
    for atom in np.unique(types, return_index=True)[1][:_PROBED_ATOMS]:
        points, images = _cluster(positions_A, cell_A, pbc, int(atom), 2.0 * cutoff_A)
        pairs = cKDTree(points).query_pairs(cutoff_A, output_type="ndarray")
        edges = np.concatenate([pairs, pairs[:, ::-1]]).T
        # Compiled models want two edges; those between two far atoms add nothing.
        far = len(points) + np.array([[0, 1], [1, 0]])
        away = points.max(axis=0) + cutoff_A * np.array([[4.0], [8.0]])
        nodes = np.concatenate([types[images], types[[atom, atom]]])
        alone, whole = (
            float(
                potential.call(
                    pos=np.concatenate([points, away]),
                    edge_index=np.concatenate([chosen, far], axis=1),
                    atom_types=nodes,
                )["atomic_energy"].reshape(-1)[0]
            )
            for chosen in (edges[:, edges[0] == 0], edges)
        )
        change = abs(whole - alone)
        if not change <= max(absolute, relative * abs(whole)):
            raise NotStrictlyLocalError(potential.path.name, change)
        largest = max(largest, change)
    return largest


def _cluster(
    positions: np.ndarray, cell: np.ndarray, pbc: Any, centre: int, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Positions relative to an atom, and indices, of all images within a radius; the atom first."""
    periodic = np.asarray(pbc, dtype=bool)
    fractional = (positions - positions[centre]) @ np.linalg.inv(cell)
    fractional -= np.round(fractional) * periodic
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    most = np.where(periodic, np.ceil(radius / heights + 0.5), 0).astype(int)
    shifts = np.stack(
        np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij"), axis=-1
    ).reshape(-1, 1, 3)
    points = ((fractional + shifts) @ cell).reshape(-1, 3)
    images = np.tile(np.arange(len(positions)), len(shifts))
    distances = np.linalg.norm(points, axis=1)
    order = np.argsort(distances, kind="stable")
    order = order[distances[order] <= radius]
    return points[order], images[order]
