"""First passages: right time and trusted time, and which frames get labels."""

import numpy as np
import pytest

from nequip_decorr.md.times import (
    PERSISTENCE,
    first_passage,
    frames_to_label,
    trusted_time_ps,
    wrong_frames,
)

TIME = np.arange(6) * 0.1


def right(error=0.0, mae=0.1, rms=1.0, persistence=PERSISTENCE, **bounds):
    error, mae, rms = (np.broadcast_to(x, 6).astype(float) for x in (error, mae, rms))
    wrong = wrong_frames(-8.0 + error, np.full(6, -8.0), mae, rms, **bounds)
    return first_passage(TIME, wrong, persistence)


def test_the_energy_gained_counts_and_not_the_energy():
    assert right(error=5.0) is None
    assert right(error=[0, 0, 0.1, 0.16, 0.2, 0.3]) == pytest.approx(0.3)
    assert right(error=[5, 5, 5, 4.8, 4.8, 5]) == pytest.approx(0.3)
    assert right(error=[0, 0, 0.1, 0.16, 0.2, 0.3], energy_bound=0.25) is None


def test_one_wrong_frame_is_not_enough():
    assert right(error=[0, 0, 1, 0, 1, 0]) is None
    assert right(error=[0, 0, 1, 0, 1, 0], persistence=1) == pytest.approx(0.2)
    assert right(error=[0, 0, 0, 0, 0, 1]) is None


def test_forces_count_but_not_those_of_a_start_at_rest():
    assert right(mae=[0.1, 0.1, 0.6, 0.1, 0.6, 0.7]) == pytest.approx(0.4)
    assert right(rms=[0, 1, 1, 1, 1, 1]) is None
    assert right(mae=0.6) == pytest.approx(0.1)


def test_energy_and_forces_in_turn_are_wrong_too_and_so_is_what_is_not_a_number():
    assert right(error=[0, 0, 1, 0, 0, 0], mae=[0, 0, 0, 9, 0, 0]) == pytest.approx(0.2)
    assert right(error=[0, 0, 0, np.nan, np.nan, 0]) == pytest.approx(0.3)


def test_trusted_until_one_atom_is_far_or_many_are_outside():
    share = np.zeros(6)
    assert trusted_time_ps(TIME, np.array([1, 1, 40, 1, 6, 5.5]), share) == pytest.approx(0.4)
    assert trusted_time_ps(TIME, np.ones(6), np.array([0, 0.6, 0.6, 1, 1, 1])) == pytest.approx(0.1)
    assert trusted_time_ps(TIME, np.full(6, 4.0), np.full(6, 0.4)) is None
    assert trusted_time_ps(TIME, np.full(6, 9.0), share, grade_bound=8) == 0.0


def test_frames_without_a_grade_are_left_out():
    grade, share = np.full(6, np.nan), np.full(6, np.nan)
    grade[[1, 3, 5]], share[[1, 3, 5]] = 50, 0
    assert trusted_time_ps(TIME, grade, share) == pytest.approx(0.1)


@pytest.mark.parametrize("number", [0, 1, 5, 12, 1000])
def test_early_frames_all_and_late_ones_ever_more_rarely(number):
    found = frames_to_label(number)
    assert found == sorted(set(found)) and len(found) <= 50
    assert found[:10] == list(range(min(10, number)))
    assert number == 0 or found[-1] == number - 1
    if number == 1000:
        gaps = np.diff(found[15:])
        assert (np.diff(gaps) >= -1).all() and gaps[-1] > 100
