"""Several campaigns read as one: what has one name in them and is not the same is told apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..md.spec import RunSpec, settings
from ..md.start import read_start
from .plan import run_id
from .store import PENDING, RUNNING, read_plan, rows_of

Plan = dict[str, Any]
Start = tuple[str, float, int]


@dataclass(frozen=True)
class Part:
    """One campaign among several.

    Attributes:
        folder: of the campaign.
        plan: its plan.
        models: name of each model among all campaigns, by its name in this one.
        structures: the same of the structures.
        left_out: names of the runs that count in another folder.
    """

    folder: Path
    plan: Plan
    models: Mapping[str, str]
    structures: Mapping[str, str]
    left_out: frozenset[str] = frozenset()

    @property
    def reference(self) -> Any:
        """Name of the reference model, or files by structure and kind."""
        found = self.plan.get("reference")
        if isinstance(found, Mapping):
            return {self.structures.get(name, name): files for name, files in found.items()}
        return None if found is None else self.models.get(found, found)

    @property
    def items(self) -> list[dict[str, Any]]:
        """Planned runs that count here, as the plan has them."""
        return [i for i in self.plan["runs"] if i["spec"]["run_id"] not in self.left_out]

    def rows(self, unfinished: bool = False) -> list[dict[str, Any]]:
        """Rows of :func:`~nequip_decorr.campaign.store.read_runs`, with the names among all."""
        return [
            row
            | {"model": self.models[row["model"]], "structure": self.structures[row["structure"]]}
            for row in rows_of(self.plan, self.folder, unfinished)
            if row["run_id"] not in self.left_out
        ]


def join(folders: Sequence[str | Path]) -> list[Part]:
    """Read the plans of some campaigns, and find names for what is not the same in all of them.

    Two models of one name are called ``NAME (CAMPAIGN)``, after the first campaign that has them; a
    model is what its files hold. So is one model that ran from the same start with different
    settings. Two structures of one name are called ``CAMPAIGN: NAME``. A run that stands in
    several folders (a copy, or parts of one campaign) counts once, where it is finished.

    Raises:
        ValueError: no folder, the same one twice, one that holds no campaign, or names that cannot
            be told apart.
    """
    paths = [Path(folder) for folder in folders]
    if not paths:
        raise UserError("at least one campaign folder is needed, got none")
    if len({path.resolve() for path in paths}) < len(paths):
        raise UserError(f"a campaign folder is given twice: {', '.join(map(str, paths))}")
    plans = [read_plan(path) for path in paths]
    labels = _labels(paths, plans)
    structures = _structures(paths, plans, labels)
    models = _models(plans, labels, structures)
    parts = [Part(*each) for each in zip(paths, plans, models, structures, strict=True)]
    return _counted_once(parts)


def planned(parts: Sequence[Part]) -> Counter[str]:
    """Count the planned runs of each model."""
    return Counter(part.models[_model(item)] for part in parts for item in part.items)


def check_models(parts: Sequence[Part], names: Iterable[str]) -> None:
    """Check that the campaigns have these models.

    Raises:
        UserError: they have not.
    """
    known = planned(parts)
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"models: got {', '.join(unknown)}; allowed: {', '.join(known)}")


def renamed(parts: Sequence[Part]) -> list[str]:
    """Say in sentences what is not as its campaign has it, and why."""
    names: dict[str, list[str]] = defaultdict(list)
    contents: dict[str, set[str]] = defaultdict(set)
    structures: dict[str, list[str]] = defaultdict(list)
    for part in parts:
        for item in part.plan["runs"]:
            contents[_model(item)].add(_content(item))
        for kind, changed in ((names, part.models), (structures, part.structures)):
            for old, new in changed.items():
                if old != new and new not in kind[old]:
                    kind[old].append(new)
    found = []
    for name, called in names.items():
        fault = "has different files"
        if len(contents[name]) == 1:
            fault = "ran from the same starts with different settings"
        found.append(f"model `{name}` {fault} in these campaigns: {', '.join(called)}")
    for name, called in structures.items():
        fault = "is not the same in these campaigns, or cannot be read"
        found.append(f"structure `{name}` {fault}: {', '.join(called)}")
    if repeated := sum(len(part.left_out) for part in parts):
        found.append(f"runs that stand in several of these folders, and count once: {repeated}")
    references = list(dict.fromkeys(p.reference for p in parts if isinstance(p.reference, str)))
    if len(references) > 1:
        found.append(f"these campaigns have several references: {', '.join(references)}")
    return found


def remarks(parts: Sequence[Part], models: Iterable[str]) -> list[str]:
    """Say what must be known of the runs of some models, in sentences with a full stop."""
    wanted = set(models)
    specs = [
        RunSpec.from_dict(item["spec"])
        for part in parts
        for item in part.items
        if part.models[_model(item)] in wanted
    ]
    found = renamed(parts)
    if mixed := [name for name, values in settings(specs).items() if len(values) > 1]:
        found.append(f"the runs differ in {', '.join(mixed)}")
    return [f"{text[:1].upper()}{text[1:]}." for text in found]


def _model(item: Mapping[str, Any]) -> str:
    return str(item["spec"]["model"]["name"])


def _content(item: Mapping[str, Any]) -> str:
    return str(item["inputs"]["model"])


def _start(spec: Mapping[str, Any]) -> Start:
    return spec["structure"], spec["temperature_K"], spec["seed"]


def _what_runs(item: Mapping[str, Any]) -> str:
    """Name of a run by all that decides it, wherever its files lie."""
    start = item["inputs"].get("structure_file", "")
    return run_id(RunSpec.from_dict(item["spec"]), _content(item), start)


def _labels(paths: Sequence[Path], plans: Sequence[Plan]) -> list[str]:
    """Names of the campaigns, or as much of the ends of their paths, as tells them apart."""
    found, depth = [plan["name"] for plan in plans], 0
    while len(set(found)) < len(found):
        depth += 1
        found = ["/".join(path.resolve().parts[-depth:]) for path in paths]
    return found


def _models(
    plans: Sequence[Plan], labels: Sequence[str], structures: Sequence[Mapping[str, str]]
) -> list[dict[str, str]]:
    """Names of each campaign's models among all."""
    first: dict[str, dict[str, str]] = defaultdict(dict)
    runs: dict[tuple[str, str, str, Start], set[str]] = defaultdict(set)
    for plan, label, known in zip(plans, labels, structures, strict=True):
        for item in plan["runs"]:
            name, content, start = _model(item), _content(item), _start(item["spec"])
            first[name].setdefault(content, label)
            runs[name, content, known[start[0]], start].add(_what_runs(item))
    otherwise = {(name, content) for (name, content, *_), what in runs.items() if len(what) > 1}
    found = []
    whose: dict[str, tuple[str, str]] = {}
    for plan, label in zip(plans, labels, strict=True):
        names = {}
        for item in plan["runs"]:
            name, content = _model(item), _content(item)
            new = name
            if (name, content) in otherwise:
                new = f"{name} ({label})"
            elif len(first[name]) > 1:
                new = f"{name} ({first[name][content]})"
            if whose.setdefault(new, (name, content)) != (name, content):
                raise UserError(
                    f"models: two are called {new!r}, one of them because `{name}` is not the same "
                    "in these campaigns; rename the other one in its campaign file"
                )
            names[name] = new
        found.append(names)
    return found


