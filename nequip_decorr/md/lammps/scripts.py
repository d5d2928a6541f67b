"""Texts of the scripts beside an input: how to run it, and how on a cluster."""

from __future__ import annotations

from ...models.metadata import ModelInfo
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
    """``run.sh``: runs the input, or with ``restart`` goes on from the newest restart file."""
    flags = accelerator_flags(settings.pair, model.device)
    lines = [
        "#!/bin/sh",
        f"# Runs in.{settings.ensemble} here, whose first lines hold the run's values.",
        "#   sh run.sh                   start anew",
        "#   sh run.sh restart           go on from the newest restart file",
        "#   sh run.sh -var steps 50000  with another value (after `restart` too)",
        "# LMP, LAUNCH and OMP_NUM_THREADS can be set from outside.",
        "set -eu",
        'cd "$(dirname "$0")"',
        'export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"',
        f'LMP="${{LMP:-{settings.lammps}}}"',
        f'LAUNCH="${{LAUNCH-{launcher(settings)}}}"',
        "",
        'if [ "${1:-}" = restart ]; then',
        "  newest=$(ls -t restart.a restart.b 2>/dev/null | head -n 1)",
        '  [ -n "$newest" ] || { echo "no restart file here" >&2; exit 1; }',
        "  shift",
        '  set -- -var restart_from "$newest" -log log.restart "$@"',
        "else",
        '  set -- -log log.lammps "$@"',
        "fi",
        "",
        f"exec $LAUNCH $LMP {flags + ' ' if flags else ''}-in in.{settings.ensemble} "
        f'-var restart_every {settings.restart_every} "$@"',
    ]
    return "\n".join(lines) + "\n"


def launcher(settings: RunSettings) -> str:
    """What starts the ranks, empty for one."""
    return f"mpirun -np {settings.ranks}" if settings.ranks > 1 else ""


def library_script() -> str:
    """``run.sh`` for the library engine: a campaign of one run."""
    return (
        "#!/bin/sh\n"
        "# Runs campaign.yaml with the library engine; start it again and it goes on.\n"
        "set -eu\n"
        'cd "$(dirname "$0")"\n'
        'export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"\n'
        "exec nequip-decorr stability run campaign.yaml\n"
    )


def slurm_script(settings: RunSettings, model: ModelInfo) -> str:
    """``slurm.sh``: an example to adapt; one rank per GPU, or per core on CPUs."""
    gpu = model.device == "cuda"
    ranks = settings.ranks
    lines = [
        "#!/bin/bash",
        "# An example: set account, partition, time and modules as your cluster wants them.",
        f"#SBATCH --job-name=md-{settings.ensemble}",
        "#SBATCH --nodes=1",
        f"#SBATCH --ntasks-per-node={ranks}",
        "#SBATCH --cpus-per-task=1",
        *([f"#SBATCH --gpus-per-node={ranks}"] if gpu else []),
        "#SBATCH --time=24:00:00",
        # A campaign ends in good order at this; LAMMPS would only end earlier.
        *(["#SBATCH --signal=B:TERM@120"] if settings.pair == "library" else []),
        "",
        "export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}",
        *([f"export GPUS_PER_NODE={ranks}"] if gpu else []),
        f"export LAUNCH={'srun' if settings.pair != 'library' else ''}",
        "",
        "# Go on where an earlier job of this folder was cut off.",
        'if [ -e "$SLURM_SUBMIT_DIR/restart.a" ]; then',
        '  exec sh "$SLURM_SUBMIT_DIR/run.sh" restart',
        "fi",
        'exec sh "$SLURM_SUBMIT_DIR/run.sh"',
    ]
    return "\n".join(lines) + "\n"
