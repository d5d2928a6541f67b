"""Taps: tensors inside a model, put into its output for the loss to see.

A NequIP model's output holds the node features of its last layer alone. :func:`TapFeatures` builds
any model and hooks into its interaction layers, so that what they compute appears in the output
too: in training, eager or compiled, and in evaluation. The modules, their names and weights stay
those of the stock model, and nothing is hooked while ``nequip-package`` or ``nequip-compile`` load
it: what they write is what they write for a stock model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import torch
from e3nn.o3._irreps import Irreps
from torch import Tensor

NODE_FEATURES: Final = "node_features"
NORM_EPS: Final = 1e-12

Source = Callable[[dict[str, Tensor]], Tensor]
Change = Callable[[Tensor], Tensor]


def invariants(features: Tensor, irreps: Irreps) -> Tensor:
    """The rotation-invariant content of equivariant features, channel by channel.

    Args:
        features: ``[num_samples, irreps.dim]``.
        irreps: their representations.

    Returns:
        ``[num_samples, irreps.num_irreps]``: even scalars as they are, the norm of everything
        else, smooth at zero.
    """
    parts = []
    for (multiplicity, irrep), place in zip(irreps, irreps.slices(), strict=True):
        part = features[..., place]
        if not irrep.is_scalar():
            squares = part.unflatten(-1, (multiplicity, irrep.dim)).square().sum(-1)
            part = (squares + NORM_EPS).sqrt()
        parts.append(part)
    return torch.cat(parts, dim=-1)


def scalars(features: Tensor, irreps: Irreps) -> Tensor:
    """The even scalars of equivariant features, ``[num_samples, number of them]``."""
    places = zip(irreps, irreps.slices(), strict=True)
    return torch.cat([features[..., at] for (_, ir), at in places if ir.is_scalar()], dim=-1)


class _Keep:
    """Forward hook that holds a module's output until :meth:`take`."""

    def __init__(self) -> None:
        self.value: Tensor | None = None

    def __call__(self, module: torch.nn.Module, inputs: Any, output: Tensor) -> None:
        self.value = output

    def take(self) -> Tensor:
        """The output of the last call; it is held no longer."""
        assert self.value is not None
        value, self.value = self.value, None
        return value


class _Put:
    """Forward hook of a graph module that adds a field to the dictionary it returns."""

    def __init__(self, field: str, source: Source) -> None:
        self.field, self.source = field, source

    def __call__(self, module: Any, inputs: Any, output: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**output, self.field: self.source(output)}


def _of_kept(data: dict[str, Tensor], keep: _Keep, change: Change | None) -> Tensor:
    value = keep.take()
    return value if change is None else change(value)


def _of_nodes(data: dict[str, Tensor], change: Change) -> Tensor:
    return change(data[NODE_FEATURES])


def _edge_weights(layer: Any) -> tuple[Source, int]:
    keep = _Keep()
    layer.conv.edge_mlp.register_forward_hook(keep)
    return partial(_of_kept, keep=keep, change=None), layer.conv.tp_scatter.tp.weight_numel


def _messages(layer: Any) -> tuple[Source, int]:
    keep, irreps = _Keep(), Irreps(str(layer.conv.tp_scatter.irreps_mid))
    layer.conv.tp_scatter.tp.register_forward_hook(keep)
    change = partial(invariants, irreps=irreps)
    return partial(_of_kept, keep=keep, change=change), irreps.num_irreps


def _node_scalars(layer: Any) -> tuple[Source, int]:
    irreps = Irreps(str(layer.irreps_out[NODE_FEATURES]))
    width = sum(multiplicity for multiplicity, irrep in irreps if irrep.is_scalar())
    return partial(_of_nodes, change=partial(scalars, irreps=irreps)), width


def _node_invariants(layer: Any) -> tuple[Source, int]:
    irreps = Irreps(str(layer.irreps_out[NODE_FEATURES]))
    return partial(_of_nodes, change=partial(invariants, irreps=irreps)), irreps.num_irreps


TAPS: Final = {
    "edge_weights": _edge_weights,
    "messages": _messages,
    "node_scalars": _node_scalars,
    "node_invariants": _node_invariants,
}


