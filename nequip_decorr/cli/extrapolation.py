"""``nequip-decorr extrapolation fit | score`` and ``nequip-decorr compile``."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ..errors import UserError
from .options import Answer, add_command, add_group, progress

_FIT: Final = """\
Fit the extrapolation grade of a trained model: a number per atom that says how far its features
are from those of the training data. gamma = 1 is the edge of the data. It needs no label and no
further training, and any Allegro or NequIP checkpoint or package.
"""
_SCORE: Final = """\
Grade every atom of some structures, and print a table per file and element and the worst atoms.
Where the structures have force labels, the figure shows the error to expect at each grade.
"""
_SCORE_FILES: Final = """\
NAME.xyz     the structures, with the array extrapolation_grade
scores.csv   a row per file and element: median, 99 %, largest, share above 1, force error
worst.csv    the atoms with the largest grades; atom and frame are counted from 0
grade.png    histogram of the grades; with labels, force error against grade
"""
_COMPILE: Final = """\
Compile a model with nequip-compile, with the extrapolation grade as one more output per atom.
Energies, forces and stress are those of the plain model. LAMMPS reads the grade with
`compute ID all allegro/atom extrapolation_grade 1 0`.
"""


def add_parsers(commands: Any) -> None:
    """Add the commands."""
    actions = add_group(commands, "extrapolation", "grade atoms by their distance from the data")
    fit = add_command(
        *(actions, "fit", _fit, "fit the grade of a model", _FIT),
        "nequip-decorr extrapolation fit best.ckpt train.xyz",
        writes="MODEL.grade.npz   beside the checkpoint, where `score`, `compile` and others look",
    )
    fit.add_argument("model", metavar="MODEL", type=Path, help="checkpoint or package")
    fit.add_argument("data", metavar="TRAIN", nargs="+", type=Path, help="its training structures")
    fit.add_argument(
        "--validation", nargs="+", type=Path, default=[], metavar="FILE",
        help="structures like the training data, not trained on; used to set gamma = 1 if they are "
        "many (10,000 atoms for the default quantile), else cross-validation is",
    )  # fmt: skip
    fit.add_argument(
        "--added", nargs="+", type=Path, default=[], metavar="FILE",
        help="labelled frames from MD of an earlier model that this one was trained on too: they "
        "do not move the edge, and count as far as the model has learnt their forces",
    )  # fmt: skip
    fit.add_argument(
        "--quantile", type=float, default=0.999,
        help="share of unseen atoms below gamma = 1 (default: 0.999)",
    )  # fmt: skip
    fit.add_argument("--out", type=Path, help="file to write (default: MODEL.grade.npz)")
    score = add_command(
        *(actions, "score", _score, "grade the atoms of structures", _SCORE),
        "nequip-decorr extrapolation score best.ckpt test.xyz melt=hot/run1.xyz",
        writes=_SCORE_FILES,
        json=True,
    )
    score.add_argument("model", metavar="MODEL", type=Path, help="checkpoint or package")
    score.add_argument("data", metavar="DATA", nargs="+", help="structures; NAME=FILE names a file")
    _add_grade(score)
    score.add_argument(
        "--out", type=Path, default=Path("grades"), help="folder to write (default: grades)"
    )
    build = add_command(
        *(commands, "compile", _compile, "compile a model with its grade", _COMPILE),
        "nequip-decorr compile best.ckpt model.nequip.pt2 --target pair_allegro --device cpu",
        writes="OUT   the compiled model, for LAMMPS, ASE or Python",
    )
    build.add_argument("model", metavar="MODEL", type=Path, help="checkpoint or package")
    build.add_argument("out", metavar="OUT", type=Path, help="the .nequip.pt2 file to write")
    build.add_argument(
        "--target",
        help="pair_allegro (default of an Allegro model), pair_nequip (of any other), ase, batch, "
        "or another target of nequip-compile",
    )  # fmt: skip
    build.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    _add_grade(build)
    build.add_argument(
        "--arguments", default="", metavar="TEXT",
        help="further arguments of nequip-compile, e.g. --arguments='--tf32'",
    )  # fmt: skip


def _add_grade(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--grade", type=Path, metavar="FILE", help="the fitted grade (default: MODEL.grade.npz)"
    )


def _fit(arguments: argparse.Namespace) -> int:
    from ..extrapolation.beside import grade_file
    from ..extrapolation.grade import ExtrapolationGrade
    from ..features.frames import load_model

    files = arguments.data, arguments.validation, arguments.added
    training, validation, added = map(_read, files)
    model = load_model(arguments.model)
    grade = ExtrapolationGrade.fit(
        model, training, validation, added, quantile=arguments.quantile, progress=progress
    )
    out = arguments.out or grade_file(arguments.model)
    grade.save(out)
    about = grade.about
    print(
        f"{out}: {about['training_frames']} structures, atoms {about['training_atoms']}; gamma = 1 "
        f"is the {about['quantile']:.4g} quantile by {about['calibration']} of "
        f"{about['calibration_atoms']} atoms"
    )
    if validation and about["calibration"] != "validation":
        print(
            f"note: {sum(map(len, validation))} atoms of --validation are too few for this "
            "quantile; they are not used"
        )
    if about["estimate"] == "tail":
        print(
            f"note: so few atoms cannot tell the {about['quantile']:.4g} quantile; it is "
            "extrapolated from their largest tenth"
        )
    if about.get("added_frames"):
        learnt = about["added_atoms_learnt"] / about["added_atoms"]
        print(
            f"{about['added_frames']} added frames: the median force error of their atoms is "
            f"{about['added_force_error_eV_per_A']:.3g} eV/A; they count as {learnt:.0%} known"
        )
    return 0


def _score(arguments: argparse.Namespace) -> Answer:
    from rich.console import Console

    from ..extrapolation.beside import grade_of
    from ..extrapolation.report import structure_files, tables, write
    from ..extrapolation.scoring import score
    from ..features.frames import load_model
    from .inspect import name_files

    files = name_files(arguments.data)
    structure_files(files, arguments.out)
    frames = {name: _read([path]) for name, path in files.items()}
    grade = grade_of(arguments.model, arguments.grade)
    model = load_model(arguments.model)
    scores = [score(grade, model, name, f, progress) for name, f in frames.items()]
    console = Console()
    for table in tables(scores):
        console.print(table)
    console.print("A grade below 1 does not mean that the forces are accurate.")
    for path in write(scores, arguments.out):
        console.print(str(path), highlight=False, soft_wrap=True)
    rows = [row for one in scores for row in one.rows()]
    return Answer({"scores": rows, "worst": [row for one in scores for row in one.worst()]})


def _compile(arguments: argparse.Namespace) -> int:
    from ..extrapolation.beside import grade_of
    from ..extrapolation.module import compile_with_grade
    from ..models.metadata import check_device, contains_allegro

    if not arguments.out.name.endswith(".nequip.pt2"):
        raise UserError(f"OUT must end in .nequip.pt2, got {arguments.out}")
    check_device(arguments.device)
    grade = grade_of(arguments.model, arguments.grade)
    target = "pair_allegro" if contains_allegro(arguments.model) else "pair_nequip"
    if arguments.target == "pair_allegro" != target:
        print(
            f"note: {arguments.model} is no Allegro model, and pair_allegro leaves out neighbours "
            "of neighbours: `nequip-decorr lammps check` tells whether that is wrong here",
            file=sys.stderr,
        )
    compile_with_grade(
        arguments.model, arguments.out, grade, arguments.target or target,
        "--device", arguments.device, *shlex.split(arguments.arguments),
    )  # fmt: skip
    print(
        f"{arguments.out}: with the output extrapolation_grade of {grade.about['training_frames']} "
        "training structures"
    )
    return 0


def _read(paths: Sequence[Path]) -> list[Any]:
    from ..structures import READ_ALL, iter_frames

    return [atoms for path in paths for _, atoms in iter_frames(path, READ_ALL)]
