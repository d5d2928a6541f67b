"""Stops: an engine that is told to end, and a program of its own that does not listen."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import ase.io
import pytest
from ase.build import bulk

from nequip_decorr.md.engines import get_engine
from nequip_decorr.md.signals import StopRequest
from nequip_decorr.md.spec import ModelSpec, RunSpec

DEAF = """#!{python}
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open("listening", "w").close()
time.sleep(600)
"""


def test_a_lammps_that_does_not_end_on_sigterm_is_interrupted_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nequip_decorr.md.engines.lammps._PATIENCE_S", 0.3)
    program = tmp_path / "lmp"
    program.write_text(DEAF.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    ase.io.write(tmp_path / "cu.xyz", bulk("Cu", cubic=True).repeat(2))
    model = ModelSpec("lj", "lammps", pair_style="lj/cut 4", pair_coeff="* * 0.3 1.8")
    spec = RunSpec("r", model, "cu", str(tmp_path / "cu.xyz"), 300.0, 1, engine="lammps")
    spec = replace(spec, lammps_command=(str(program),))

    def terminate() -> None:
        while not (tmp_path / "run" / "listening").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=terminate)
    thread.start()
    result = get_engine("lammps").run(spec, tmp_path / "run")
    thread.join()
    assert (result.status, result.message) == ("interrupted", "stopped by SIGTERM")


def test_the_second_signal_acts_as_usual() -> None:
    # A shell starts its background jobs with SIGINT ignored.
    given = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert (stop.requested, stop.name) == (True, "SIGINT")
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, given)
