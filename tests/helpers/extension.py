"""A model as another NequIP extension would give it: Allegro with a further field of nodes."""

from __future__ import annotations

from typing import Any

import torch
from allegro.model import AllegroModel
from nequip.data import AtomicDataDict
from nequip.model import model_builder
from nequip.nn import GraphModuleMixin
from nequip.nn.utils import scatter

CHARGES = 4


class WithCharges(GraphModuleMixin, torch.nn.Module):
    """Latent charges of atoms, from the edge features of their neighbourhoods."""

    def __init__(self, allegro: Any) -> None:
        super().__init__()
        self._init_irreps(irreps_in=allegro.irreps_in)
        self.irreps_out.update({**allegro.irreps_out, "latent_charges": f"{CHARGES}x0e"})
        self.irreps_out = AtomicDataDict._fix_irreps_dict(self.irreps_out)
        self.allegro = allegro
        self.readout = torch.nn.Linear(allegro.irreps_out["edge_features"].dim, CHARGES)

    def forward(self, data: AtomicDataDict.Type) -> AtomicDataDict.Type:
        """Allegro's output and one field more."""
        data = self.allegro(data)
        edges, size = self.readout(data["edge_features"]), data["pos"].shape[0]
        data["latent_charges"] = scatter(edges, data["edge_index"][0], dim=0, dim_size=size)
        return data


@model_builder
def model_with_charges(**config: Any) -> WithCharges:
    """Allegro, then the charges."""
    return WithCharges(AllegroModel(**config))
