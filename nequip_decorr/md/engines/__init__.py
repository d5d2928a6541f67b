"""MD engines: each turns a :class:`~nequip_decorr.md.spec.RunSpec` into a result."""

from __future__ import annotations

from ..spec import ASE, ENGINES, LAMMPS, LAMMPS_LIBRARY
from .base import Engine

__all__ = ["Engine", "available_engines", "get_engine"]


def get_engine(name: str) -> Engine:
    """The engine of a name.

    Raises:
        ValueError: no engine has this name.
    """
    from .ase import ASEEngine
    from .lammps import LammpsEngine
    from .lammps_library import LammpsLibraryEngine

    kinds: tuple[type[Engine], ...] = (LammpsEngine, LammpsLibraryEngine, ASEEngine)
    for kind in kinds:
        if kind.name == name:
            return kind()
    raise ValueError(f"engine is {name!r}; allowed: {', '.join(ENGINES)}")


def available_engines() -> dict[str, str | None]:
    """For each engine ``None``, or the reason why it cannot be used here."""
    from .lammps_command import unavailable as no_command
    from .lammps_library import unavailable as no_library

    return {LAMMPS: no_command(), LAMMPS_LIBRARY: no_library(), ASE: None}
