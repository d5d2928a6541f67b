"""Several campaigns read as one: what has one name in them and is not the same is told apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..md.start import read_start
from .store import read_plan, rows_of

Start = tuple[str, float, int]


@dataclass(frozen=True)
class Part:
    """One campaign among several.

    Attributes:
        folder: of the campaign.
        plan: its plan.
        models: name of each model among all campaigns, by its name in this one.
        structures: the same of the structures.
    """

    folder: Path
    plan: dict[str, Any]
    models: Mapping[str, str]
    structures: Mapping[str, str]

    @property
    def reference(self) -> Any:
        """Name of the reference model, or files by structure and kind."""
        found = self.plan.get("reference")
        if isinstance(found, Mapping):
            return {self.structures.get(name, name): files for name, files in found.items()}
        return None if found is None else self.models.get(found, found)

    def named(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row of the run table with the names among all campaigns."""
        names = {"model": self.models[row["model"]], "structure": self.structures[row["structure"]]}
        return {**row, **names}

    def rows(self, unfinished: bool = False) -> list[dict[str, Any]]:
        """Rows of :func:`~nequip_decorr.campaign.store.read_runs` with those names."""
        return [self.named(row) for row in rows_of(self.plan, self.folder, unfinished)]


def join(folders: Sequence[str | Path]) -> list[Part]:
    """Read the plans of some campaigns, and find names for what is not the same in all of them.

    A model is what its files hold: one name for two contents becomes ``NAME (CAMPAIGN)``, after the
    first campaign that has it. A structure becomes ``CAMPAIGN: NAME`` where its start frames differ
    between campaigns; and all do where campaigns hold the same runs.

    Raises:
        ValueError: no folder, the same one twice, or one that holds no campaign.
    """
    paths = [Path(folder) for folder in folders]
    if not paths:
        raise UserError("at least one campaign folder is needed, got none")
    if len({path.resolve() for path in paths}) < len(paths):
        raise UserError(f"a campaign folder is given twice: {', '.join(map(str, paths))}")
    plans = [read_plan(path) for path in paths]
    labels = _labels(paths, plans)
    models = _models(plans, labels)
    apart = _different_starts(paths, plans)
    if _repeated(plans, models):
        apart = {spec["structure"] for plan in plans for spec in _specs(plan)}
    parts = []
    for path, plan, label, names in zip(paths, plans, labels, models, strict=True):
        known = {spec["structure"] for spec in _specs(plan)}
        structures = {name: f"{label}: {name}" if name in apart else name for name in known}
        parts.append(Part(path, plan, names, structures))
    return parts


def renamed(parts: Sequence[Part]) -> list[str]:
    """Say in sentences which names were changed, and why."""
    models: dict[str, list[str]] = {}
    structures: list[str] = []
    for part in parts:
        for old, new in part.models.items():
            if old != new and new not in models.setdefault(old, []):
                models[old].append(new)
        structures += [new for old, new in part.structures.items() if old != new]
    found = [
        f"model `{name}` is not the same in these campaigns: they have {', '.join(names)}"
        for name, names in models.items()
    ]
    if structures:
        found.append(
            "structures are named with their campaigns, because these hold the same runs, or one "
            f"name for different start frames: {', '.join(sorted(structures))}"
        )
    return found


def planned(parts: Sequence[Part]) -> Counter[str]:
    """Count the planned runs of each model."""
    return Counter(p.models[spec["model"]["name"]] for p in parts for spec in _specs(p.plan))


def _specs(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [item["spec"] for item in plan["runs"]]


def _labels(paths: Sequence[Path], plans: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the campaigns, or as much of the ends of their paths, as tells them apart."""
    found, depth = [plan["name"] for plan in plans], 0
    while len(set(found)) < len(found):
        depth += 1
        found = ["/".join(path.resolve().parts[-depth:]) for path in paths]
    return found


def _models(plans: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[dict[str, str]]:
    """Names of each campaign's models among all."""
    first: dict[str, dict[str, str]] = {}
    for plan, label in zip(plans, labels, strict=True):
        for item in plan["runs"]:
            first.setdefault(item["spec"]["model"]["name"], {}).setdefault(_content(item), label)
    return [
        {
            name: f"{name} ({first[name][_content(item)]})" if len(first[name]) > 1 else name
            for item in plan["runs"]
            for name in [item["spec"]["model"]["name"]]
        }
        for plan in plans
    ]


def _content(item: Mapping[str, Any]) -> str:
    return str(item["inputs"]["model"])


def _repeated(plans: Sequence[Mapping[str, Any]], models: Sequence[Mapping[str, str]]) -> bool:
    """Whether a model has a start in several campaigns."""
    keys: set[tuple[str, Start]] = set()
    for plan, names in zip(plans, models, strict=True):
        mine = {(names[s["model"]["name"]], _start(s)) for s in _specs(plan)}
        if keys & mine:
            return True
        keys |= mine
    return False


def _start(spec: Mapping[str, Any]) -> Start:
    return spec["structure"], spec["temperature_K"], spec["seed"]


def _different_starts(paths: Sequence[Path], plans: Sequence[Mapping[str, Any]]) -> set[str]:
    """Structures of which a start frame is not the same in all campaigns that have it."""
    seen: dict[Start, dict[str, Path]] = {}
    for path, plan in zip(paths, plans, strict=True):
        for item in plan["runs"]:
            file = path / "inputs" / Path(item["spec"]["structure_file"]).name
            content = str(item["inputs"].get("structure_file", file))
            seen.setdefault(_start(item["spec"]), {}).setdefault(content, file)
    return {
        key[0]
        for key, files in seen.items()
        if len(files) > 1 and not _same_frames(list(files.values()))
    }


def _same_frames(files: Sequence[Path]) -> bool:
    """Whether files hold one frame: another version may have written its numbers differently."""
    try:
        first, *others = map(read_start, files)
    except (OSError, ValueError):
        return False
    return all(
        frame.get_chemical_symbols() == first.get_chemical_symbols()
        and np.allclose(frame.cell, first.cell, atol=1e-4)
        and np.allclose(frame.positions, first.positions, atol=1e-4)
        and np.allclose(frame.get_momenta(), first.get_momenta(), atol=1e-4)
        for frame in others
    )
