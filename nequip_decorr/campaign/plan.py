"""From a campaign to its runs: models compiled, start frames written, every run named.

``campaign.json`` is the plan: the campaign as resolved and every run with the hashes of its
inputs; ``runs/RUN_ID/run.json`` is one of them. Run names hold a hash of all that decides what a
run is, and nothing about where files lie, so the same campaign gives the same names on another
machine, and a run whose settings have changed is a new run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Final

from ..errors import Finding, UserError
from ..files import read_json, sha256_file, sha256_json, write_atomic, write_json
from ..md.criteria import RENAMED
from ..md.spec import RunSpec
from ..md.start import engine_frame, extxyz_text, start_frame
from ..models.compiling import compile_model, compile_target, content_hash, is_compiled
from ..models.metadata import on_gpu, read_info
from ..models.spec import ModelSpec
from .grades import check_grade
from .schema import Campaign, check_engine
from .store import PLAN, SCHEMA, SPEC
from .validate import Mistakes

# Where files lie, and how long one may wait, do not change what a run is.
_NOT_IDENTITY: Final = ("run_id", "structure_file", "walltime_s")
# Options that came later; switched off, they leave the names of older runs as they are.
_NEW_OPTIONS: Final = ("extrapolation_grade",)


@dataclass(frozen=True)
class Shard:
    """One of ``count`` disjoint parts of a campaign, for processes that do not talk to each other.

    Attributes:
        index: from 1 to ``count``.
        count: number of parts.
    """

    index: int = 1
    count: int = 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``2/8``.

        Raises:
            UserError: it is not I/N with I from 1 to N.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        index, count = map(int, found.groups()) if found else (0, 0)
        if not 1 <= index <= count:
            raise UserError(f"shard: got {text!r}; allowed: I/N with I from 1 to N, such as 1/4")
        return cls(index, count)

    def holds(self, position: int) -> bool:
        """Tell whether the run at a position of the plan (from 0) is in this part.

        Each N runs in a row go to N different parts. The start moves by one after each N, so that
        a part has runs of every model where N is a multiple of their number.
        """
        return (position + position // self.count) % self.count == self.index - 1


def plan_campaign(
    campaign: Campaign, say: Callable[[str], None] = lambda line: None, shard: Shard | None = None
) -> list[RunSpec]:
    """Compile what needs it, write the start frames and the plan, and list the runs.

    Runs of one key (structure, temperature, seed) follow each other, one per model, and a first
    seed of everything comes before any second: a campaign that is stopped half-way can already be
    compared in pairs.

    Args:
        campaign: the campaign.
        say: receives a line before each thing that takes time.
        shard: list, and write ``run.json`` of, these runs alone; by default all.

    Raises:
        CampaignError: a model that was compiled now does not know an element, or a model for
            ``pair_style allegro`` passes messages.
        RuntimeError: a checkpoint could not be compiled.
        OSError: the results folder cannot be written.
    """
    campaign.out.mkdir(parents=True, exist_ok=True)
    hashes = {model.name: content_hash(model) for model in campaign.models}
    models = [_compiled(model, campaign, say) for model in campaign.models]
    mistakes = Mistakes()
    settings = {**campaign.run, "temperature_K": min(campaign.temperatures_K)}
    mistakes.note(check_engine(models, campaign.structures, settings))
    for model in models:
        mistakes.note(_locality(model, campaign))
        mistakes.note(check_grade(model, engine_frame(campaign.structures[0].atoms)))
    for finding in mistakes.warnings:
        if finding not in campaign.findings:
            say(f"warning: {finding}")
    mistakes.raise_if_any(campaign.name)
    files = {m.name: sha256_file(m.path) for m in models if m.path is not None}

    runs: list[dict[str, Any]] = []
    specs: list[RunSpec] = []
    for seed, structure, temperature_K in product(
        campaign.seeds, campaign.structures, campaign.temperatures_K
    ):
        frame = start_frame(structure.atoms, structure.name, temperature_K, seed)
        name = f"{slug(structure.name)}-{temperature_K:g}K-s{seed}"
        path = _write_start(campaign.out / "inputs", name, extxyz_text(frame))
        structure_hash = sha256_file(path)
        for model in models:
            spec = RunSpec(
                run_id="",
                model=model,
                structure=structure.name,
                structure_file=str(path),
                temperature_K=temperature_K,
                seed=seed,
                **campaign.run,
            )
            spec = replace(spec, run_id=run_id(spec, hashes[model.name], structure_hash))
            inputs = {"model": hashes[model.name], "structure_file": structure_hash}
            if model.name in files:
                inputs["model_file"] = files[model.name]
            runs.append({"spec": spec.to_dict(), "inputs": inputs})
            specs.append(spec)
    write_json(campaign.out / PLAN, {"schema": SCHEMA, **_resolved(campaign), "runs": runs})
    mine = [n for n in range(len(runs)) if shard is None or shard.holds(n)]
    for n in mine:
        _write_spec(campaign.out / "runs" / specs[n].run_id, runs[n])
    return [specs[n] for n in mine]


def run_id(spec: RunSpec, model_hash: str, structure_hash: str) -> str:
    """A name people can read and file systems can hold, with a hash of all that matters."""
    data = {key: value for key, value in spec.to_dict().items() if key not in _NOT_IDENTITY}
    old = {new: name for name, new in RENAMED.items()}
    data["criteria"] = {
        old.get(name, name): x
        for name, x in data["criteria"].items()
        if not (x is None and name in _NEW_OPTIONS)
    }
    data["model"] = [spec.model.name, model_hash]
    data["structure_hash"] = structure_hash
    parts = f"{slug(spec.model.name)}-{slug(spec.structure)}-{spec.temperature_K:g}K-s{spec.seed}"
    return f"{parts}-{sha256_json(data)[:10]}"


def slug(name: str) -> str:
    """``name`` with whatever a file system may not like replaced, at most 40 characters."""
    return re.sub(r"[^A-Za-z0-9._+]+", "-", name).strip("-.")[:40] or "x"


def _compiled(model: ModelSpec, campaign: Campaign, say: Callable[[str], None]) -> ModelSpec:
    if model.path is None or is_compiled(model.path):
        return model
    target = compile_target(model, campaign.run["engine"])
    return compile_model(model, target, campaign.device, say)


def _locality(model: ModelSpec, campaign: Campaign) -> list[Finding]:
    """Find whether LAMMPS would leave out the messages of a model; Python's engines look too."""
    if campaign.run["engine"] != "lammps" or model.kind != "nequip":
        return []
    if read_info(str(model.path)).pair != "allegro":
        return []
    from ..models.locality_apart import check_file, check_file_apart  # torch

    frame = engine_frame(max(campaign.structures, key=lambda s: len(set(s.atoms.symbols))).atoms)
    try:
        (check_file_apart if on_gpu(model) else check_file)(Path(str(model.path)), frame)
    except RuntimeError as err:  # no GPU here, for instance
        text = f"{err}".strip().split("\n")[0]
        message = f"models.{model.name}: cannot test whether it is strictly local ({text})"
        return [Finding(message, "warning", "run `nequip-decorr lammps check` where it will run")]
    except ValueError as err:
        return [Finding(f"models.{model.name}: {err}")]
    return []


def _write_start(folder: Path, name: str, text: str) -> Path:
    """Start frames of an earlier plan stay as they are: their runs refer to them."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{sha256_json(text)[:10]}.extxyz"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_atomic(path, text)
    return path


def _write_spec(folder: Path, run: dict[str, Any]) -> None:
    """``run.json``: all that a worker reads. A lost one is written again by the next plan."""
    path, data = folder / SPEC, {"schema": SCHEMA, **run}
    folder.mkdir(parents=True, exist_ok=True)
    if read_json(path) != json.loads(json.dumps(data)):
        write_json(path, data, sync=False)


def _resolved(campaign: Campaign) -> dict[str, Any]:
    return {
        "name": campaign.name,
        "models": [model.name for model in campaign.models],
        "structures": [
            {"name": s.name, "source": s.source, "format": s.format,
             "formula": str(s.atoms.symbols)}
            for s in campaign.structures
        ],
        "temperatures_K": list(campaign.temperatures_K),
        "seeds": list(campaign.seeds),
        "device": campaign.device,
        "reference": campaign.reference,
        "findings": [asdict(finding) for finding in campaign.findings],
    }  # fmt: skip
