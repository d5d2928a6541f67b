"""One model of the study: train, compile, evaluate, MD. Each step leaves a note when it is done.

Started by the stages as a process of its own; killed at any time, the next start goes on after the
last step that was finished (a training from its last checkpoint, MD from the finished runs).

    python -m benchmarks.study.model --work DIR --regime harsh --condition stock --seed 1 \
        --half tuning
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nequip_decorr.campaign.runner import run_campaign
from nequip_decorr.campaign.schema import parse_campaign
from nequip_decorr.files import write_atomic
from nequip_decorr.inspection.evaluate import evaluate_files
from nequip_decorr.processes import call, script
from nequip_decorr.report.loading import load_runs, structure_errors
from nequip_decorr.resources import configs_dir
from nequip_decorr.training.resume import go_on

from . import hfo2, why
from .core import shortest_distances
from .data import make_cells, make_frames, test_sets, whole_cells
from .declared import (
    DECLARED,
    FEATURES,
    HFO2,
    NEQUIP,
    SIOX,
    Half,
    Regime,
    Study,
    read_study,
    training_config,
)
from .swap import check, swap_weights

REFERENCE = "reference"
EVERY_FEW_FRAMES = 20
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Model:
    """A condition trained with a seed in a regime."""

    work: Path
    regime: str
    condition: str
    seed: int

    @property
    def folder(self) -> Path:
        """Where everything of this model lies."""
        return self.work / "models" / self.regime / self.condition / str(self.seed)

    def note(self, step: str) -> dict[str, Any] | None:
        """What a finished step left, ``None`` if it is not finished."""
        path = self.folder / f"{step}.json"
        return json.loads(path.read_text()) if path.is_file() else None

    def finished(self, half: str) -> bool:
        """Whether nothing is left to do for a half."""
        steps = ("evaluated", f"md_{half}", f"why_{half}")
        return all(self.note(step) is not None for step in steps)


def nequip(command: str, *arguments: str, log: Path, **environment: str) -> None:
    """A command of NequIP, its output in a log."""
    # The prototypes of loss terms are imported from the checkout.
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    variables = {**threads, "PYTHONPATH": os.pathsep.join(paths), **environment}
    call([script(f"nequip-{command}"), *arguments], log, variables)


def stock_config(regime: Regime, frames: Path) -> dict[str, Any]:
    """The stock config of a regime's system, for its data."""
    if regime.system == HFO2:
        config = hfo2.stock_config(frames)
    else:
        name = "siox_nequip_decorr.yaml" if regime.network == NEQUIP else "siox_allegro.yaml"
        config = yaml.safe_load((configs_dir() / name).read_text())
        # A NequIP keeps its taps without the term, so that its correlation can be measured.
        config["training_module"]["loss"].pop("extra_metrics", None)
        config["data_dir"] = str(frames)
    shortest = shortest_distances(frames / "train.xyz", config["chemical_symbols"])
    return {**config, "shortest_A": shortest}


def train(model: Model, study: Study) -> None:
    """``nequip-train`` on the condition's config, which is kept beside the checkpoint."""
    if model.note("trained"):
        return
    folder = model.folder
    folder.mkdir(parents=True, exist_ok=True)
    condition = study.condition(model.condition)
    regime = study.regime(condition.regime or model.regime)
    frames = make_frames(study, regime, model.work / "data" / regime.name)
    config = training_config(stock_config(regime, frames), condition, regime, model.seed)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    words = ["-cp", str(folder), "-cn", "config", f"hydra.run.dir={folder}"]
    again = go_on(folder, folder / "config.yaml", [])
    started, used = time.monotonic(), _cpu_s()
    nequip("train", *words, *again, log=folder / "train.log")
    note = {"wall_s": time.monotonic() - started, "cpu_s": _cpu_s() - used, "resumed": bool(again)}
    _finish(model, "trained", note)


def _cpu_s() -> float:
    """Processor time of the commands so far; unlike wall time, other work hardly changes it."""
    times = os.times()
    return times.children_user + times.children_system


def compile_model(model: Model, study: Study) -> None:
    """A compiled file: one of the same architecture with the weights put in, or ``nequip-compile``.

    The first model of an architecture (and of the training data, whose statistics are compiled in)
    serves the others. Either way the file is held against the eager model.
    """
    if model.note("compiled"):
        return
    started = time.monotonic()
    checkpoint, out = model.folder / "best.ckpt", model.folder / "model.nequip.pt2"
    frames = make_frames(study, study.regime(model.regime), model.work / "data" / model.regime)
    test_file = frames / f"{test_sets(study.regime(model.regime))[-1]}.xyz"
    template = model.work / "templates" / _architecture(model, study)
    swapped = False
    if template.is_dir():
        try:
            swap_weights(template / out.name, template / checkpoint.name, checkpoint, out)
            check(out, checkpoint, test_file)
            swapped = True
        except ValueError as error:
            print(f"compiling, since weights could not be swapped: {error}")
    if not swapped:
        _compile(model, study.regime(model.regime).network, checkpoint, out)
        check(out, checkpoint, test_file)
        _keep(template, checkpoint, out)
    _finish(model, "compiled", {"wall_s": time.monotonic() - started, "swapped": swapped})


