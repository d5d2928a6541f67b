"""Pair curves: the energy of two atoms that approach."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from nequip.nn import graph_model

from nequip_decorr import inspect_model
from nequip_decorr.features.frames import Model
from nequip_decorr.inspection.pairs import ClosestPairs, pair_curves
from nequip_decorr.inspection.result import Inspection
from tests.helpers.training import build, frames, module_config

CUTOFF_A = 4.0


class Pairwise(torch.nn.Module):
    """Energy by a function of the distances, so that every curve is known."""

    metadata = {graph_model.TYPE_NAMES_KEY: "Si O", graph_model.R_MAX_KEY: str(CUTOFF_A)}  # noqa: RUF012

    def __init__(self, energy):
        super().__init__()
        self.energy = energy

    def forward(self, data):
        i, j = data["edge_index"]
        shift = data["edge_cell_shift"].to(data["pos"].dtype) @ data["cell"].reshape(-1, 3, 3)[0]
        length = (data["pos"][j] + shift - data["pos"][i]).norm(dim=-1)
        return {"total_energy": 0.5 * self.energy(length).sum().reshape(1, 1)}


def wall(r):
    return r**-6


def well(r):
    return -(r**-2)


def model(energy):
    return Model(Pairwise(energy), ["Si", "O"], CUTOFF_A)


def molecule():
    """Three atoms on a line; the closest Si and O are 1.6 A apart, through the cell's border."""
    return Atoms("SiOO", [[0.2, 0, 0], [18.6, 0, 0], [3.6, 0, 0]], cell=[20.0] * 3, pbc=True)


def curves_of(energy, *structures):
    closest = ClosestPairs(model(energy))
    for atoms in structures:
        closest.add(atoms)
    return pair_curves(closest)


@pytest.fixture(autouse=True)
def one_at_a_time(monkeypatch):
    # `Pairwise` takes one frame, since it reads one cell.
    from nequip_decorr.features import frames as module

    whole = module.outputs
    monkeypatch.setattr(
        "nequip_decorr.inspection.pairs.outputs", lambda m, f: whole(m, f, batch_size=1)
    )


def test_curves_are_the_energy_of_the_moved_atom():
    curves = {c.pair: c for c in curves_of(wall, molecule())}
    assert set(curves) == {"Si-Si", "Si-O", "O-O"}
    found = curves["Si-O"]
    assert found.shortest_A == pytest.approx(1.6)
    distance, energy = found.cell
    assert distance[[0, -1]] == pytest.approx([0.8, 1.6])
    # The oxygen that moves has the silicon at `d`; the other oxygen is beyond its cutoff.
    assert energy == pytest.approx(wall(distance) - wall(1.6), rel=1e-6, abs=1e-6)
    apart, alone = found.vacuum
    assert alone == pytest.approx(wall(apart) - wall(apart[-1]), rel=1e-6, abs=1e-6)
    assert found.barrier_eV == pytest.approx(wall(0.8) - wall(1.6), rel=1e-6)
    assert found.finding == "repels"
    assert curves["Si-Si"].cell is None and curves["Si-Si"].finding == "not in the data"
    assert np.isinf(curves["Si-Si"].shortest_A)


def test_a_well_is_no_wall():
    (found,) = (c for c in curves_of(well, molecule()) if c.pair == "Si-O")
    assert found.barrier_eV == 0 and found.finding == "no wall"


def test_a_barrier_with_a_well_behind_it_is_said():
    curves = curves_of(lambda r: 20 * torch.exp(-((r - 1.2) ** 2) / 0.02), molecule())
    (found,) = (c for c in curves if c.pair == "Si-O")
    assert found.barrier_eV == pytest.approx(20, rel=0.02) and found.finding == "falls again"


def test_the_closest_pair_of_all_frames_counts():
    closer = molecule()
    closer.positions[1, 0] += 0.3
    (found,) = (c for c in curves_of(wall, molecule(), closer) if c.pair == "Si-O")
    assert found.shortest_A == pytest.approx(1.3)


def test_a_real_model_has_its_curves_in_page_table_and_csv(tmp_path, monkeypatch):
    monkeypatch.undo()
    eager = next(iter(build(module_config()).model.values())).eval()
    found = inspect_model(eager, frames(2), name="m", pairs=True)
    assert {c.pair for c in found.pairs} == {"Si-Si", "Si-O", "O-O"}
    assert all(np.isfinite(c.vacuum).all() for c in found.pairs)
    assert "pairs" in found.figures
    assert tmp_path / "pairs.csv" in found.to_csv(tmp_path)
    with (tmp_path / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["surroundings"] for row in rows} == {"vacuum", "cell"}
    replace(found, pairs=()).to_csv(tmp_path)
    assert not (tmp_path / "pairs.csv").exists()
    text = found.to_html(tmp_path / "index.html").read_text()
    assert "Two atoms that approach" in text
    assert found.tables()[-1].title == "two atoms that approach"
    assert len(found.beside(inspect_model(eager, frames(2), name="other")).pairs) == len(
        found.pairs
    )
    plain = Inspection(found.entries)
    assert "Two atoms" not in plain.to_html(tmp_path / "plain.html").read_text()


def test_pairs_need_no_pass_of_their_own_over_the_data(monkeypatch):
    monkeypatch.undo()

    class Counted(list):
        passes = 0

        def __iter__(self):
            self.passes += 1
            return super().__iter__()

    eager = next(iter(build(module_config()).model.values())).eval()
    plain, with_pairs = Counted(frames(2)), Counted(frames(2))
    inspect_model(eager, plain)
    assert inspect_model(eager, with_pairs, pairs=True).pairs
    assert with_pairs.passes == plain.passes > 0
