"""Run the command ``nequip-train`` many times, each in a process of its own.

The libraries below NequIP (torch, Lightning, Hydra) take most of a short run's time, so one process
imports them and forks for every run, which then executes the installed script with its arguments.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = Path(sys.executable).parent / "nequip-train"


@dataclass(frozen=True)
class Done:
    """A finished run: its status, what it printed and what is in its log."""

    status: int
    stdout: str
    log: str


def nequip_train_all(
    folder: Path, runs: Mapping[str, Sequence[str]], parallel: int = 2
) -> dict[str, Done]:
    """Run ``nequip-train`` with the arguments of each run, output in ``folder/runs/NAME``."""
    out = folder / "runs"
    out.mkdir(exist_ok=True)
    argv = {
        name: ["-cp", str(folder), *arguments, f"hydra.run.dir={out / name}"]
        for name, arguments in runs.items()
    }
    (folder / "runs.json").write_text(json.dumps([argv, parallel]))
    subprocess.run(
        [sys.executable, "-m", "tests.helpers.command", str(folder)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{folder}"},
        check=True,
    )
    status = json.loads((folder / "status.json").read_text())
    return {
        name: Done(status[name], (out / f"{name}.txt").read_text(), _log(out / name))
        for name in runs
    }


def _log(folder: Path) -> str:
    text = "".join(file.read_text() for file in sorted(folder.rglob("train.log")))
    return re.sub(r"\s+", " ", text)


def _child(argv: list[str], output: Path) -> int:
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = [str(SCRIPT), *argv]
    try:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _main(folder: Path) -> None:
    import ase.io
    import e3nn
    import hydra
    import lightning
    import torchmetrics

    del ase, e3nn, hydra, lightning, torchmetrics
    assert "nequip" not in sys.modules
    argv, parallel = json.loads((folder / "runs.json").read_text())
    waiting, running, status = list(argv), {}, {}
    while waiting or running:
        while waiting and len(running) < parallel:
            name = waiting.pop(0)
            pid = os.fork()
            if pid == 0:
                code = _child(argv[name], folder / "runs" / f"{name}.txt")
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
            running[pid] = name
        pid, code = os.wait()
        status[running.pop(pid)] = os.waitstatus_to_exitcode(code)
    (folder / "status.json").write_text(json.dumps(status))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
