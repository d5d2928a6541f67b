"""``nequip-decorr``: one command, a sub-command per job."""

from .main import main

__all__ = ["main"]
