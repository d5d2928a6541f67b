"""Checkpoints are compiled once and kept by content."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ase.io
import pytest
import torch
import yaml

from nequip_decorr.cli.main import main
from nequip_decorr.errors import UserError
from nequip_decorr.md.spec import ModelSpec
from nequip_decorr.models import compiling as models
from nequip_decorr.models.classical import pair_coeff_elements, potential_files, resolve_pair_coeff
from nequip_decorr.models.compiling import compile_model, compile_target, content_hash
from nequip_decorr.models.metadata import NoDeviceError, on_gpu, type_names
from nequip_decorr.models.potential import CompiledPotential
from tests.helpers.training import TYPES, frames, model_config, module_config


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands given to a stand-in for nequip-compile, which copies its input."""
    made: list[list[str]] = []
    monkeypatch.setattr(models, "check_needs", lambda model: None)
    monkeypatch.setattr(models, "contains_allegro", lambda path: "allegro" in path.name)

    def run(command: list[str], **options: Any) -> SimpleNamespace:
        made.append(command)
        source = Path(command[3])
        if source.read_text() == "bad":
            return SimpleNamespace(returncode=1, stderr="KeyError: nothing in it", stdout="")
        Path(command[4]).write_text(source.read_text().upper())
        return SimpleNamespace(returncode=0, stderr="", stdout="")

    monkeypatch.setenv("NEQUIP_DECORR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(models.subprocess, "run", run)
    return made


def checkpoint(path: Path, text: str) -> ModelSpec:
    path.write_text(text)
    return ModelSpec(path.stem, "nequip", path=str(path))


def test_the_same_weights_are_compiled_once(tmp_path: Path, calls: list[list[str]]) -> None:
    said: list[str] = []
    first = compile_model(checkpoint(tmp_path / "a.ckpt", "weights"), "ase", say=said.append)
    assert Path(first.path or "").read_text() == "WEIGHTS"
    assert (first.path or "").endswith("a.nequip.pt2")
    assert calls[0][:3] == [sys.executable, "-m", "nequip.scripts.compile"]
    assert calls[0][5:] == ["--mode", "aotinductor", "--device", "cpu", "--target", "ase"]
    again = compile_model(checkpoint(tmp_path / "a.ckpt", "weights"), "ase", say=said.append)
    assert again == first
    assert len(calls) == 1
    assert [line.split()[0] for line in said] == ["compiling", "compiled"]
    compile_model(checkpoint(tmp_path / "a.ckpt", "other weights"), "ase")
    compile_model(checkpoint(tmp_path / "a.ckpt", "weights"), "pair_allegro")
    compile_model(checkpoint(tmp_path / "a.ckpt", "weights"), "ase", "cpu:0")
    assert len(calls) == 4


def test_another_version_compiles_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[list[str]]
) -> None:
    versions = {"nequip": "1", "torch": "2", "nequip-allegro": "0.8"}
    monkeypatch.setattr(models.metadata, "version", versions.__getitem__)
    made = [checkpoint(tmp_path / f"{name}.ckpt", name) for name in ("allegro", "nequip")]
    for changed, compiled in ((None, 2), (None, 2), ("nequip-allegro", 3), ("torch", 5)):
        versions |= {changed: "next"} if changed else {}
        for model in made:
            compile_model(model, "ase")
        assert len(calls) == compiled


def test_a_damaged_copy_is_made_again(tmp_path: Path, calls: list[list[str]]) -> None:
    model = checkpoint(tmp_path / "a.ckpt", "weights")
    made = compile_model(model, "ase")
    Path(made.path or "").write_text("WEIG")
    assert Path(compile_model(model, "ase").path or "").read_text() == "WEIGHTS"
    assert len(calls) == 2


def test_a_failure_shows_what_the_compiler_said(tmp_path: Path, calls: list[list[str]]) -> None:
    with pytest.raises(UserError, match=r"could not compile .*a\.ckpt:\nKeyError: nothing"):
        compile_model(checkpoint(tmp_path / "a.ckpt", "bad"), "ase")


