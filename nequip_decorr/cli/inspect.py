"""``nequip-decorr inspect``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ..errors import UserError
from ..structures import shortest_names
from .options import add_command, add_reading, bars, reading_from

_DESCRIPTION: Final = """\
Measure how correlated the features of a trained model are, in which layer and on which structures.
MODEL is a checkpoint or package, trained with or without this plugin; DATA are structures in any
format that ase reads. Prints a table, and writes a page with pictures and numbers.
"""
_EXAMPLES: Final = """\
nequip-decorr inspect best.ckpt test.xyz
nequip-decorr inspect stock/best.ckpt id=test.xyz melt=melt.xyz --compare ours/best.ckpt
nequip-decorr inspect best.ckpt train.xyz --pairs
"""
_FILES: Final = """\
index.html               the page
pictures/*.png           its pictures
statistics.csv           a row per model, data set and block: correlation, effective rank, ...
spectrum.csv             eigenvalues of the correlation matrices
channels.csv             dead and duplicate channels
pairs.csv                energies of two atoms that approach, with --pairs
grades.csv, worst_atoms.csv   extrapolation grades, if a fitted grade lies beside MODEL; atom and
                              frame are counted from 0
"""


def add_parsers(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        *(commands, "inspect", run, "measure the correlation of a model's features"),
        *(_DESCRIPTION, _EXAMPLES),
        writes=_FILES,
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="checkpoint or package; NAME=FILE names it")
    text = "structures, labels not needed; the first file is the reference; NAME=FILE names it"
    add("data", nargs="+", metavar="DATA", help=text)
    text = "another model beside it; can be given again"
    add("--compare", action="append", default=[], metavar="MODEL2", help=text)
    text = "edge or node field of the model's output, or a pattern such as layer*_messages"
    add("--field", help=f"{text} (default: edge_features; of NequIP, layer*_node_invariants)")
    add("--block-size", type=int, help="channels per block (default: what the model says)")
    add("--max-frames", type=int, help="frames of each file, evenly spaced (default: all)")
    default = Path("inspection")
    add("--out", type=Path, default=default, help="folder to write (default: inspection)")
    text = "extrapolation grade of MODEL (default: MODEL.grade.npz, if there is one)"
    add("--grade", type=Path, metavar="FILE", help=text)
    text = "also the energy of two atoms that approach: has the model a wall? (DATA: training data)"
    add("--pairs", action="store_true", help=text)
    add_reading(parser)


def run(arguments: argparse.Namespace) -> int:
    """Inspect, print the table, write page and CSV."""
    from rich.console import Console
    from rich.progress import TaskID

    from ..inspection.result import Inspection
    from ..inspection.run import inspect_model

    for option in ("block_size", "max_frames"):
        value = getattr(arguments, option)
        if value is not None and value < 1:
            raise UserError(f"--{option.replace('_', '-')} must be at least 1, got {value}")
    models = name_files([arguments.model, *arguments.compare])
    data = name_files(arguments.data)
    reading = reading_from(arguments)
    console = Console()
    found = Inspection(())
    with bars() as shown:
        for name, path in models.items():
            tasks = {d: shown.add_task(f"{name}, {d}", total=None) for d in data}

            def show(dataset: str, done: int, total: int, tasks: dict[str, TaskID] = tasks) -> None:
                shown.update(tasks[dataset], completed=done, total=total)

            found = found.beside(
                inspect_model(
                    path,
                    data,
                    name=name,
                    field=arguments.field,
                    block_size=arguments.block_size,
                    max_frames=arguments.max_frames,
                    reading=reading,
                    pairs=arguments.pairs,
                    grade=arguments.grade if name == next(iter(models)) else None,
                    progress=show,
                )
            )
    for table in found.tables():
        console.print(table)
    for note in found.notes():
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    found.to_csv(arguments.out)
    page = found.to_html(arguments.out / "index.html")
    found.to_png(arguments.out / "pictures")
    console.print(f"page with pictures: {page}", highlight=False, soft_wrap=True)
    return 0


def name_files(texts: Sequence[str]) -> dict[str, Path]:
    """Name files: as in ``NAME=FILE``, else after the shortest ends of their paths that differ.

    A file that exists under the whole text is that file, whatever ``=`` its path has.

    Raises:
        FileNotFoundError: no such file.
        UserError: two have the same name.
    """
    named: list[tuple[str | None, Path]] = []
    for text in texts:
        name, _, rest = text.partition("=")
        if Path(text).is_file() or not (name and rest):
            named.append((None, Path(text)))
        elif Path(rest).is_file():
            named.append((name, Path(rest)))
        else:
            raise FileNotFoundError(f"no file at {text}, nor, read as NAME=FILE, at {rest}")
        if not named[-1][1].is_file():
            raise FileNotFoundError(f"no file at {text}")
    own = iter(shortest_names([path for name, path in named if name is None]))
    found: dict[str, Path] = {}
    for given, path in named:
        key = given or next(own).removesuffix(".nequip")
        if key in found:
            raise UserError(
                f"{key!r} names both {found[key]} and {path}; name them: NAME={found[key]} "
                f"OTHER={path}"
            )
        found[key] = path
    return found
