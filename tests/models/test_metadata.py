"""Reading a compiled model's own description."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from ase import Atoms

from nequip_decorr.models.metadata import ModelInfo, check_elements, read_metadata

FIELDS = {
    "type_names": "O H Si",
    "r_max": "5.5",
    "model_dtype": "float64",
    "AOTI_DEVICE_KEY": "cuda",
    "nequip_aoti_inputs": "pos edge_index atom_types cell edge_cell_shift",
    "nequip_aoti_outputs": "atomic_energy forces virial",
}


def package(path: Path, **changes: str | None) -> Path:
    """An archive with the metadata of an AOTInductor package, and nothing else."""
    fields = {key: value for key, value in {**FIELDS, **changes}.items() if value is not None}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data/aotinductor/model/x.wrapper_metadata.json", json.dumps(fields))
    return path


def test_package(tmp_path: Path) -> None:
    path = package(tmp_path / "m.nequip.pt2")
    inputs = ("pos", "edge_index", "atom_types", "cell", "edge_cell_shift")
    outputs = ("atomic_energy", "forces", "virial")
    assert read_metadata(path) == ModelInfo(
        path, "compiled", ("O", "H", "Si"), 5.5, "float64", "cuda", "nequip", inputs, outputs
    )


def test_a_model_for_another_program_has_no_pair_style(tmp_path: Path) -> None:
    outputs = "atomic_energy total_energy forces stress"
    path = package(tmp_path / "m.nequip.pt2", nequip_aoti_outputs=outputs)
    assert read_metadata(path).pair is None


def test_torchscript(tmp_path: Path) -> None:
    path = tmp_path / "m.nequip.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for key in ("type_names", "r_max", "model_dtype"):
            archive.writestr(f"m/extra/{key}", FIELDS[key])
    found = read_metadata(path)
    assert (found.type_names, found.r_max_A, found.device) == (("O", "H", "Si"), 5.5, None)


def test_real_model(compiled_model: Path) -> None:
    found = read_metadata(compiled_model)
    assert found.type_names == ("Si", "O")
    assert (found.r_max_A, found.dtype, found.device) == (4.0, "float32", "cpu")
    assert found.pair == "allegro"


def test_model_for_ase(compiled_model_ase: Path) -> None:
    assert read_metadata(compiled_model_ase).pair is None


def test_type_order_is_the_models(tmp_path: Path) -> None:
    model = read_metadata(package(tmp_path / "m.nequip.pt2"))
    assert model.lammps_types(Atoms("SiO2")) == ("O", "Si")
    assert model.lammps_types(Atoms("HSiO")) == ("O", "H", "Si")


def test_unknown_element(tmp_path: Path) -> None:
    model = read_metadata(package(tmp_path / "m.nequip.pt2"))
    with pytest.raises(ValueError, match=r"has C, N, which m\.nequip.* it knows O, H, Si"):
        model.lammps_types(Atoms("CNO"))


def test_types_that_are_no_elements(tmp_path: Path) -> None:
    model = read_metadata(package(tmp_path / "m.nequip.pt2", type_names="O Si_bulk"))
    with pytest.raises(ValueError, match=r"not chemical symbols \(Si_bulk\)"):
        model.lammps_types(Atoms("O"))


@pytest.mark.parametrize("missing", ["r_max", "model_dtype"])
def test_incomplete_metadata(tmp_path: Path, missing: str) -> None:
    path = package(tmp_path / "m.nequip.pt2", **{missing: None})
    with pytest.raises(ValueError, match=rf"no \['{missing}'\] in its metadata"):
        read_metadata(path)


def test_wrong_kind_missing_and_damaged(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"is an empty file; allowed: a compiled model"):
        read_metadata(tmp_path / "last.ckpt")
    with pytest.raises(FileNotFoundError, match="no such model file"):
        read_metadata(tmp_path / "m.nequip.pt2")
    (tmp_path / "bad.nequip.pt2").write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=r"is a text file; allowed: a compiled model"):
        read_metadata(tmp_path / "bad.nequip.pt2")


def test_types_are_never_matched_to_elements_by_chance() -> None:
    """Types `Os` and `Al1` of a model of aluminium: neither Al nor Os may take one of them."""
    for symbol in ("Al", "Os"):
        with pytest.raises(ValueError, match=r"not chemical symbols \(Al1\).*types Os, Al1"):
            check_elements("trap", ("Os", "Al1"), [symbol])
    check_elements("any", None, ["Xx"])
    many = [f"Q{i}" for i in range(40)]
    with pytest.raises(ValueError, match=r"Q11, \.\.\. \(40 in all\)") as caught:
        check_elements("many", many, ["Al"], "cell")
    assert "structure 'cell'" in str(caught.value)
