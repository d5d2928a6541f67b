"""Inspect a model from Python, and features from anywhere.

python inspect_features.py best.ckpt test.xyz inspection
"""

import sys

import torch

from nequip_decorr import inspect_features, inspect_model


def inspect_checkpoint(checkpoint: str, structures: str, out: str) -> None:
    """What `nequip-decorr inspect` does, with the numbers at hand."""
    found = inspect_model(checkpoint, {"test": structures}, name="mine")
    entry = found.entry("mine", "test")
    for block, statistics in zip(entry.blocks, entry.statistics, strict=True):
        print(
            f"{block}: mean |R| {statistics.mean_abs:.2f}, effective rank "
            f"{statistics.effective_rank:.1f} of {statistics.channels}, "
            f"{len(statistics.dead)} dead, {statistics.redundant} redundant"
        )
    for kind, blocks in entry.by_kind.items():
        print(
            f"{kind}: {blocks[-1].samples} edges, mean |R| {blocks[-1].mean_abs:.2f} (last block)"
        )
    found.to_csv(out)
    found.to_html(f"{out}/index.html")


def inspect_tensor() -> None:
    """Features from another model: here, eight channels of which two are one."""
    features = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
    features[:, 5] = -3 * features[:, 2]
    (statistics,) = inspect_features(features).entries[0].statistics
    print("duplicates:", statistics.duplicates)


if __name__ == "__main__":
    inspect_tensor()
    if len(sys.argv) == 4:
        inspect_checkpoint(*sys.argv[1:])
