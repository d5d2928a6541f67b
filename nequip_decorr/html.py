"""Self-contained HTML pages: everything escaped, pictures embedded, nothing fetched.

A text is escaped wherever it is put, unless it is :class:`Html`, which only the functions here
make. So a model called ``<b>`` shows as just that.

    page("Title", tag("h1", name), figure(png_bytes(fig), alt="Survival", caption="..."))
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_VOID: Final = frozenset({"img", "br", "hr", "meta"})
_NAME: Final = re.compile(r"[a-z][a-z0-9-]*\Z")
_NUMBER: Final = re.compile(r"\s*[-+−]?[\d.,]+(e[-+]?\d+)?\s*(%|ps|K|×)?\s*\Z", re.IGNORECASE)

_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5b6470;--line:#dfe3e8;--paper:#fff;
--wash:#f5f7f9;--accent:#0b5cad;--warn:#8a4b00;--warnwash:#fff6e6}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#a3acb8;--line:#343b45;
--paper:#14181d;--wash:#1c2229;--accent:#7db8f5;--warn:#ffc26b;--warnwash:#2b2415}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:66rem;margin:0 auto;padding:2.2rem 1.4rem 4rem}
h1{font-size:1.15rem;font-weight:600;color:var(--soft);margin:0 0 .2rem;overflow-wrap:anywhere}
h2{font-size:1.3rem;line-height:1.3;margin:3rem 0 .5rem;padding-top:1.1rem;
border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.6rem 0 .3rem}
p{margin:.5rem 0;max-width:46rem}
.soft{color:var(--soft)}
.small{font-size:.88rem}
.headline{font-size:1.5rem;line-height:1.35;font-weight:600;margin:.9rem 0 .3rem;
max-width:none;overflow-wrap:anywhere;text-wrap:pretty}
.note{background:var(--warnwash);border-left:4px solid var(--warn);padding:.55rem .9rem;
margin:.8rem 0;border-radius:0 6px 6px 0;max-width:none}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr));gap:.9rem;
margin:1.3rem 0}
.card{background:var(--wash);border:1px solid var(--line);border-top:4px solid var(--accent);
border-radius:8px;padding:.8rem 1rem;min-width:0}
.card .name{font-weight:600;overflow-wrap:anywhere;display:-webkit-box;-webkit-line-clamp:3;
-webkit-box-orient:vertical;overflow:hidden}
.card .big{font-size:1.7rem;font-weight:650;line-height:1.3;font-variant-numeric:tabular-nums}
.card p{margin:.15rem 0;font-size:.92rem}
.bar{display:flex;height:.7rem;border-radius:4px;overflow:hidden;margin:.6rem 0 .3rem;gap:1px}
.key{display:inline-block;width:.7em;height:.7em;border-radius:2px;margin-right:.35em}
.legend{display:flex;flex-wrap:wrap;gap:.1rem 1rem;font-size:.85rem;color:var(--soft)}
figure{margin:1.1rem 0}
figure img{display:block;max-width:100%;height:auto;background:#fff;border:1px solid var(--line);
border-radius:8px;padding:.5rem}
figcaption{color:var(--soft);font-size:.88rem;margin-top:.45rem;max-width:50rem}
.scroll{overflow-x:auto;margin:.8rem 0}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.32rem .8rem .32rem 0;border-bottom:1px solid var(--line);
vertical-align:top;overflow-wrap:anywhere;min-width:3.2rem;max-width:26rem}
th{color:var(--soft);font-weight:600;white-space:nowrap;border-bottom-width:2px}
td.number,th.number{text-align:right;padding-left:.8rem;white-space:nowrap}
details{margin:.8rem 0}
summary{cursor:pointer;color:var(--accent)}
ul{max-width:46rem;padding-left:1.2rem;margin:.5rem 0}
code{font:.92em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
footer{margin-top:3rem;color:var(--soft);font-size:.85rem}
@media print{main{max-width:none}figure,.card{break-inside:avoid}}
"""


class Html(str):
    """Text that is HTML already. Everything else is escaped."""

    __slots__ = ()


def join(*parts: Any) -> Html:
    """The parts one after the other, each escaped unless it is :class:`Html`.

    Lists and other iterables are flattened, ``None`` is left out.
    """
    texts = []
    for part in parts:
        if part is None:
            continue
        if isinstance(part, Html):
            texts.append(str(part))
        elif isinstance(part, Iterable) and not isinstance(part, str):
            texts.append(str(join(*part)))
        else:
            texts.append(escape(_printable(str(part))))
    return Html("".join(texts))


def tag(name: str, *children: Any, **attributes: Any) -> Html:
    """An element; ``class_`` stands for ``class``, an attribute that is ``None`` is left out.

    Raises:
        ValueError: for a name that is none, or an attribute that runs a script.
    """
    shown = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    for key in (name, *shown):
        if not _NAME.match(key) or key.startswith("on") or key == "script":
            raise ValueError(f"not allowed as the name of an element or attribute: {key!r}")
    text = "".join(
        f' {key}="{escape(_printable(str(value)), quote=True)}"'
        for key, value in shown.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{text}>")
    return Html(f"<{name}{text}>{join(*children)}</{name}>")


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Html:
    """A table; columns that hold numbers only are set to the right.

    Raises:
        ValueError: if a row has another length than the header.
    """
    body = [list(row) for row in rows]
    for row in body:
        if len(row) != len(header):
            raise ValueError(f"a row of {len(row)} cells under a header of {len(header)}: {row}")
    kinds = []
    for column in zip(*body, strict=True) if body else [()] * len(header):
        texts = [str(cell) for cell in column if cell not in (None, "", "–")]
        kinds.append("number" if texts and all(map(_NUMBER.match, texts)) else None)

    def line(cells: Sequence[Any], name: str) -> Html:
        return tag(
            "tr", [tag(name, cell, class_=kind) for cell, kind in zip(cells, kinds, strict=True)]
        )

    return tag(
        "div",
        tag(
            "table",
            tag("thead", line(header, "th")),
            tag("tbody", [line(row, "td") for row in body]),
        ),
        class_="scroll",
    )


def figure(png: bytes, alt: str, caption: Any = None, width: int | None = None) -> Html:
    """A picture, embedded.

    Args:
        png: the file's content.
        alt: what it shows, for those who can't see it.
        caption: text below, or ``None``.
        width: on the page, in CSS pixels; by default the picture's own.
    """
    data = base64.b64encode(png).decode("ascii")
    image = tag("img", src=f"data:image/png;base64,{data}", alt=alt, width=width)
    return tag("figure", image, tag("figcaption", caption) if caption is not None else None)


def png_bytes(fig: Figure, dpi: int = 160) -> bytes:
    """A matplotlib figure as PNG, the same bytes each time (no date, no version inside)."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def page(title: str, *body: Any) -> str:
    """A whole document. Its policy forbids scripts and any request to a network."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'"
    head = join(
        Html('<meta charset="utf-8">'),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        Html(f"<style>{_STYLE}</style>"),
    )
    inner = join(tag("head", head), tag("body", tag("main", *body)))
    return f'<!doctype html>\n<html lang="en">{inner}</html>\n'


def _printable(text: str) -> str:
    """``text`` without what HTML forbids and without marks that reorder the text around them."""
    return "".join(
        "�" if (ord(c) < 32 and c not in "\t\n") or 0xD800 <= ord(c) <= 0xDFFF else c
        for c in text
        if c not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    )
