"""What the commands share: how they are added, options, and answers for ``--json``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from textwrap import indent
from typing import TYPE_CHECKING, Any, Final

from ..structures import Reading

if TYPE_CHECKING:
    from rich.progress import Progress


@dataclass(frozen=True)
class Answer:
    """What a command found.

    Attributes:
        data: printed as JSON where ``--json`` asks for it; plain types.
        status: exit status.
    """

    data: Any
    status: int = 0


Command = Callable[[argparse.Namespace], "int | Answer"]


def add_group(commands: Any, name: str, summary: str) -> Any:
    """Add a noun, such as ``lammps``, and return what its commands are added to."""
    group = _parser(commands, name, summary, f"{summary[0].upper()}{summary[1:]}.")
    return group.add_subparsers(dest=f"{name}_command", metavar="COMMAND", required=True)


def add_command(
    commands: Any,
    name: str,
    run: Command,
    summary: str,
    description: str,
    examples: str,
    *,
    writes: str = "",
    notes: str = "",
    status: str = "",
    json: bool = False,
) -> argparse.ArgumentParser:
    """Add a command, with a help text that shows how it is used and what it leaves.

    Args:
        commands: what ``add_subparsers`` or :func:`add_group` gave.
        name: of the command.
        run: takes the parsed arguments and returns the exit status or an :class:`Answer`.
        summary: its line in the list of commands.
        description: what it does, in sentences.
        examples: command lines.
        writes: a line per output file.
        notes: what else a user should know.
        status: what the exit statuses mean here, where that says more than in general.
        json: whether the command gives an answer, which ``--json`` prints.
    """
    parts = {"examples": examples, "writes": writes, "notes": notes, "exit status": status}
    epilog = "\n\n".join(f"{k}:\n{indent(v.strip(), '  ')}" for k, v in parts.items() if v)
    parser = _parser(commands, name, summary, description, epilog)
    if json:
        text = "print the answer as JSON, and nothing else on standard output"
        parser.add_argument("--json", action="store_true", help=text)
    add_general(parser, default=argparse.SUPPRESS)
    parser.set_defaults(run=run)
    return parser


def _parser(
    commands: Any, name: str, summary: str, description: str, epilog: str = ""
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=description.strip(), epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    return parser


def add_general(parser: argparse.ArgumentParser, default: Any = False) -> None:
    """Add the options of every command, which may stand before or after its name."""
    text = "print warnings and errors only"
    parser.add_argument("-q", "--quiet", action="store_true", default=default, help=text)
    text = "show the traceback of an error"
    parser.add_argument("--debug", action="store_true", default=default, help=text)


class OldName(argparse.Action):
    """An option under a former name: it works, and says its present one."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        """Store the value."""
        say_new_name(option, str(self.const))
        setattr(namespace, self.dest, values)


def say_new_name(old: str, new: str) -> None:
    """Say on standard error that a name goes away with the next release."""
    print(f"warning: `{old}` is now `{new}`; the old name goes with the next release",
          file=sys.stderr)  # fmt: skip


OLD_COMMANDS: Final = {
    "compare": ("stability", "compare"),
    "lammps-input": ("lammps", "input"),
    "lammps-check": ("lammps", "check"),
}


def with_present_names(words: list[str]) -> list[str]:
    """Put the present name of a command in the place of a former one."""
    for place, word in enumerate(words):
        if not word.startswith("-"):
            if new := OLD_COMMANDS.get(word):
                say_new_name(f"nequip-decorr {word}", f"nequip-decorr {' '.join(new)}")
                return [*words[:place], *new, *words[place + 1 :]]
            break
    return words


def positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """Return the type of an option that takes a number above 0."""
    allowed = "a whole number of at least 1" if kind is int else "a number above 0"

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(0)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"got {text!r}; allowed: {allowed}")
        return value

    return read


def add_reading(parser: Any) -> None:
    """Add the options that say how to read the structure files."""
    group = parser.add_argument_group("how to read the structures (default: told from the file)")
    group.add_argument("--format", metavar="NAME", help="format name of ASE, e.g. lammps-data")
    group.add_argument(
        "--elements", metavar="A,B", help="elements of the atom types 1, 2, ... of a LAMMPS file"
    )
    group.add_argument("--units", help="unit style of a LAMMPS file")


def reading_from(arguments: argparse.Namespace) -> Reading:
    """How to read the structure files, as the command line says.

    Raises:
        UserError: no such format, element or unit style.
    """
    elements = (arguments.elements or "").replace(",", " ").split()
    return Reading(arguments.format, tuple(elements) or None, arguments.units)


def bars() -> Progress:
    """Progress bars on a terminal; nothing elsewhere, where they would leave empty lines."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def progress(frames: Iterable[Any], description: str) -> Iterator[Any]:
    """Iterate with a progress bar."""
    with bars() as shown:
        yield from shown.track(list(frames), description=description)