def test_a_grade_of_another_model_is_no_fault_of_the_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[list[str]]
) -> None:
    said = "UserWarning: x\nnequip-decorr: error: the grade was fitted to another model"
    failed = SimpleNamespace(returncode=2, stderr=said, stdout="")
    monkeypatch.setattr(models.subprocess, "run", lambda command, **options: failed)
    with pytest.raises(UserError, match=r"^\S*a\.ckpt: the grade was fitted to another model$"):
        compile_model(checkpoint(tmp_path / "a.ckpt", "weights"), "ase")


def test_nothing_of_a_failed_check_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[list[str]]
) -> None:
    """``nequip-compile`` leaves its file behind when its own check of it has failed."""

    def run(command: list[str], **options: Any) -> SimpleNamespace:
        assert "NEQUIP_SKIP_AOTI_MODEL_CHECK" not in options["env"]
        Path(command[4]).write_text("half-checked")
        said = "AssertionError: Compilation check MaxAbsError: nan (tol: 5e-05) for field `stress`"
        return SimpleNamespace(returncode=1, stderr=said, stdout="")

    monkeypatch.setenv("NEQUIP_SKIP_AOTI_MODEL_CHECK", "1")
    monkeypatch.setattr(models.subprocess, "run", run)
    with pytest.raises(UserError, match=r"for field `stress`\n.*no cell.*override_cell: true"):
        compile_model(checkpoint(tmp_path / "a.ckpt", "weights"), "ase")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_model_that_reads_more_than_positions_is_not_compiled(tmp_path: Path) -> None:
    inner = {"_target_": "x", "categorical_graph_field_embed": [{"field": "charge"}]}
    torch.save({"hyper_parameters": {"model": inner}}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"a\.ckpt reads charge of every frame"):
        compile_model(ModelSpec("a", "nequip", path=str(tmp_path / "a.ckpt")), "ase")


