"""A model that fools one monitor of MD: does another catch it?

``saturated`` is the baseline with bounded features (tanh in all hidden layers), which may hide from
the grade that MD has left the data; ``wall`` is the baseline that cannot fail by contact. Beside
the trusted time, two monitors that need no features: the energy gained leaves the window of the
reference's extremes, and atoms have numbers of neighbours that no training atom has. A monitor's
time is its first passage, two frames in a row.

    python benchmarks/cure.py run --work DIR --arms wall saturated --seeds 1 2 3 4
    python benchmarks/grade_added.py rows --work DIR
    python benchmarks/monitors.py rows --work DIR    # from the stored frames of the held-out MD
    python benchmarks/monitors.py summary            # from the raw rows alone

Raw rows: ``results/monitors.csv``, a run each.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from cure import GRADED, Unit, trusted_ps
from cure_summary import ADVERSARY, index
from grade import interval
from hardware import add, describe, read
from matscipy.neighbours import neighbour_list

from nequip_decorr import stability
from nequip_decorr.campaign.times import until
from nequip_decorr.files import read_json
from nequip_decorr.md.record import read_record, read_trajectory
from nequip_decorr.md.times import first_passage

ROWS = Path(__file__).parent / "results" / "monitors.csv"
ARMS = ("baseline", "wall", ADVERSARY)
SEEDS = (1, 2, 3, 4)
WINDOW_EV_PER_ATOM = (-0.35, 0.8)
"""Energy gained since the start; the extremes of the reference's MD."""
BOND = 1.25
"""Neighbours are closer than so many sums of covalent radii."""
SHARE = 0.1
"""Of atoms whose numbers of neighbours no training atom has."""
MONITORS = ("stable", "trusted", "energy", "coordination", "first of them")


def neighbours(atoms: Atoms) -> np.ndarray:
    """Number of neighbours of each atom by their element, ``[num_atoms, num_elements]``."""
    radii, elements = covalent_radii[atoms.numbers], np.unique(atoms.numbers)
    i, j, distance_A = neighbour_list("ijd", atoms, cutoff=float(2 * BOND * radii.max()))
    bonded = distance_A < BOND * (radii[i] + radii[j])
    found = np.zeros((len(atoms), len(elements)), int)
    np.add.at(found, (i[bonded], np.searchsorted(elements, atoms.numbers[j[bonded]])), 1)
    return found


def known_range(frames: list[Atoms]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Fewest and most neighbours of each element's atoms."""
    numbers = np.concatenate([frame.numbers for frame in frames])
    counts = np.concatenate([neighbours(frame) for frame in frames])
    return {
        int(k): (counts[numbers == k].min(0), counts[numbers == k].max(0))
        for k in np.unique(numbers)
    }


def unknown_share(atoms: Atoms, known: dict[int, tuple[np.ndarray, np.ndarray]]) -> float:
    """Share of the atoms with a number of neighbours out of the range."""
    low, high = (np.array([known[int(k)][side] for k in atoms.numbers]) for side in (0, 1))
    counts = neighbours(atoms)
    return float(((counts < low) | (counts > high)).any(1).mean())


def rows_of(unit: Unit) -> list[dict[str, Any]]:
    """A row for each run of the held-out MD; a monitor that sees nothing has the stable time."""
    known = known_range(ase.io.read(unit.work / "data" / "train.xyz", ":"))
    out, graded, found = unit.folder / "heldout", read_json(unit.folder / "grades.json"), []
    for run in stability.read(out):
        folder = out / "runs" / run["run_id"]
        record = read_record(folder)
        gained = record["potential_eV_per_atom"] - record["potential_eV_per_atom"][0]
        low, high = WINDOW_EV_PER_ATOM
        frames = read_trajectory(folder, run["timestep_fs"])
        times_ps = np.array([frame.info["time_ps"] for frame in frames])
        shares = np.array([unknown_share(frame, known) for frame in frames])
        stable = run["stable_time_ps"]
        passages = {
            "energy": first_passage(record["time_ps"], ~((gained >= low) & (gained <= high))),
            "coordination": first_passage(times_ps, shares > SHARE),
        }
        times = {k: stable if t is None else min(t, stable) for k, t in passages.items()}
        mine = [row for row in graded if row["structure"] == run["structure"]]
        times |= {"stable": stable, "trusted": trusted_ps(mine, GRADED)}
        times["first of them"] = min(times.values())
        right = until(folder, run, "right")[0]
        found.append(
            {
                "arm": unit.arm, "seed": unit.seed, "structure": run["structure"],
                "status": run["status"], "right_ps": right,
                **{f"{name}_ps": times[name] for name in MONITORS},
            }
        )  # fmt: skip
    return found


def rows(work: Path) -> None:
    """Raw rows of the arms whose held-out MD is done and graded."""
    units = [Unit(work, arm, seed) for arm in ARMS for seed in SEEDS]
    units = [unit for unit in units if (unit.folder / "grades.json").is_file()]
    add(ROWS, [row for unit in units for row in rows_of(unit)], describe(), ("arm", "seed"))


def late(runs: list[dict[str, Any]], monitor: str) -> float:
    """Share of the wrong runs in which a monitor speaks after the right time, or never."""
    wrong = [r for r in runs if r["right_ps"] < r["stable_ps"]]
    return float(np.mean([r[f"{monitor}_ps"] > r["right_ps"] for r in wrong])) if wrong else 0.0


def summary() -> None:
    """Print mean times, and how each monitor orders the runs and warns."""
    table = read(ROWS)
    for arm in dict.fromkeys(r["arm"] for r in table):
        mine = [r for r in table if r["arm"] == arm]
        seeds = sorted({r["seed"] for r in mine})
        wrong = sum(r["right_ps"] < r["stable_ps"] for r in mine)
        print(f"{arm}: {len(mine)} runs, {wrong} wrong before their end")
        for name in ("right", *MONITORS):
            each = [np.mean([r[f"{name}_ps"] for r in mine if r["seed"] == s]) for s in seeds]
            line = f"  {name:14s} mean {interval(each, 2)} ps"
            if name != "right":
                line += f"  C-index {index(mine, f'{name}_ps'):.3f}  late in {late(mine, name):.2f}"
            print(line)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("rows").add_argument("--work", type=Path, required=True)
    commands.add_parser("summary")
    given = parser.parse_args()
    rows(given.work.resolve()) if given.what == "rows" else summary()


if __name__ == "__main__":
    main()
