"""Radial and angular distribution functions, in the definitions of the SAIT benchmark.

The benchmark (https://github.com/SAITPublic/MLFF-Framework, NeurIPS 2023 datasets track) takes its
distributions from Auto-FOX with a patch of its own. What that computes, and this module with it:

=============== ================================================================================
RDF of (a, b)   ``count(r <= d < r + dr) V / (N_a N_b 4 pi r^2 dr)`` at the *left* edge ``r`` of a
                bin, ``g(0) = 0``, ``V`` of the first frame; the mean of all frames
ADF of (a c b)  angles at ``c`` between neighbours within ``r_max``, each with the weight
                ``exp(-max(d_ac, d_bc))``; per frame a density over 180 bins of 1 degree times
                180, bin ``[k - 1, k)`` labelled ``k``; the mean of all frames
=============== ================================================================================

Auto-FOX takes every cell for a box along x, y and z with the lengths of the cell vectors. In a
tilted cell some of its distances are therefore not those of the crystal (its reference for
monoclinic HfO2 has oxygen pairs at 1.5 A). ``images="cell"`` is right for any cell;
``images="box"`` repeats Auto-FOX (on a 2 x 2 x 2 replica, as the benchmark does), for numbers that
are to be set beside the benchmark's. In an orthogonal cell along the axes the two agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement, permutations
from typing import Final, Literal

import numpy as np
from ase import Atoms
from matscipy.neighbours import neighbour_list

from .distribution import Distribution

Images = Literal["cell", "box"]

RDF_BIN_A: Final = 0.05
RDF_R_MAX_A: Final = 6.0
ADF_R_MAX_A: Final = 5.0


def labels_of(symbols: Sequence[str], size: int) -> list[str]:
    """Pairs (``size`` 2) or triplets (3) of elements, each once, in the benchmark's order."""
    keys: list[tuple[str, ...]] = []
    for group in combinations_with_replacement(sorted(set(symbols)), size):
        for key in permutations(group):
            if key not in keys and key[::-1] not in keys:
                keys.append(key)
    return [" ".join(key) for key in keys]


