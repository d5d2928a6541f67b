"""Scripts beside an input: how to run it, and how on a cluster."""

from __future__ import annotations

import shlex
from typing import Any

from ...html import environment
from ...lammps_wheel import COMMAND_VARIABLE
from ...models.metadata import ModelInfo
from .build import command_words
from .run_output import LOST, NONFINITE
from .settings import RunSettings


def accelerator_flags(pair: str, device: str | None) -> str:
    """Command-line flags of LAMMPS for KOKKOS, in shell words; empty without it.

    ``newton on`` is what a strictly local model needs (forces of ghost atoms go back to their
    owners), ``neigh half`` what the pair style's own guide says.
    """
    if pair not in ("allegro/kk", "mliap"):
        return ""
    where = "t ${OMP_NUM_THREADS:-1}" if device == "cpu" else "g ${GPUS_PER_NODE:-1}"
    return f"-k on {where} -sf kk -pk kokkos newton on neigh half"


def run_script(settings: RunSettings, model: ModelInfo) -> str:
    """``run.sh``: runs the input, or with ``restart`` continues from the newest restart file."""
    if settings.pair == "library":
        return _filled("library.sh.j2")
    return _filled(
        "run.sh.j2",
        ensemble=settings.ensemble,
        lammps=_command(settings.lammps),
        launcher=f"mpirun -np {settings.ranks}" if settings.ranks > 1 else "",
        flags=accelerator_flags(settings.pair, model.device),
        restart_every=settings.restart_every,
        grade=settings.grade,
        bound=settings.criteria.extrapolation_grade,
        failures=f"^ERROR.*({LOST}|{NONFINITE})",
    )


def _command(lammps: str | None) -> str:
    """The command as a shell word; where none is named, the one that `lammps check` asks too."""
    if lammps is None:
        return f'"${{{COMMAND_VARIABLE}:-lmp}}"'
    return shlex.quote(shlex.join(command_words(lammps)))


def slurm_script(settings: RunSettings, model: ModelInfo) -> str:
    """``slurm.sh``: an example to adapt; one rank per GPU, or per core on CPUs."""
    return _filled(
        "slurm.sh.j2",
        ensemble=settings.ensemble,
        ranks=settings.ranks,
        gpu=model.device == "cuda",
        library=settings.pair == "library",
    )


def _filled(template: str, **values: Any) -> str:
    """Fill a template of a shell script; its filter ``quote`` makes any text one shell word."""
    shell = environment().overlay(autoescape=False, finalize=None, keep_trailing_newline=True)
    shell.filters = {**shell.filters, "quote": shlex.quote}
    return shell.get_template(template).render(values)