def _compile(model: Model, network: str, checkpoint: Path, out: Path) -> None:
    """``nequip-compile``, with a cache of its own that is thrown away."""
    cache = model.folder / "inductor_cache"
    words = [str(checkpoint), str(out), "--mode", "aotinductor", "--device", "cpu", "--target"]
    log = model.folder / "compile.log"
    nequip("compile", *words, f"pair_{network}", log=log, TORCHINDUCTOR_CACHE_DIR=str(cache))
    shutil.rmtree(cache, ignore_errors=True)


def _architecture(model: Model, study: Study) -> str:
    config = yaml.safe_load((model.folder / "config.yaml").read_text())
    network = {k: v for k, v in config["training_module"]["model"].items() if k != "seed"}
    data = study.condition(model.condition).regime or model.regime
    return hashlib.sha256(json.dumps([data, network], sort_keys=True).encode()).hexdigest()[:16]


def _keep(template: Path, checkpoint: Path, compiled: Path) -> None:
    with suppress(OSError):  # another worker was first
        template.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=template.parent))
        for path in (checkpoint, compiled):
            shutil.copy(path, scratch)
        scratch.rename(template)


def evaluate(model: Model, study: Study) -> None:
    """Errors and correlation on the test sets of the regime."""
    if model.note("evaluated"):
        return
    frames = make_frames(study, study.regime(model.regime), model.work / "data" / model.regime)
    files = {name: frames / f"{name}.xyz" for name in test_sets(study.regime(model.regime))}
    found = evaluate_files(model.folder / "best.ckpt", files, **features(model, study))
    _finish(model, "evaluated", {name: e.to_dict() for name, e in found.items()})


def features(model: Model, study: Study) -> dict[str, Any]:
    """Where the features of a model are, as `inspection.evaluate.evaluate` takes it."""
    where: dict[str, Any] = dict(FEATURES[study.regime(model.regime).network])
    if "block_size" in where:
        config = yaml.safe_load((model.folder / "config.yaml").read_text())
        where["block_size"] = int(config["training_module"]["model"]["num_scalar_features"])
    return where


def campaign(half: Half, work: Path, entry: Any, name: str, out: Path) -> dict[str, Any]:
    """The MD of a model on a half, as a campaign."""
    cells = make_cells(half, work / "cells" / half.name)
    return {
        "name": name,
        "models": {name: entry},
        "structures": {label: str(path) for label, path in cells.items()},
        "temperatures_K": [half.temperature_K],
        "seeds": list(half.velocity_seeds),
        "length_ps": half.length_ps,
        "timestep_fs": half.timestep_fs,
        "trajectory_every": EVERY_FEW_FRAMES,
        "out": str(out),
    }


def simulate(half: Half, work: Path, entry: Any, name: str, out: Path, workers: int = 1) -> float:
    """Run a campaign and return its wall time."""
    started = time.monotonic()
    data = campaign(half, work, entry, name, out)
    summary = run_campaign(parse_campaign(data, work, name), workers=workers)
    if summary.stopped:
        raise RuntimeError(summary.message)
    errors = [row["message"] for row in summary.rows if row["status"] == "error"]
    if errors:
        raise RuntimeError(f"{len(errors)} runs of {name} ended in error: {errors[0]}")
    return time.monotonic() - started


def molecular_dynamics(model: Model, study: Study, half: Half) -> None:
    """MD on a half, and the error of the RDF against the reference's runs."""
    if model.note(f"md_{half.name}"):
        return
    entry, step = str(model.folder / "model.nequip.pt2"), f"md_{half.name}"
    out = model.folder / step
    wall = simulate(half, model.work, entry, model.condition, out)
    error = rdf_error(half, out, model.work / REFERENCE / half.name)
    _finish(model, step, {"wall_s": wall, "rdf_error": error})


def rdf_error(half: Half, out: Path, reference: Path) -> dict[str, float]:
    """Mean absolute RDF error by structure over the stable segment, where there is one."""
    files = hfo2.radial_distributions(half) if half.system == HFO2 else None
    runs, _ = load_runs([out] if files else [out, reference])
    frames: dict[Any, list[Any]] = {}
    lengths = {}
    for run in runs:
        frames.setdefault(run.key, []).append(run.stable_frames())
        lengths[run.key] = run.spec.length_ps
    found, _ = structure_errors(frames, lengths, files or REFERENCE)
    is_rdf = [e for e in found if "average" in e.errors and e.got.kind == "rdf"]
    return {e.key[1]: float(e.errors["average"]) for e in is_rdf}


def examine(model: Model, study: Study, half: Half) -> None:
    """Why its runs fail, where there is a reference potential to hold it against."""
    if model.note(f"why_{half.name}") is not None:
        return
    found = {}
    if half.system == SIOX:
        where, md = features(model, study), model.folder / f"md_{half.name}"
        cells = whole_cells(half, model.work)
        found = why.look(model.folder / "best.ckpt", where, cells, md)
    _finish(model, f"why_{half.name}", found)


def _finish(model: Model, step: str, note: dict[str, Any]) -> None:
    write_atomic(model.folder / f"{step}.json", json.dumps(note, indent=1) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """All steps of one model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--regime", required=True)
    parser.add_argument("--condition", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--half", required=True)
    parser.add_argument("--declared", type=Path, default=DECLARED)
    options = parser.parse_args(arguments)
    study = read_study(options.declared)
    model = Model(options.work.resolve(), options.regime, options.condition, options.seed)
    train(model, study)
    compile_model(model, study)
    evaluate(model, study)
    molecular_dynamics(model, study, study.halves[options.half])
    examine(model, study, study.halves[options.half])


if __name__ == "__main__":
    main()
