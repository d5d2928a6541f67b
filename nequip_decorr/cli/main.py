"""``nequip-decorr``: the parser of every command, and the one path of errors."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final

from .._version import __version__
from ..errors import UserError
from ..files import is_disk_full, json_text
from ..processes import CommandError
from . import builtin, cure, extrapolation, inspect, lammps, stability
from .options import Answer, add_general, with_present_names

DESCRIPTION: Final = """\
Train NequIP and Allegro models with less correlated features, judge how long their MD is stable
and right, and mend them where it is not.
"""
EPILOG: Final = """\
examples:
  nequip-decorr demo --out demo                         the whole way, on built-in data, in minutes
  nequip-decorr extrapolation fit best.ckpt train.xyz   where do the training data end?
  nequip-decorr stability run campaign.yaml             how long is MD stable?
  nequip-decorr COMMAND --help                          options, examples and files of a command

exit status, the same for every command:
  0    done; where the command asks a question, the answer is yes
  1    done, but the answer is no or something is missing: a disagreement, a run that ended in
       `error`, a frame without a label, no frame that is worth one
  2    not done: the command line or a file is wrong; the message says what, and what is allowed
  3    stopped before the end: a step failed or the disk is full; the same command goes on
  70   a fault of nequip-decorr; please report the traceback
  130  stopped by Ctrl-C; the same command goes on
"""
_EXPECTED: Final = (ValueError, OSError, ModuleNotFoundError)


def parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    main = argparse.ArgumentParser(
        prog="nequip-decorr",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    main.add_argument("--version", action="version", version=f"nequip-decorr {__version__}")
    add_general(main)
    commands = main.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (builtin, inspect, extrapolation, stability, cure, lammps):
        module.add_parsers(commands)
    return main


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; an expected error is one message, any other a traceback.

    Args:
        arguments: words of the command line; by default the process's own.

    Returns:
        The exit status, as ``nequip-decorr --help`` lists them.
    """
    words = with_present_names(list(sys.argv[1:] if arguments is None else arguments))
    options = parser().parse_args(words)
    try:
        return _carry_out(options)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except Exception as error:
        return _explain(error, options.debug)


def _carry_out(options: argparse.Namespace) -> int:
    json = getattr(options, "json", False)
    with contextlib.ExitStack() as stack:
        if json or options.quiet:
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        found = options.run(options)
    answer = found if isinstance(found, Answer) else Answer(None, found)
    if json:
        print(json_text(answer.data), end="")
    return answer.status


def _explain(error: Exception, debug: bool) -> int:
    expected = isinstance(error, (*_EXPECTED, CommandError))
    if debug or not expected:
        traceback.print_exception(error)
    else:
        print(f"nequip-decorr: error: {error}", file=sys.stderr)
        if not isinstance(error, (UserError, CommandError)):
            print("`--debug` shows where", file=sys.stderr)
    if not expected:
        print("nequip-decorr: this is a fault of the program; please report it", file=sys.stderr)
        return 70
    return 3 if is_disk_full(error) or isinstance(error, CommandError) else 2


if __name__ == "__main__":
    sys.exit(main())
