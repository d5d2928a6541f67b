"""Shortest distances and energies per type of the training data, for the statistics manager."""

from __future__ import annotations

from typing import Any, Final

import torch
from nequip.data import (
    AtomicDataDict,
    CommonDataStatisticsManager,
    DataStatisticsManager,
    EdgeLengths,
    Min,
)

from ..errors import UserError

_LISTED: Final = 5


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
        self.reset()

    def forward(self, data: AtomicDataDict.Type) -> None:
        """Add a batch of frames."""
        data = AtomicDataDict.with_batch_(data)
        sizes, types = data[AtomicDataDict.NUM_NODES_KEY], data[AtomicDataDict.ATOM_TYPE_KEY]
        numbers = torch.zeros(len(sizes), len(self.type_names), dtype=torch.float64)
        where = data[AtomicDataDict.BATCH_KEY], types.reshape(-1)
        numbers.index_put_(where, numbers.new_ones(()), accumulate=True)
        missing = torch.full((len(sizes),), torch.nan)
        energies = data.get(AtomicDataDict.TOTAL_ENERGY_KEY, missing).reshape(-1).double()
        first = data[AtomicDataDict.POSITIONS_KEY][sizes.cumsum(0) - sizes]
        for k in torch.nonzero(~energies.isfinite()).flatten().tolist():
            atoms = "".join(
                f"{name}{int(n)}" for name, n in zip(self.type_names, numbers[k], strict=True) if n
            )
            place = ", ".join(f"{x:.4f}" for x in first[k].tolist())
            self._faults.append(f"{atoms} with its first atom at ({place}): {energies[k]:g}")
        if self._faults:
            return
        super().forward(data)
        self._compositions.append(numbers / sizes[:, None])
        self._energies.append(energies / sizes)

    def compute(self) -> dict[str, Any]:
        """Return all statistics by name.

        Raises:
            UserError: a frame has no energy, or one that is not finite; the message names it.
        """
        if self._faults:
            more = len(self._faults) - _LISTED
            listed = [*self._faults[:_LISTED], *([f"and {more} more"] if more > 0 else [])]
            raise UserError(
                "training data without an energy, or with one that is not finite (nan: none); "
                "allowed: a finite energy for each frame. Label these frames or leave them out:\n"
                + "\n".join(listed)
            )
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
        self._compositions: list[torch.Tensor] = []
        self._energies: list[torch.Tensor] = []
        self._faults: list[str] = []
