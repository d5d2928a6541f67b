"""Label frames with any ASE calculator, as a command for `nequip-decorr improve`.

    labels: {command: "python label_frames.py {frames} {labelled}"}

Put your own calculator (VASP, Quantum ESPRESSO, FHI-aims, ...) in the place of EMT. Start it again
after a stop: frames that have labels are kept.
"""

import sys
from pathlib import Path

import ase.io
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator


def calculator() -> Calculator:
    """Return the reference method; here a classical potential for Al, Cu, Au and other metals."""
    return EMT()


def labelled(frame: Atoms) -> Atoms:
    """Return the frame with energy (eV), forces (eV/A) and, if periodic, stress (eV/A^3)."""
    found = frame.copy()
    found.calc = calculator()
    wanted = ["energy", "forces", *(["stress"] if found.pbc.all() else [])]
    results = {name: found.calc.get_property(name, found) for name in wanted}
    found.calc = SinglePointCalculator(found, **results)
    return found


def main(source: str, target: str) -> None:
    """Label what has no label yet, and write each frame as soon as it is done."""
    frames = ase.io.read(source, ":")
    done = len(ase.io.read(target, ":")) if Path(target).is_file() else 0
    for number, frame in enumerate(frames[done:], done + 1):
        ase.io.write(target, labelled(frame), format="extxyz", append=True)
        print(f"{number} of {len(frames)} labelled", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
