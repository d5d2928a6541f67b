"""``nequip-decorr extrapolation fit | score`` and ``nequip-decorr compile``."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from ..errors import UserError

FIT: Final = """\
Fit the extrapolation grade of a trained model: a number per atom that says how far its features
are from those of the training data. gamma = 1 is the edge of the data. It needs no label and no
further training, and any Allegro or NequIP checkpoint or package.

  nequip-decorr extrapolation fit best.ckpt train.xyz

writes best.grade.npz beside the checkpoint, where `score` and `compile` look for it.
"""
SCORE: Final = """\
Grade every atom of some structures. Prints a table per file and element and the worst atoms, and
writes the structures with the grade of each atom (NAME.xyz), the numbers (scores.csv, worst.csv)
and a figure (grade.png). Where the structures have force labels, it also shows the error to expect
at each grade.

  nequip-decorr extrapolation score best.ckpt test.xyz melt=hot/run1.xyz
"""
COMPILE: Final = """\
Compile a model with nequip-compile, with the extrapolation grade as one more output per atom.
Energies, forces and stress are those of the plain model. LAMMPS reads the grade with
`compute ID all allegro/atom extrapolation_grade 1 0`.

  nequip-decorr compile best.ckpt model.nequip.pt2 --target pair_allegro --device cpu
"""


def add_parsers(commands: Any) -> None:
    """Add the commands."""
    raw = argparse.RawDescriptionHelpFormatter
    group = commands.add_parser(
        "extrapolation", help="the grade that says where a model's training data end"
    )
    actions = group.add_subparsers(dest="action", metavar="ACTION", required=True)
    fit = actions.add_parser(
        "fit", help="fit the grade of a model", description=FIT, formatter_class=raw
    )
    fit.add_argument("model", metavar="MODEL", type=Path, help="checkpoint or package")
    fit.add_argument("data", metavar="TRAIN", nargs="+", type=Path, help="its training structures")
    fit.add_argument(
        "--validation", nargs="+", type=Path, default=[], metavar="FILE",
        help="structures like the training data, not trained on; used to set gamma = 1 if they are "
        "many (10,000 atoms for the default quantile), else cross-validation is",
    )  # fmt: skip
    fit.add_argument(
        "--quantile", type=float, default=0.999,
        help="share of unseen atoms below gamma = 1 (default: 0.999)",
    )  # fmt: skip
    fit.add_argument("--out", type=Path, help="file to write (default: MODEL.grade.npz)")
    fit.set_defaults(run=_fit)
    score = actions.add_parser(
        "score", help="grade the atoms of structures", description=SCORE, formatter_class=raw
    )
    score.add_argument("model", metavar="MODEL", type=Path, help="checkpoint or package")
    score.add_argument("data", metavar="DATA", nargs="+", help="structures; NAME=FILE names a file")
    _add_grade(score)
    score.add_argument(
        "--out", type=Path, default=Path("grades"), help="folder to write (default: grades)"
    )
    score.set_defaults(run=_score)
    build = commands.add_parser(
        "compile", help="compile a model with its grade", description=COMPILE, formatter_class=raw
    )
    build.add_argument("model", metavar="MODEL", type=Path, help="checkpoint or package")
    build.add_argument("out", metavar="OUT", type=Path, help="the .nequip.pt2 file to write")
    build.add_argument(
        "--target", default="pair_allegro",
        help="pair_allegro (default), pair_nequip, ase, batch, or another target of nequip-compile",
    )  # fmt: skip
    build.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    _add_grade(build)
    build.add_argument(
        "--arguments", default="", metavar="TEXT",
        help="further arguments of nequip-compile, e.g. --arguments='--tf32'",
    )  # fmt: skip
    build.set_defaults(run=_compile)


def _add_grade(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--grade", type=Path, metavar="FILE", help="the fitted grade (default: MODEL.grade.npz)"
    )


def _fit(arguments: argparse.Namespace) -> int:
    from ..extrapolation.beside import grade_file
    from ..extrapolation.grade import ExtrapolationGrade
    from ..features.frames import load_model

    training = _read(arguments.data)
    validation = _read(arguments.validation)
    model = load_model(arguments.model)
    grade = ExtrapolationGrade.fit(
        model, training, validation, quantile=arguments.quantile, progress=_progress
    )
    out = arguments.out or grade_file(arguments.model)
    grade.save(out)
    about = grade.about
    print(
        f"{out}: {about['training_frames']} structures, atoms {about['training_atoms']}; gamma = 1 "
        f"is the {about['quantile']:.4g} quantile by {about['calibration']} of "
        f"{about['calibration_atoms']} atoms"
    )
    if about["estimate"] == "tail":
        print("note: so few atoms cannot tell this quantile; the tail of the largest tenth does")
    return 0


def _score(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from ..extrapolation.beside import grade_of
    from ..extrapolation.report import tables, write
    from ..extrapolation.scoring import score
    from ..features.frames import load_model
    from .inspect import name_files

    files = name_files(arguments.data)
    frames = {name: _read([path]) for name, path in files.items()}
    grade = grade_of(arguments.model, arguments.grade)
    model = load_model(arguments.model)
    scores = [score(grade, model, name, f, _progress) for name, f in frames.items()]
    console = Console()
    for table in tables(scores):
        console.print(table)
    for path in write(scores, arguments.out):
        console.print(str(path), highlight=False, soft_wrap=True)
    return 0


def _compile(arguments: argparse.Namespace) -> int:
    from ..extrapolation.beside import grade_of
    from ..extrapolation.module import compile_with_grade

    if not arguments.out.name.endswith(".nequip.pt2"):
        raise UserError(f"OUT must end in .nequip.pt2, got {arguments.out}")
    grade = grade_of(arguments.model, arguments.grade)
    compile_with_grade(
        arguments.model, arguments.out, grade, arguments.target,
        "--device", arguments.device, *shlex.split(arguments.arguments),
    )  # fmt: skip
    print(f"{arguments.out}: with the output extrapolation_grade, {json.dumps(grade.about)}")
    return 0


def _read(paths: Sequence[Path]) -> list[Any]:
    from ..structures import READ_ALL, iter_frames

    return [atoms for path in paths for _, atoms in iter_frames(path, READ_ALL)]


def _progress(frames: Iterable[Any], description: str) -> Iterator[Any]:
    from rich.progress import track

    return iter(track(frames, description, transient=True))
