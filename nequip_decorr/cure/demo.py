"""``nequip-decorr demo --improve``: a model of the built-in data, improved in rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ..files import read_json, write_json
from ..folders import same_settings
from ..processes import call, script
from ..resources import configs_dir
from .improve import Improve
from .improve_file import load_plan
from .training_config import ENERGY_PER_TYPE


def improve_demo(
    out: Path, seed: int, epochs: int | None, length_ps: float, rounds: int, lmp: str | None
) -> Path:
    """Make the data, write ``improve.yaml`` and do its rounds; returns the page."""
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    wanted = {"seed": seed, "epochs": epochs, "length_ps": length_ps, "lmp": lmp}
    same_settings(out / "improve_demo.json", wanted)
    data = out / "data"
    if not read_json(data / "done.json"):
        command = ["nequip-decorr", "data", "siox", str(data), "--size", "demo"]
        print("$", *command)
        call([script(command[0]), *command[1:]], out / "data.log")
        write_json(data / "done.json", True)
    cells = sorted((data / "md").glob("*.xyz"))
    md: dict[str, Any] = {
        "structures": {path.stem: str(path.relative_to(out)) for path in cells},
        "temperatures_K": [2000],
        "seeds": [seed],
        "length_ps": length_ps,
    }
    if lmp is not None:
        md |= {"engine": "lammps", "lammps_command": lmp}
    file = {
        "train": {
            "config": str(configs_dir() / "siox_allegro.yaml"),
            "data": ["data/train.xyz"],
            "test": [f"data/{path.name}" for path in sorted(data.glob("test_*.xyz"))],
            "overrides": [
                f"data_dir={data}",
                f"seed={seed}",
                *([f"epochs={epochs}"] if epochs else []),
                # Cells with fewer oxygens join the data: one mean energy for all would mislead.
                *ENERGY_PER_TYPE,
            ],
        },
        "md": md,
        "labels": {"reference": "siox"},
        "rounds": rounds,
        "out": "improve",
    }
    path = out / "improve.yaml"
    path.write_text(yaml.safe_dump(file, sort_keys=False))
    return Improve(load_plan(path)).run()
