"""Everything that a model says about itself, read without loading it, and what follows from it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ase.data import atomic_numbers

from ..errors import UserError
from ..model_files import Kind, ModelFile, require
from .classical import pair_coeff_elements
from .spec import ModelSpec

if TYPE_CHECKING:
    from ase import Atoms

LOCAL_INPUTS: Final = frozenset({"pos", "edge_index", "atom_types"})
PERIODIC_INPUTS: Final = LOCAL_INPUTS | {"cell", "edge_cell_shift"}
GRADE: Final = "extrapolation_grade"
MAKE_GRADE: Final = (
    "make it with `nequip-decorr extrapolation fit CHECKPOINT TRAINING_FILE`, then `nequip-decorr "
    "compile CHECKPOINT OUT.nequip.pt2`"
)
_PAIR_OUTPUTS: Final = frozenset({"atomic_energy", "forces", "virial"})


@dataclass(frozen=True)
class ModelInfo:
    """Describe a model by its file alone.

    Attributes:
        path: the model file.
        kind: ``compiled``, ``package``, ``checkpoint`` or ``mliap``.
        type_names: the model's atom types, in its order; ``None`` where only loading would tell.
        r_max_A: cutoff radius, ``None`` if unknown.
        dtype: ``float32`` or ``float64``, the precision inside (inputs and outputs are float64);
            empty if unknown.
        device: the device type it was compiled for (``cpu``, ``cuda``), ``None`` if it may choose.
        pair: the LAMMPS pair style it was compiled for (``allegro``, ``nequip``, ``mliap``), or
            ``None`` for a model made for another program.
        inputs: input fields of a compiled model; empty where it does not list them.
        outputs: output fields of a compiled model; empty where it does not list them.
        needs: fields of a frame that the model reads beside positions, cell and types, such as
            ``charge``.
    """

    path: Path
    kind: Kind
    type_names: tuple[str, ...] | None
    r_max_A: float | None = None
    dtype: str = ""
    device: str | None = None
    pair: str | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def has_grade(self) -> bool:
        """Whether the extrapolation grade of each atom is an output of a compiled model."""
        return GRADE in self.outputs

    def lammps_types(self, atoms: Atoms) -> tuple[str, ...]:
        """Elements for the LAMMPS atom types 1, 2, ...: the structure's, in the model's order.

        Raises:
            UserError: the structure has an element that the model does not know.
        """
        check_elements(self.path.name, self.type_names, atoms.symbols)
        present = set(atoms.symbols)
        return tuple(name for name in self.type_names or sorted(present) if name in present)


def check_elements(
    model: str, type_names: Iterable[str] | None, symbols: Iterable[str], structure: str = ""
) -> None:
    """Check that a model has an atom type for every element of a structure.

    Args:
        model: name of the model, for the message.
        type_names: names of the model's atom types; nothing is checked for ``None``.
        symbols: elements of the structure.
        structure: name of the structure, for the message.

    Raises:
        UserError: an element has no type, or a type is not a chemical symbol, so that elements
            and types cannot be matched.
    """
    if type_names is None:
        return
    known = tuple(type_names)
    place = f"structure {structure!r}" if structure else "the structure"
    if strange := [name for name in known if name not in atomic_numbers]:
        raise UserError(
            f"{model} has atom types that are not chemical symbols ({_shown(strange)}), so the "
            f"elements of {place} cannot be matched to its types {_shown(known)}; train it with "
            "chemical symbols as type names"
        )
    if unknown := sorted(set(symbols) - set(known)):
        raise UserError(
            f"{place} has {', '.join(unknown)}, which {model} does not know; it knows "
            f"{_shown(known)}"
        )


class NoDeviceError(UserError, RuntimeError):
    """A device that PyTorch cannot use here, and perhaps can where the work will run."""


def check_device(device: str) -> None:
    """Check that PyTorch can use a device here, such as ``cuda``.

    Raises:
        NoDeviceError: it cannot.
    """
    import torch

    try:
        found = torch.device(device)
        if found.type == "cuda":
            # Without a context on the GPU, which this process would keep from others.
            if not torch.cuda.is_available():
                raise RuntimeError("it finds no CUDA GPU")
            if (found.index or 0) >= torch.cuda.device_count():
                raise RuntimeError(f"it finds {torch.cuda.device_count()} CUDA GPUs")
        else:
            torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as err:
        reason = str(err).strip().split("\n")[0]
        raise NoDeviceError(
            f"PyTorch {torch.__version__} cannot use the device {device!r} here: {reason}"
        ) from None


def read_info(path: str | Path) -> ModelInfo:
    """Describe a compiled model, a package, a checkpoint or an ML-IAP file; no code of it runs.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the file is something else.
    """
    file = require(path, ("compiled", "package", "checkpoint", "mliap"))
    if file.kind == "compiled":
        return _compiled(file)
    if file.kind == "mliap":
        return ModelInfo(
            path=file.path,
            kind="mliap",
            type_names=tuple(map(str, file.notes["element_types"])),
            r_max_A=2.0 * float(file.notes["rcutfac"]),
            dtype="float32",
            pair="mliap",
        )
    return _trained(file)


def read_metadata(path: str | Path) -> ModelInfo:
    """Describe a compiled model or an ML-IAP file, which LAMMPS can run as it is.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the file is something else, or says too little about itself.
    """
    file = require(path, ("compiled", "mliap"))
    missing = [key for key in ("r_max", "model_dtype") if key not in file.notes]
    if file.kind == "compiled" and missing:
        raise UserError(
            f"{path}: the file has no {missing} in its metadata; was it made by `nequip-compile`?"
        )
    return read_info(path)


def type_names(model: ModelSpec) -> tuple[str, ...] | None:
    """Names of the atom types that a model knows; ``None`` where only loading it would tell.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: its file is not a model.
    """
    if model.kind == "lammps":
        return pair_coeff_elements(model.pair_coeff or "")
    return None if model.path is None else read_info(model.path).type_names


def on_gpu(model: ModelSpec) -> bool:
    """Whether a model was compiled for a GPU."""
    if model.path is None or not model.path.endswith(".nequip.pt2"):
        return False
    return (read_info(model.path).device or "cpu").startswith("cuda")


def _compiled(file: ModelFile) -> ModelInfo:
    notes = file.notes
    inputs = tuple(notes.get("nequip_aoti_inputs", "").split())
    outputs = tuple(notes.get("nequip_aoti_outputs", "").split())
    pair = None
    if set(outputs) >= _PAIR_OUTPUTS:
        pair = {LOCAL_INPUTS: "allegro", PERIODIC_INPUTS: "nequip"}.get(frozenset(inputs))
    return ModelInfo(
        path=file.path,
        kind="compiled",
        type_names=tuple(notes["type_names"].split()),
        r_max_A=float(notes["r_max"]) if "r_max" in notes else None,
        dtype=notes.get("model_dtype", ""),
        device=notes.get("AOTI_DEVICE_KEY"),
        pair=pair,
        inputs=inputs,
        outputs=outputs,
    )


def _trained(file: ModelFile) -> ModelInfo:
    """Describe a checkpoint or a package by the training configuration inside it."""
    assert file.kind is not None
    if file.kind == "package":
        config = (file.notes.get("config") or {}).get("training_module", {}).get("model")
        types = file.notes.get("atom_types") or {}
        names = tuple(str(types[index]) for index in sorted(types)) or None
    else:
        config, names = file.notes["model"], None
    nodes = list(_mappings(config))
    first: dict[str, Any] = {}
    for node in nodes:
        first = {**node, **first}
    found = first.get("type_names")
    if names is None and isinstance(found, (list, tuple)):
        names = tuple(map(str, found))
    radius = first.get("r_max")
    needs = [
        str(entry["field"])
        for node in nodes
        for entry in node.get("categorical_graph_field_embed") or ()
        if isinstance(entry, dict) and "field" in entry
    ]
    return ModelInfo(
        path=file.path,
        kind=file.kind,
        type_names=names,
        r_max_A=float(radius) if isinstance(radius, (int, float)) else None,
        dtype=str(first.get("model_dtype", "")),
        needs=tuple(dict.fromkeys(needs)),
    )


def _mappings(node: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a configuration, outer ones first."""
    if isinstance(node, dict):
        yield node
    if isinstance(node, (dict, list, tuple)):
        for child in node.values() if isinstance(node, dict) else node:
            yield from _mappings(child)


def contains_allegro(path: str | Path) -> bool:
    """Whether a checkpoint or package holds a model of the ``allegro`` package."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any("/allegro/" in name for name in names):
            return True
        return any(b"allegro.model" in archive.read(n) for n in names if n.endswith("data.pkl"))


def _shown(names: Iterable[str], most: int = 12) -> str:
    names = list(names)
    more = f", ... ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(names[:most]) + more
