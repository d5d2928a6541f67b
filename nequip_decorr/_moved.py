"""Former module names: they go on working for one release, with a DeprecationWarning."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False  # every `import nequip` pays for what is imported here
if TYPE_CHECKING:
    from types import ModuleType

_ROOT = __name__.partition(".")[0]
# Not `stability.compare` and `stability.report`: these are functions now.
MOVED = {
    "checks": "training.loss_config",
    "curves": "training.schedule",
    "demo_report": "report.demo",
    "evaluate": "inspection.evaluate",
    "flag": "training.flag",
    "guard": "training.guard",
    "logger": "training.logger",
    "loss": "training.term",
    "metric": "training.metric",
    "model": "features.taps",
    "monitor": "training.monitor",
    "schedule": "training.callbacks",
    "stability.campaign": "campaign.schema",
    "stability.criteria": "md.criteria",
    "stability.engines": "md.engines",
    "stability.evidence": "report.loading",
    "stability.outcomes": "survival.arrays",
    "stability.plan": "campaign.plan",
    "stability.runner": "campaign.runner",
    "stability.spec": "md.spec",
    "stability.structure": "md.structure",
    "stability.survival": "survival.estimators",
    "stability.table": "campaign.store",
    "stability.worker": "campaign.run",
}
# Former modules whose names are packages now: their names are found in a module below.
WITHIN = {"datasets": "datasets.siox", "features": "features.fields"}


class Former:
    """Finds a former module after all other finders have found nothing, and loads the new one."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Spec of an alias for a former module, ``None`` for any other name."""
        root, _, old = name.partition(".")
        new = MOVED.get(old) if root == _ROOT else None
        return ModuleSpec(name, Former, origin=f"{_ROOT}.{new}") if new else None  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """Leave it to Python."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Make a module that takes each name from the new place."""
        new = import_module(str(module.__spec__.origin))  # type: ignore[union-attr]
        _warn(module.__name__, new.__name__, 3)
        vars(module).update(__doc__=new.__doc__, __dir__=lambda: dir(new))
        module.__getattr__ = lambda name: getattr(new, name)  # type: ignore[method-assign]


def within(package: str, name: str) -> object:
    """A name of a former module that is a package now, for its ``__getattr__``.

    Raises:
        AttributeError: the module had no such name.
    """
    new = f"{_ROOT}.{WITHIN[package.removeprefix(f'{_ROOT}.')]}"
    # The import machinery asks for submodules and dunder names on the way.
    if name.startswith("__") or not hasattr(module := import_module(new), name):
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    _warn(f"{package}.{name}", f"{new}.{name}", 4)
    return getattr(module, name)


def _warn(old: str, new: str, level: int) -> None:
    """Say the new place of a former name, at the line that uses it."""
    import warnings

    text = f"{old} has moved to {new}; the old name goes in the next release"
    warnings.warn(text, DeprecationWarning, stacklevel=level)


sys.meta_path.append(Former)
