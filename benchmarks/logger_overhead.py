"""What does a report of CorrelationLogger cost?

Times the two parts on random features, as many edges as its bound lets through, a few repeats:
reading the features of the batches, and drawing, with files as the target.

    python benchmarks/logger_overhead.py
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from hardware import describe

from nequip_decorr import CorrelationLogger

RESULTS = Path(__file__).parent / "results"


def report(edges: int, layers: int, channels: int, batches: int) -> tuple[float, float]:
    """Seconds for reading and for drawing."""
    generator = torch.Generator().manual_seed(0)
    rows = edges // batches
    output = {
        "edge_index": torch.zeros(2, rows, dtype=torch.long),
        "atom_types": torch.zeros(96, dtype=torch.long),
        "edge_features": torch.randn(rows, (layers + 1) * channels, generator=generator),
    }
    outputs = {"val_0_output": output}
    module = SimpleNamespace(model={"model": torch.nn.Identity()})
    logger = CorrelationLogger(max_edges=edges, block_size=channels)
    with tempfile.TemporaryDirectory() as folder:
        trainer = SimpleNamespace(
            current_epoch=0, global_step=0, sanity_checking=False, is_global_zero=True,
            state=SimpleNamespace(fn="fit"), loggers=[], callbacks=[], default_root_dir=folder,
            num_val_batches=[batches],
        )  # fmt: skip
        logger.on_validation_start(trainer, None)
        start = time.perf_counter()
        for k in range(batches):
            logger.on_validation_batch_end(trainer, module, outputs, None, k)
        middle = time.perf_counter()
        logger.on_validation_end(trainer, None)
        return middle - start, time.perf_counter() - middle


def main() -> None:
    """Print and write the medians."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repeats", type=int, default=5)
    arguments = options.parse_args()
    rows = []
    for layers, channels in ((2, 32), (3, 64), (3, 128)):
        report(2000, layers, channels, 2)
        times = np.array([report(20_000, layers, channels, 10) for _ in range(arguments.repeats)])
        reading, drawing = (round(float(t), 4) for t in np.median(times, axis=0))
        row = {"layers": layers, "channels": channels, "edges": 20_000}
        rows.append({**row, "reading_s": reading, "drawing_s": drawing})
        print(rows[-1])
    path = RESULTS / "logger_overhead.json"
    path.write_text(json.dumps({"rows": rows, **describe()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
