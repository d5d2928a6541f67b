"""What no engine can do, told from a model's file and a run's settings alone."""

from __future__ import annotations

from typing import Final

from ase import Atoms, units

from ...errors import Finding
from ...models.metadata import PERIODIC_INPUTS, check_elements, read_info, type_names
from ..spec import ModelSpec, RunSpec

_FIELDS_OF_BATCHES: Final = frozenset({"batch", "num_atoms", "ptr"})
# 3 (volume per atom) (bulk modulus) of a hard solid, 12 A^3 and 100 GPa.
_STIFFNESS_EV: Final = 22.0


def check_model(model: ModelSpec) -> list[Finding]:
    """Find why no engine can run a model: its types, what it needs, what it lacks."""
    what = f"model {model.name!r}"
    try:
        check_elements(what, type_names(model), ())
        info = None if model.kind != "nequip" else read_info(str(model.path))
    except (ValueError, OSError) as err:
        return [Finding(str(err))]
    if info is None:
        return []
    found, inputs, outputs = [], set(info.inputs), set(info.outputs)
    recompile = (
        "compile it with `nequip-compile CKPT OUT.nequip.pt2 --mode aotinductor --device "
        f"{info.device or 'cpu'} --target ase`"
    )
    if batches := inputs & _FIELDS_OF_BATCHES:
        fields = ", ".join(sorted(batches))
        found.append(Finding(f"{what} is compiled for batches (inputs {fields})", remedy=recompile))
    elif needed := (inputs - PERIODIC_INPUTS) | set(info.needs):
        found.append(
            Finding(
                f"{what} needs {', '.join(sorted(needed))} as input beside positions, cell and "
                "types, which no engine gives",
                remedy="train a model without that input for MD",
            )
        )
    fields = ", ".join(sorted(outputs))
    if outputs and "forces" not in outputs:
        found.append(
            Finding(
                f"{what} gives no forces (outputs {fields})",
                remedy="train and compile a model with forces (nequip's ForceStressOutput)",
            )
        )
    elif outputs and not outputs & {"virial", "stress"}:
        message = f"{what} gives neither virial nor stress (outputs {fields})"
        found.append(Finding(message, remedy=recompile))
    return found


def unknown_elements(model: ModelSpec, structure: str, atoms: Atoms) -> list[Finding]:
    """Find the elements of a structure that a model does not know."""
    try:
        check_elements(f"model {model.name!r}", type_names(model), atoms.symbols, structure)
    except (ValueError, OSError) as err:
        return [Finding(str(err))]
    return []


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
    # A barostat's mass is proportional to kT: a cold one is light, and its vibration too fast.
    cold_K = _STIFFNESS_EV / units.kB * (spec.timestep_fs / spec.barostat_damping_fs) ** 2
    follows = spec.thermostat == "nose-hoover" or not ramp
    if spec.ensemble == "npt" and follows and lowest_K < cold_K:
        return [
            Finding(
                f"npt at {lowest_K:g} K: the barostat of a hard solid is unstable below about "
                f"{cold_K:.2g} K with a time step of {spec.timestep_fs:g} fs and a damping time of "
                f"{spec.barostat_damping_fs:g} fs; the model may be blamed for it",
                "warning",
                "start warmer, or raise barostat_damping_fs",
            )
        ]
    return []
