"""Collecting frames from campaigns, dumps and files, with a tiny checkpoint and its grade."""

from pathlib import Path
from types import SimpleNamespace

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from nequip_decorr import stability
from nequip_decorr.cli.main import main
from nequip_decorr.cure.collect import _key as start_key
from nequip_decorr.cure.collect import collect
from nequip_decorr.cure.rules import Rules
from nequip_decorr.cure.sources import campaign_in, checkpoint_of, sources_of
from nequip_decorr.errors import UserError
from nequip_decorr.extrapolation.beside import grade_file
from nequip_decorr.extrapolation.callback import _key as training_key
from nequip_decorr.extrapolation.choose import Candidate
from nequip_decorr.extrapolation.grade import ExtrapolationGrade
from nequip_decorr.features.frames import load_model
from nequip_decorr.files import write_json
from nequip_decorr.md.criteria import Criteria
from nequip_decorr.md.record import RecordWriter
from nequip_decorr.models import compiling
from nequip_decorr.models.spec import ModelSpec
from tests.helpers.checkpoints import trained
from tests.helpers.training import frames

TRAINING = frames(8)
ALL = {"own_share": 0.0, "per_element": 0, "beyond": 1e6, "contact_fraction": 0.0}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = trained(tmp_path_factory.mktemp("collect"), epochs=1)
    ExtrapolationGrade.fit(load_model(path), TRAINING).save(grade_file(path))
    return path


def moved(by_A, atom=3, number=0):
    atoms = TRAINING[number].copy()
    atoms.calc = None
    atoms.positions[atom] += by_A
    return atoms


def test_a_file_gives_what_is_outside_and_each_frame_says_so(checkpoint, tmp_path):
    pool = [TRAINING[0], moved(0.6), moved(0.6), moved(0.6, atom=5, number=2)]
    ase.io.write(tmp_path / "pool.xyz", [Atoms(f) for f in pool])
    found = collect([tmp_path / "pool.xyz"], checkpoint, rules=Rules(**ALL))
    steps = [f.info["step"] for f in found.frames]
    assert len(set(steps)) == len(steps) and 0 not in steps
    assert not {1, 2} <= set(steps)
    grades = list(
        ExtrapolationGrade.load(grade_file(checkpoint)).score(load_model(checkpoint), pool)
    )
    for frame in found.frames:
        gamma = grades[frame.info["step"]]
        assert frame.info["largest_grade"] == pytest.approx(gamma.max(), abs=1e-3)
        assert frame.info["worst_atom"] == gamma.argmax()
        assert list(frame.info["atoms_beyond_edge"]) == list(np.flatnonzero(gamma > 1))
    assert found.counts["candidates"] + found.counts["inside"] == 4
    assert found.left_grade <= 1


def test_wreckage_is_never_chosen_and_ends_a_run(checkpoint, tmp_path):
    clash = moved(0.0)
    clash.positions[3] = clash.positions[4] + [0.3, 0, 0]
    torn = moved(0.0)
    torn.positions[2] = np.nan
    for name, bad in (("clash", clash), ("torn", torn)):
        path = tmp_path / f"{name}.xyz"
        run = [moved(0.5), bad, moved(0.7, atom=1)]
        for step, atoms in enumerate(run):
            atoms.info = {"step": 10 * step}
        ase.io.write(path, run)
        (source,) = sources_of(path)
        assert source.ordered
        found = collect([path], checkpoint, rules=Rules(**{**ALL, "contact_fraction": 0.6}))
        assert [f.info["step"] for f in found.frames] == [0]
        assert +found.counts == {"wreckage": 1, "candidates": 1}


def test_in_a_file_of_several_runs_wreckage_ends_nothing(checkpoint, tmp_path):
    run = [moved(0.5), moved(np.nan), moved(0.7, atom=1)]
    for step, atoms in zip((0, 10, 0), run, strict=True):
        atoms.info = {"step": step}
    ase.io.write(tmp_path / "runs.xyz", run)
    found = collect([tmp_path / "runs.xyz"], checkpoint, rules=Rules(**ALL))
    assert +found.counts == {"wreckage": 1, "candidates": 2}


def test_a_frame_far_beyond_the_edge_is_wreckage(checkpoint, tmp_path):
    ase.io.write(tmp_path / "far.xyz", [moved(0.3), moved(1.2)])
    wide = collect([tmp_path / "far.xyz"], checkpoint, rules=Rules(**ALL))
    largest = max(f.info["largest_grade"] for f in wide.frames)
    strict = collect(
        [tmp_path / "far.xyz"], checkpoint, rules=Rules(**{**ALL, "beyond": 0.99 * largest})
    )
    assert wide.counts["wreckage"] == 0 and strict.counts["wreckage"] == 1


