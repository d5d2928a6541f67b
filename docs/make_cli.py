"""Writes ``docs/cli.md`` from the command's own help: ``python docs/make_cli.py > docs/cli.md``."""

import argparse
import os
import sys
from collections.abc import Iterator

HEAD = """\
# Command line

What `nequip-decorr COMMAND --help` prints: options, examples, every file that is written, and the
exit status. Made by `make docs`.
"""


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The command and those below it; of a group only what is in it."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups or " " not in parser.prog:
        yield parser
    for group in groups:
        for below in group.choices.values():
            yield from commands(below)


def page() -> str:
    """The page, in lines of at most 100 characters."""
    os.environ["COLUMNS"] = "102"
    from nequip_decorr.cli.main import parser

    parts = [HEAD]
    for command in commands(parser()):
        parts.append(f"## {command.prog}\n\n```text\n{command.format_help().rstrip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