def TapFeatures(builder: str, taps: Sequence[str], **model: Any) -> torch.nn.Module:
    """Build a message-passing model whose layers can be seen in its output.

    Each tap gives a field per interaction layer, ``layer0_node_invariants`` and so on, and a loss
    term takes them all with the pattern ``layer*_node_invariants``: a block per layer.

    .. code-block:: yaml

        training_module:
          model:
            _target_: nequip_decorr.TapFeatures
            builder: nequip.model.NequIPGNNModel
            taps: [node_invariants]
            num_layers: 3
            # ... and all else as in the stock config
          loss:
            _target_: nequip.train.EnergyForceLoss
            coeffs: {total_energy: 1.0, forces: 1.0}
            extra_metrics:
              - name: decorrelation
                coeff: 0.05
                metric:
                  _target_: nequip_decorr.FeatureDecorrelation
                  field: layer*_node_invariants

    =================== ======= =======================================================
    tap                 rows    what
    =================== ======= =======================================================
    ``node_invariants`` atoms   even scalars and norms of a layer's output
    ``node_scalars``    atoms   even scalars of a layer's output
    ``messages``        edges   even scalars and norms of the tensor product's output
    ``edge_weights``    edges   output of the radial network
    =================== ======= =======================================================

    >>> from nequip_decorr import TapFeatures
    >>> model = TapFeatures(
    ...     builder="nequip.model.NequIPGNNModel", taps=["node_invariants"], num_layers=2, l_max=1,
    ...     num_features=4, seed=0, model_dtype="float32", type_names=["Cu"], r_max=4.0,
    ...     avg_num_neighbors=12, per_type_energy_scales=1.0, per_type_energy_shifts=0.0,
    ... )
    >>> [name for name in model.irreps_out if name.startswith("layer")]
    ['layer0_node_invariants', 'layer1_node_invariants']

    Args:
        builder: the stock builder, e.g. ``nequip.model.NequIPGNNModel`` or
            ``nequip.model.ModelFromCheckpoint``.
        taps: what to expose.
        **model: arguments of the builder.

    Returns:
        What the builder gives, with hooks; as the builder gives it, while a model is packaged or
        compiled for inference.

    Raises:
        ValueError: an unknown tap, or a model without NequIP's interaction layers.
    """
    from hydra.utils import get_method
    from nequip.scripts._workflow_utils import get_workflow_state

    if isinstance(taps, str) or not taps or set(taps) - set(TAPS):
        raise ValueError(f"`taps` must be a list of some of {sorted(TAPS)}, got {taps!r}")
    built: torch.nn.Module = get_method(builder)(**model)
    if get_workflow_state() not in ("package", "compile"):
        graphs = built.values() if isinstance(built, torch.nn.ModuleDict) else [built]
        for graph in graphs:
            attach_taps(graph, taps, builder)
    return built


def attach_taps(graph: Any, taps: Sequence[str], builder: str) -> None:
    """Hook taps into a model that is built already.

    Args:
        graph: a ``GraphModel``; its ``irreps_out`` learns the new fields.
        taps: names from the table of :func:`TapFeatures`.
        builder: where the model comes from, for the error.

    Raises:
        ValueError: the model has no interaction layers of NequIP.
    """
    from nequip.data import register_fields

    layers = list(interaction_layers(graph))
    if not layers:
        raise ValueError(
            f"a model built by `{builder}` has no interaction layers of NequIP to tap; an Allegro "
            "needs no tap: its `edge_features` are in the output"
        )
    for number, layer in enumerate(layers):
        for tap in taps:
            field = f"layer{number}_{tap}"
            # So that NequIP takes a batch apart, permutes and converts it as it does its own.
            rows = "node_fields" if tap.startswith("node_") else "edge_fields"
            register_fields(**{rows: [field]})
            source, width = TAPS[tap](layer)
            layer.register_forward_hook(_Put(field, source))
            graph.irreps_out[field] = Irreps(f"{width}x0e")


def interaction_layers(graph: torch.nn.Module) -> Iterator[Any]:
    """NequIP's layers, told by their parts: a packaged model has classes of its own."""
    for module in graph.modules():
        conv = getattr(module, "conv", None)
        if hasattr(conv, "edge_mlp") and hasattr(conv, "tp_scatter"):
            yield module