def test_the_summary_names_start_cells_left_out_and_both_grades(checkpoint, tmp_path):
    start = moved(1.2)
    near = start.copy()
    near.positions[7] += 0.02
    for name, cell in (("start", start), ("again", start)):
        ase.io.write(tmp_path / f"{name}.xyz", cell)
    near.info = {"step": 10}
    ase.io.write(tmp_path / "md.xyz", near)
    places = [tmp_path / f"{name}.xyz" for name in ("start", "again", "md")]
    wide = collect(places, checkpoint, rules=Rules(**{**ALL, "frames": 1}))
    assert (wide.own, wide.repeated) == (1, 1) and sum(wide.counts.values()) == 2
    assert str(wide).splitlines()[1:] == ["start cells: 1, and 1 like one of them left out"]
    beyond = 0.5 * wide.frames[0].info["largest_grade"]
    rules = Rules(**{**ALL, "frames": 2, "per_element": 9, "beyond": beyond})
    found = collect(places, checkpoint, rules=rules)
    (md,) = (f for f in found.frames if f.info["step"] == 10)
    assert md.info["largest_grade"] > beyond > md.info["grade_with_starts"] > 0
    (own,) = collect(places[:2], checkpoint, rules=Rules(**ALL)).frames
    assert "grade_with_starts" not in own.info


def test_a_structure_that_gives_no_frame_is_named(checkpoint, tmp_path):
    runs = {"dense": [moved(0.6), moved(0.7)], "sparse": [TRAINING[0].copy(), moved(1.2)]}
    for name, run in runs.items():
        for step, atoms in enumerate(run):
            atoms.calc, atoms.info = None, {"step": step, "structure": name}
        ase.io.write(tmp_path / f"{name}.xyz", run)
    places = [tmp_path / f"{name}.xyz" for name in runs]
    far = collect(places[1:], checkpoint, rules=Rules(**ALL)).frames[0].info["largest_grade"]
    found = collect(places, checkpoint, rules=Rules(**{**ALL, "beyond": 0.99 * far}))
    of = found.by_structure
    assert of["sparse"]["candidates"] == 0 < of["dense"]["candidates"]
    assert "no frame of the MD of sparse: runs go from inside the data to wreckage" in str(found)
    assert "dense" not in str(found)


def test_a_campaign_gives_its_start_cells_and_frames(checkpoint, tmp_path, capsys, quartz):
    quartz.rattle(0.05, seed=1)
    ase.io.write(tmp_path / "quartz.xyz", quartz)
    campaign = stability.load(
        {
            "models": {"tersoff": {"reference": "siox"}},
            "structures": {"quartz": str(tmp_path / "quartz.xyz")},
            "temperatures_K": [300],
            "replicas": 2,
            "length_ps": 0.03,
            "trajectory_every": 10,
            "out": str(tmp_path / "md"),
        }
    )
    stability.run(campaign, workers=1)
    out = tmp_path / "to_label.xyz"
    command = ["stability", "collect", str(tmp_path / "md"), "--out", str(out), "--frames", "3"]
    limits = ["--beyond", "1000", "--own-share", "0.3"]
    assert main([*command, "--model", str(checkpoint), *limits]) == 0
    shown = capsys.readouterr().out
    assert "7 frames looked at" in shown and "for own cells" in shown
    chosen = ase.io.read(out, ":")
    assert chosen[0].info["chosen_for"] == "own cells" and chosen[0].info["step"] == 0
    assert {a.info["structure"] for a in chosen} == {"quartz"} and len(chosen) <= 3
    found = stability.collect(tmp_path / "md", checkpoint, frames=1, beyond=1000)
    assert len(found.frames) == 1 and str(found).startswith("7 frames looked at")
    assert main(command) == 2
    assert "give the checkpoint or package with --model" in capsys.readouterr().err


