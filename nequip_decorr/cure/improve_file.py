"""The keys of ``improve.yaml``, with their types and defaults; every mistake is listed at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Annotated, Any

from ase import Atoms

from ..campaign.models import entry_of, read_models
from ..campaign.schema import Campaign, parse_campaign
from ..campaign.validate import (
    CampaignError,
    Count,
    Mistakes,
    Strict,
    number,
    of_kind,
    one_or_more,
    validate,
)
from ..campaign.yaml_file import load_yaml
from ..errors import UserError
from ..files import read_json
from ..md.spec import LAMMPS_LIBRARY, RunSpec
from ..model_files import require
from ..structures import Structure, iter_frames
from .rules import DEFAULT_BEYOND
from .training_config import ENERGY_PER_TYPE, check_config

_PATTERNS = ("data", "added", "test")
_Words = Annotated[tuple[str, ...], one_or_more("a text")]


class _Train(Strict):
    config: Annotated[str, of_kind(str, "a training config of NequIP (YAML)")] = ""
    data: _Words = ()
    added: _Words = ()
    test: _Words = ()
    start: Annotated[str | None, of_kind(str, "a checkpoint of NequIP")] = None
    overrides: _Words = ()
    fine_tune: _Words = ()
    first_copies: Count = 1
    checkpoint: Annotated[str, of_kind(str, "a file name")] = "best.ckpt"


class _File(Strict):
    train: Annotated[_Train, of_kind(dict, "{config: FILE.yaml, data: [FILE.xyz]}")] = _Train()
    md: Annotated[dict[Any, Any], of_kind(dict, "keys of a campaign file without `models`")] = {}  # noqa: RUF012
    labels: Annotated[Any, of_kind((str, dict), "a model as in a campaign, or {command: ...}")] = (
        None
    )
    rounds: Count = 3
    frames: Count = 15
    max_labels: Count = 1000
    beyond: Annotated[float, number(above=1)] = DEFAULT_BEYOND
    judge: Annotated[bool, of_kind(bool, "true or false", empty=True)] = True
    target: Annotated[str | None, of_kind(str, "a target of nequip-compile")] = None
    out: Annotated[str | None, of_kind(str, "a folder name")] = None


@dataclass(frozen=True)
class Plan:
    """A checked ``improve.yaml``.

    Attributes:
        file: its keys.
        folder: what its paths were relative to.
        out: folder of everything that is made.
        command: of the labels, with ``{frames}`` and ``{labelled}``; empty for a potential.
        submits: whether the command ends before the labels are there.
        md: of each model, in words.
        length_ps: of a run of this MD.
        potential: of the labels, as in a campaign, with absolute paths; empty for a command.
        warning: what will not go well, if anything.
        structures: start cells of the MD.
    """

    file: _File
    folder: Path
    out: Path
    command: str = ""
    submits: bool = False
    md: str = ""
    length_ps: float = 0.0
    potential: dict[str, Any] = field(default_factory=dict)
    warning: str = ""
    structures: Sequence[Structure] = ()

    def __str__(self) -> str:
        file, train = self.file, self.file.train
        first = f"the model {train.start}" if train.start else f"a training of {train.config}"
        many = train.first_copies > 1
        copies = f" ({train.first_copies} times {', '.join(train.data)})" if many else ""
        then = "fine-tuning the last model" if train.fine_tune else f"trainings of {train.config}"
        return (
            f"rounds: {file.rounds}, each with at most {file.frames} labels, at most "
            f"{min(file.max_labels, file.rounds * file.frames)} in all, from "
            f"{self.command or 'the potential of `labels`'}\n"
            f"  models: {first}, then {then}; training data: "
            f"{', '.join((*train.data, *train.added))}{copies}\n"
            f"  MD of each: {self.md}\nresults: {self.out}"
            + (f"\nwarning: {self.warning}" if self.warning else "")
        )


def fixed(file: _File) -> dict[str, Any]:
    """Settings that must stay while the rounds of a folder go on."""
    found: dict[str, Any] = file.model_dump(mode="json", exclude={"rounds", "max_labels", "out"})
    for key in ("checkpoint", "overrides", "fine_tune", "first_copies"):
        del found["train"][key]
    if isinstance(found["labels"], dict) and "command" in found["labels"]:
        found["labels"] = "a command"
    return found


def settings_of(path: Path) -> _File | None:
    """Settings that a folder was begun with, by this version or one before it."""
    old = read_json(path)
    if not old:
        return None
    old["train"] = {key: value for key, value in old["train"].items() if value}
    return _File.model_validate({key: x for key, x in old.items() if x is not None})


def load_plan(path: Path, out: Path | None = None) -> Plan:
    """Read and check ``improve.yaml``.

    Raises:
        CampaignError: the file has mistakes; all of them are listed.
    """
    mistakes, folder = Mistakes(), path.resolve().parent
    data = load_yaml(path, mistakes)
    if data is None:
        mistakes.raise_if_any(str(path))
    file = validate(_File, data or {}, mistakes, partial=True)
    assert file is not None
    for key in ("train", "md", "labels"):
        if not (data or {}).get(key):
            mistakes.add(key, None, "it is needed")
    named = {key: _files(getattr(file.train, key), folder) for key in _PATTERNS}
    file = file.model_copy(update={"train": file.train.model_copy(update=named)})
    train = file.train
    for name in filter(None, (train.config, train.start, *train.data, *train.added, *train.test)):
        if not (folder / name).is_file():
            mistakes.say(f"train: no such file: {folder / name}")
    if train.start and (folder / train.start).is_file():
        try:
            require(folder / train.start, ("checkpoint",))
        except UserError as err:
            mistakes.say(f"train.start: {err}")
    one_energy = _check_training(train, folder, mistakes)
    if data and data.get("train") and not (file.train.config and file.train.data):
        mistakes.add("train", data["train"], "both `config` and `data`, the training structures")
    md = _check_md(file.md, folder, mistakes) if file.md else None
    command, submits, potential = "", False, dict[str, Any]()
    if isinstance(file.labels, dict) and "command" in file.labels:
        command = str(file.labels["command"])
        submits = file.labels.get("submits", False)
        known = set(file.labels) <= {"command", "submits"} and isinstance(submits, bool)
        if not (known and "{frames}" in command and "{labelled}" in command):
            allowed = "{command: TEXT with {frames} and {labelled}, submits: true or false}"
            mistakes.add("labels", file.labels, allowed)
    elif file.labels is not None:
        # The MD's file and the command of the labels lie elsewhere.
        for spec in read_models({"labels": file.labels}, folder, mistakes, within=""):
            potential = entry_of(spec)
    mistakes.raise_if_any(str(path))
    chosen = out.absolute() if out else folder / (file.out or f"{path.stem}_out")
    assert md is not None
    first = [folder / name for name in train.data]
    warning = _new_compositions(first, md.structures) if one_energy else ""
    length_ps = md.run["steps"] * md.run.get("timestep_fs", RunSpec.timestep_fs) / 1000
    return Plan(
        file, folder, chosen, command, submits, _in_words(md, length_ps), length_ps, potential,
        warning, md.structures,
    )  # fmt: skip


def _files(names: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    """Names of files; a pattern such as ``test_*.xyz`` stands for all that it matches."""
    found: list[str] = []
    for name in names:
        matches = [] if (folder / name).is_file() else sorted(glob(name, root_dir=folder))
        found += matches or [name]
    return tuple(dict.fromkeys(found))


def absolute(value: Any, folder: Path) -> Any:
    """Replace each text that names files in ``folder`` by its absolute path."""
    if isinstance(value, dict):
        return {key: absolute(item, folder) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [absolute(item, folder) for item in value]
    if not isinstance(value, str) or not value or Path(value).is_absolute():
        return value
    named = (folder / value).is_file() or any(folder.glob(value.rpartition("@")[0] or value))
    return str(folder / value) if named else value


def has_labels(atoms: Atoms) -> bool:
    """Whether a structure has energy and forces under ASE's names."""
    return atoms.calc is not None and {"energy", "forces"} <= set(atoms.calc.results)


