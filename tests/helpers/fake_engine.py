"""An engine that does as the model's ``arguments`` say; stands in for MD in tests of the runner."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nequip_decorr.md.record import RecordWriter
from nequip_decorr.md.spec import RunResult, RunSpec

CALCULATOR = "ase.calculators.emt.EMT"


class FakeEngine:
    """``arguments``: ``do`` (what happens), ``log`` (a folder whose file
    ``starts`` gets a line per start), ..."""

    def run(
        self, spec: RunSpec, folder: Path, progress: Callable[[int], None] | None = None
    ) -> RunResult:
        arguments = spec.model.arguments
        if "log" in arguments:
            with Path(arguments["log"], "starts").open("a", encoding="utf-8") as file:
                file.write(f"{spec.run_id} {os.getpid()} {os.environ.get('OMP_NUM_THREADS')}\n")
        time.sleep(arguments.get("seconds", 0.0))
        return getattr(self, "_" + arguments.get("do", "survive"))(spec, folder, arguments)

    def _survive(self, spec: RunSpec, folder: Path, arguments: dict[str, Any]) -> RunResult:
        self._record(spec, folder, spec.steps)
        return RunResult("survived", spec.steps, 1, wall_s=0.1)

    def _fail(self, spec: RunSpec, folder: Path, arguments: dict[str, Any]) -> RunResult:
        self._record(spec, folder, 7)
        return RunResult("failed", 7, 1, "contact", 0.4, 0.6, "Si-O at 0.4", 0.1)

    def _crash(self, spec: RunSpec, folder: Path, arguments: dict[str, Any]) -> RunResult:
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError("not reached")

    def _sys_exit(self, spec: RunSpec, folder: Path, arguments: dict[str, Any]) -> RunResult:
        sys.exit(3)

    def _ctrl_c(self, spec: RunSpec, folder: Path, arguments: dict[str, Any]) -> RunResult:
        raise KeyboardInterrupt

    def _os_exit(self, spec: RunSpec, folder: Path, arguments: dict[str, Any]) -> RunResult:
        os._exit(7)

    def _hang(self, spec: RunSpec, folder: Path, arguments: dict[str, Any]) -> RunResult:
        """A call that does not return, with a program of its own beside it."""
        command = [sys.executable, "-c", f"import time; time.sleep(600)  # {folder}"]
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen(command, process_group=0)
        self._record(spec, folder, 40)
        time.sleep(600)
        raise AssertionError("not reached")

    def _poison(self, spec: RunSpec, folder: Path, arguments: dict[str, Any]) -> RunResult:
        """After the first error nothing works in this process, as with a broken CUDA context."""
        if spec.seed == 1 or os.environ.get("FAKE_ENGINE_POISONED"):
            os.environ["FAKE_ENGINE_POISONED"] = "1"
            raise RuntimeError("device-side assert")
        return self._survive(spec, folder, arguments)

    def _crash_once(self, spec: RunSpec, folder: Path, arguments: dict[str, Any]) -> RunResult:
        marker = Path(arguments["marker"] + spec.run_id)
        if not marker.exists():
            marker.touch()
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGKILL)
        return self._survive(spec, folder, arguments)

    def _raise(self, spec: RunSpec, folder: Path, arguments: dict[str, Any]) -> RunResult:
        if Path(arguments.get("fixed", "/nonexistent")).exists():
            return self._survive(spec, folder, arguments)
        raise RuntimeError("no such\n pair style")

    def _walltime(self, spec: RunSpec, folder: Path, arguments: dict[str, Any]) -> RunResult:
        if spec.walltime_s is None or spec.walltime_s > 5:
            return self._survive(spec, folder, arguments)
        self._record(spec, folder, 40)
        return RunResult("interrupted", 40, 1, message="walltime", wall_s=spec.walltime_s)

    def _cut_short(self, spec: RunSpec, folder: Path, arguments: dict[str, Any]) -> RunResult:
        self._record(spec, folder, spec.steps // 2)
        return RunResult("survived", spec.steps, 1)

    def _disk_full(self, spec: RunSpec, folder: Path, arguments: dict[str, Any]) -> RunResult:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _fill(self, spec: RunSpec, folder: Path, arguments: dict[str, Any]) -> RunResult:
        """Writes without looking at errors, as C programs do."""
        self._record(spec, folder, spec.steps)
        try:
            with (folder / "big").open("wb", buffering=0) as file:
                for _ in range(arguments["mebibytes"]):
                    file.write(bytes(1 << 20))
        except OSError:
            pass
        return RunResult("survived", spec.steps, 1)

    def _record(self, spec: RunSpec, folder: Path, last: int) -> None:
        writer = RecordWriter(folder)
        for step in range(0, last + 1, spec.record_every):
            writer.write({"step": step, "temperature_K": spec.temperature_K})
        writer.close()


def get_engine(name: str) -> FakeEngine:
    """The fake engine, whatever the name."""
    return FakeEngine()


def model(do: str = "survive", **arguments: Any) -> dict[str, Any]:
    """A campaign's entry for a model that behaves like ``do``."""
    return {"ase": {"calculator": CALCULATOR, "arguments": {"do": do, **arguments}}}
