"""A potential to judge, as a campaign names it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class ModelSpec:
    """Name a potential and where it comes from.

    Attributes:
        name: the name in tables and reports.
        kind: ``nequip`` (a file of the NequIP framework, ``path``), ``lammps`` (a classical
            potential, ``pair_style`` and ``pair_coeff``) or ``ase`` (``calculator``).
        path: a compiled model, a checkpoint or a package.
        pair_style: words after LAMMPS's ``pair_style``.
        pair_coeff: words after ``pair_coeff``, one line for each command.
        calculator: an importable ``module.Class``.
        arguments: arguments of the calculator.
        grade: file of its extrapolation grade (``.grade.npz``), with the checkpoint beside it.
    """

    name: str
    kind: Literal["nequip", "lammps", "ase"]
    path: str | None = None
    pair_style: str | None = None
    pair_coeff: str | None = None
    calculator: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    grade: str | None = None
