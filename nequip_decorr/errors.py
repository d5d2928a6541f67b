"""Expected errors and findings: what a user can correct, printed without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal


class UserError(ValueError):
    """Report a mistake that the user can correct.

    The message says what is wrong, what was found, and what is allowed.
    """


@dataclass(frozen=True)
class Finding:
    """Something that a check found before work starts.

    Attributes:
        message: what is wrong, with the offender and the value found.
        severity: an ``error`` cannot be run, a ``warning`` may be.
        remedy: what the user can do.
    """

    message: str
    severity: Literal["error", "warning"] = "error"
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


def did_you_mean(word: Any, allowed: Iterable[str]) -> str:
    """Return `` (did you mean 'X'?)``, or nothing when no name comes near."""
    near = difflib.get_close_matches(str(word).lower(), list(allowed), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def one_of(name: str, value: Any, allowed: Iterable[str]) -> Any:
    """Return ``value``.

    Raises:
        UserError: it is not one of the words that are allowed for ``name``.
    """
    words = list(allowed)
    if value not in words:
        raise UserError(f"`{name}` must be one of {words}, got {value!r}")
    return value


class InUseError(UserError, RuntimeError):
    """Report a folder that another process works on."""
