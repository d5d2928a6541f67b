"""What no engine can do, told from a model's file and a run's settings alone."""

from __future__ import annotations

import importlib
from typing import Any, Final

from ase import Atoms
from ase.data import atomic_numbers

from ...errors import Finding, UserError
from ...models.compiling import compiled_metadata, is_compiled, type_names
from ..spec import ModelSpec, RunSpec

_INPUTS: Final = frozenset({"pos", "edge_index", "atom_types", "cell", "edge_cell_shift"})
_FIELDS_OF_BATCHES: Final = frozenset({"batch", "num_atoms", "ptr"})
_REMEDY: Final = "compile it with `nequip-compile CKPT OUT.nequip.pt2 --mode aotinductor --device "


def model_fields(model: ModelSpec) -> tuple[frozenset[str], frozenset[str]]:
    """Input and output fields of a compiled model; empty where its file does not list them."""
    if model.path is None or not is_compiled(model.path):
        return frozenset(), frozenset()
    notes = compiled_metadata(model.path)
    inputs = notes.get("nequip_aoti_inputs", "")
    outputs = notes.get("nequip_aoti_outputs", "")
    return frozenset(inputs.split()), frozenset(outputs.split())


def recompile(target: str, device: str = "cpu") -> str:
    """Say how to make a compiled model for another target."""
    return f"{_REMEDY}{device} --target {target}`"


def check_model(model: ModelSpec) -> list[Finding]:
    """Find why no engine can run a model: its types, what it needs, what it lacks."""
    what = f"model {model.name!r}"
    try:
        types = (type_names(model) if model.kind != "ase" else None) or ()
        inputs, outputs = model_fields(model)
    except (ValueError, OSError) as err:
        return [Finding(f"{what}: {err}")]
    found = []
    if strange := [name for name in types if name not in atomic_numbers]:
        found.append(
            Finding(
                f"{what} has atom types that are not chemical symbols ({', '.join(strange)}), so "
                f"that elements cannot be matched to its types ({', '.join(types)})",
                remedy="train it with chemical symbols as type names",
            )
        )
    if batches := inputs & _FIELDS_OF_BATCHES:
        found.append(
            Finding(
                f"{what} is compiled for batches of frames (inputs {', '.join(sorted(batches))})",
                remedy=recompile("ase"),
            )
        )
    elif needed := inputs - _INPUTS:
        found.append(
            Finding(
                f"{what} needs {', '.join(sorted(needed))} as input beside positions, cell and "
                "types, which no engine gives",
                remedy="train a model without that input for MD",
            )
        )
    if outputs and "forces" not in outputs:
        found.append(
            Finding(
                f"{what} gives no forces (outputs {', '.join(sorted(outputs))})",
                remedy="train and compile a model with forces (nequip's ForceStressOutput)",
            )
        )
    elif outputs and not outputs & {"virial", "stress"}:
        found.append(
            Finding(
                f"{what} gives neither virial nor stress (outputs {', '.join(sorted(outputs))})",
                remedy=recompile("ase"),
            )
        )
    return found


def unknown_elements(model: ModelSpec, structure: str, atoms: Atoms) -> list[Finding]:
    """Find the elements of a structure that a model does not know."""
    try:
        known = type_names(model) if model.kind != "ase" else None
    except (ValueError, OSError):
        return []  # check_model says so
    if known is None or any(name not in atomic_numbers for name in known):
        return []
    unknown = sorted(set(atoms.symbols) - set(known))
    if not unknown:
        return []
    message = f"model {model.name!r} does not know {', '.join(unknown)}; it knows"
    return [Finding(f"structure {structure!r}: {message} {', '.join(known)}")]


def check_settings(spec: RunSpec) -> list[Finding]:
    """Find settings that no engine can run."""
    ramp = spec.temperature_end_K is not None or spec.pressure_end_GPa is not None
    if ramp and spec.ensemble == "nve":
        return [Finding("a ramp needs ensemble nvt or npt, got nve")]
    lowest_K = min(spec.temperature_K, spec.temperature_end_K or spec.temperature_K)
    if spec.ensemble != "nve" and lowest_K <= 0:
        return [
            Finding(
                f"a thermostat needs a temperature above 0 K, got {lowest_K:g}",
                remedy="give a small one, such as 0.01, or use ensemble nve",
            )
        ]
    return []


def import_calculator(model: ModelSpec) -> Any:
    """Make the ASE calculator that a model of kind ``ase`` names.

    Raises:
        UserError: it cannot be imported.
    """
    return calculator_class(model)(**model.arguments)


def calculator_class(model: ModelSpec) -> Any:
    """Import the class of the ASE calculator that a model of kind ``ase`` names.

    Raises:
        UserError: it cannot be imported.
    """
    module, _, name = (model.calculator or "").rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as err:
        raise UserError(
            f"model {model.name!r}: calculator {model.calculator!r} cannot be imported ({err})"
        ) from None
