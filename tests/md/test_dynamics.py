from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from nequip_decorr.md import dynamics


def test_drift_is_found_under_noise_and_a_burst():
    rng = np.random.default_rng(0)
    time = np.arange(2000) * 0.01
    energy = -6.0 + 2e-4 * time + rng.normal(scale=1e-3, size=time.size)
    energy[-100:] += 5.0
    drift = dynamics.energy_drift(time, energy)
    assert drift.rate_eV_per_atom_ps == pytest.approx(2e-4, abs=5e-5)
    assert drift.low < drift.rate_eV_per_atom_ps < drift.high
    assert drift.records == 2000 and drift.length_ps == pytest.approx(19.99)


def test_exact_line_has_its_slope_and_no_spread():
    time = np.linspace(0, 5, 50)
    drift = dynamics.energy_drift(time, 1.0 - 0.3 * time)
    assert drift.rate_eV_per_atom_ps == pytest.approx(-0.3, abs=1e-12)
    assert drift.spread_eV_per_atom < 1e-12


def test_drift_needs_records_and_leaves_out_what_is_not_finite():
    time = np.arange(12.0)
    energy = 0.5 * time
    energy[3] = np.nan
    assert dynamics.energy_drift(time, energy).records == 11
    energy[:4] = np.inf
    assert dynamics.energy_drift(time, energy) is None
    with pytest.raises(ValueError, match="of one length"):
        dynamics.energy_drift(time, energy[:3])


def test_msd_by_fourier_is_the_plain_double_loop():
    rng = np.random.default_rng(1)
    positions = np.cumsum(rng.normal(size=(23, 4, 3)), axis=0)
    expected = [
        np.mean(np.sum((positions[lag:] - positions[: 23 - lag]) ** 2, axis=2)) for lag in range(23)
    ]
    np.testing.assert_allclose(
        dynamics.mean_square_displacement(positions), expected, rtol=1e-10, atol=1e-10
    )


def walkers(step_A: float, n_frames: int = 400, seed: int = 2) -> list[Atoms]:
    """Random walkers of silicon in a small triclinic cell, wrapped, and oxygen at rest."""
    rng = np.random.default_rng(seed)
    cell = np.array([[6.0, 0, 0], [2.0, 6.0, 0], [0, -1.0, 7.0]])
    atoms = Atoms("Si30O30", cell=cell, pbc=True, scaled_positions=rng.uniform(size=(60, 3)))
    frames = []
    for _ in range(n_frames):
        atoms.positions[:30] += rng.normal(scale=step_A, size=(30, 3))
        atoms.wrap()
        frames.append(atoms.copy())
    return frames


def test_diffusion_of_random_walkers():
    # MSD = 3 step^2 per frame = 6 D t, so D = step^2 / (2 frame_ps).
    oxygen, silicon = dynamics.displacements(walkers(0.2), frame_ps=0.05)
    assert (oxygen.element, silicon.element) == ("O", "Si")
    assert silicon.diffusion_A2_per_ps == pytest.approx(0.2**2 / (2 * 0.05), rel=0.25)
    assert silicon.exponent == pytest.approx(1.0, abs=0.2)
    assert "cm2/s" in silicon.verdict
    assert silicon.lag_ps[-1] == pytest.approx(200 * 0.05)


def test_no_diffusion_is_claimed_for_a_vibrating_crystal_or_a_drifting_one():
    rng = np.random.default_rng(3)
    crystal = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    frames = []
    for k in range(100):
        frame = crystal.copy()
        frame.positions += rng.normal(scale=0.1, size=frame.positions.shape) + 0.2 * k
        frame.wrap()
        frames.append(frame)
    for part in dynamics.displacements(frames, frame_ps=0.1):
        assert part.diffusion_A2_per_ps is None
        assert part.msd_A2[-1] == pytest.approx(6 * 0.1**2, rel=0.3)
        assert "no linear regime" in part.verdict


def test_few_frames_are_said():
    frames = walkers(0.2, n_frames=10)
    assert "too few frames (10, 20 needed)" in dynamics.displacements(frames, 0.1)[0].verdict
    assert dynamics.displacements(frames[:1], 0.1) == []
    with pytest.raises(ValueError, match="frame_ps must be positive, got 0"):
        dynamics.displacements(frames, 0)


def test_changing_cell_is_no_motion():
    frames = []
    for scale in np.linspace(1, 1.05, 30):
        frame = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
        frame.set_cell(frame.cell * scale, scale_atoms=True)
        frames.append(frame)
    moved = dynamics.unwrapped(frames)
    assert np.abs(np.diff(moved, axis=0)).max() < 0.05


def test_pooled_runs_share_the_lags_of_the_shortest():
    runs = [dynamics.displacements(walkers(0.2, n, seed=n), 0.05) for n in (100, 60)]
    oxygen, silicon = dynamics.pooled(runs)
    assert len(silicon.lag_ps) == 31
    expected = (runs[0][1].msd_A2[:31] + runs[1][1].msd_A2) / 2
    np.testing.assert_allclose(silicon.msd_A2, expected)
    assert silicon.diffusion_A2_per_ps == pytest.approx(0.4, rel=0.4)
    assert oxygen.diffusion_A2_per_ps is None
    assert dynamics.pooled([]) == []
