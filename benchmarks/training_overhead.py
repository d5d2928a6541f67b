"""What does the decorrelation term cost in training?

Times whole training steps (forward, loss, backward, optimiser) of one model with the stock loss
and with the same loss plus the term, taking turns, and after a whole step the term alone on that
model's features, there and back. A row per time, of the clock and of the processor; other jobs on
the machine distort the latter less, so the ratios are of that on a CPU, each of one round. Beside
them the arithmetic floor, the operations of the correlation over those of a stock step. Peak memory
(`--memory`) is that of a fresh process per loss, in turns as well.

    python benchmarks/training_overhead.py --model demo --model sait --frames train.xyz \
        --hardware "2 CPU cores"

`demo` is the Allegro of configs/siox_allegro.yaml in that config's batches of one frame, `small`
the same with four frames, `sait` that of configs/hfo2_samd23_allegro.yaml (3 layers, l_max 2, 512
scalars, 6 A). Without `--frames` all see built-in silicon oxide. Losses: `stock`; `term`, with the
class's defaults; `term_all_samples`, without a bound on the samples; `term_every_2`, with
`every_n_steps: 2` (`demo` alone), two steps at a time, of which a row has the mean.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from itertools import cycle, islice, zip_longest
from pathlib import Path
from typing import Any

import ase.io
import torch
import yaml
from hardware import describe, write
from hydra.utils import get_method, instantiate
from rich.progress import track
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from nequip_decorr.features.fields import EDGE_FEATURES
from nequip_decorr.resources import configs_dir

RESULTS = Path(__file__).parent / "results"
CONFIGS = {"demo": "siox_allegro", "small": "siox_allegro", "sait": "hfo2_samd23_allegro"}
BATCH = {"demo": 1, "small": 4, "sait": 2}
LOSSES = ("stock", "term", "term_all_samples")
EVERY_2 = "term_every_2"
SEED = 1


def frames(path: Path | None, number: int) -> list[Any]:
    """The frames of a batch; where there are fewer, they repeat."""
    if path is not None:
        found = ase.io.read(path, f":{number}")
    else:
        from nequip_decorr.datasets.siox import make_siox

        with tempfile.TemporaryDirectory() as folder:
            found = ase.io.read(make_siox(Path(folder), "demo")["train"], f":{number}")
    return list(islice(cycle(found), number))


class Step:
    """One training step of one model, with any of the losses."""

    def __init__(self, name: str, mode: str, batch: list[Any], device: str) -> None:
        from nequip.data import AtomicDataDict, from_ase
        from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
        from nequip.utils.global_state import set_global_state

        set_global_state()
        config = yaml.safe_load((configs_dir() / f"{CONFIGS[name]}.yaml").read_text())
        model = config["training_module"]["model"]
        types = sorted({s for atoms in batch for s in atoms.get_chemical_symbols()})
        r_max = float(config["cutoff_radius"])
        transforms = [
            ChemicalSpeciesToAtomTypeMapper(model_type_names=types),
            NeighborListTransform(r_max=r_max),
        ]
        data = []
        for atoms in batch:
            frame = from_ase(atoms)
            for transform in transforms:
                frame = transform(frame)
            data.append(frame)
        self.batch = {
            k: v.to(device) if isinstance(v, torch.Tensor) else v
            for k, v in AtomicDataDict.batched_from_list(data).items()
        }
        self.edges = self.batch["edge_index"].shape[1]
        neighbours = self.edges / sum(map(len, batch))
        model |= {
            "seed": SEED, "model_dtype": "float32", "type_names": types, "r_max": r_max,
            "avg_num_neighbors": neighbours, "per_type_energy_scales": 1.0,
            "per_type_energy_shifts": 0.0, "compile_mode": mode,
        }  # fmt: skip
        self.block_size = int(model["num_scalar_features"])
        self.model = get_method(model.pop("_target_"))(**model).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4)
        self.names = (*LOSSES, EVERY_2) if name == "demo" else LOSSES
        self.losses = {loss: self._loss(loss, types).to(device) for loss in self.names}
        self.device = device

    def _loss(self, name: str, types: list[str]) -> Any:
        config: dict[str, Any] = {
            "_target_": "nequip.train.EnergyForceLoss",
            "coeffs": {"total_energy": 1.0, "forces": 1.0},
        }
        if name != "stock":
            metric = {
                "_target_": "nequip_decorr.FeatureDecorrelation",
                "block_size": self.block_size,
            }
            if name == "term_all_samples":
                metric["max_samples"] = None
            if name == EVERY_2:
                metric["every_n_steps"] = 2
            config["extra_metrics"] = [{"name": "decorrelation", "coeff": 0.05, "metric": metric}]
        loss = instantiate(config, type_names=types)
        for metric in loss.values():
            metric.dist_sync_on_step = True
        return loss

    def __call__(self, loss: str) -> None:
        """One step."""
        self.optimizer.zero_grad(set_to_none=True)
        output = self.model(dict(self.batch))
        self.losses[loss](output, self.batch)["weighted_sum"].backward()
        self.optimizer.step()

    def alone(self, loss: str) -> Callable[[], Any]:
        """The term alone, there and back, on the model's own features, as a function to time."""
        output = self.model(dict(self.batch))
        features = output[EDGE_FEATURES].detach().requires_grad_()
        features.grad = torch.zeros_like(features)  # in a step there is one to add to
        data = {**output, EDGE_FEATURES: features}
        term = self.losses[loss]["decorrelation"]

        def there_and_back() -> None:
            value = term(data, self.batch)
            if value.requires_grad:  # `every_n_steps` leaves others without
                value.backward()

        return there_and_back

    def timed(self, call: Callable[[], Any], times: int) -> dict[str, float]:
        """Seconds of the clock and of the processor that a call takes, mean of so many."""
        self._wait()
        start, cpu = time.perf_counter(), time.process_time()
        for _ in range(times):
            call()
        self._wait()
        spent = time.perf_counter() - start, time.process_time() - cpu
        return {"step_s": spent[0] / times, "cpu_s": spent[1] / times}

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


