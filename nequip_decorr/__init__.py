"""Feature decorrelation and MD-stability evaluation for NequIP-framework force fields.

NequIP imports this package whenever it is imported itself (entry point ``nequip.extension``,
``init_always``), so nothing heavy is imported here: public names are loaded on first use.
"""

import sys
from importlib import import_module

from . import _moved  # noqa: F401  finds former modules from here on
from ._version import __version__

TYPE_CHECKING = False  # as type checkers read it; importing `typing` costs more than all the rest

# Hydra looks for plugins in `hydra_plugins`, which an editable install hides from it; so the group
# is registered by hand, and only where a command line names it, since Hydra is slow to import.
# A program with Python inside, such as LAMMPS, may have no command line.
if any(argument.lstrip("+~").startswith("decorr") for argument in getattr(sys, "argv", [])[1:]):
    import_module(".training.flag", __name__).register()

_PUBLIC = {
    "FeatureDecorrelation": "training.term",
    "FeatureCorrelation": "training.monitor",
    "DecorrelationScheduler": "training.callbacks",
    "TapFeatures": "features.taps",
    "CorrelationLogger": "training.logger",
    "ExtrapolationGrade": "extrapolation.grade",
    "FitExtrapolationGrade": "extrapolation.callback",
    "Inspection": "inspection.result",
    "ShortRangeZBL": "models.zbl",
    "DistanceStatisticsManager": "models.distances",
    "inspect_features": "inspection.run",
    "inspect_model": "inspection.run",
}

__all__ = [*_PUBLIC, "__version__"]

if TYPE_CHECKING:
    from .extrapolation.callback import FitExtrapolationGrade as FitExtrapolationGrade
    from .extrapolation.grade import ExtrapolationGrade as ExtrapolationGrade
    from .features.taps import TapFeatures as TapFeatures
    from .inspection.result import Inspection as Inspection
    from .inspection.run import inspect_features as inspect_features
    from .inspection.run import inspect_model as inspect_model
    from .models.distances import DistanceStatisticsManager as DistanceStatisticsManager
    from .models.zbl import ShortRangeZBL as ShortRangeZBL
    from .training.callbacks import DecorrelationScheduler as DecorrelationScheduler
    from .training.logger import CorrelationLogger as CorrelationLogger
    from .training.monitor import FeatureCorrelation as FeatureCorrelation
    from .training.term import FeatureDecorrelation as FeatureDecorrelation


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        return getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
