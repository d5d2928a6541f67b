"""Prototypes of other loss terms, tried in the study and no part of the package.

Terms that look beyond the output dictionary need the model: the callback :class:`BindModel` hands
it to them at the start of training. Each class says what it penalises; all else is as in
:class:`nequip_decorr.FeatureDecorrelation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from nequip_decorr import FeatureDecorrelation
from nequip_decorr.correlation import Moments, average, correlation_matrix
from nequip_decorr.features.fields import EDGE_INDEX, read_field, split_blocks

INPUTS = ("pos", "edge_index", "edge_cell_shift", "cell", "atom_types", "batch", "num_atoms", "pbc")
LENGTHS = ("normed_edge_lengths", "edge_lengths")


class BindModel(Callback):
    """Hands the model to every loss term that has a ``bind``."""

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Before the first step, resumed trainings included."""
        for metric in pl_module.loss.modules():
            bind = getattr(metric, "bind", None)
            if isinstance(metric, FeatureDecorrelation) and bind is not None:
                bind(pl_module)


def _find(pl_module: Any, name: str) -> Any:
    """The submodule of the model whose class has that name."""
    for module in pl_module.model.modules():
        if type(module).__name__ == name:
            return module
    raise ValueError(f"the model has no {name}")


class AtomDecorrelation(FeatureDecorrelation):
    """Correlation over atoms: edge features are summed at their centre, as energies are."""

    def batch_samples(self, preds: Mapping[str, Tensor]) -> tuple[Tensor, None]:
        """Sums over the edges of each atom."""
        features, centre = read_field(preds, self.field), preds[EDGE_INDEX][0]
        summed = features.new_zeros(preds["pos"].shape[0], features.shape[1])
        summed = summed.index_add(0, centre, features)
        return split_blocks(summed, self.block_size, self.num_blocks), None


class ResidualDecorrelation(FeatureDecorrelation):
    """Correlation of what edge length does not explain.

    All features vanish at the cutoff, so length alone makes channels move together. A polynomial
    in the length is taken out of each channel by least squares, per ordered pair of types.
    """

    degree = 4

    def batch_samples(self, preds: Mapping[str, Tensor]) -> tuple[Tensor, None]:
        """The residuals."""
        features = read_field(preds, self.field)
        length = next(preds[k] for k in LENGTHS if k in preds).detach().reshape(-1, 1).double()
        types = preds["atom_types"].reshape(-1)
        pair = types[preds[EDGE_INDEX][0]] * (int(types.max()) + 1) + types[preds[EDGE_INDEX][1]]
        residual = features.double()
        for group in pair.unique():
            rows = torch.nonzero(pair == group).squeeze(-1)
            x = length[rows]
            x = (x - x.mean()) / x.std().clamp(min=1e-9)
            basis = torch.linalg.qr(torch.cat([x**k for k in range(self.degree + 1)], 1))[0]
            part = features[rows].double()
            residual = residual.index_copy(0, rows, part - basis @ (basis.T @ part))
        return split_blocks(residual, self.block_size, self.num_blocks), None


class Correlating(FeatureDecorrelation):
    """The opposite, as a probe of cause and effect: rewards correlation."""

    def batch_penalty(self, preds: Mapping[str, Tensor]) -> Tensor:
        """One minus the penalty."""
        return 1 - super().batch_penalty(preds)


class VarianceFloor(FeatureDecorrelation):
    """The term plus VICReg's hinge that keeps the spread of every channel above ``floor``."""

    def __init__(self, floor: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.floor = floor

    def batch_penalty(self, preds: Mapping[str, Tensor]) -> Tensor:
        """Penalty and mean hinge."""
        m = self.batch_moments(preds).moments
        variance = m.comoment.diagonal(dim1=-2, dim2=-1) / m.count.clamp(min=1)[..., None]
        hinge = torch.relu(self.floor - torch.sqrt(variance + 1e-8)).mean()
        return super().batch_penalty(preds) + hinge.to(preds[self.field].dtype)


class ReadoutDecorrelation(FeatureDecorrelation):
    """Squared correlation weighted by how strongly the read-out uses both channels."""

    def bind(self, pl_module: Any) -> None:
        """Keep a handle on the read-out's first weights."""
        for module in pl_module.model.modules():
            if hasattr(module, "edge_readout"):
                self._readout = [next(iter(module.edge_readout.parameters()))]
                return
        raise ValueError("the model has no edge_readout")

    def batch_penalty(self, preds: Mapping[str, Tensor]) -> Tensor:
        """Weighted mean of squared correlations."""
        m = Moments(*(t.squeeze(0) for t in self.batch_moments(preds).moments))
        correlation = correlation_matrix(m)[0]
        blocks, channels = correlation.shape[0], correlation.shape[-1]
        weights = self._readout[0].detach()
        axis = 0 if weights.shape[0] == blocks * channels else 1
        use = weights.double().norm(dim=1 - axis).reshape(blocks, channels)
        pairs = use.unsqueeze(-1) * use.unsqueeze(-2)
        pairs = pairs * (1 - torch.eye(channels, dtype=pairs.dtype))
        value = (pairs * correlation.square()).sum((-1, -2)) / pairs.sum((-1, -2)).clamp(min=1e-12)
        return average(value, m).to(preds[self.field].dtype)


class RattledDecorrelation(FeatureDecorrelation):
    """The term on a rattled copy of the batch, nearer to where MD will go.

    The neighbour list is that of the batch. The displacements come from a generator seeded by the
    positions' checksum, so that a resumed training draws the same ones.
    """

    def __init__(self, rattle_A: float = 0.3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rattle_A = rattle_A

    def bind(self, pl_module: Any) -> None:
        """Keep a handle on the energy model."""
        self._energy_model = [_find(pl_module, "ForceStressOutput").func]

    def batch_penalty(self, preds: Mapping[str, Tensor]) -> Tensor:
        """The penalty of the rattled copy."""
        data = {k: preds[k].detach() for k in INPUTS if k in preds}
        pos = data["pos"]
        seed = int(pos.double().abs().sum().item() * 1e6) % 2**31
        noise = torch.randn(pos.shape, generator=torch.Generator().manual_seed(seed))
        data["pos"] = pos + self.rattle_A * noise.to(pos.dtype)
        with torch.enable_grad():
            rattled = self._energy_model[0](data)
        return super().batch_penalty(rattled)


class TensorDecorrelation(FeatureDecorrelation):
    """Correlation of the tensor track: norms of each channel's tensor after the first layer."""

    def bind(self, pl_module: Any) -> None:
        """Note what the first tensor product gives at every call."""
        self._tensors: list[Tensor] = []

        def keep(module: Any, inputs: Any, output: Tensor) -> None:
            self._tensors[:] = [output]

        _find(pl_module, "Allegro_Module").tps[0].register_forward_hook(keep)

    def batch_samples(self, preds: Mapping[str, Tensor]) -> tuple[Tensor, None]:
        """The norms, one block of all tensor channels."""
        tensors = self._tensors[0]
        return (tensors.square().sum(-1) + 1e-12).sqrt().unsqueeze(0), None
