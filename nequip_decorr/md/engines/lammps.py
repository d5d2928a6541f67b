"""A LAMMPS executable, run as a program of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from ase import Atoms

from ...errors import Finding
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
from ..signals import StopRequest
from ..spec import (
    RunResult,
    RunSpec,
)
from .base import Engine, Progress
from .lammps_command import lammps_command
from .pair_checks import missing_pair_style, without_pair_style

COMMAND_VARIABLE: Final = "NEQUIP_DECORR_LMP"
_POLL_S: Final = 0.2
_PATIENCE_S: Final = 10.0


class LammpsEngine(Engine):
    """Runs ``in.*`` with a LAMMPS executable: ``pair_style allegro`` or ``nequip`` for compiled
    models (built in, or from the plugin that ``NEQUIP_DECORR_LMP_PLUGIN`` names), or any pair
    style of LAMMPS for models of kind ``lammps``.

    Criteria are evaluated by LAMMPS every ``check_every`` steps. ``min_contact`` is not recorded.
    """

    name = "lammps"

    def refusals(self, spec: RunSpec) -> list[Finding]:
        """Find models that no pair style runs."""
        return without_pair_style(spec)

    def refuses_program(self, spec: RunSpec) -> list[Finding]:
        """Ask the executable for the pair style."""
        return missing_pair_style(spec)

    def integrate(
        self,
        spec: RunSpec,
        folder: Path,
        atoms: Atoms,
        types: tuple[str, ...],
        stop: StopRequest,
        progress: Progress | None,
    ) -> RunResult:
        """Integrate a run; see :class:`~nequip_decorr.md.engines.base.Engine`."""
        pair = pair_of(spec.model, plugin_from_environment())
        command, environment = lammps_command(spec.lammps_command)
        path = write_input(spec, folder, atoms, types, pair)
        command += ["-in", path.name, "-log", "log.lammps", "-nocite"]
        code = _execute(command, environment, folder, stop, progress)
        result = _judge(spec, folder, code)
        if stop.requested and result.status == "error":
            result = replace(result, status="interrupted")
        keep_ring(folder, result.status == "failed")
        return result


def _execute(
    command: list[str],
    environment: Mapping[str, str],
    folder: Path,
    stop: StopRequest,
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
