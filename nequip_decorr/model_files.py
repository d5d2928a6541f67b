"""Recognise a model file by its content; no code of the file runs."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from .errors import UserError

Kind = Literal["compiled", "package", "checkpoint", "mliap"]

SUFFIXES: Final[dict[Kind, tuple[str, ...]]] = {
    "compiled": (".nequip.pt2", ".nequip.pth"),
    "package": (".nequip.zip",),
    "checkpoint": (".ckpt",),
    "mliap": (".nequip.lmp.pt",),
}
_NAMES: Final[dict[Kind, str]] = {
    "compiled": "a compiled model",
    "package": "a NequIP package",
    "checkpoint": "a NequIP checkpoint",
    "mliap": "an ML-IAP file",
}
_STARTS: Final = (
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with `git lfs pull`"),
    (b"LammpS RestartT", "a LAMMPS restart file"),
    (b"PK\x03\x04", "a zip archive that was cut off or damaged; copy or download it again"),
    (b"\x80", "a bare pickle, which nequip-decorr does not open"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x1f\x8b", "a gzip archive"),
)


@dataclass(frozen=True)
class ModelFile:
    """What a file is, by its content.

    Attributes:
        path: the file.
        kind: ``compiled``, ``package``, ``checkpoint`` or ``mliap``; ``None`` for another file.
        what: the same in words, e.g. ``a Git LFS pointer``.
        notes: metadata of a compiled model, ``package_metadata.txt`` and ``config.yaml`` of a
            package, hyper-parameters of a checkpoint, attributes of an ML-IAP file.
    """

    path: Path
    kind: Kind | None
    what: str
    notes: dict[str, Any] = field(default_factory=dict)


def recognise(path: str | Path) -> ModelFile:
    """Tell what a file is without loading it; names play no part.

    Pickles are read with an unpickler that imports and calls nothing.
    """
    path = Path(path)
    kind, what, notes = _recognise(path)
    return ModelFile(path, kind, what, notes)


def require(
    path: str | Path | ModelFile, kinds: Sequence[Kind] = ("compiled", "package", "checkpoint")
) -> ModelFile:
    """Recognise a file and insist that it is a model, with the suffix that its kind needs.

    Args:
        path: the file, or what :func:`recognise` told of it.
        kinds: the kinds that are allowed.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is something else; one line that says what, and what to give instead.
    """
    found = path if isinstance(path, ModelFile) else recognise(path)
    path = found.path
    if not found.path.exists():
        raise FileNotFoundError(f"{path}: no such model file")
    if found.kind is None or found.kind not in kinds:
        allowed = " or ".join(f"{_NAMES[kind]} ({SUFFIXES[kind][0]})" for kind in kinds)
        raise UserError(f"{path}: is {found.what}; allowed: {allowed}")
    suffixes = SUFFIXES[found.kind]
    if not found.path.name.endswith(suffixes):
        raise UserError(
            f"{path}: is {found.what}, and NequIP reads it only if its name ends in "
            f"{' or '.join(suffixes)}; rename it"
        )
    return found


def _recognise(path: Path) -> tuple[Kind | None, str, dict[str, Any]]:
    if path.is_dir():
        return None, "a folder", {}
    try:
        with path.open("rb") as file:
            head = file.read(512)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return _recognise_archive(archive)
    except (OSError, ValueError, zipfile.BadZipFile, yaml.YAMLError) as err:
        return None, f"damaged or unreadable ({' '.join(str(err).split())})", {}
    if not head:
        return None, "an empty file", {}
    for start, what in _STARTS:
        if head.startswith(start):
            return None, what, {}
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return None, "an HTML page, perhaps of a download that failed", {}
    is_text = not any(byte < 9 or 13 < byte < 32 for byte in head)
    return None, "a text file" if is_text else "a binary file of another program", {}


def _recognise_archive(archive: zipfile.ZipFile) -> tuple[Kind | None, str, dict[str, Any]]:
    names = archive.namelist()
    for name in names:
        if name.endswith("_metadata.json"):
            notes = json.loads(archive.read(name))
            if "type_names" in notes:
                notes = {str(key): str(value) for key, value in notes.items()}
                return "compiled", _NAMES["compiled"], notes
    if any("/aotinductor/" in name for name in names):
        return None, "a compiled model that does not come from `nequip-compile`", {}
    if package := _ending(names, "model/package_metadata.txt"):
        notes = yaml.safe_load(archive.read(package)) or {}
        if config := _ending(names, "model/config.yaml"):
            notes["config"] = yaml.safe_load(archive.read(config))
        return "package", _NAMES["package"], notes
    extra = {
        name.rsplit("/", 1)[1]: archive.read(name).decode(errors="replace")
        for name in names
        if "/extra/" in name
    }
    if extra or any("/code/" in name for name in names):
        return _recognise_torchscript(extra)
    if pickled := _ending(names, "data.pkl"):
        return _recognise_pickle(archive.read(pickled))
    return None, f"a zip archive of something else ({len(names)} files)", {}


def _recognise_torchscript(extra: dict[str, str]) -> tuple[Kind | None, str, dict[str, Any]]:
    if "type_names" in extra and "model_dtype" in extra:
        return "compiled", _NAMES["compiled"], dict(extra)
    if "nequip_version" in extra:
        return None, f"a TorchScript file of NequIP {extra['nequip_version']}, too old", {}
    return None, "a TorchScript file without NequIP's metadata", dict(extra)


def _recognise_pickle(data: bytes) -> tuple[Kind | None, str, dict[str, Any]]:
    try:
        found = _InertUnpickler(io.BytesIO(data)).load()
    except Exception:
        return None, "a file of `torch.save` that cannot be read", {}
    if isinstance(found, _Inert) and not found:
        state = found.state if isinstance(found.state, dict) else {}
        if "element_types" in state and "rcutfac" in state:
            return "mliap", _NAMES["mliap"], state
        what = f"a pickled object ({type(found).__module__}.{type(found).__qualname__})"
        return None, f"{what}, which nequip-decorr does not open", {}
    if not isinstance(found, dict):
        return None, "a file of `torch.save` that holds no model", {}
    settings = found.get("hyper_parameters")
    if isinstance(settings, dict) and isinstance(settings.get("model"), dict):
        return "checkpoint", _NAMES["checkpoint"], settings
    if "pytorch-lightning_version" in found:
        return None, "a Lightning checkpoint of another project (it names no NequIP model)", {}
    return None, "weights alone (a state dict), without the settings of the model", {}


def _ending(names: Sequence[str], end: str) -> str | None:
    return next((name for name in names if name.endswith(end)), None)


class _Inert(dict[Any, Any]):
    """Stand in for an object of any class: takes what pickle gives it and does nothing."""

    state: Any = None

    def __new__(cls, *args: Any, **kwargs: Any) -> _Inert:
        return dict.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def append(self, item: Any) -> None:
        """Ignore an item."""

    def extend(self, items: Any) -> None:
        """Ignore items."""

    def add(self, item: Any) -> None:
        """Ignore an item."""


class _InertUnpickler(pickle.Unpickler):
    """Read a pickle's plain data; no class is imported, no function called."""

    def find_class(self, module: str, name: str) -> Any:
        return type(name.rsplit(".", 1)[-1], (_Inert,), {"__module__": module})

    def persistent_load(self, pid: Any) -> Any:
        return None
