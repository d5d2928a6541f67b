"""A model file is recognised by its content, and nothing in it runs."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from nequip_decorr.errors import UserError
from nequip_decorr.model_files import recognise, require
from nequip_decorr.models.metadata import read_info


class Explosive:
    """Would make a folder if it were unpickled."""

    folder = ""

    def __reduce__(self) -> Any:
        return (os.mkdir, (self.folder,))


class Little(torch.nn.Module):
    """A module that somebody pickled whole."""


def zipped(path: Path, **entries: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in entries.items():
            archive.writestr(name.replace("__", "/"), text)


def saved(data: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(data, stream)
    return stream.getvalue()


LIGHTNING = {"epoch": 3, "state_dict": {}, "hyper_parameters": {"lr": 0.1}}
LIGHTNING["pytorch-lightning_version"] = "2.6.0"
WRONG = {
    "empty.ckpt": (b"", "an empty file"),
    "text.nequip.pt2": (b"not a model\n", "a text file"),
    "page.nequip.zip": (b"\n<!DOCTYPE html><html></html>", "an HTML page"),
    "pointer.ckpt": (
        b"version https://git-lfs.github.com/spec/v1\noid",
        "a Git LFS pointer; fetch the file itself with `git lfs pull`",
    ),
    "run.restart": (b"LammpS RestartT\x00\x02\x01\x00", "a LAMMPS restart file"),
    "half.ckpt": (saved(LIGHTNING)[:500], "a zip archive that was cut off"),
    "weights.ckpt": (saved({"state_dict": {"w": torch.zeros(3)}}), "weights alone"),
    "bare.ckpt": (saved(torch.nn.Linear(2, 2).state_dict()), "weights alone"),
    "other.ckpt": (saved(LIGHTNING), "a Lightning checkpoint of another project"),
    "whole.ckpt": (saved(Little()), r"a pickled object \(tests\.models\.test_files\.Little\)"),
    "old.pth": (pickle.dumps({"a": 1}), "a bare pickle"),
    "tensor.ckpt": (saved([1, 2]), "a file of `torch.save` that holds no model"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_model_is_named(tmp_path: Path, name: str) -> None:
    content, what = WRONG[name]
    path = tmp_path / name
    path.write_bytes(content)
    assert recognise(path).kind is None
    with pytest.raises(UserError, match=rf"{name}: is {what}.*; allowed: a compiled model"):
        read_info(path)
    with pytest.raises(UserError) as caught:
        require(path)
    assert "\n" not in str(caught.value)


def test_folder_missing_and_other_archives(tmp_path: Path) -> None:
    (tmp_path / "a.nequip.pt2").mkdir()
    with pytest.raises(UserError, match="is a folder; allowed"):
        require(tmp_path / "a.nequip.pt2")
    with pytest.raises(FileNotFoundError, match="no such model file"):
        require(tmp_path / "none.ckpt")
    zipped(tmp_path / "b.nequip.zip", **{"readme.txt": "text"})
    with pytest.raises(UserError, match=r"a zip archive of something else \(1 files\)"):
        require(tmp_path / "b.nequip.zip")
    zipped(tmp_path / "c.nequip.pth", c__code__m="", c__extra__nequip_version="0.5.6")
    with pytest.raises(UserError, match=r"a TorchScript file of NequIP 0\.5\.6, too old"):
        require(tmp_path / "c.nequip.pth")
    zipped(tmp_path / "d.nequip.pt2", **{"d/x_metadata.json": "{"})
    with pytest.raises(UserError, match="is damaged or unreadable"):
        require(tmp_path / "d.nequip.pt2")


def test_a_model_with_a_name_that_nequip_would_misread(tmp_path: Path) -> None:
    path = tmp_path / "best.pt2"
    torch.save({"hyper_parameters": {"model": {"type_names": ["Cu"]}}}, path)
    with pytest.raises(UserError, match=r"is a NequIP checkpoint, .* in \.ckpt; rename it"):
        require(path)


@pytest.mark.parametrize("suffix", [".ckpt", ".nequip.pt2", ".nequip.lmp.pt"])
def test_nothing_in_a_file_is_run(tmp_path: Path, suffix: str) -> None:
    explosive = Explosive()
    explosive.folder = str(tmp_path / "made")
    for i, data in enumerate((explosive, {"hyper_parameters": {"model": explosive}})):
        path = tmp_path / f"m{i}{suffix}"
        torch.save(data, path)
        recognise(path)
    assert not (tmp_path / "made").exists()


def test_a_checkpoint_describes_itself(tmp_path: Path) -> None:
    embed = [{"field": "charge", "num_features": 4}]
    inner = {
        "_target_": "nequip.model.NequIPGNNModel",
        "type_names": ["H", "O"],
        "r_max": 4.0,
        "model_dtype": "float64",
        "num_layers": 3,
        "categorical_graph_field_embed": embed,
    }
    settings = {"model": {"_target_": "nequip.model.modify", "model": inner}, "extra": Little()}
    torch.save({"hyper_parameters": settings}, tmp_path / "a.ckpt")
    info = read_info(tmp_path / "a.ckpt")
    assert (info.kind, info.type_names, info.r_max_A) == ("checkpoint", ("H", "O"), 4.0)
    assert (info.dtype, info.needs) == ("float64", ("charge",))
    torch.save({"hyper_parameters": {"model": {"_target_": "other.Model"}}}, tmp_path / "b.ckpt")
    assert read_info(tmp_path / "b.ckpt").type_names is None
