"""Programs in processes of their own, without the time of their imports.

Most of a short ``nequip-train`` is the import of the libraries below NequIP (torch, Lightning,
Hydra). One process imports these and forks for every program, which then imports NequIP and this
package by itself, with its own arguments, environment and working directory.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent


@dataclass(frozen=True)
class Program:
    """What to run.

    Attributes:
        arguments: a script's path, or ``-m`` and a module, then the rest; or ``-c`` and a call.
        output: file that gets what it prints.
        cwd: where it runs.
        path: folders that come first in ``sys.path`` and ``PYTHONPATH``.
    """

    arguments: Sequence[str]
    output: str
    cwd: str = str(ROOT)
    path: Sequence[str] = (str(ROOT),)


@dataclass(frozen=True)
class Done:
    """A finished program: its status (negative: the signal that killed it), and what it printed."""

    returncode: int
    stdout: str


def run(script: str | Path, *arguments: Any, **options: Any) -> Done:
    """Run a command beside Python, such as ``nequip-train``, or ``-m`` and a module."""
    words = [str(word) for word in arguments]
    script = script if script == "-m" else SCRIPTS / script
    with tempfile.NamedTemporaryFile(suffix=".txt") as output:
        (status,) = run_all([Program([str(script), *words], output.name, **options)])
        return Done(status, Path(output.name).read_text())


def succeeds(script: str | Path, *arguments: Any, **options: Any) -> None:
    """Run a command that has to end well."""
    done = run(script, *arguments, **options)
    assert done.returncode == 0, done.stdout[-3000:]


def spawn(function: Callable[..., None], arguments: Sequence[Any], nprocs: int) -> None:
    """As ``torch.multiprocessing.spawn``: ``function(rank, *arguments)`` in that many processes."""
    with tempfile.TemporaryDirectory() as folder:
        programs = []
        for rank in range(nprocs):
            call = base64.b64encode(pickle.dumps((function, (rank, *arguments)))).decode()
            programs.append(Program(["-c", call], f"{folder}/{rank}.txt"))
        statuses = run_all(programs)
        assert not any(statuses), Path(programs[0].output).read_text()[-3000:]


def run_all(programs: Sequence[Program]) -> list[int]:
    """Run programs side by side, and return their statuses."""
    server = _server()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    request = {"environment": environment, "programs": [asdict(p) for p in programs]}
    assert server.stdin is not None and server.stdout is not None
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    try:
        answer = server.stdout.readline()
    except BaseException:  # such as a test's time limit: the answer to come would be the next one's
        server.kill()
        _server.cache_clear()
        raise
    assert answer, "the process that forks has ended"
    return json.loads(answer)


@cache
def _server() -> subprocess.Popen[str]:
    """The process that forks; it ends with this one, which closes the pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.forks"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _child(program: dict[str, Any], environment: dict[str, str]) -> int:
    null = os.open(os.devnull, os.O_RDONLY)
    file = os.open(program["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for target, source in ((0, null), (1, file), (2, file)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(environment, PYTHONPATH=os.pathsep.join(program["path"]))
    os.chdir(program["cwd"])
    sys.path[:0] = program["path"]
    kind, *words = program["arguments"]
    try:
        if kind == "-c":
            function, arguments = pickle.loads(base64.b64decode(words[0]))
            function(*arguments)
        elif kind == "-m":
            sys.argv = words
            runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        else:
            sys.argv = [kind, *words]
            runpy.run_path(kind, run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _serve() -> None:
    import importlib.metadata

    import ase.io
    import e3nn.o3
    import hydra
    import lightning
    import torchmetrics

    del ase, e3nn, hydra, lightning, torchmetrics
    # NequIP looks through all installed packages when it is imported: the same for each fork.
    importlib.metadata.packages_distributions = cache(importlib.metadata.packages_distributions)
    importlib.metadata.packages_distributions()
    assert not {"nequip", "nequip_decorr"} & sys.modules.keys()
    for line in sys.stdin:
        request, running = json.loads(line), []
        for program in request["programs"]:
            pid = os.fork()
            if pid == 0:
                code = 1
                with suppress(BaseException):
                    code = _child(program, request["environment"])
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(code)
            running.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in running]
        print(json.dumps(codes), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _serve()