def test_a_checkpoint_that_was_retrained_is_not_the_campaigns(tmp_path, monkeypatch):
    def compiler(command, **options):
        Path(command[4]).write_text(f"compiled {Path(command[3]).read_text()}")
        return SimpleNamespace(returncode=0, stderr="", stdout="")

    monkeypatch.setenv("NEQUIP_DECORR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(compiling, "check_needs", lambda model: None)
    monkeypatch.setattr(compiling.subprocess, "run", compiler)
    checkpoint, copy = tmp_path / "best.ckpt", tmp_path / "copy" / "best.ckpt"
    copy.parent.mkdir()
    for path in (checkpoint, copy):
        path.write_text("first")
    campaigns = []
    for path, target in ((checkpoint, "ase"), (copy, "ase"), (copy, "pair_allegro")):
        made = compiling.compile_model(ModelSpec("m", "nequip", path=str(path)), target)
        place = tmp_path / f"md{len(campaigns)}"
        place.mkdir()
        runs = [{"spec": {"model": {"path": p}}} for p in (made.path, None)]
        write_json(place / "campaign.json", {"schema": 1, "runs": runs})
        campaigns.append(place)
    assert checkpoint_of(campaigns[:2]) == checkpoint
    assert checkpoint_of(campaigns).read_text() == "first"
    checkpoint.write_text("second")
    with pytest.raises(UserError, match=r"best\.ckpt has changed since .* package with --model"):
        checkpoint_of(campaigns[:2])
    checkpoint.unlink()
    with pytest.raises(UserError, match=r"campaigns name \[.*best\.ckpt'\]; give the checkpoint"):
        checkpoint_of(campaigns[:2])
    with pytest.raises(UserError, match="campaigns name none; give the checkpoint"):
        checkpoint_of([])


@pytest.mark.parametrize(("scale", "graded"), [(1.0, 5), (1.01, 9), (None, 9)])
def test_frames_that_md_has_recorded_inside_are_not_graded_again(
    checkpoint, tmp_path, quartz, monkeypatch, scale, graded
):
    ase.io.write(tmp_path / "quartz.xyz", quartz)
    campaign = stability.load(
        {
            "models": {"tersoff": {"reference": "siox"}},
            "structures": {"quartz": str(tmp_path / "quartz.xyz")},
            "temperatures_K": [300],
            "replicas": 1,
            "length_ps": 0.08,
            "trajectory_every": 10,
            "ring_frames": 1,
            "out": str(tmp_path / "md"),
        }
    )
    stability.run(campaign, workers=1)
    inside = [0, 10, 20, 30, 40, 50]

    seen = []

    def candidate(model, grade, atoms, own=False):
        seen.append(atoms)
        far = 0.5 if atoms.info["step"] in inside else 2.0
        vector = torch.zeros(1, len(grade.gaussians.scale), dtype=torch.float64)
        vector[0, 0] = far
        return Candidate(vector, torch.zeros(1).long(), own)

    def record(folder):
        grades = np.array([0.5 if k in inside else 2.0 for k in range(0, 90, 10)])
        return {"step": np.arange(0, 90, 10), "max_grade": grades * scale}

    monkeypatch.setattr("nequip_decorr.cure.collect._candidate", candidate)
    if scale is not None:
        monkeypatch.setattr("nequip_decorr.cure.sources.find_columns", record)
    rules = Rules(**{**ALL, "frames": 9})
    found = collect([tmp_path / "md"], checkpoint, rules=rules)
    assert +found.counts == {"inside": 6, "candidates": 3}
    assert len(seen) == graded and "recorded_grade" not in found.frames[0].info


def test_mistakes_are_named():
    assert Rules().contact_fraction == Criteria().contact_fraction
    with pytest.raises(UserError, match=r"beyond: got 0\.5; allowed: above 1"):
        Rules(beyond=0.5)


def test_neither_campaign_nor_file(tmp_path):
    with pytest.raises(UserError, match=r"no campaign .* and no trajectory here"):
        sources_of(tmp_path)


DUMP = """\
ITEM: TIMESTEP
{step}
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0 8
0 8
0 8
ITEM: ATOMS id type element xu yu zu vx vy vz extrapolation_grade
1 1 Si 1 1 1 0 0 0 {grade}
2 2 O {step} 2 2 0 0 0 0.5
"""


def test_a_run_in_a_folder_of_lammps_input_gives_all_frames_that_it_has_kept(tmp_path):
    run = tmp_path / "hot"
    run.mkdir()
    for name, steps in {"trajectory": (0, 100), "beyond": (20, 30, 100)}.items():
        text = "".join(DUMP.format(step=step, grade=1 + step) for step in steps)
        (run / f"{name}.lammpstrj").write_text(text)
    (source,) = sources_of(run)
    with pytest.raises(UserError, match=r"which checkpoint .* --model"):
        collect([run])
    assert source.ordered
    assert [frame.info["step"] for frame in source.frames] == [20, 30, 100]
    assert {frame.info["structure"] for frame in (source.start, *source.frames)} == {"hot"}
    assert source.start.positions[1, 0] == 0
    assert "time_ps" not in source.start.info
    record = RecordWriter(run)
    for step in (0, 20, 30, 100):
        record.write({"step": step, "time_ps": step / 500})
    record.close()
    (source,) = sources_of(run)
    assert [f.info["time_ps"] for f in source.frames] == [0.04, 0.06, 0.2]


def test_the_campaign_in_a_folder_of_lammps_input_is_found(tmp_path):
    (tmp_path / "results").mkdir()
    write_json(tmp_path / "results" / "campaign.json", {"schema": 1, "runs": []})
    assert campaign_in(tmp_path) == campaign_in(tmp_path / "results") == tmp_path / "results"
    assert campaign_in(tmp_path / "results" / "runs") == tmp_path / "results" / "runs"


@pytest.mark.parametrize("key", [start_key, training_key])
def test_start_cells_differ_by_cell_and_periodicity(key):
    bulk_cell, molecule = (
        bulk("Cu", cubic=True),
        Atoms("CO", [[1, 1, 1], [1, 1, 2.1]], cell=[4] * 3),
    )
    slab, wide, box = bulk_cell.copy(), bulk_cell.copy(), molecule.copy()
    slab.cell[2, 2] += 8.0
    slab.pbc[2] = False
    wide.cell *= 1.2
    box.cell *= 3
    assert len({key(atoms) for atoms in (bulk_cell, slab, wide)}) == 3
    assert key(molecule) == key(box)  # nothing repeats
    molecule.pbc = box.pbc = True
    assert key(molecule) != key(box)
