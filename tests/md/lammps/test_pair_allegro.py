"""The upstream pair style against the library engine, and one MPI rank against more."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from nequip_decorr.lammps_wheel import COMMAND_VARIABLE
from nequip_decorr.md.criteria import Criteria
from nequip_decorr.md.engines.lammps import LammpsEngine
from nequip_decorr.md.engines.lammps_library import LammpsLibraryEngine
from nequip_decorr.md.lammps.run_input import write_data
from nequip_decorr.md.record import read_record
from nequip_decorr.md.spec import ModelSpec
from nequip_decorr.md.start import start_frame
from tests.md.lammps.conftest import Lammps, make_spec, program
from tests.md.lammps.test_pair_templates import by_hand

CHECK_EVERY = 5
# Bounds that this model, whose core keeps atoms apart, crosses within a hundred steps or two, while
# two integrations of the same start are still close to each other.
TIGHT = Criteria(contact_fraction=0.7, check_every=CHECK_EVERY)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_same_stable_time_as_the_library_engine(
    pair_allegro: Lammps,
    compiled_model: Path,
    cristobalite: Atoms,
    tmp_path: Path,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(COMMAND_VARIABLE, shlex.join(pair_allegro.command))
    model = ModelSpec("model", "nequip", path=str(compiled_model))
    spec = make_spec(
        tmp_path, cristobalite, model, temperature_K=1500.0, seed=seed, steps=2000, criteria=TIGHT
    )
    executable = LammpsEngine().run(spec, tmp_path / "lammps")
    library = LammpsLibraryEngine().run(spec, tmp_path / "library")
    assert executable.status == library.status == "failed"
    assert executable.cause == library.cause
    assert executable.last_step > 2 * CHECK_EVERY
    assert abs(executable.last_step - library.last_step) <= CHECK_EVERY


def test_ranks_agree(
    pair_allegro: Lammps, compiled_model: Path, quartz: Atoms, tmp_path: Path
) -> None:
    mpirun = program("mpirun")
    if mpirun is None:
        pytest.skip("needs mpirun")
    start = start_frame(quartz.repeat((1, 1, 2)), "q", 300, 1)
    energies = {}
    for ranks in (1, 2, 4):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        write_data(folder / "structure.data", start, ("Si", "O"))
        launch = (mpirun, "-np", str(ranks)) if ranks > 1 else ()
        lammps = Lammps((*launch, *pair_allegro.command), pair_allegro.plugin)
        variables = {"pair": "allegro", "model": str(compiled_model), "radii": "0.66 0.39"}
        by_hand(lammps, folder, "in.nve", {**variables, "steps": "100", "record_every": "1"})
        record = read_record(folder)
        assert list(record["step"]) == list(range(101))
        energies[ranks] = np.stack([record["potential_eV_per_atom"], record["total_eV_per_atom"]])
    for ranks in (2, 4):
        difference = np.abs(energies[ranks] - energies[1])
        assert (difference <= 1e-6 * np.abs(energies[1])).all(), difference.max()
