"""Compile checkpoints and packages once, with ``nequip-compile``.

A compiled file is used as it is. Anything else is kept under the SHA-256 of its content, so that
the same weights are never compiled twice, in whatever campaign and under whatever name.
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from ..errors import UserError
from ..files import read_json, sha256_file, sha256_json, write_json
from ..model_files import SUFFIXES
from .classical import potential_files
from .metadata import check_device, contains_allegro, read_info
from .spec import ModelSpec

_NOTE: Final = "compiled.json"
COMPILED: Final = SUFFIXES["compiled"]
SOURCES: Final = (*SUFFIXES["checkpoint"], *SUFFIXES["package"])


def is_compiled(path: str | Path) -> bool:
    """Whether the file is one that ``nequip-compile`` wrote, by its name."""
    return str(path).endswith(COMPILED)


def calculator_class(name: str) -> Any:
    """Import an ASE calculator class by its dotted name.

    Raises:
        UserError: it cannot be imported, or is not a calculator class. A campaign file may name
            no other callable.
    """
    module_name, _, class_name = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as err:
        raise UserError(f"{name!r} cannot be imported ({err})") from None
    needed = ("get_potential_energy", "get_forces")
    if not (isinstance(found, type) and all(hasattr(found, method) for method in needed)):
        raise UserError(f"{name!r} is not a class of an ASE calculator")
    return found


def content_hash(model: ModelSpec) -> str:
    """SHA-256 of what a model is, wherever its files lie.

    For a checkpoint or package this is the source's content: compiling it twice need not give the
    same bytes, and it is the same model. Where another potential names a file, the content counts.
    """
    if model.path is not None:
        content = sha256_file(model.path)
        return content if model.grade is None else sha256_json([content, sha256_file(model.grade)])
    pair_style = model.pair_style and _hashed_words(model.pair_style)
    pair_coeff = _hashed_words(model.pair_coeff or "")
    arguments = _hashed(model.arguments)
    return sha256_json([model.kind, pair_style, pair_coeff, model.calculator, arguments])


def _hashed_words(words: str) -> str:
    """Words of LAMMPS, with the SHA-256 of its content in the place of each file."""
    # The path of one file may begin like that of another.
    for path in sorted(map(str, potential_files(words)), key=len, reverse=True):
        words = words.replace(path, sha256_file(path))
    return words


def _hashed(given: Any) -> Any:
    """Arguments, with the SHA-256 of its content in the place of each file, however deep."""
    if isinstance(given, Mapping):
        return {key: _hashed(item) for key, item in given.items()}
    if isinstance(given, list | tuple):
        return [_hashed(item) for item in given]
    return sha256_file(given) if isinstance(given, str) and os.path.isfile(given) else given


def cache_folder() -> Path:
    """``$NEQUIP_DECORR_CACHE``, or ``nequip-decorr`` in the user's cache folder."""
    chosen = os.environ.get("NEQUIP_DECORR_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nequip-decorr"


def compile_target(model: ModelSpec, engine: str) -> str:
    """``nequip-compile``'s target for an engine: a pair style's for ``lammps``, else ``ase``.

    A model of the ``allegro`` package is for ``pair_allegro``, any other for ``pair_nequip``.
    """
    if engine != "lammps":
        return "ase"
    return "pair_allegro" if contains_allegro(str(model.path)) else "pair_nequip"


def compile_model(
    model: ModelSpec,
    target: str,
    device: str = "cpu",
    say: Callable[[str], None] = lambda line: None,
) -> ModelSpec:
    """Compile a checkpoint or package once; the model with the compiled file as its ``path``.

    Compiling loads the checkpoint, and that runs code it contains: open only those that you trust.

    Args:
        model: a ``nequip`` model; with its ``grade``, the compiled one has it as an output.
        target: ``nequip-compile``'s target, e.g. ``ase`` or ``pair_allegro``.
        device: device to compile for.
        say: receives a line before compiling, which takes a minute or more.

    Raises:
        UserError: the model reads a field that MD does not have, the device is not here, or
            ``nequip-compile`` failed;
            the end of its output is in the text. Nothing of a failed attempt is kept.
    """
    if model.kind != "nequip" or model.path is None or is_compiled(model.path):
        return model
    source = Path(model.path)
    packages = ["nequip", "torch", *(["nequip-allegro"] if contains_allegro(source) else [])]
    versions = "-".join(f"{name}{metadata.version(name)}" for name in packages)
    settings = f"{target}-{device}-{versions}-{platform.machine()}"
    if model.grade is not None:
        settings += f"-grade{sha256_file(model.grade)[:16]}"
    folder = cache_folder() / sha256_file(source) / settings.replace("/", "_")
    compiled = folder / f"{source.name.split('.')[0] or 'model'}.nequip.pt2"
    note = read_json(folder / _NOTE)
    if note and compiled.is_file() and sha256_file(compiled) == note["sha256"]:
        return replace(model, path=str(compiled))

    check_needs(model)
    check_device(device)
    say(f"compiling {model.name} with nequip-compile, a minute or more ...")
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        fresh = Path(scratch) / compiled.name
        files = [str(source), str(fresh)]
        if model.grade is None:
            command = ["nequip.scripts.compile", *files, "--mode", "aotinductor"]
        else:
            command = ["nequip_decorr.cli", "compile", *files, "--grade", model.grade]
        command = [sys.executable, "-m", *command, "--device", device, "--target", target]
        # NequIP compares the compiled with the eager model unless this is set.
        environment = {k: v for k, v in os.environ.items() if k != "NEQUIP_SKIP_AOTI_MODEL_CHECK"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode != 0 or not fresh.is_file():
            raise UserError(_failure(source, (done.stderr or done.stdout).strip()))
        shutil.move(fresh, compiled)
    write_json(
        folder / _NOTE,
        {"source": str(source), "command": command[1:], "sha256": sha256_file(compiled)},
    )
    say(f"compiled {model.name} in {time.monotonic() - began:.0f} s")
    return replace(model, path=str(compiled))


def compiled_from(path: str | Path) -> tuple[str, Path] | None:
    """Tell what :func:`compile_model` made a file from.

    Returns:
        The SHA-256 that the source had, and where it lay; ``None`` for any other file.
    """
    note = read_json(Path(path).with_name(_NOTE))
    return (Path(path).parents[1].name, Path(note["source"])) if note else None


def check_needs(model: ModelSpec) -> None:
    """Check that a model reads nothing but positions, cell and types.

    Raises:
        UserError: it reads another field of a frame, which neither LAMMPS nor ASE passes on.
    """
    if model.path is None:
        return
    info = read_info(model.path)
    if info.needs:
        raise UserError(
            f"{info.path.name} reads {', '.join(info.needs)} of every frame, which MD engines do "
            "not pass to a model; give a model of positions, cell and types alone"
        )


_OURS: Final = "nequip-decorr: error: "


def _failure(source: Path, output: str) -> str:
    if _OURS in output:  # it never came to compiling, e.g. because the grade is another model's
        return f"{source}: {output.rpartition(_OURS)[2]}"
    text = f"nequip-compile could not compile {source}:\n{output[-1500:]}"
    if "Compilation check" in output and "nan" in output:
        text += (
            "\nNequIP checks the compiled model on a training frame. If those frames have no cell, "
            "their stress is NaN. Give the frames a cell, or train with `override_cell: true` in "
            "NonPeriodicCellTransform, or give a model that is compiled already."
        )
    return text