class Operations(TorchDispatchMode):
    """Sums up the operations of matrix products (torch's own counter can't follow forces)."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run and count."""
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


def operations(step: Step, max_samples: int | None) -> dict[str, float]:
    """Floating-point operations of the matrix products of a stock step and of the correlation."""
    with Operations() as counter:
        step("stock")
    samples = min(step.edges, max_samples or step.edges)
    width = step.model(dict(step.batch))[EDGE_FEATURES].shape[1]
    # A Gram matrix per block, and a product of the same size on the way back.
    ours = 2 * 2 * samples * width * step.block_size
    total = float(counter.total)
    return {"step_flop": total, "term_flop": float(ours), "floor": ours / total}


def peak_memory(arguments: argparse.Namespace, name: str, mode: str, loss: str) -> float:
    """Peak memory in MB of two steps, in a process of their own."""
    # Not `ru_maxrss`: a process inherits that of the one that started it.
    command = [
        sys.executable, __file__, "--one", name, mode, loss, "--device", arguments.device,
    ]  # fmt: skip
    if arguments.frames:
        command += ["--frames", str(arguments.frames)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def one(name: str, mode: str, loss: str, path: Path | None, device: str) -> float:
    """What :func:`peak_memory` runs."""
    step = Step(name, mode, frames(path, BATCH[name]), device)
    for _ in range(2):
        step(loss)
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status").read_text()
    return float(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1e3


def measure(
    arguments: argparse.Namespace, name: str, mode: str, batch: int | None = None
) -> tuple[list[dict], dict[str, Any]]:
    """Rows and summary of one model in one mode, with so many frames a batch."""
    batch = batch or BATCH[name]
    step = Step(name, mode, frames(arguments.frames, batch), arguments.device)
    calls: dict[str, Callable[[], Any]] = {}
    losses = step.names
    for loss in losses:
        calls[loss] = lambda loss=loss: step(loss)
        calls[loss]()
        if loss != "stock":
            calls[f"{loss}_alone"] = step.alone(loss)
            calls[f"{loss}_alone"]()
    rows = []
    for repeat in track(range(arguments.repeats), description=f"{name}, {mode}"):
        # A term alone after each whole step, which leaves it cold caches, as in a training.
        turns = (deque(losses), deque(c for c in calls if c not in losses))
        for names in turns:
            names.rotate(-repeat)
        order = [call for pair in zip_longest(*turns) for call in pair if call]
        for place, call in enumerate(order):
            row = {"model": name, "mode": mode, "loss": call, "repeat": repeat, "place": place}
            times = 2 if call.startswith(EVERY_2) else 1
            rows.append(row | step.timed(calls[call], times) | {"edges": step.edges})
    bound = step.losses["term"]["decorrelation"].max_samples
    summary: dict[str, Any] = {
        "model": name, "mode": mode, "edges": step.edges, "frames": batch,
        "max_samples": bound,
    }  # fmt: skip
    if mode == "eager":
        summary["operations"] = operations(step, bound)
        summary["operations_all_samples"] = operations(step, None)
    clock = "step_s" if arguments.device == "cuda" else "cpu_s"
    by = {call: [r[clock] for r in rows if r["loss"] == call] for call in calls}
    summary |= {"clock": clock, "stock_step_s": statistics.median(by["stock"])}
    for call in calls:
        ratios = [a / b for a, b in zip(by[call], by["stock"], strict=True)]
        first, median, third = statistics.quantiles(ratios, n=4, method="inclusive")
        summary[call] = {"over_stock_median": median, "over_stock_quartiles": [first, third]}
    return rows, summary


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", choices=sorted(CONFIGS))
    parser.add_argument("--mode", action="append", choices=["eager", "compile"])
    parser.add_argument("--frames", type=Path, help="extended XYZ (default: built-in SiOx)")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--memory", action="store_true", help="measure memory and not time")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--hardware", help="in words, for the record")
    parser.add_argument("--name", default="training_overhead", help="of the result files")
    parser.add_argument("--one", nargs=3, metavar=("MODEL", "MODE", "LOSS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if arguments.one:
        print(one(*arguments.one, arguments.frames, arguments.device))
        return
    rows: list[dict] = []
    summaries: list[dict] = []
    for name in arguments.model or ["small"]:
        for mode in arguments.mode or ["eager"]:
            if arguments.memory:
                rows += memory_rows(arguments, name, mode)
            else:
                found, summary = measure(arguments, name, mode)
                rows += found
                summaries.append(summary)
                print(json.dumps(summary, indent=2), flush=True)
            save(arguments, rows, summaries)


def memory_rows(arguments: argparse.Namespace, name: str, mode: str) -> list[dict]:
    """A row per process."""
    rows = []
    for repeat in track(range(arguments.repeats), description=f"memory of {name}, {mode}"):
        for loss in LOSSES:
            peak = peak_memory(arguments, name, mode, loss)
            rows.append(
                {"model": name, "mode": mode, "loss": loss, "repeat": repeat, "peak_MB": peak}
            )
            print(rows[-1], flush=True)
    return rows


def save(arguments: argparse.Namespace, rows: list[dict], summaries: list[dict]) -> None:
    """Raw rows and summary, after every model, so that a stop loses none."""
    record = {"hardware": describe() | {"words": arguments.hardware}, "seed": SEED}
    if arguments.device == "cuda":
        record["device"] = torch.cuda.get_device_name()
    record["results"] = summaries
    write(RESULTS / f"{arguments.name}.csv", rows, record)


if __name__ == "__main__":
    main()
