"""When a run has failed: the table of criteria, one row each, and what follows from it.

To add a criterion, add its option to :class:`Criteria` and ``campaign/plan.py`` (so that run ids
stay) and its row to :data:`CRITERIA`; if LAMMPS is to stop for it, also ``check_NAME`` and its
bound to ``lammps/run.lmp`` and both to ``lammps/check.lmp``; if its quantity is new, a field to
:class:`.judge.State` and a column to ``md/record.py`` and ``lammps/record.lmp``. Both LAMMPS
engines judge inside LAMMPS (:func:`.judge.lammps_variables`), ASE's by :func:`.judge.evaluate`.

How far sound MD stays from the defaults: ``docs/stability.md``, "When a run has failed".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from ase import Atoms

from .contact import closest_contact, contact_radii_A


def _option(default: float | None, text: str, **limits: float) -> Any:
    """A field of :class:`Criteria`; limits are ``above`` or ``least``."""
    return field(default=default, metadata={"help": text, **limits})


@dataclass(frozen=True)
class Criteria:
    """When a run counts as failed. ``None`` switches a criterion off.

    A non-finite energy, force or position (``nonfinite``) and a lost atom (``lost``) always fail.
    """

    temperature_factor: float | None = _option(3.0, "multiple of the target temperature", above=1)
    temperature_floor_K: float = _option(2500.0, "smallest temperature bound, K", least=0)
    contact_fraction: float | None = _option(
        0.6, "smallest distance as a fraction of the sum of the covalent radii", above=0
    )
    energy_drop_eV_per_atom: float | None = _option(
        1.0, "largest drop of the potential energy below the start, eV/atom", above=0
    )
    energy_rise_eV_per_atom: float | None = _option(
        2.0, "largest rise of the potential energy above the start, eV/atom", above=0
    )
    max_force_eV_per_A: float | None = _option(200.0, "largest force component, eV/A", above=0)
    drift_eV_per_atom: float | None = _option(
        0.2, "largest drift of the total energy (nve), eV/atom", above=0
    )
    check_every: int = _option(1, "steps between two checks", least=1)
    extrapolation_grade: float | None = _option(
        None, "largest extrapolation grade of an atom; 1 is the edge of the training data", above=0
    )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Criteria:
        """From plain types; an old name is taken for the new one."""
        return cls(**{RENAMED.get(name, name): value for name, value in data.items()})


RENAMED: Final = {
    "energy_below_eV": "energy_drop_eV_per_atom",
    "energy_above_eV": "energy_rise_eV_per_atom",
}
"""New names by old ones. The old ones are read for one release; run identifiers keep them."""
GRADE_CAP: Final = 1e30
"""An infinite grade in runs and records, for LAMMPS and JSON have no infinity."""


@dataclass(frozen=True)
class Violation:
    """A criterion that is met: the run has failed. ``value`` is ``None`` if it is no number."""

    cause: str
    step: int
    value: float | None
    threshold: float | None
    message: str


Variables = dict[str, Sequence[float]]


@dataclass(frozen=True)
class Bound:
    """One side of a criterion, and its ``fix halt`` in ``lammps/check.lmp``.

    Attributes:
        halt: name of the fix, and of the variable ``check_HALT`` that it watches.
        option: the field of :class:`Criteria` that sets it; ``None`` if it is always on.
        below: whether values below the limit fail, instead of those above.
        limit: the limit in the criterion's unit, from (option's value, criteria, target in K).
        reading: the criterion's value, from (what the halt printed, limit).
        variables: of the templates, from (option's value or infinity, criteria, elements).
    """

    halt: str
    option: str | None = None
    below: bool = False
    limit: Callable[[float, Criteria, Any], Any] = lambda setting, *_: setting
    reading: Callable[[float, float], float | None] = lambda printed, _: printed
    variables: Callable[[float, Criteria, Sequence[str]], Variables] = lambda *_: {}

    def setting(self, criteria: Criteria) -> float | None:
        """Value of the option; ``None`` where it is off."""
        return 0.0 if self.option is None else getattr(criteria, self.option)


@dataclass(frozen=True)
class Criterion:
    """One way to fail.

    Attributes:
        name: as in the run table, where it is the cause of a failed run.
        label: in words, for figures and reports.
        colour: of the cause in figures; darker than those of models, after Tol's "muted" scheme.
        value: the quantity, from (state or record, the one at step 0); see :class:`.judge.State`.
        bounds: its sides; the first that is met counts.
        message: of a violation, with ``value`` and ``limit``.
        axis: what the options are measured in, for an axis.
        ensemble: the only one that it is judged in, ``None`` for all.
        is_number: whether a violation has a value and a threshold.
        inverted: whether the value has to stay above its option, so that severity is
            option over value and not value over option.
        widest: options beyond this are not tried when the option is varied.
        of_frame: the quantity from a frame, for engines that do not record it.
        trace: title of the quantity's axis where its course is drawn.
        per_target: whether its course is drawn relative to the target temperature.
        stops: whether the run stops; else the quantity is recorded and judged afterwards.
        optional: whether the quantity may be unknown (NaN: no failure) or infinite.
        marks: values beside the bounds to draw a line at.
    """

    name: str
    label: str
    colour: str
    value: Callable[[Any, Any], Any]
    bounds: tuple[Bound, ...]
    message: str
    axis: str = ""
    ensemble: str | None = None
    is_number: bool = True
    inverted: bool = False
    widest: float = math.inf
    of_frame: Callable[[Atoms], float] | None = None
    trace: str = ""
    per_target: bool = False
    stops: bool = True
    optional: bool = False
    marks: tuple[float, ...] = ()

    def setting(self, criteria: Criteria, ensemble: str) -> float | None:
        """Value of its (first) option that is on; ``None`` if it is off or always on."""
        if self.ensemble not in (None, ensemble):
            return None
        values = (bound.setting(criteria) for bound in self.bounds if bound.option is not None)
        return next((value for value in values if value is not None), None)

    def limits(self, criteria: Criteria, target_K: Any) -> list[tuple[Bound, Any]]:
        """The sides that are on, each with its limit."""
        found = ((bound, bound.setting(criteria)) for bound in self.bounds)
        return [(b, b.limit(s, criteria, target_K)) for b, s in found if s is not None]

    def ratio(self, value: Any, limit: Any) -> Any:
        """How far a value is towards its limit; beyond 1 the run has failed."""
        return limit / np.maximum(value, 1e-9) if self.inverted else value / limit

    def scaled(self, setting: float, scale: float) -> float:
        """The option at a scale; below 1 it is stricter."""
        return setting / scale if self.inverted else setting * scale

    def violation(self, step: int, value: float | None, limit: float) -> Violation:
        """The run's end by this criterion, in words."""
        if not self.is_number:
            return Violation(self.name, step, None, None, self.message)
        text = "a pair below its contact distance" if value is None else self.message
        return Violation(self.name, step, value, limit, text.format(value=value, limit=limit))


def temperature_limit_K(criteria: Criteria, target_K: Any) -> Any:
    """Highest temperature allowed at a target; infinite where the criterion is off."""
    if criteria.temperature_factor is None:
        return math.inf
    return np.maximum(criteria.temperature_factor * target_K, criteria.temperature_floor_K)


def _is_finite(state: Any) -> bool:
    numbers = state.temperature_K, state.potential_eV_per_atom, state.total_eV_per_atom
    return state.finite and all(map(math.isfinite, (*numbers, state.max_force_eV_per_A)))


def _largest(halt: str, of: str = "") -> dict[str, Any]:
    """A side whose template variable is its option."""
    return {"halt": halt, "variables": lambda setting, *_: {f"{of or halt}_max": [setting]}}


def _energy_change(state: Any, start: Any) -> Any:
    return state.potential_eV_per_atom - start.potential_eV_per_atom


CRITERIA: Final = (
    Criterion(
        name="nonfinite", label="not a number", colour="#444444",
        value=lambda state, _: 0.0 if _is_finite(state) else 1.0,
        bounds=(Bound("nonfinite"),), is_number=False,
        message="an energy, force or position is not finite",
    ),
    Criterion(
        name="lost", label="atoms lost", colour="#6A3D9A",
        value=lambda state, _: float(state.num_lost),
        bounds=(Bound("lost"),), message="{value:.0f} atoms lost",
    ),
    Criterion(
        name="contact", label="atoms too close", colour="#882255",
        value=lambda state, _: state.min_contact,
        bounds=(
            Bound(
                "contact", "contact_fraction", below=True, reading=lambda *_: None,
                variables=lambda setting, _, elements: (
                    {"radii": contact_radii_A(elements, setting)} if setting < math.inf else {}
                ),
            ),
        ),
        message="{value:.3f} of the covalent sum, allowed {limit:g}",
        axis="of covalent sum", inverted=True,
        widest=0.86,  # beyond, the bound would cut into bonds that every material has
        of_frame=lambda frame: closest_contact(
            frame.numbers, frame.positions, frame.cell.array, frame.pbc
        ).fraction,
        trace="closest pair\n/ covalent sum",
    ),
    Criterion(
        name="temperature", label="overheated", colour="#661100",
        value=lambda state, _: state.temperature_K,
        bounds=(
            Bound(
                "temperature", "temperature_factor",
                limit=lambda _, criteria, target_K: temperature_limit_K(criteria, target_K),
                reading=lambda printed, limit: printed * limit,
                variables=lambda setting, criteria, _: {
                    "temperature_factor": [setting],
                    "temperature_floor": [criteria.temperature_floor_K],
                },
            ),
        ),
        message="temperature {value:.4g} K, allowed {limit:.4g}",
        axis="x target", trace="temperature / target", per_target=True,
    ),
    Criterion(
        name="energy", label="energy out of range", colour="#332288", value=_energy_change,
        bounds=(
            Bound(
                option="energy_drop_eV_per_atom", below=True, limit=lambda setting, *_: -setting,
                reading=lambda printed, _: -printed, **_largest("energy_below"),
            ),
            Bound(option="energy_rise_eV_per_atom", **_largest("energy_above")),
        ),
        message="potential energy change {value:.4g} eV/atom, allowed {limit:.4g}",
        axis="eV/atom, below", trace="energy change\n/ eV per atom",
    ),
    Criterion(
        name="force", label="force too large", colour="#00796B",
        value=lambda state, _: state.max_force_eV_per_A,
        bounds=(Bound(option="max_force_eV_per_A", **_largest("force")),),
        message="largest force {value:.4g} eV/A, allowed {limit:.4g}", axis="eV/A",
    ),
    Criterion(
        name="drift", label="energy not conserved", colour="#AA4499",
        value=lambda state, start: abs(state.total_eV_per_atom - start.total_eV_per_atom),
        bounds=(Bound(option="drift_eV_per_atom", **_largest("drift")),),
        message="total energy drift {value:.4g} eV/atom, allowed {limit:.4g}",
        axis="eV/atom", ensemble="nve",
    ),
    Criterion(
        name="extrapolation", label="beyond the training data", colour="#806000",
        value=lambda state, _: state.max_grade,
        bounds=(
            Bound(option="extrapolation_grade", reading=lambda printed, _: min(printed, GRADE_CAP),
                  **_largest("extrapolation", "grade")),
        ),
        message="extrapolation grade {value:.3g}, allowed {limit:g}",
        axis="1: edge of the data", trace="largest grade", optional=True, marks=(1.0,),
    ),
)  # fmt: skip
"""In order: the first that is met names the cause, as in ``lammps/check.lmp``."""
CAUSES: Final = tuple(c.name for c in CRITERIA if c.stops)


def criterion(name: str) -> Criterion:
    """A row of the table.

    Raises:
        ValueError: no criterion has that name.
    """
    found = {c.name: c for c in CRITERIA}
    if name not in found:
        raise ValueError(f"no criterion is named {name!r}; allowed: {', '.join(found)}")
    return found[name]
