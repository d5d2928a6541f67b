"""A LAMMPS executable, run as a program of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from ...errors import Finding
from ..lammps.run_input import pair_of, plugin_from_environment, write_input
from ..lammps.run_output import LogEnd, judge, keep_ring, parse_log
from ..record import THERMO
from ..spec import LAMMPS, RunResult, RunSpec
from .base import Engine, Job
from .lammps_command import lammps_command
from .pair_checks import without_pair_style

_POLL_S: Final = 0.2
_PATIENCE_S: Final = 10.0


class LammpsEngine(Engine):
    """Runs ``in.*`` with a LAMMPS executable.

    Compiled models run by ``pair_style allegro`` or ``nequip`` (built in, or from the plugin that
    ``NEQUIP_DECORR_LMP_PLUGIN`` names), models of kind ``lammps`` by any pair style of LAMMPS.
    Criteria are evaluated by LAMMPS every ``check_every`` steps. ``min_contact`` is not recorded.
    """

    name = LAMMPS

    def refusals(self, spec: RunSpec) -> list[Finding]:
        """Find models that no pair style runs."""
        return without_pair_style(spec)

    def integrate(self, job: Job) -> RunResult:
        """Integrate a run; see :class:`~nequip_decorr.md.engines.base.Engine`."""
        pair = pair_of(job.spec.model, plugin_from_environment())
        command, environment = lammps_command(job.spec.lammps_command)
        path = write_input(job.spec, job.folder, job.atoms, job.types, pair)
        command += ["-in", path.name, "-log", "log.lammps", "-nocite"]
        result = _judge(job, _execute(command, environment, job))
        if job.stop.requested and result.status == "error":
            result = replace(result, status="interrupted")
        keep_ring(job.folder, result.status == "failed")
        return result


def _execute(command: list[str], environment: Mapping[str, str], job: Job) -> int:
    with (job.folder / "screen.txt").open("wb") as screen:
        process = subprocess.Popen(
            command,
            cwd=job.folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=screen,
            stderr=subprocess.STDOUT,
        )
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(timeout=_POLL_S)
                if job.stop.requested:
                    process.terminate()
                    with suppress(subprocess.TimeoutExpired):
                        return process.wait(timeout=_PATIENCE_S)
                    process.kill()
                    return process.wait()
                if job.progress is not None and (step := _step(job.folder)) is not None:
                    job.progress(step)
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


def _judge(job: Job, code: int) -> RunResult:
    folder = job.folder
    log = parse_log(_text(folder / "log.lammps"))
    screen = _text(folder / "screen.txt")
    if log.error is None:
        log = replace(log, error=parse_log(screen).error)
    if code != 0 and log.halt is None and log.error is None:
        # Died without a word of its own, whatever it had reached.
        tail = " ".join(screen.split("\n")[-4:]).strip()[-300:]
        log = LogEnd(error=f"ended with code {code}: {tail}")
    return judge(job.spec, folder, log)


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""
