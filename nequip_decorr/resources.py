"""Folders that lie at the top of a checkout and inside the package once it is installed."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _folder(name: str, sentinel: str) -> Path:
    for candidate in (_PACKAGE.parent / name, _PACKAGE / f"_{name}"):
        if (candidate / sentinel).is_file():
            return candidate
    raise FileNotFoundError(
        f"`{name}/` with {sentinel} is neither in the checkout nor in the installed package; "
        "reinstall nequip-decorr"
    )


def configs_dir() -> Path:
    """The training configs."""
    return _folder("configs", "siox_allegro.yaml")


def templates_dir() -> Path:
    """The LAMMPS input templates."""
    return _folder("lammps", "in.nvt")
