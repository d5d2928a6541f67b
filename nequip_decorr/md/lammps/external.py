"""What LAMMPS calls at every step through ``fix external``: a model evaluated in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from ase.data import atomic_numbers

from ...models.potential import CalculatorPotential, CompiledPotential
from ..contact import closest_contact
from ..signals import StopRequest
from ..spec import RunSpec

_FIX: Final = "model"


class Callback:
    """Evaluates the model and the contact measure, reports progress, and passes on a stop."""

    def __init__(
        self,
        spec: RunSpec,
        types: tuple[str, ...],
        pbc: np.ndarray,
        potential: CompiledPotential | CalculatorPotential | None,
        stop: StopRequest,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.record_every = spec.record_every
        self.fixed_cell = spec.ensemble != "npt"
        self.numbers = np.array([atomic_numbers[symbol] for symbol in types])
        self.pbc = np.asarray(pbc)
        self.potential = potential
        self.stop = stop
        self.progress = progress
        self.step = -1
        self.error: BaseException | None = None

    def attach(self, lmp: Any) -> None:
        """Become the callback of the fix that ``setup.lmp`` has made."""
        self.lmp = lmp
        self.cell = _cell(lmp)
        lmp.fix_external_set_vector_length(_FIX, 4)
        lmp.set_fix_external_callback(_FIX, self)

    def __call__(
        self, _: Any, step: int, num_atoms: int, tag: np.ndarray, x: np.ndarray, f: np.ndarray
    ) -> None:
        """Called by LAMMPS at every step."""
        try:
            self._evaluate(step, tag, x, f)
        except BaseException as err:
            # ctypes would swallow it and let the run go on.
            self.error = err
            f[:] = 0.0
            self.lmp.force_timeout()

    def _evaluate(self, step: int, tag: np.ndarray, x: np.ndarray, f: np.ndarray) -> None:
        lmp = self.lmp
        order = np.argsort(tag)  # LAMMPS sorts its atoms in space now and then
        x = x[order]
        again = step == self.step  # a setup: the last step of a run, to be recorded
        self.step = step
        if self.stop.requested:
            lmp.force_timeout()
        if not self.fixed_cell:
            self.cell = _cell(lmp)
        types = lmp.numpy.extract_atom("type", nelem=len(tag))[order] - 1
        if self.potential is None:
            f[:] = 0.0
        else:
            found = self.potential.evaluate(x, types.astype(np.int64), self.cell, self.pbc)
            f[order] = found.forces_eV_per_A
            lmp.fix_external_set_energy_global(_FIX, found.energy_eV)
            w = found.virial_eV
            voigt = [w[0, 0], w[1, 1], w[2, 2], w[0, 1], w[0, 2], w[1, 2]]
            lmp.fix_external_set_virial_global(_FIX, voigt)
        if again or step % self.record_every == 0:
            contact = np.nan
            if np.isfinite(x).all():
                contact = closest_contact(self.numbers[types], x, self.cell, self.pbc).fraction
            lmp.fix_external_set_vector(_FIX, 1, contact)
            if self.progress is not None:
                self.progress(step)


def _cell(lmp: Any) -> np.ndarray:
    low, high, xy, yz, xz, _, _ = lmp.extract_box()
    a, b, c = np.subtract(high, low)
    return np.array([[a, 0.0, 0.0], [xy, b, 0.0], [xz, yz, c]])
