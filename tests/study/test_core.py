"""The shortest distances of frames, and the name of the wall in stored configs."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from benchmarks.study.core import ShortZBL, shortest_distances
from nequip_decorr import ShortRangeZBL

SYMBOLS = ["Si", "O"]


def test_the_wall_of_stored_configs_is_the_public_one() -> None:
    assert ShortZBL is ShortRangeZBL


def test_shortest_distances_are_over_all_frames_and_periodic(tmp_path: Path) -> None:
    frames = [
        Atoms("SiOO", [[0.1, 0, 0], [1.7, 0, 0], [5, 5, 5]], cell=[10] * 3, pbc=True),
        Atoms("SiOO", [[0.1, 0, 0], [9.0, 0, 0], [5, 5, 5]], cell=[10] * 3, pbc=True),
    ]
    ase.io.write(tmp_path / "train.xyz", frames)
    found = shortest_distances(tmp_path / "train.xyz", SYMBOLS)
    assert found[0][1] == found[1][0] == pytest.approx(1.1)
    assert np.isinf(found[0][0])
    assert found[1][1] == pytest.approx(np.sqrt(3.3**2 + 50), abs=1e-3)
