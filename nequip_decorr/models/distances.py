"""Shortest distances and energies per type of the training data, for the statistics manager."""

from __future__ import annotations

from typing import Any

import torch
from nequip.data import (
    AtomicDataDict,
    CommonDataStatisticsManager,
    DataStatisticsManager,
    EdgeLengths,
    Min,
)


class DistanceStatisticsManager(DataStatisticsManager):
    """Compute NequIP's common statistics, the shortest distances and an energy for each type.

    All names of :class:`nequip.data.CommonDataStatisticsManager` stay. Two are new:

    - ``${training_data_stats:shortest_distances}``, a mapping from ``"Si_O"`` to a distance in the
      units of the data, infinite for a pair that is never within the cutoff.
    - ``${training_data_stats:per_type_energy_fit}``, a mapping from ``"Si"`` to an energy: the
      least squares fit of the energy per atom by the composition. Where the compositions leave a
      choice it is the one nearest to ``per_atom_energy_mean``, so data of one composition give
      just that.

    Args:
        dataloader_kwargs: arguments of the data loader, such as ``batch_size``.
        type_names: those of the model.

    .. code-block:: yaml

        stats_manager:
          _target_: nequip_decorr.DistanceStatisticsManager
          type_names: ${model_type_names}

    >>> from nequip_decorr import DistanceStatisticsManager
    >>> DistanceStatisticsManager(type_names=["Si", "O"]).names[-1]
    'shortest_distances'
    """

    def __init__(
        self, dataloader_kwargs: dict[str, Any] | None = None, type_names: list[str] | None = None
    ) -> None:
        common = CommonDataStatisticsManager(type_names=type_names)
        metrics = [
            {"name": name, "field": field, "metric": each[0] if split else each, "per_type": split}
            for name, field, each, split in zip(
                common.names, common.fields, common, common.per_type, strict=True
            )
        ]
        shortest = {"field": EdgeLengths(), "metric": Min(), "per_type": True}
        metrics.append({"name": "shortest_distances", **shortest})
        super().__init__(metrics, dataloader_kwargs, type_names)
        self._compositions: list[torch.Tensor] = []
        self._energies: list[torch.Tensor] = []

    def forward(self, data: AtomicDataDict.Type) -> None:
        """Add a batch of frames."""
        super().forward(data)
        if AtomicDataDict.TOTAL_ENERGY_KEY not in data:
            return
        data = AtomicDataDict.with_batch_(data)
        energies = data[AtomicDataDict.TOTAL_ENERGY_KEY].reshape(-1).double()
        where = data[AtomicDataDict.BATCH_KEY], data[AtomicDataDict.ATOM_TYPE_KEY].reshape(-1)
        numbers = torch.zeros(len(energies), len(self.type_names), dtype=torch.float64)
        numbers.index_put_(where, numbers.new_ones(()), accumulate=True)
        sizes = numbers.sum(1)
        self._compositions.append(numbers / sizes[:, None])
        self._energies.append(energies / sizes)

    def compute(self) -> dict[str, Any]:
        """Return all statistics by name."""
        found: dict[str, Any] = super().compute()
        if self._energies:
            shares, energies = torch.cat(self._compositions), torch.cat(self._energies)
            mean = energies.mean()
            more = torch.linalg.pinv(shares, rtol=1e-3) @ (energies - mean)
            names = zip(self.type_names, (mean + more).tolist(), strict=True)
            found["per_type_energy_fit"] = dict(names)
        return found

    def reset(self) -> None:
        """Forget all batches."""
        super().reset()
        self._compositions, self._energies = [], []
