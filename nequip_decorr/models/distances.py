"""The shortest distances of the training data, for NequIP's statistics manager."""

from __future__ import annotations

from typing import Any

from nequip.data import CommonDataStatisticsManager, DataStatisticsManager, EdgeLengths, Min


class DistanceStatisticsManager(DataStatisticsManager):
    """Compute NequIP's common statistics, and the shortest distance of each pair of types.

    All names of :class:`nequip.data.CommonDataStatisticsManager` stay;
    ``${training_data_stats:shortest_distances}`` is new, a mapping from ``"Si_O"`` to a distance in
    the units of the data, infinite for a pair that is never within the cutoff.

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
