"""What a compiled model says about itself, read without loading it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ase.data import atomic_numbers

from .compiling import compiled_metadata

if TYPE_CHECKING:
    from ase import Atoms

SUFFIXES: Final = (".nequip.pt2", ".nequip.pth", ".nequip.lmp.pt")

_LOCAL_INPUTS: Final = ("pos", "edge_index", "atom_types")
_PERIODIC_INPUTS: Final = (*_LOCAL_INPUTS, "cell", "edge_cell_shift")
_OUTPUTS: Final = ("atomic_energy", "forces", "virial")


@dataclass(frozen=True)
class ModelMetadata:
    """A compiled model's own description.

    Attributes:
        path: the model file.
        type_names: the model's atom types, in its order.
        r_max_A: cutoff radius.
        dtype: ``float32`` or ``float64``, the precision inside; inputs and outputs are float64.
        device: the device type it was compiled for (``cpu``, ``cuda``), ``None`` if it may choose.
        pair: the LAMMPS pair style it was compiled for (``allegro``, ``nequip``, ``mliap``), or
            ``None`` for a model made for another program.
    """

    path: Path
    type_names: tuple[str, ...]
    r_max_A: float
    dtype: str
    device: str | None
    pair: str | None

    def lammps_types(self, atoms: Atoms) -> tuple[str, ...]:
        """Elements for the LAMMPS atom types 1, 2, ...: the structure's, in the model's order.

        Raises:
            ValueError: a type of the model is not a chemical symbol, or the structure has an
                element that the model does not know.
        """
        strange = [name for name in self.type_names if name not in atomic_numbers]
        if strange:
            raise ValueError(
                f"{self.path.name} has atom types that are not chemical symbols: {strange}; masses "
                "cannot be told from them, so write data file and input by hand"
            )
        present = set(atoms.get_chemical_symbols())
        unknown = sorted(present - set(self.type_names))
        if unknown:
            raise ValueError(
                f"the structure has {unknown}, which {self.path.name} does not know; "
                f"its elements are {list(self.type_names)}"
            )
        return tuple(name for name in self.type_names if name in present)


def read_metadata(path: str | Path) -> ModelMetadata:
    """Read the metadata of a compiled model.

    A ``.nequip.pt2`` or ``.nequip.pth`` is opened as the archive it is: no code of it runs.
    An ML-IAP file (``.nequip.lmp.pt``, made by ``nequip-prepare-lmp-mliap``) is a pickle, and
    reading it runs what it holds, as LAMMPS itself would.

    Raises:
        ValueError: another kind of file, or one without NequIP's metadata.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    if not path.name.endswith(SUFFIXES):
        raise ValueError(
            f"{path}: not a compiled model; its name must end in {', '.join(SUFFIXES)} "
            "(made with `nequip-compile`, or `nequip-prepare-lmp-mliap` for ML-IAP)"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model file")
    if path.name.endswith(".nequip.lmp.pt"):
        return _read_mliap(path)
    fields = compiled_metadata(path)
    missing = [key for key in ("r_max", "model_dtype") if key not in fields]
    if missing:
        raise ValueError(
            f"{path}: the file has no {missing} in its metadata; was it made by `nequip-compile`?"
        )
    return ModelMetadata(
        path=path,
        type_names=tuple(fields["type_names"].split()),
        r_max_A=float(fields["r_max"]),
        dtype=fields["model_dtype"],
        device=fields.get("AOTI_DEVICE_KEY"),
        pair=_pair_style(fields),
    )


def _pair_style(fields: dict[str, str]) -> str | None:
    inputs = tuple(fields.get("nequip_aoti_inputs", "").split())
    outputs = tuple(fields.get("nequip_aoti_outputs", "").split())
    if not set(_OUTPUTS) <= set(outputs):
        return None
    return {_LOCAL_INPUTS: "allegro", _PERIODIC_INPUTS: "nequip"}.get(inputs)


def _read_mliap(path: Path) -> ModelMetadata:
    import torch

    model = torch.load(path, map_location="cpu", weights_only=False)
    return ModelMetadata(
        path=path,
        type_names=tuple(model.element_types),
        r_max_A=2.0 * float(model.rcutfac),
        dtype="float32",
        device=None,
        pair="mliap",
    )
