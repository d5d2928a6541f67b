"""What the folder of an improvement was begun with; another one must not go on there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from ..campaign.models import read_models
from ..campaign.validate import Mistakes
from ..errors import UserError
from ..files import read_json, sha256_file, sha256_json, write_json
from ..models.compiling import content_hash
from ..structures import Structure
from .improve_file import Plan, fixed, settings_of

SETTINGS: Final = "improve.json"
CONTENTS: Final = "contents.json"
"""SHA-256 of what the files held that the settings name."""


def begin(plan: Plan) -> None:
    """Refuse a folder that was begun with other settings or files; note those of this one.

    Those of the MD and the labels may change until they were used, the contents of training files
    until the first model is there.

    Raises:
        UserError: the folder holds an improvement with other settings.
    """
    check(plan)
    plan.out.mkdir(parents=True, exist_ok=True)
    write_json(plan.out / SETTINGS, plan.file.model_dump(mode="json"))
    write_json(plan.out / CONTENTS, contents(plan))


def check(plan: Plan) -> None:
    """Refuse a folder that was begun with other settings or files."""
    begun = settings_of(plan.out / SETTINGS)
    if begun is None:
        return
    first = plan.out / "round_0"
    used = (first / "md.done").is_file()
    trained = (first / plan.file.train.checkpoint).is_file()
    free = () if used else ("md", "labels")
    changed = [k for k in _different(fixed(begun), fixed(plan.file)) if k not in free]
    files = _different(read_json(plan.out / CONTENTS) or {}, contents(plan))
    changed += [
        f"`{key}` (its files have changed)"
        for key in files
        if key.split(".")[0] not in (*free, *changed) and (trained or not key.startswith("train"))
    ]
    if changed:
        raise UserError(
            f"{plan.out} was begun with other settings of {', '.join(changed)}; choose another "
            "folder with --out, and name the labels of this one in `train.added`"
        )


def contents(plan: Plan) -> dict[str, str]:
    """SHA-256 of the training files, the start cells and the potential of the labels, by key."""
    train = plan.file.train
    named = {
        "train.data": train.data,
        "train.added": train.added,
        "train.test": train.test,
        "train.start": (train.start,) if train.start else (),
    }
    found = {key: _of_files(plan.folder / name for name in names) for key, names in named.items()}
    found["md.structures"] = sha256_json([_of_structure(each) for each in plan.structures])
    if plan.potential:
        specs = read_models({"labels": plan.potential}, plan.folder, Mistakes(), within="")
        found["labels"] = sha256_json([content_hash(spec) for spec in specs])
    return found


def _different(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [key for key in new if key in old and old[key] != new[key]]


def _of_files(paths: Iterable[Path]) -> str:
    return sha256_json([sha256_file(path) for path in paths])


def _of_structure(structure: Structure) -> list[Any]:
    atoms = structure.atoms
    parts = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    return [structure.name, *(part.tolist() for part in parts)]
