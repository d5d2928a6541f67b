"""``nequip-decorr stability collect``, ``nequip-decorr label`` and ``nequip-decorr improve``."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from ..errors import UserError
from .options import add_command, add_reading, progress, reading_from

_COLLECT: Final = """\
Choose the frames of MD that are worth a label: from the stored and last frames of all runs, those
where the model leaves its training data, each unlike the others, never wreckage. The grade is the
one that `nequip-decorr extrapolation fit` put beside the checkpoint.
"""
_COLLECT_FILES: Final = """\
OUT   extended XYZ; `info` of each frame holds run, step, time, largest grade, worst_atom and
      atoms_beyond_edge (counted from 0, as in ASE), and what it was chosen for
"""
_LABEL: Final = """\
Label structures with energy, forces and stress of a potential or a teacher. The same command goes
on where a stopped one left off, and tries again what failed.
"""
_LABEL_EXAMPLES: Final = """\
nequip-decorr label to_label.xyz --with reference:siox --out labelled.xyz
nequip-decorr label to_label.xyz --with teacher.nequip.pt2 --out labelled.xyz
nequip-decorr label to_label.xyz --with '{ase: {calculator: mace.calculators.MACECalculator,
    arguments: {model_paths: big.model}}}' --out labelled.xyz
"""
_IMPROVE: Final = """\
Do rounds of training, MD, choice of frames and labels, until no frame is beyond the edge of the
training data, all rounds are done or all labels are spent. The same command goes on after any stop.
"""
_IMPROVE_FILES: Final = """\
index.html          the page: how far MD comes inside the data, and what the best model is worth
rounds.json         the numbers of the rounds
round_N/train.xyz   training data of round N; training/, best.ckpt, best.grade.npz, model.nequip.pt2
round_N/md/         its campaign: see `nequip-decorr stability run`
round_N/to_label.xyz, labelled.xyz   the chosen frames, and the same with labels
model.nequip.pt2    the model to use: that of the best round
final_N/            of the best round N: that model, whose grade has the edge of the first data
final_N/md/, times.json    MD of the first and the best model without the halt at the grade
round_N/*.log       output of each step
"""


def add_collect(commands: Any) -> None:
    """Add ``collect`` to the commands of ``stability``."""
    from ..cure.rules import Rules

    parser = add_command(
        *(commands, "collect", _collect, "choose the frames that are worth a label", _COLLECT),
        "nequip-decorr stability collect campaign_stability --frames 20 --out to_label.xyz\n"
        "nequip-decorr stability collect run.lammpstrj --model best.ckpt --out to_label.xyz",
        writes=_COLLECT_FILES,
        status="0 frames were chosen, 1 nothing to label",
    )
    parser.add_argument(
        "places", metavar="RESULTS", type=Path, nargs="+",
        help="results folders, folders of lammps input after the run, dumps or structure files",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="extended XYZ to write")
    parser.add_argument(
        "--model", type=Path, metavar="CHECKPOINT",
        help="the model to improve (default: what the campaign compiled)",
    )  # fmt: skip
    parser.add_argument("--grade", type=Path, metavar="FILE", help="default: beside the checkpoint")
    default = Rules()
    for name, kind, text in (
        ("frames", int, "at most so many"),
        ("beyond", float, "grade from which a frame is wreckage; the user's cells count as known"),
        ("contact-fraction", float, "no pair closer than this fraction of its covalent radii"),
        ("own-share", float, "share that is offered to the start structures first"),
        ("per-element", int, "so many for each element first"),
        ("per-composition", int, "so many of each composition then"),
    ):
        value = getattr(default, name.replace("-", "_"))
        parser.add_argument(
            f"--{name}", type=kind, default=value, metavar="X", help=f"{text} (default: {value:g})"
        )
    add_reading(parser)


def add_parsers(commands: Any) -> None:
    """Add ``label`` and ``improve``."""
    label = add_command(
        *(commands, "label", _label, "label structures with a potential", _LABEL, _LABEL_EXAMPLES),
        writes="OUT   the frames that have labels, in the order of FRAMES",
        status="0 all frames have labels, 1 some failed (the others are kept)",
    )
    label.add_argument("frames", metavar="FRAMES", type=Path, help="structures")
    label.add_argument(
        "--with", dest="model", required=True, metavar="MODEL",
        help="as in a campaign's `models:`: YAML or a YAML file, reference:siox, or a model file",
    )  # fmt: skip
    label.add_argument("--out", type=Path, required=True, help="extended XYZ with the labels")
    add_reading(label)
    improve = add_command(
        *(commands, "improve", _improve, "train, run MD, label, again", _IMPROVE),
        "nequip-decorr improve improve.yaml",
        writes=_IMPROVE_FILES,
        status="0 finished, 1 labels are missing still: start it again when they are there",
    )
    improve.add_argument("plan", metavar="FILE", type=Path, help="improve.yaml")
    improve.add_argument("--out", type=Path, help="folder, instead of the file's own")
    improve.add_argument(
        "--check", action="store_true", help="read the file, say what would be done, and stop"
    )


def _collect(args: argparse.Namespace) -> int:
    from ..cure.collect import NOTHING, collect, write_frames
    from ..cure.rules import Rules

    _is_extxyz(args.out)
    found = collect(
        args.places,
        args.model,
        args.grade,
        Rules(**{field.name: getattr(args, field.name) for field in fields(Rules)}),
        reading=reading_from(args),
        progress=progress,
    )
    print(found)
    if not found.frames:
        print(f"{NOTHING}: {found.why_none}")
        return 1
    write_frames(args.out, found.frames)
    print("chosen (atoms are counted from 0; LAMMPS ids from 1):")
    for number, frame in enumerate(found.frames):
        info, own = frame.info, "grade_with_starts" not in frame.info
        whose = f" (MD of {info['model']})" if args.model and "model" in info else ""
        then = "" if own else f" ({info['grade_with_starts']:.3g} with the start cells labelled)"
        print(
            f"  {number}: {info['run']}{whose}, step {info['step']}, grade "
            f"{info['largest_grade']:.3g} at atom {info['worst_atom']}{then}, "
            f"{len(info['atoms_beyond_edge'])} atoms beyond the edge; for {info['chosen_for']}"
        )
    print(f"to label: {args.out}")
    return 0


def _label(args: argparse.Namespace) -> int:
    from ..campaign.one_model import read_model
    from ..md.labels import Labeller, label_file
    from ..structures import READ_ALL, iter_frames

    _is_extxyz(args.out)
    labeller = Labeller(read_model(args.model, "--with"), print)
    frames = [atoms for _, atoms in iter_frames(args.frames, READ_ALL, reading_from(args))]
    found = label_file(frames, labeller, args.out, progress)
    for index, reason in found.failed:
        info = frames[index].info
        which = ", ".join(f"{k} {info[k]}" for k in ("run", "step") if k in info)
        print(f"frame {index}{f' ({which})' if which else ''} has no label: {reason}")
    place = args.out if args.out.is_file() else f"{args.out} is not written"
    print(
        f"{place}: {found.done} labelled, {found.kept} kept from before, {len(found.failed)} failed"
    )
    if found.others:
        print(f"labels of other frames, at its end: {found.others}")
    return 1 if found.failed else 0


def _improve(args: argparse.Namespace) -> int:
    from ..cure.begun import check
    from ..cure.improve import Improve
    from ..cure.improve_file import load_plan
    from ..cure.labelling import WaitingError

    try:
        plan = load_plan(args.plan, args.out)
        print(plan)
        check(plan) if args.check else Improve(plan).run()
    except WaitingError as waiting:
        print(waiting)
        return 1
    return 0


def _is_extxyz(path: Path) -> None:
    if path.suffix not in (".xyz", ".extxyz"):
        raise UserError(f"--out: got {path}; allowed: a file ending in .xyz or .extxyz")
