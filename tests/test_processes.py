"""Commands that end with the call that began them, and folders that one call at a time uses."""

import os
import signal
import subprocess
import sys
import time

import pytest

from nequip_decorr.errors import InUseError, UserError
from nequip_decorr.files import read_json
from nequip_decorr.folders import alone, same_settings
from nequip_decorr.processes import CommandError, call

CALLER = """
import sys
from pathlib import Path
from rich.console import Console
from nequip_decorr.processes import call, together
folder, how = Path(sys.argv[1]), sys.argv[2]
write = f"echo $$ > {folder}/new; mv {folder}/new {folder}/pid"
command = ["sh", "-c", f"{write}; exec sleep 60"]
if how == "call":
    call(command, folder / "log")
else:
    together({"one": command}, folder, "log", Console(quiet=True))
"""


def appears(path):
    for _ in range(600):
        if path.is_file():
            return path.read_text()
        time.sleep(0.05)
    raise AssertionError(f"no {path}")


@pytest.mark.parametrize("how", ["call", "together"])
def test_sigterm_ends_the_command_too(tmp_path, how):
    caller = subprocess.Popen([sys.executable, "-c", CALLER, tmp_path, how])
    pid = int(appears(tmp_path / "pid"))
    caller.send_signal(signal.SIGTERM)
    assert caller.wait(20) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_command_that_fails_shows_the_end_of_its_log(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    call(["sh", "-c", "echo $WORD"], tmp_path / "log", {"WORD": "first"})
    with pytest.raises(CommandError, match=r"`sh` ended with code 3[\s\S]*first\nsecond"):
        call(["sh", "-c", "echo second; exit 3"], tmp_path / "log")
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_folder_is_taken_by_one_call_and_by_a_command_that_outlives_it(tmp_path):
    with alone(tmp_path, "improve") as holds:
        with (
            pytest.raises(InUseError, match="another `improve` works there"),
            alone(tmp_path, "improve"),
        ):
            pass
        left_over = subprocess.Popen(["sleep", "60"], pass_fds=holds)
    with pytest.raises(InUseError), alone(tmp_path, "improve"):
        pass
    left_over.kill()
    left_over.wait()
    with alone(tmp_path, "improve"):
        pass


def test_a_folder_keeps_its_settings(tmp_path):
    path = tmp_path / "settings.json"
    for _ in range(2):
        same_settings(path, {"seed": 1, "epochs": None})
    with pytest.raises(UserError, match=r"other settings \(was, is\): \{'epochs': \(None, 5\)\}"):
        same_settings(path, {"seed": 1, "epochs": 5})
    assert read_json(path) == {"seed": 1, "epochs": None}
