"""Self-contained HTML pages from the templates in ``templates/``: pictures embedded, no requests.

Jinja2 escapes every value, so a model called ``<b>`` shows as just that. A page extends
``base.html``, whose policy forbids scripts and requests, and imports ``table`` and ``figure`` from
``parts.html``.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import jinja2
from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Html = Markup
_VOID: Final = frozenset({"img", "br", "hr", "meta"})
_NAME: Final = re.compile(r"[a-z][a-z0-9-]*\Z")
_NUMBER: Final = re.compile(r"\s*[-+−]?[\d.,]+(e[-+]?\d+)?\s*(%|ps|K|×)?\s*\Z", re.IGNORECASE)
_HIDDEN: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def render(template: str, **values: Any) -> str:
    """Fill a template of ``nequip_decorr/templates``.

    Args:
        template: its file name.
        **values: what it names; a name without a value is an error.
    """
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nequip_decorr"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["column_kinds"] = _column_kinds
    environment.filters["data_uri"] = _data_uri
    return environment


def png_bytes(fig: Figure, dpi: int = 160) -> bytes:
    """Encode a matplotlib figure as PNG, the same bytes each time (no date, no version inside)."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _column_kinds(header: Sequence[Any], rows: Sequence[Sequence[Any]]) -> list[str | None]:
    """Tell which columns hold nothing but numbers.

    Raises:
        ValueError: a row has another length than the header.
    """
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row of {len(row)} cells under a header of {len(header)}: {row}")
    kinds = []
    for column in zip(*rows, strict=True) if rows else [()] * len(header):
        texts = [str(cell) for cell in column if cell not in (None, "", "–")]
        kinds.append("number" if texts and all(map(_NUMBER.match, texts)) else None)
    return kinds


def _printable(value: Any) -> Any:
    """Drop what HTML forbids and marks that reorder the text around them; ``None`` is empty."""
    if value is None:
        return ""
    if isinstance(value, (Markup, jinja2.Undefined)):
        return value
    return "".join(
        "�" if (ord(c) < 32 and c not in "\t\n") or 0xD800 <= ord(c) <= 0xDFFF else c
        for c in str(value)
        if c not in _HIDDEN
    )


# What follows goes when no page is built in Python any more.


def join(*parts: Any) -> Markup:
    """Put the parts one after the other, escaped; lists are flattened, ``None`` is left out."""
    texts = []
    for part in parts:
        if isinstance(part, Iterable) and not isinstance(part, str):
            texts.append(join(*part))
        else:
            texts.append(escape(_printable(part)))
    return Markup("").join(texts)


def tag(name: str, *children: Any, **attributes: Any) -> Markup:
    """Build an element; ``class_`` stands for ``class``, an attribute of ``None`` is left out.

    Raises:
        ValueError: a name that is not allowed, or an attribute that runs a script.
    """
    shown = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    for key in (name, *shown):
        if not _NAME.match(key) or key.startswith("on") or key == "script":
            raise ValueError(f"not allowed as the name of an element or attribute: {key!r}")
    texts = (f' {k}="{escape(_printable(v))}"' for k, v in shown.items() if v is not None)
    start = f"<{name}{''.join(texts)}>"
    return Markup(start if name in _VOID else f"{start}{join(*children)}</{name}>")


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Markup:
    """Build a table; see ``parts.html``."""
    return Markup(_part("table")(list(header), [list(row) for row in rows]))


def figure(png: bytes, alt: str, caption: Any = None, width: int | None = None) -> Markup:
    """Embed a picture; see ``parts.html``."""
    return Markup(_part("figure")(png, alt, caption, width))


def _part(name: str) -> Any:
    return getattr(_environment().get_template("parts.html").module, name)


def page(title: str, *body: Any) -> str:
    """Build a whole document of parts made in Python."""
    text = "{% extends 'base.html' %}{% block body %}{{ body }}{% endblock %}"
    return _environment().from_string(text).render(title=title, body=join(*body))
