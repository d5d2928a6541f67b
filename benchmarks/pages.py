"""Tables made by a program, put into a page written by hand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def filled(text: str, blocks: Mapping[str, str]) -> str:
    """The text with every block between ``<!-- NAME -->`` and ``<!-- /NAME -->`` replaced.

    Raises:
        ValueError: the text lacks a block.
    """
    for name, block in blocks.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", flags=re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"no block {name}")
        text = pattern.sub(lambda found, block=block: f"{found[1]}{block}\n\n{found[2]}", text)
    return text


def fill(page: Path, blocks: Mapping[str, str]) -> None:
    """Replace the blocks of a page."""
    page.write_text(filled(page.read_text(encoding="utf-8"), blocks), encoding="utf-8")