def _structures(
    paths: Sequence[Path], plans: Sequence[Plan], labels: Sequence[str]
) -> list[dict[str, str]]:
    """Names of each campaign's structures among all."""
    kinds: dict[str, dict[str, dict[Start, tuple[str, Path]]]] = defaultdict(dict)
    chosen: list[dict[str, str]] = []
    for path, plan, label in zip(paths, plans, labels, strict=True):
        files: dict[str, dict[Start, tuple[str, Path]]] = defaultdict(dict)
        for item in plan["runs"]:
            spec = item["spec"]
            file = path / "inputs" / Path(spec["structure_file"]).name
            content = str(item["inputs"].get("structure_file", file))
            files[spec["structure"]][_start(spec)] = content, file
        chosen.append({})
        for name, starts in files.items():
            alike = (kind for kind, others in kinds[name].items() if _same(starts, others))
            chosen[-1][name] = kind = next(alike, label)
            kinds[name].setdefault(kind, {}).update(starts)
    return [
        {name: f"{kind}: {name}" if len(kinds[name]) > 1 else name for name, kind in each.items()}
        for each in chosen
    ]


def _same(
    starts: Mapping[Start, tuple[str, Path]], others: Mapping[Start, tuple[str, Path]]
) -> bool:
    """Whether starts of one name are those of one structure, and where both have one, the same."""
    if shared := starts.keys() & others.keys():
        return all(
            starts[key][0] == others[key][0] or _alike(starts[key][1], others[key][1], True)
            for key in shared
        )
    return _alike(next(iter(starts.values()))[1], next(iter(others.values()))[1], False)


def _alike(one: Path, other: Path, momenta: bool) -> bool:
    """Whether two files hold the same atoms: another machine may differ in the last digits."""
    try:
        a, b = read_start(one), read_start(other)
    except (OSError, ValueError, KeyError):
        return False
    if a.get_chemical_symbols() != b.get_chemical_symbols() or (a.pbc != b.pbc).any():
        return False
    values = ["positions", "cell", "masses", *(["momenta"] if momenta else [])]
    pairs = ([np.asarray(getattr(x, f"get_{value}")()) for x in (a, b)] for value in values)
    return all(np.allclose(x, y, atol=1e-4) for x, y in pairs)


def _counted_once(parts: Sequence[Part]) -> list[Part]:
    """Leave repeated runs out of all folders but one: where they are finished, without an error."""
    places: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for number, part in enumerate(parts):
        for item in part.plan["runs"]:
            places[_what_runs(item)].append((number, item["spec"]["run_id"]))
    if all(len(found) == 1 for found in places.values()):
        return list(parts)
    worse = {PENDING: 2, RUNNING: 2, "error": 1}
    rank = {
        (number, row["run_id"]): worse.get(row["status"], 0)
        for number, part in enumerate(parts)
        for row in part.rows(unfinished=True)
    }
    left_out: dict[int, set[str]] = defaultdict(set)
    for found in places.values():
        kept = min(found, key=lambda place: rank[place])
        for number, run in found:
            if (number, run) != kept:
                left_out[number].add(run)
    return [
        replace(part, left_out=frozenset(left_out[number])) for number, part in enumerate(parts)
    ]
