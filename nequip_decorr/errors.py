"""Expected errors: the command line prints them without a traceback."""

from __future__ import annotations


class UserError(ValueError):
    """Report a mistake that the user can correct.

    The message says what is wrong, what was found, and what is allowed.
    """
