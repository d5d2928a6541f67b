"""From a campaign to its runs: models compiled, start frames written, every run named.

``campaign.json`` is the plan: the campaign as resolved and every run with the hashes of its
inputs. Run names hold a hash of all that decides what a run is, and nothing about where files lie,
so the same campaign gives the same names on another machine, and a run whose settings have
changed is a new run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ..files import (
    read_json,
    sha256_file,
    sha256_json,
    write_atomic,
    write_json,
)
from ..md.spec import (
    ModelSpec,
    RunSpec,
)
from ..md.start import (
    extxyz_text,
    start_frame,
)
from ..models.compiling import (
    compile_model,
    compile_target,
    content_hash,
    is_compiled,
)
from .schema import (
    Campaign,
    check_elements,
)
from .store import SCHEMA
from .validate import Mistakes

PLAN: Final = "campaign.json"
# Where files lie, and how long one may wait, do not change what a run is.
_NOT_IDENTITY: Final = ("run_id", "structure_file", "walltime_s")


def plan_campaign(
    campaign: Campaign, say: Callable[[str], None] = lambda line: None
) -> list[RunSpec]:
    """Compile what needs it, write the start frames and ``campaign.json``, and list the runs.

    Runs of one key (structure, temperature, seed) follow each other, one per model, and a first
    seed of everything comes before any second: a campaign that is stopped half-way can already be
    compared in pairs.

    Args:
        campaign: the campaign.
        say: receives a line before each thing that takes time.

    Raises:
        CampaignError: a model that was compiled now does not know an element.
        RuntimeError: a checkpoint could not be compiled.
        OSError: the results folder cannot be written.
    """
    campaign.out.mkdir(parents=True, exist_ok=True)
    hashes = {model.name: content_hash(model) for model in campaign.models}
    models = [_compiled(model, campaign, say) for model in campaign.models]
    mistakes = Mistakes()
    check_elements(tuple(models), campaign.structures, mistakes)
    mistakes.raise_if_any(campaign.name)

    runs: list[dict[str, Any]] = []
    specs: list[RunSpec] = []
    for seed in campaign.seeds:
        for structure in campaign.structures:
            for temperature_K in campaign.temperatures_K:
                frame = start_frame(structure.atoms, structure.name, temperature_K, seed)
                name = f"{slug(structure.name)}-{temperature_K:g}K-s{seed}"
                text = extxyz_text(frame)
                path = _write_start(campaign.out / "inputs", name, text)
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
                    if model.path is not None:
                        inputs["model_file"] = sha256_file(model.path)
                    specs.append(spec)
                    runs.append({"spec": spec.to_dict(), "inputs": inputs})
    write_json(campaign.out / PLAN, {"schema": SCHEMA, **_resolved(campaign), "runs": runs})
    return specs


def run_id(spec: RunSpec, model_hash: str, structure_hash: str) -> str:
    """A name people can read and file systems can hold, with a hash of all that matters."""
    data = {key: value for key, value in spec.to_dict().items() if key not in _NOT_IDENTITY}
    data["model"] = [spec.model.name, model_hash]
    data["structure_hash"] = structure_hash
    parts = f"{slug(spec.model.name)}-{slug(spec.structure)}-{spec.temperature_K:g}K-s{spec.seed}"
    return f"{parts}-{sha256_json(data)[:10]}"


def slug(name: str) -> str:
    """``name`` with whatever a file system may not like replaced, at most 40 characters."""
    return re.sub(r"[^A-Za-z0-9._+]+", "-", name).strip("-.")[:40] or "x"


def read_plan(campaign_dir: str | Path) -> dict[str, Any]:
    """A campaign folder's plan.

    Raises:
        ValueError: the folder holds no (whole) plan, or one of a later version.
    """
    path = Path(campaign_dir) / PLAN
    plan = read_json(path)
    if not isinstance(plan, dict) or "runs" not in plan:
        raise ValueError(f"{path.parent}: no campaign here ({PLAN} is missing or unreadable)")
    if plan.get("schema") != SCHEMA:
        raise ValueError(f"{path}: schema is {plan.get('schema')}, this version reads {SCHEMA}")
    return plan


def _compiled(model: ModelSpec, campaign: Campaign, say: Callable[[str], None]) -> ModelSpec:
    if model.path is None or is_compiled(model.path):
        return model
    target = compile_target(model, campaign.run["engine"])
    return compile_model(model, target, campaign.device, say)


def _write_start(folder: Path, name: str, text: str) -> Path:
    """Start frames of an earlier plan stay as they are: their runs refer to them."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{sha256_json(text)[:10]}.extxyz"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_atomic(path, text)
    return path


def _resolved(campaign: Campaign) -> dict[str, Any]:
    return {
        "name": campaign.name,
        "models": [model.name for model in campaign.models],
        "structures": [
            {"name": s.name, "source": s.source, "formula": str(s.atoms.symbols)}
            for s in campaign.structures
        ],
        "temperatures_K": list(campaign.temperatures_K),
        "seeds": list(campaign.seeds),
        "device": campaign.device,
        "reference": campaign.reference,
        "warnings": list(campaign.warnings),
    }