def radial_distribution(
    frames: Sequence[Atoms],
    dr_A: float = RDF_BIN_A,
    r_max_A: float = RDF_R_MAX_A,
    images: Images = "cell",
    convention: Literal["sait", "lammps"] = "sait",
) -> Distribution:
    """Mean radial distribution function of every element pair.

    Args:
        frames: at least one, all of the same atoms, periodic.
        dr_A: width of a bin.
        r_max_A: the last bin starts here (``sait``) or ends here (``lammps``).
        images: see the module.
        convention: ``sait``, or ``lammps`` for that of ``compute rdf``: bin centres, exact shell
            volumes, the volume of each frame, and ``N - 1`` partners of the own element.

    Raises:
        ValueError: for no frames, frames of different atoms, or a cell without volume.
    """
    frames = _checked(frames, images, dr_A=dr_A, r_max_A=r_max_A)
    lammps = convention == "lammps"
    n_bins = round(r_max_A / dr_A) + (not lammps)
    edges = np.arange(n_bins + 1) * dr_A
    labels, species, counts = _species(frames[0])
    pairs = _pair_index(labels)
    totals = np.zeros((len(labels_of(labels, 2)), n_bins))
    for frame in frames:
        searched = _images(frame, images)
        types = np.tile(species, len(searched) // len(species))
        i, j, d = neighbour_list("ijd", searched, float(edges[-1]))
        # Auto-FOX bins by the integer part of this quotient, not by comparison with the edges.
        bins = (d / dr_A).astype(int)
        flat = pairs[types[i], types[j]] * n_bins + bins
        found = np.bincount(flat[bins < n_bins], minlength=totals.size).reshape(totals.shape)
        volume = frame.get_volume() if lammps else frames[0].get_volume()
        totals += found * volume / (len(searched) / len(frame))
    a, b = np.triu_indices(len(labels))
    own = (a == b).astype(int)
    # A pair of different elements is found twice, once from each end.
    partners = counts[a] * (counts[b] - own * lammps) * (2 - own)
    x: np.ndarray
    shells: np.ndarray
    if lammps:
        x, shells = (edges[:-1] + edges[1:]) / 2, 4 / 3 * np.pi * np.diff(edges**3)
    else:
        x, shells = edges[:-1], 4 * np.pi * edges[:-1] ** 2 * dr_A
    with np.errstate(divide="ignore", invalid="ignore"):
        g = np.nan_to_num(totals / len(frames) / partners[:, None] / shells, posinf=0.0)
    if not lammps:
        g[:, 0] = 0.0
    return Distribution("rdf", x, dict(zip(labels_of(labels, 2), g, strict=True)), len(frames))


def angular_distribution(
    frames: Sequence[Atoms], r_max_A: float = ADF_R_MAX_A, images: Images = "cell"
) -> Distribution:
    """Mean angular distribution function of every element triplet, distance-weighted.

    Args:
        frames: at least one, all of the same atoms, periodic.
        r_max_A: neighbours up to this distance span the angles.
        images: see the module.

    Raises:
        ValueError: for no frames, frames of different atoms, or a cell without volume.
    """
    frames = _checked(frames, images, r_max_A=r_max_A)
    labels, species, _ = _species(frames[0])
    names = labels_of(labels, 3)
    triplets = _triplet_index(labels, names)
    total = np.zeros((len(names), 180))
    for frame in frames:
        searched = _images(frame, images)
        types = np.tile(species, len(searched) // len(species))
        i, j, d, vectors = neighbour_list("ijdD", searched, np.nextafter(r_max_A, np.inf))
        order = np.argsort(i, kind="stable")
        i, j, d, vectors = i[order], j[order], d[order], vectors[order]
        p, q = _partners(i, len(searched))
        cosine = np.einsum("ij,ij->i", vectors[p], vectors[q]) / (d[p] * d[q])
        angle = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
        bins = np.minimum(angle.astype(int), 179)
        flat = triplets[types[j[p]], types[i[p]], types[j[q]]] * 180 + bins
        weight = np.exp(-np.maximum(d[p], d[q])) * (angle > 1e-5)
        found = np.bincount(flat, weight, total.size).reshape(total.shape)
        area = found.sum(axis=1, keepdims=True)
        total += np.divide(180 * found, area, out=np.zeros_like(found), where=area > 0)
    values = dict(zip(names, total / len(frames), strict=True))
    return Distribution("adf", np.arange(1.0, 181.0), values, len(frames))


def stable_window(
    times_ps: Sequence[float] | np.ndarray,
    stable_time_ps: float,
    start_ps: float = 3.0,
    stop_ps: float = 5.94,
    every_ps: float = 0.06,
) -> np.ndarray:
    """Indices of the frames that count: in the window, at the stride, before the failure.

    The defaults are the benchmark's window. A frame stands for a time of the grid
    ``start, start + every, ...`` if it is the nearest within half a stride, so a trajectory at a
    coarser stride gives all its frames in the window.

    Args:
        times_ps: time of each frame, ``[num_frames]``, rising.
        stable_time_ps: end of the stable segment; the frame of failure is not part of it.
        start_ps: first time.
        stop_ps: last time.
        every_ps: stride.
    """
    times = np.asarray(times_ps, dtype=float)
    if not len(times):
        return np.zeros(0, dtype=int)
    grid = np.arange(start_ps, stop_ps + every_ps * 1e-6, every_ps)
    nearest = np.abs(times[:, None] - grid).argmin(axis=0)
    close = np.abs(times[nearest] - grid) <= every_ps / 2 * (1 + 1e-9)
    chosen = np.unique(nearest[close])
    return np.extract(times[chosen] < stable_time_ps, chosen)


def is_box(atoms: Atoms) -> bool:
    """Whether the cell is orthogonal and along the axes, so that both ``images`` agree."""
    cell = np.asarray(atoms.cell)
    return bool(np.allclose(cell, np.diag(np.diag(cell)), atol=1e-6))


def _checked(frames: Sequence[Atoms], images: str, **lengths: float) -> list[Atoms]:
    frames = list(frames)
    if images not in ("cell", "box"):
        raise ValueError(f"images must be 'cell' or 'box', got {images!r}")
    for name, value in lengths.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    if not frames:
        raise ValueError("a distribution needs at least one frame, got none")
    for frame in frames:
        if not np.array_equal(frame.numbers, frames[0].numbers):
            raise ValueError("all frames must hold the same atoms in the same order")
        if not (frame.cell.rank == 3 and frame.pbc.all()):
            raise ValueError(f"frames must be periodic in all directions, got pbc {frame.pbc}")
    return frames


def _species(frame: Atoms) -> tuple[list[str], np.ndarray, np.ndarray]:
    symbols = np.array(frame.get_chemical_symbols())
    labels, species, counts = np.unique(symbols, return_inverse=True, return_counts=True)
    return labels.tolist(), species, counts


def _pair_index(labels: list[str]) -> np.ndarray:
    index = np.zeros((len(labels),) * 2, dtype=int)
    upper = np.triu_indices(len(labels))
    index[upper] = index.T[upper] = np.arange(len(upper[0]))
    return index


def _triplet_index(labels: list[str], names: list[str]) -> np.ndarray:
    index = np.zeros((len(labels),) * 3, dtype=int)
    for number, name in enumerate(names):
        a, b, c = (labels.index(part) for part in name.split())
        index[a, b, c] = index[c, b, a] = number
    return index


def _partners(i: np.ndarray, n_atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """Every two entries of a sorted neighbour list with the same centre, each couple once."""
    ends = np.searchsorted(i, np.arange(n_atoms), side="right")
    later = ends[i] - np.arange(len(i)) - 1
    p = np.repeat(np.arange(len(i)), later)
    within = np.arange(len(p)) - np.repeat(np.cumsum(later) - later, later)
    return p, p + 1 + within


def _images(frame: Atoms, images: Images) -> Atoms:
    """The frame to search for neighbours in: itself, or Auto-FOX's box of its replica."""
    if images == "cell":
        return frame
    replica: Atoms = frame.copy()
    replica.wrap()
    replica *= (2, 2, 2)
    replica.wrap()
    replica.set_cell(np.diag(replica.cell.lengths()))
    return replica
