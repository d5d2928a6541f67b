"""Where the LAMMPS templates are."""

from __future__ import annotations

import sys
from pathlib import Path


def templates_folder() -> Path:
    """Folder of the templates: ``lammps/`` of a source tree, or where an install put it.

    Raises:
        FileNotFoundError: neither is there.
    """
    source = Path(__file__).resolve().parents[2] / "lammps"
    installed = Path(sys.prefix) / "share" / "nequip-decorr" / "lammps"
    for folder in (source, installed):
        if (folder / "setup.lmp").is_file():
            return folder
    raise FileNotFoundError(
        f"the LAMMPS templates are missing; looked in {source} and {installed}. "
        "Install nequip-decorr again"
    )
