"""ASE's integrators with the degrees of freedom, ramps and units of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import IsotropicMTKNPT, NoseHooverChainNVT
from ase.md.verlet import VelocityVerlet

from ..lammps.run_input import template_name
from ..spec import RunSpec, target_temperature_K


def degrees_of_freedom(spec: RunSpec, num_atoms: int) -> int:
    """``3 n - 3`` where the total momentum is conserved; Langevin dynamics does not conserve it."""
    return 3 * num_atoms if _is_langevin(spec) else 3 * num_atoms - 3


def _is_langevin(spec: RunSpec) -> bool:
    return spec.thermostat == "langevin" and spec.ensemble != "nve"


def make_dynamics(spec: RunSpec, atoms: Atoms) -> tuple[MolecularDynamics, Callable[[int], None]]:
    """The integrator of a run, and a function that sets its targets for a step."""
    template_name(spec)  # refuses a ramp in NVE
    timestep = spec.timestep_fs * units.fs
    damping = spec.thermostat_damping_fs * units.fs
    if spec.ensemble == "nve":
        return VelocityVerlet(atoms, timestep), _constant
    if _is_langevin(spec):
        langevin = Langevin(
            atoms,
            timestep,
            temperature_K=spec.temperature_K,
            friction=1 / damping,
            fixcm=False,
            rng=np.random.default_rng(spec.seed),
        )

        def set_langevin(step: int) -> None:
            langevin.set_temperature(temperature_K=target_temperature_K(spec, step))

        return langevin, set_langevin if spec.temperature_end_K is not None else _constant
    chain: Any
    if spec.ensemble == "nvt":
        chain = NoseHooverChainNVT(atoms, timestep, spec.temperature_K, damping)
    else:
        chain = IsotropicMTKNPT(
            atoms,
            timestep,
            spec.temperature_K,
            spec.pressure_GPa * units.GPa,
            damping,
            spec.barostat_damping_fs * units.fs,
        )
    # ASE counts 3 n degrees of freedom; with the total momentum at zero, 3 n - 3 are there.
    chain._thermostat._num_atoms_global = len(atoms) - 1

    def set_chain(step: int) -> None:
        # ASE has no public way to move the targets of its chains.
        _set_target(chain, units.kB * target_temperature_K(spec, step))
        if spec.ensemble == "npt":
            end = spec.pressure_GPa if spec.pressure_end_GPa is None else spec.pressure_end_GPa
            now = spec.pressure_GPa + (end - spec.pressure_GPa) * step / spec.steps
            chain._pressure_au = now * units.GPa

    return chain, set_chain if template_name(spec) == "in.ramp" else _constant


def _set_target(chain: Any, kT_eV: float) -> None:
    """Move the target of a chain, and with it all masses, which are proportional to ``kT``.

    Masses of the start temperature would change the damping times with the temperature. As in
    LAMMPS (``fix nvt``, ``fix npt``), velocities of chain and barostat stay, so momenta scale.
    """
    parts = [(chain, (), ()), (chain._thermostat, ("_Q",), ("_p_eta",))]
    if hasattr(chain, "_barostat"):
        parts.append((chain._barostat, ("_W", "_R"), ("_p_xi",)))
        chain._p_eps *= kT_eV / chain._barostat._kT
    for part, masses, momenta in parts:
        if hasattr(part, "_kT"):
            for name in (*masses, *momenta):
                setattr(part, name, getattr(part, name) * (kT_eV / part._kT))
            part._kT = kT_eV


def _constant(step: int) -> None:
    return None
