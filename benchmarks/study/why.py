"""Why runs fail: the wall between two atoms, and the features where a run ends.

Every stock run ends because two atoms meet. :func:`barriers` moves one atom of the closest pair of
each kind straight towards the other, all else at rest, and takes the energy that a model asks for
on the way to the distance at which the contact criterion stops a run. :func:`at_the_end` looks at
the last stable frames of each run: the error against the reference there, and the correlation.

Both are the last step of every model on silicon oxide, where the reference is at hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from nequip_decorr.inspection.evaluate import evaluate, load_model, outputs
from nequip_decorr.report.loading import load_runs

from .data import labelled

PAIRS: Final = (("O", "Si"), ("O", "O"), ("Si", "Si"))
CONTACT: Final = 0.6  # of the covalent sum: the default criterion
POINTS: Final = 25


def approach(atoms: Atoms, pair: tuple[str, str]) -> tuple[np.ndarray, list[Atoms]]:
    """Frames in which the closest pair of two elements is brought to contact.

    Args:
        atoms: a crystal at rest.
        pair: symbols.

    Returns:
        Distances as fractions of the covalent sum, ``[POINTS]``, falling to ``CONTACT``; the
        frames.
    """
    symbols = np.array(atoms.get_chemical_symbols())
    distances = atoms.get_all_distances(mic=True)
    is_pair = (symbols[:, None] == pair[0]) & (symbols[None, :] == pair[1])
    distances[~is_pair | np.eye(len(atoms), dtype=bool)] = np.inf
    moved, fixed = np.unravel_index(np.argmin(distances), distances.shape)
    start = distances[moved, fixed]
    way = atoms.get_distance(moved, fixed, mic=True, vector=True) / start
    numbers = atoms.get_atomic_numbers()
    total = covalent_radii[numbers[moved]] + covalent_radii[numbers[fixed]]
    wanted = np.linspace(start, CONTACT * total, POINTS)
    frames = []
    for distance in wanted:
        frame = Atoms(symbols.tolist(), atoms.positions.copy(), cell=atoms.cell, pbc=True)
        frame.positions[moved] += (start - distance) * way
        frames.append(frame)
    return wanted / total, frames


def barrier(energies_eV: Sequence[float]) -> float:
    """What the way to contact costs: its highest energy over that of its start."""
    return float(np.max(energies_eV) - energies_eV[0])


def model_energies(model: Any, frames: Sequence[Atoms]) -> list[float]:
    """Total energies (eV) of an eager model."""
    return [
        float(e) for out, _ in outputs(model, frames) for e in out["total_energy"].flatten().numpy()
    ]


def reference_energies(frames: Sequence[Atoms]) -> list[float]:
    """Total energies (eV) of the reference potential."""
    return [frame.get_potential_energy() for frame in map(labelled, frames)]


def energy_changes(first: Sequence[Atoms], last: Sequence[Atoms], model: Any) -> np.ndarray:
    """Energy of the last frames over that of the first, labelled both, by model and by label.

    Returns:
        eV/atom, ``[2, frames]``.
    """
    by_model = np.subtract(model_energies(model, last), model_energies(model, first))
    by_label = [
        b.get_potential_energy() - a.get_potential_energy()
        for a, b in zip(first, last, strict=True)
    ]
    return np.stack([by_model, by_label]) / [len(frame) for frame in last]


def barriers(crystals: Mapping[str, Atoms], model: Any = None) -> dict[str, float]:
    """Lowest barrier (eV) over the crystals by pair, of a model or of the reference."""
    found = {}
    for pair in PAIRS:
        ways = [approach(atoms, pair)[1] for atoms in crystals.values()]
        energies = [model_energies(model, w) if model else reference_energies(w) for w in ways]
        found["-".join(pair)] = min(map(barrier, energies))
    return found


def at_the_end(
    model: Any, features: Mapping[str, Any], folder: Path, status: str = "failed"
) -> dict[str, float]:
    """Errors and correlation on the last stable frame of the runs that failed, or survived.

    ``energy_change_mae`` (eV/atom) is the error of the energy gained since the start of the run: a
    model may be off by a constant in a composition that it has not seen, and MD does not feel that.
    """
    runs, _ = load_runs([folder])
    ways = [f for run in runs if run.row["status"] == status and (f := run.stable_frames())]
    if not ways:
        return {}
    last = [labelled(way[-1]) for way in ways]
    found = evaluate(model, last, **features)
    changes = energy_changes([labelled(way[0]) for way in ways], last, model)
    return {
        "frames": len(ways),
        "force_mae": found.force_mae_eV_per_A,
        "energy_change_mae": float(np.abs(changes[0] - changes[1]).mean()),
        "correlation": found.mean_correlation,
        "effective_rank": float(np.mean(list(found.effective_rank.values()))),
    }


def look(
    checkpoint: Path, features: Mapping[str, Any], crystals: Mapping[str, Atoms], md: Path
) -> dict[str, Any]:
    """Both, for one trained model, and the last frames of the runs that survived.

    Args:
        checkpoint: the model.
        features: where its features are, as `inspection.evaluate.evaluate` takes it.
        crystals: at rest, by name.
        md: its campaign.
    """
    model = load_model(checkpoint)
    return {
        "barriers_eV": barriers(crystals, model),
        "end": at_the_end(model, features, md),
        "survived": at_the_end(model, features, md, "survived"),
    }
