"""Each cause of failure, once, in a real LAMMPS run."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase import Atoms

from nequip_decorr.lammps_wheel import potential_file
from nequip_decorr.md.criteria import CAUSES, Criteria
from nequip_decorr.md.engines.lammps import LammpsEngine
from nequip_decorr.md.spec import ModelSpec, RunResult
from tests.md.lammps.conftest import make_spec

OFF = Criteria(
    temperature_floor_K=1.0,
    temperature_factor=None,
    contact_fraction=None,
    energy_drop_eV_per_atom=None,
    energy_rise_eV_per_atom=None,
    max_force_eV_per_A=None,
    drift_eV_per_atom=None,
)
LENNARD_JONES = ModelSpec("lj", "lammps", pair_style="lj/cut 6.0", pair_coeff="* * 0.01 2.0")


def with_only(**bounds: float) -> Criteria:
    """Criteria of which one is on."""
    return Criteria(**{**OFF.__dict__, **bounds})


def run(
    folder: Path, atoms: Atoms, criteria: Criteria, model: ModelSpec | None = None, **fields: object
) -> RunResult:
    """A run of the executable engine, on the reference potential by default."""
    if model is None:
        coeff = f"* * {potential_file('SiO.tersoff')} Si O"
        model = ModelSpec("reference", "lammps", pair_style="tersoff", pair_coeff=coeff)
    spec = make_spec(folder, atoms, model, criteria=criteria, **{"steps": 400, **fields})
    return LammpsEngine().run(spec, folder / "run")


@pytest.mark.usefixtures("wheel")
@pytest.mark.parametrize(
    ("cause", "check", "bound", "ensemble"),
    [
        ("temperature", "temperature", {"temperature_factor": 1.1}, "nvt"),
        ("contact", "contact", {"contact_fraction": 0.88}, "nvt"),
        ("energy", "energy_above", {"energy_rise_eV_per_atom": 0.01}, "nvt"),
        ("energy", "energy_below", {"energy_drop_eV_per_atom": 0.01}, "nvt"),
        ("force", "force", {"max_force_eV_per_A": 3.0}, "nvt"),
        ("drift", "drift", {"drift_eV_per_atom": 1e-4}, "nve"),
    ],
)  # fmt: skip
def test_halt(
    tmp_path: Path, quartz: Atoms, cause: str, check: str, bound: dict[str, float], ensemble: str
) -> None:
    """The bounds are narrow, so that sound motion crosses them after some steps."""
    # Displaced atoms slide down and heat; atoms at rest in the crystal climb.
    quartz.rattle(0.03 if check in ("temperature", "energy_below") else 0.0, seed=2)
    timestep_fs = 4.0 if check == "drift" else 1.0
    criteria = with_only(**bound)
    result = run(tmp_path, quartz, criteria, ensemble=ensemble, timestep_fs=timestep_fs)
    assert result.status == "failed", result
    assert result.cause == cause
    assert 0 < result.last_step < 400
    log = (tmp_path / "run" / "log.lammps").read_text()
    step = result.last_step
    assert f"\nFix halt condition for fix-id {check} met on step {step} with value" in log
    # The same run without the criterion goes on to its end.
    free = run(tmp_path / "..", quartz, OFF, ensemble=ensemble, timestep_fs=timestep_fs)
    assert free.status == "survived"


@pytest.mark.usefixtures("wheel")
def test_nonfinite(tmp_path: Path) -> None:
    """Two atoms at one place: the energy is not a number."""
    atoms = Atoms("Si2O", [[1, 1, 1], [1, 1, 1], [5, 5, 5]], cell=[14, 14, 14], pbc=True)
    result = run(tmp_path, atoms, OFF, LENNARD_JONES)
    assert (result.status, result.cause, result.value) == ("failed", "nonfinite", None)
    log = (tmp_path / "run" / "log.lammps").read_text()
    assert "\nFix halt condition for fix-id nonfinite met on step 0 with value" in log


@pytest.mark.usefixtures("wheel")
def test_lost(tmp_path: Path) -> None:
    """An atom leaves through a side that is not periodic."""
    atoms = Atoms("Si3", [[1, 1, 1], [5, 5, 5], [9, 9, 9]], cell=[12, 12, 12], pbc=False)
    result = run(tmp_path, atoms, OFF, LENNARD_JONES, temperature_K=9000.0, steps=5000)
    assert (result.status, result.cause) == ("failed", "lost")
    assert 0 < result.last_step < 5000


def test_every_cause_is_tried() -> None:
    tried = {"temperature", "contact", "energy", "force", "drift", "nonfinite", "lost"}
    assert tried == set(CAUSES) - {"extrapolation"}  # of models with a grade