def test_pair_coeff_of_several_lines(tmp_path: Path) -> None:
    (tmp_path / "my model.nequip.pt2").write_text("")
    lines = '* * allegro "my model.nequip.pt2" Al Cu\n1 1 zbl 13 13\n\n1 2 zbl 13.5 29\n'
    resolved = resolve_pair_coeff(lines, tmp_path)
    file = tmp_path / "my model.nequip.pt2"
    assert resolved == f'* * allegro "{file}" Al Cu\n1 1 zbl 13 13\n1 2 zbl 13.5 29'
    assert potential_files(resolved) == [file]
    assert pair_coeff_elements(resolved) == ("Al", "Cu")


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "ase", "arguments": {"model_paths": ["{}"]}},
        {"kind": "ase", "arguments": {"models": {"first": ({"file": "{}"}, 2)}}},
        {"kind": "lammps", "pair_style": "deepmd '{}'", "pair_coeff": "* *"},
        {"kind": "lammps", "pair_style": "mliap unified '{}' 0", "pair_coeff": "* * Si O"},
        {"kind": "lammps", "pair_style": "sw", "pair_coeff": '* * "{0}" Si\n* * "{0}.2" Si'},
    ],
)
@pytest.mark.parametrize("relative", [False, True])
def test_a_retrained_potential_is_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], relative: bool
) -> None:
    def filled(given: Any) -> Any:
        if isinstance(given, dict):
            return {key: filled(item) for key, item in given.items()}
        if isinstance(given, list | tuple):
            return type(given)(map(filled, given))
        return given.format(name) if isinstance(given, str) else given

    found = []
    for folder in ("here", "my there"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        name = "graph.pb" if relative else str(Path("graph.pb").absolute())
        model = ModelSpec("m", **filled(fields))
        for text in ("first", "second"):
            Path("graph.pb").write_text("first")
            Path("graph.pb.2").write_text(text)
            if ".2" not in (model.pair_coeff or ""):
                Path("graph.pb").write_text(text)
            found.append(content_hash(model))
    assert found[:2] == found[2:]
    assert found[0] != found[1]


def test_names_of_stored_runs_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash that changes makes new runs of all that a campaign has done."""
    monkeypatch.chdir(tmp_path)
    for name in ("4", "0.8", "zbl"):
        Path(name).write_text("no potential")
    style, coeff = "hybrid/overlay lj/cut 4 zbl 0.8 1.2", "1 1 zbl 13 13\n* * lj/cut 0.3 1.8"
    model = ModelSpec("m", "lammps", pair_style=style, pair_coeff=coeff)
    assert content_hash(model).startswith("e33097e9cba8a286")
    arguments = {"a": [1, "two", {"three": None}], "b": (1.5,)}
    model = ModelSpec("m", "ase", calculator="x.Y", arguments=arguments)
    assert content_hash(model).startswith("e09be763509777f1")


def test_what_needs_no_compiling_is_left_alone(calls: list[list[str]]) -> None:
    for model in (
        ModelSpec("m", "nequip", path="m.nequip.pt2"),
        ModelSpec("m", "lammps", pair_style="sw", pair_coeff="* * Si.sw Si"),
    ):
        assert compile_model(model, "ase") is model
    assert calls == []


def test_gpu_models_are_recognised(tmp_path: Path) -> None:
    for device in ("cpu", "cuda"):
        path = tmp_path / f"{device}.nequip.pt2"
        with zipfile.ZipFile(path, "w") as archive:
            note = json.dumps({"type_names": "Si O", "AOTI_DEVICE_KEY": device})
            archive.writestr("m/x.wrapper_metadata.json", note)
        assert on_gpu(ModelSpec("m", "nequip", path=str(path))) == (device == "cuda")
    assert not on_gpu(ModelSpec("m", "lammps", pair_style="sw", pair_coeff="* * Si.sw Si"))


def test_a_device_that_is_not_here_is_named_before_anything_is_compiled_or_loaded(
    tmp_path: Path, calls: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "meta.nequip.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        note = json.dumps({"type_names": "Si O", "AOTI_DEVICE_KEY": "nowhere"})
        archive.writestr("m/x.wrapper_metadata.json", note)
    checkpoint = tmp_path / "best.ckpt"
    checkpoint.write_text("")
    words = ["compile", str(checkpoint), str(tmp_path / "o.nequip.pt2"), "--device", "nowhere"]
    with pytest.raises(NoDeviceError, match="cannot use the device 'nowhere' here"):
        CompiledPotential(path)
    assert main(words) == 2
    assert "cannot use the device 'nowhere' here" in capsys.readouterr().err
    assert calls == []


@pytest.mark.slow
def test_a_real_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEQUIP_DECORR_CACHE", str(tmp_path / "cache"))
    ase.io.write(tmp_path / "train.xyz", frames())
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": 1}
    transforms = "nequip.data.transforms."
    config = {
        "run": ["train"],
        "data": {
            "_target_": "nequip.data.datamodule.ASEDataModule",
            "seed": 1,
            "split_dataset": {"file_path": str(tmp_path / "train.xyz"), "train": 4, "val": 2},
            "transforms": [
                {
                    "_target_": transforms + "ChemicalSpeciesToAtomTypeMapper",
                    "model_type_names": TYPES,
                    "chemical_species_to_atom_type_map": {name: name for name in TYPES},
                },
                {"_target_": transforms + "NeighborListTransform", "r_max": 3.0},
            ],
            "train_dataloader": loader,
            "val_dataloader": loader,
        },
        "trainer": {
            "_target_": "lightning.Trainer",
            "accelerator": "cpu",
            "max_epochs": 1,
            "logger": False,
            "callbacks": [
                {
                    "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "dirpath": str(tmp_path),
                    "save_last": True,
                }
            ],
        },
        "training_module": {**module_config(), "model": model_config("float32")},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    train = [sys.executable, "-m", "nequip.scripts.train", "-cp", str(tmp_path), "-cn", "c"]
    train.append(f"hydra.run.dir={tmp_path}/run")
    done = subprocess.run(train, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]

    model = ModelSpec("m", "nequip", path=str(tmp_path / "last.ckpt"))
    assert type_names(model) == tuple(TYPES)
    assert compile_target(model, "lammps") == "pair_allegro"
    compiled = compile_model(model, compile_target(model, "lammps-library"))
    assert type_names(compiled) == tuple(TYPES)
    modified = Path(compiled.path or "").stat().st_mtime_ns
    assert Path(compile_model(model, "ase").path or "").stat().st_mtime_ns == modified
