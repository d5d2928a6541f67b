"""A repulsive wall that the training data never touch.

NequIP's ZBL core reaches to the cutoff of the model, so that training has to take it back at every
bond. :class:`ShortRangeZBL` ends, for each pair of types, at the shortest distance of the training
data: training sees no difference, and where no data are, atoms cannot meet.

Imports neither ase nor :mod:`nequip_decorr.errors`: ``nequip-package`` puts imports into the
package, where ase may not be and dataclasses do not load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from e3nn.util.jit import compile_mode
from nequip.data import AtomicDataDict
from nequip.nn.pair_potential import ZBL
from nequip.nn.utils import scatter, with_edge_vectors_


@compile_mode("script")
class ShortRangeZBL(ZBL):
    r"""Add ZBL repulsion that ends at a distance of its own for each pair of types.

    For two atoms at distance :math:`r` the energy is that of ZBL times NequIP's polynomial cutoff
    of :math:`\max(r / \mathrm{reach}, r / \mathrm{cutoff})`: 0 beyond the reach of their types, and
    never beyond the cutoff of the model. A pair of types that the training data never bring within
    the cutoff has an infinite shortest distance: its wall ends at the cutoff, as NequIP's own.

    A guard that buys frames, not correctness: atoms no longer meet, and the model is as wrong as
    before wherever it has no data.

    Args:
        reach_A: ``[types, types]``, symmetric and positive, or a mapping from ``"Si_O"`` to a
            distance, in which one of the two orders is enough.
        **zbl: arguments of :class:`nequip.nn.pair_potential.ZBL`: ``chemical_species``, ``units``,
            ``polynomial_cutoff_p``. The model's builder gives ``type_names`` and ``irreps_in``.

    >>> from nequip_decorr import ShortRangeZBL
    >>> wall = ShortRangeZBL(
    ...     {"Si_Si": 3.0, "O_Si": 1.5, "O_O": 2.4},
    ...     chemical_species=["Si", "O"], type_names=["Si", "O"], units="metal",
    ...     irreps_in={"normed_edge_lengths": "0e"},
    ... )
    >>> wall.reach.tolist()
    [[3.0, 1.5], [1.5, 2.4000000953674316]]

    Raises:
        ValueError: ``reach_A`` lacks a pair, has another shape, is not symmetric or not positive.

    .. code-block:: yaml

        pair_potential:
          _target_: nequip_decorr.ShortRangeZBL
          chemical_species: ${model_type_names}
          units: metal
          reach_A: ${training_data_stats:shortest_distances}
    """

    def __init__(
        self, reach_A: Sequence[Sequence[float]] | Mapping[str, float], **zbl: Any
    ) -> None:
        super().__init__(**zbl)
        names = list(zbl["type_names"])
        rows = _rows(reach_A, names) if isinstance(reach_A, Mapping) else reach_A
        reach = torch.as_tensor(rows, dtype=torch.get_default_dtype())
        types = len(names)
        if reach.shape != (types, types) or not torch.equal(reach, reach.T):
            raise ValueError(f"reach_A must be a symmetric {types} x {types} matrix, got {reach_A}")
        if not bool((reach > 0).all()):
            raise ValueError(f"reach_A must be positive, got {reach_A}")
        self.register_buffer("reach", reach)

    def forward(self, data: AtomicDataDict.Type) -> AtomicDataDict.Type:
        """Add the repulsion to the energies of the atoms."""
        data = with_edge_vectors_(data, with_lengths=True)
        edges = data[AtomicDataDict.EDGE_INDEX_KEY]
        types = data[AtomicDataDict.ATOM_TYPE_KEY].view(-1)
        length = data[AtomicDataDict.EDGE_LENGTH_KEY].view(-1)
        # TorchScript has no `super()`, so the parts of the parent's `forward` are called here
        energy = self._zbl(
            Z=self.atomic_numbers,
            r=length,
            atom_types=types,
            edge_index=edges,
            qqr2exesquare=self._qqr2exesquare,
        ).unsqueeze(-1)
        pair = types[edges[0]] * self.reach.shape[0] + types[edges[1]]
        relative = (length / torch.index_select(self.reach.view(-1), 0, pair)).unsqueeze(-1)
        relative = torch.maximum(relative, data[AtomicDataDict.NORM_LENGTH_KEY])
        energy = energy * self.cutoff(relative).to(self.model_dtype)
        # atoms at which no edge starts, as in LAMMPS, may have no energy yet
        atoms = AtomicDataDict.num_nodes(data)
        if self.per_atom_energy_field in data:
            atoms = data[self.per_atom_energy_field].size(0)
        energy = scatter(energy, edges[0], dim=0, dim_size=atoms)
        if self.per_atom_energy_field in data:
            energy = energy + data[self.per_atom_energy_field]
        data[self.per_atom_energy_field] = energy
        return data


def _rows(reach_A: Mapping[str, float], names: Sequence[str]) -> list[list[float]]:
    """The matrix of a mapping; where it has both orders of a pair, the shorter distance."""
    rows: list[list[float]] = []
    for a in names:
        rows.append([])
        for b in names:
            given = [reach_A[key] for key in (f"{a}_{b}", f"{b}_{a}") if key in reach_A]
            if not given:
                raise ValueError(
                    f"reach_A has no distance for the pair {a}_{b}, only for {sorted(reach_A)}; "
                    f"is `type_names` of the statistics manager that of the model ({names})?"
                )
            rows[-1].append(min(given))
    return rows
