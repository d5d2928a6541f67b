"""The one `Engine`: what is checked before a run, and what every run begins and ends with."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms

from ...errors import Finding, UserError
from ...models.metadata import type_names
from ..signals import StopRequest
from ..spec import ModelSpec, RunResult, RunSpec
from ..start import engine_frame, mass_spread_amu, read_start
from .model_checks import check_grade, check_model, check_settings, unknown_elements
from .pair_checks import missing_pair_style

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Job:
    """Hold what an engine needs for one run.

    Attributes:
        spec: the run.
        folder: where the record goes; it exists.
        atoms: the start frame.
        types: element of each atom type of the model.
        stop: says when to end early.
        progress: called with the step now and then.
    """

    spec: RunSpec
    folder: Path
    atoms: Atoms
    types: tuple[str, ...]
    stop: StopRequest
    progress: Progress | None


class Engine(ABC):
    """An MD engine.

    Subclasses give :meth:`refusals`, what this engine cannot do, and :meth:`integrate`, the run
    itself; start frame, checks, signals and wall time are the same for all.
    """

    name: ClassVar[str]

    @abstractmethod
    def refusals(self, spec: RunSpec) -> list[Finding]:
        """Find what this engine cannot do for a model and settings, without reading files.

        Args:
            spec: a run; its start frame is not looked at.
        """

    @abstractmethod
    def integrate(self, job: Job) -> RunResult:
        """Integrate a run that has passed the checks."""

    def check(
        self, model: ModelSpec, structures: Mapping[str, Atoms], settings: Mapping[str, Any]
    ) -> list[Finding]:
        """Find what the engine would refuse, without running MD or the code of a model file.

        Structures are taken to be sound in themselves
        (:func:`~nequip_decorr.structures.check.check_structure`).

        Args:
            model: the model, compiled or not.
            structures: start structures by name.
            settings: the fields of :class:`~nequip_decorr.md.spec.RunSpec` that all runs share, as
                in ``Campaign.run``; ``temperature_K`` (the lowest of the campaign) may stand there.

        Returns:
            Errors (no run can be made) and warnings, each with its remedy; empty if all is well.
        """
        given = {"temperature_K": 300.0, "seed": 1, **settings}
        spec = RunSpec("check", model, "", "", **given)
        found = self._check_spec(spec)
        if not errors(found):
            found += missing_pair_style(spec, wheel=self.name != "lammps")
        readable = not check_model(model)
        for name, atoms in structures.items():
            found += unknown_elements(model, name, atoms) if readable else []
            found += self._check_masses(f"structure {name!r}", atoms)
        return found

    def run(self, spec: RunSpec, folder: Path, progress: Progress | None = None) -> RunResult:
        """Do a run, leave its record in ``folder``, and say how it ended.

        Args:
            spec: the run.
            folder: where the record goes; made if it is not there.
            progress: called with the step now and then.

        Raises:
            UserError: the run asks for what the engine or the model cannot do, such as an element
                that the model does not know.
            FileNotFoundError: there is no LAMMPS.
        """
        started = time.monotonic()
        atoms = read_start(spec.structure_file)
        found = errors(self._check_spec(spec))
        found = found or unknown_elements(spec.model, spec.structure, atoms)
        found += errors(self._check_masses(f"structure {spec.structure!r}", atoms))
        if found:
            raise UserError("\n".join(map(str, found)))
        types = model_types(spec.model, atoms)
        folder.mkdir(parents=True, exist_ok=True)
        with StopRequest("SIGTERM") as stop:
            result = self.integrate(Job(spec, folder, atoms, types, stop, progress))
        if stop.requested and result.status == "interrupted":
            result = replace(result, message="stopped by SIGTERM")
        return replace(result, wall_s=time.monotonic() - started)

    def _check_spec(self, spec: RunSpec) -> list[Finding]:
        found = check_model(spec.model) + check_settings(spec)
        return found if errors(found) else found + check_grade(spec) + self.refusals(spec)

    def _check_masses(self, what: str, atoms: Atoms) -> list[Finding]:
        """LAMMPS has one mass per atom type; ASE one per atom."""
        try:
            spread, common = mass_spread_amu(atoms), mass_spread_amu(engine_frame(atoms))
        except UserError:
            return []  # not sound in itself
        found = []
        for symbol, width_amu in spread.items():
            if common[symbol] > 1e-9 and self.name != "ase":
                found.append(
                    Finding(
                        f"{what}: the masses of {symbol} differ by {width_amu:.3g} amu, and LAMMPS "
                        "has one mass per element",
                        remedy="give all atoms of an element one mass, or use engine ase",
                    )
                )
            elif width_amu > 1e-9 and common[symbol] <= 1e-9:
                message = f"{what}: the masses of {symbol} differ by {width_amu:.3g} amu"
                found.append(Finding(f"{message}; every run takes their mean", "warning"))
        return found


def errors(findings: list[Finding]) -> list[Finding]:
    """Select the findings that no run can be made with."""
    return [finding for finding in findings if finding.severity == "error"]


def model_types(model: ModelSpec, atoms: Atoms) -> tuple[str, ...]:
    """Elements of the model's atom types, in its order; the structure's own where it has none."""
    known = type_names(model) if model.kind != "ase" else None
    return tuple(sorted(set(atoms.symbols))) if known is None else known
