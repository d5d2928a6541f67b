"""Energy drift in NVE, and mean square displacement: do the dynamics make sense while they last?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from ase import Atoms
from scipy import stats

MIN_RECORDS: Final = 10
MIN_FRAMES: Final = 20
_MAX_POINTS: Final = 500
_EXPONENT: Final = (0.8, 1.2)
_FLAT: Final = 0.1
_HOP_A: Final = 1.0
# 1 A^2/ps = 1e-4 cm^2/s
CM2_PER_S: Final = 1e-4


@dataclass(frozen=True)
class Drift:
    """Drift of the total energy per atom in NVE.

    Attributes:
        rate_eV_per_atom_ps: slope of a robust line (Theil-Sen).
        low, high: its 95 % interval, in the same unit.
        spread_eV_per_atom: standard deviation about the line.
        records: how many records went in.
        length_ps: the time they span.
    """

    rate_eV_per_atom_ps: float
    low: float
    high: float
    spread_eV_per_atom: float
    records: int
    length_ps: float


def energy_drift(time_ps: np.ndarray, total_eV_per_atom: np.ndarray) -> Drift | None:
    """Drift by the Theil-Sen estimator, which a burst at the end doesn't lead astray.

    Beyond 500 records, means of neighbouring ones are used: the estimator takes all couples.
    Source: Sen 1968, doi:10.1080/01621459.1968.10480934.

    Args:
        time_ps: ``[num_records]``, rising.
        total_eV_per_atom: ``[num_records]``.

    Returns:
        ``None`` if fewer than 10 finite records are there.
    """
    time, energy = np.asarray(time_ps, dtype=float), np.asarray(total_eV_per_atom, dtype=float)
    if time.shape != energy.shape or time.ndim != 1:
        raise ValueError(
            f"time and energy must be of one length, got {time.shape} and {energy.shape}"
        )
    finite = np.isfinite(time) & np.isfinite(energy)
    time, energy = time[finite], energy[finite]
    if len(time) < MIN_RECORDS:
        return None
    blocks = min(len(time), _MAX_POINTS)
    t = np.array([part.mean() for part in np.array_split(time, blocks)])
    e = np.array([part.mean() for part in np.array_split(energy, blocks)])
    slope, intercept, low, high = stats.theilslopes(e, t, alpha=0.95)
    rest = energy - intercept - slope * time
    return Drift(
        float(slope),
        float(low),
        float(high),
        float(rest.std()),
        len(time),
        float(time[-1] - time[0]),
    )


@dataclass(frozen=True)
class Displacement:
    """Mean square displacement of one element.

    Attributes:
        element: its symbol.
        lag_ps: ``[num_lags]``, from 0 to half of the trajectory.
        msd_A2: ``[num_lags]``, the mean over atoms and time origins.
        exponent: slope of log MSD against log lag in the fitted part; 1 is diffusion.
        diffusion_A2_per_ps: ``D`` of ``MSD = 6 D t + c``, ``None`` where ``verdict`` says why.
        verdict: one line for people.
    """

    element: str
    lag_ps: np.ndarray
    msd_A2: np.ndarray
    exponent: float | None
    diffusion_A2_per_ps: float | None
    verdict: str


def unwrapped(frames: Sequence[Atoms]) -> np.ndarray:
    """Positions without jumps at the boundaries, centre of mass at rest, ``[frames, atoms, 3]``.

    An atom is taken to move by less than half a cell between two frames. In a cell that changes,
    displacements are those of fractional coordinates, in each frame's cell.
    """
    cells = np.array([frame.cell.complete().array for frame in frames])
    scaled = np.array([frame.positions for frame in frames]) @ np.linalg.inv(cells)
    steps = np.diff(scaled, axis=0)
    steps -= np.round(steps) * frames[0].pbc
    scaled[1:] = scaled[0] + np.cumsum(steps, axis=0)
    positions: np.ndarray = scaled @ cells
    masses = frames[0].get_masses()
    centre = np.einsum("a,faj->fj", masses, positions) / masses.sum()
    positions -= centre[:, None] - centre[0]
    return positions


def mean_square_displacement(positions: np.ndarray) -> np.ndarray:
    """MSD over all time origins by Fourier transform.

    Source: Calandrini et al. 2011, doi:10.1051/sfn/201112010.

    Args:
        positions: unwrapped, ``[num_frames, num_atoms, 3]``.

    Returns:
        ``[num_frames]`` by lag in frames, in the square of the unit.
    """
    n = len(positions)
    moved = positions - positions.mean(axis=0)
    power = np.abs(np.fft.rfft(moved, n=2 * n, axis=0)) ** 2
    correlation = np.fft.irfft(power, n=2 * n, axis=0)[:n].sum(axis=2)
    square = np.sum(moved**2, axis=2)
    first = np.cumsum(square, axis=0)
    # Sum over origins of |r(t)|^2 + |r(t + lag)|^2, each from cumulative sums.
    total = first[::-1] + (first[-1] - np.vstack([np.zeros_like(first[:1]), first[:-1]]))
    origins = np.arange(n, 0, -1)[:, None]
    found: np.ndarray = ((total - 2 * correlation) / origins).mean(axis=1)
    return found.clip(min=0.0)


def displacements(frames: Sequence[Atoms], frame_ps: float) -> list[Displacement]:
    """Mean square displacement of each element, and diffusion where there is any to speak of.

    Args:
        frames: of one run's stable segment, at equal distances in time.
        frame_ps: that distance.

    Raises:
        ValueError: for a distance that is not positive.
    """
    if not frame_ps > 0:
        raise ValueError(f"frame_ps must be positive, got {frame_ps}")
    if len(frames) < 2:
        return []
    positions = unwrapped(frames)
    symbols = np.array(frames[0].get_chemical_symbols())
    lag_ps = np.arange(len(frames) // 2 + 1) * frame_ps
    found = []
    for element in sorted(set(symbols)):
        msd = mean_square_displacement(positions[:, symbols == element])[: len(lag_ps)]
        found.append(Displacement(element, lag_ps, msd, *_diffusion(lag_ps, msd, len(frames))))
    return found


def pooled(runs: Sequence[Sequence[Displacement]]) -> list[Displacement]:
    """Mean of the displacements of several runs of the same atoms, over the lags of all of them.

    Args:
        runs: what :func:`displacements` gave for each, at the same distance of frames.

    Raises:
        ValueError: their frames are at different distances.
    """
    by_element: dict[str, list[Displacement]] = {}
    for run in runs:
        for part in run:
            by_element.setdefault(part.element, []).append(part)
    found = []
    for element, parts in sorted(by_element.items()):
        n = min(len(part.lag_ps) for part in parts)
        lag_ps = parts[0].lag_ps[:n]
        if not all(np.allclose(part.lag_ps[:n], lag_ps) for part in parts):
            raise ValueError("runs with frames at different distances cannot be pooled")
        msd = np.mean([part.msd_A2[:n] for part in parts], axis=0)
        found.append(Displacement(element, lag_ps, msd, *_diffusion(lag_ps, msd, 2 * (n - 1))))
    return found


def _diffusion(
    lag_ps: np.ndarray, msd_A2: np.ndarray, n_frames: int
) -> tuple[float | None, float | None, str]:
    """(exponent, D, verdict) from the second half of the lags."""
    if n_frames < MIN_FRAMES:
        return None, None, f"too few frames ({n_frames}, {MIN_FRAMES} needed)"
    late = lag_ps >= lag_ps[-1] / 2
    if not np.all(msd_A2[late] > 0):
        return None, None, "the atoms don't move"
    exponent = float(np.polyfit(np.log(lag_ps[late]), np.log(msd_A2[late]), 1)[0])
    if not _EXPONENT[0] <= exponent <= _EXPONENT[1]:
        course = "MSD is flat" if exponent < _FLAT else f"MSD grows as t^{exponent:.2f}"
        return exponent, None, f"no linear regime ({course})"
    if msd_A2[-1] < _HOP_A**2:
        return exponent, None, f"displaced by {np.sqrt(msd_A2[-1]):.2f} A only: no diffusion seen"
    diffusion = float(np.polyfit(lag_ps[late], msd_A2[late], 1)[0] / 6)
    return exponent, diffusion, f"D = {diffusion * CM2_PER_S:.2g} cm2/s"
