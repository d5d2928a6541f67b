"""What does a bound on the samples (`max_samples`) change in the term?

For a batch of frames, the value of the penalty and its gradient with respect to the model's
weights, from evenly strided samples, against those from all of them: relative error of the value,
and cosine and relative length of the gradient. For scale, the same between two batches of other
frames of the same data, all samples each: what changes from step to step anyway.

    python benchmarks/max_samples.py --model sait --frames train.xyz
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from hardware import describe, write
from rich.progress import track
from torch import Tensor
from training_overhead import BATCH, CONFIGS, SEED, Step, frames

from nequip_decorr import FeatureDecorrelation

RESULTS = Path(__file__).parent / "results"
BOUNDS = (256, 512, 1024, 2048, 4096, 8192)


def value_and_gradient(step: Step, penalty: str, bound: int | None) -> tuple[float, Tensor]:
    """Of the penalty of one batch."""
    term = FeatureDecorrelation(penalty, block_size=step.block_size, max_samples=bound)
    value = term(step.model(dict(step.batch)), step.batch)
    parameters = [p for p in step.model.parameters() if p.requires_grad]
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    return value.item(), torch.cat([g.flatten().double() for g in found if g is not None])


def compare(a: tuple[float, Tensor], b: tuple[float, Tensor]) -> dict[str, float]:
    """How far ``a`` is from ``b``."""
    cosine = torch.nn.functional.cosine_similarity(a[1], b[1], dim=0).item()
    return {
        "value": a[0],
        "relative_error": a[0] / b[0] - 1.0,
        "gradient_cosine": cosine,
        "gradient_length_ratio": (a[1].norm() / b[1].norm()).item(),
    }


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=sorted(CONFIGS), default="small")
    parser.add_argument("--frames", type=Path, help="extended XYZ (default: built-in SiOx)")
    parser.add_argument("--penalty", default="pearson_squared")
    parser.add_argument("--name", default="max_samples", help="of the result files")
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    number = BATCH[arguments.model]
    both = frames(arguments.frames, 2 * number)
    step = Step(arguments.model, "eager", both[:number], "cpu")
    full = value_and_gradient(step, arguments.penalty, None)
    rows = []
    for bound in track([b for b in BOUNDS if b < step.edges], description=arguments.model):
        found = value_and_gradient(step, arguments.penalty, bound)
        rows.append({"samples": bound, "of": step.edges, **compare(found, full)})
    other = Step(arguments.model, "eager", both[number:], "cpu")
    found = value_and_gradient(other, arguments.penalty, None)
    rows.append({"samples": "other frames", "of": other.edges, **compare(found, full)})
    record = describe() | {
        "model": arguments.model, "penalty": arguments.penalty, "frames": number, "seed": SEED,
        "weights": "as initialised",
    }  # fmt: skip
    write(RESULTS / f"{arguments.name}.csv", rows, record)
    for row in rows:
        print("  ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{v}" for k, v in row.items()))


if __name__ == "__main__":
    main()