def _check_training(train: _Train, folder: Path, mistakes: Mistakes) -> bool:
    """Check what a training would not notice; returns whether all atoms get one mean energy."""
    one_energy = False
    if (folder / train.config).is_file():
        one_energy = check_config(folder / train.config, train.overrides, mistakes)
    for path in (folder / name for name in (*train.data, *train.added)):
        if not path.is_file():
            continue
        try:
            _, first = next(iter_frames(path))
        except UserError as err:
            mistakes.say(f"train: {err}")
            continue
        if not has_labels(first):
            mistakes.say(
                f"train: {path}: the first structure has no `energy` and `forces`; allowed: "
                "labels under these names, as ASE writes them (rename REF_energy and the like)"
            )
    return one_energy


def _new_compositions(data: Sequence[Path], structures: Sequence[Structure]) -> str:
    """Say which start cells have a composition that no training frame has."""

    def shares(atoms: Atoms) -> frozenset[tuple[str, float]]:
        counts = Counter(atoms.get_chemical_symbols())
        return frozenset((symbol, round(n / len(atoms), 6)) for symbol, n in counts.items())

    known = {shares(atoms) for path in data for _, atoms in iter_frames(path)}
    new = [each.name for each in structures if shares(each.atoms) not in known]
    if not new:
        return ""
    return (
        f"no training frame has the composition of {', '.join(new)}, and the training config gives "
        "all atoms one mean energy, which is wrong by electronvolts there. Give each element its "
        "own with these `overrides`:\n" + "\n".join(f"    - '{line}'" for line in ENERGY_PER_TYPE)
    )


def _check_md(md: dict[Any, Any], folder: Path, mistakes: Mistakes) -> Campaign | None:
    """Check the MD as a campaign of a model that knows all elements."""
    for key in sorted({"models", "out", "labels", "reference"} & set(md)):
        mistakes.say(f"md.{key}: `improve` sets it; leave it out")
    known = {key: value for key, value in md.items() if key not in ("models", "out", "labels")}
    known |= {"models": {"x": {"ase": {"calculator": "ase.calculators.lj.LennardJones"}}}}
    try:
        return parse_campaign(known | {"engine": LAMMPS_LIBRARY}, folder)
    except CampaignError as err:
        mistakes.lines += [f"md.{x}".replace("md.campaign: ", "md: ") for x in err.mistakes]
        return None


def _in_words(campaign: Campaign, length_ps: float) -> str:
    return (
        f"runs {campaign.num_runs} = structures {len(campaign.structures)} x temperatures "
        f"{len(campaign.temperatures_K)} x seeds {len(campaign.seeds)}, {length_ps:g} ps at "
        f"{', '.join(f'{t:g}' for t in campaign.temperatures_K)} K"
    )
