"""Self-contained HTML pages from the templates in ``templates/``: pictures embedded, no requests.

Jinja2 escapes every value, so a model called ``<b>`` shows as just that. A page extends
``base.html``, whose policy forbids scripts and requests, and imports ``table`` and ``figure`` from
``parts.html``.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jinja2
from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NUMBER: Final = re.compile(r"\s*[-+−]?[\d.,]+(e[-+]?\d+)?\s*(%|ps|K|×)?\s*\Z", re.IGNORECASE)
_HIDDEN: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff]")


def render(template: str, **values: Any) -> str:
    """Fill a template of ``nequip_decorr/templates``.

    Args:
        template: its file name.
        **values: what it names; a name without a value is an error.
    """
    return environment().get_template(template).render(**values)


@cache
def environment() -> jinja2.Environment:
    """Return the settings of all templates; what is not HTML takes an overlay of them."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("nequip_decorr"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["column_kinds"] = _column_kinds
    made.filters["data_uri"] = _data_uri
    return made


def write_pictures(folder: Path, pictures: Mapping[str, bytes], names: str) -> None:
    """Write PNG files, and remove those of an earlier call that are not drawn any more.

    Args:
        folder: where; other files in it stay.
        pictures: by name.
        names: a regular expression of all names that such a call may give.
    """
    for old in folder.glob("*.png"):
        if old.stem not in pictures and re.fullmatch(names, old.stem):
            old.unlink()
    for name, picture in pictures.items():
        (folder / f"{name}.png").write_bytes(picture)


def png_bytes(fig: Figure, dpi: int = 160) -> bytes:
    """Encode a matplotlib figure as PNG, the same bytes each time (no date, no version inside)."""
    for axis in (one for axes in fig.axes for one in (axes.xaxis, axes.yaxis)):
        if axis.get_scale() in ("log", "symlog"):  # powers of ten are mathematics; names never are
            for label in axis.get_ticklabels(which="both"):
                label.set_parse_math(True)
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
    return _FORBIDDEN.sub("�", _HIDDEN.sub("", str(value)))
