"""Every block of ``docs/tutorial.md`` is run in order, with short trainings and MD, no compiling.

``nequip-train`` runs two epochs, and ``nequip-decorr compile`` reads its options and copies a
compiled model of the tests, one with a grade for the same elements.
"""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nequip_decorr.md.engines import available_engines

ROOT = Path(__file__).parents[1]
NO_LIBRARY = available_engines()["lammps-library"]
TRAIN = """\
#!{python}
import os, sys
short = ["epochs=2", "trainer.check_val_every_n_epoch=1"]
os.execv("{train}", ["nequip-train", *sys.argv[1:], *short])
"""
OURS = """\
#!{python}
import shutil, sys
from nequip_decorr.cli.main import main, parser
from nequip_decorr.cure import improve

improve.script = str  # what is on the path: this file
if __name__ == "__main__":
    if sys.argv[1] == "compile":
        shutil.copy("{model}", parser().parse_args(sys.argv[1:]).out)
        sys.exit(0)
    sys.exit(main())
"""


SHORT = {
    "--steps 2000": "--steps 50",
    "structures: [data/md/*.xyz]": "structures: [data/md/quartz_siox2.xyz]",
    "mode: quick": "mode: quick\nreplicas: 1\nlength_ps: 0.04\ntrajectory_every: 10",
    ", data/md/quartz_siox1.55.xyz]": "]",
    "length_ps: 1\n": "length_ps: 0.04\n",
}


def blocks() -> list[tuple[str, str]]:
    """Language and text of each block that a reader runs or saves."""
    text = (ROOT / "docs" / "tutorial.md").read_text()
    for shown, short in SHORT.items():
        assert shown in text
        text = text.replace(shown, short)
    return re.findall(r"^```(bash|yaml)\n(.*?)^```", text, re.S | re.M)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.skipif(NO_LIBRARY is not None, reason=f"engine lammps-library: {NO_LIBRARY}")
def test_the_tutorial_runs(tmp_path: Path, compiled_model: Path) -> None:
    commands, work = tmp_path / "bin", tmp_path / "work"
    commands.mkdir(), work.mkdir()
    values = {
        "python": sys.executable,
        "train": Path(sys.executable).parent / "nequip-train",
        "model": compiled_model,
    }
    for name, text in (("nequip-train", TRAIN), ("nequip-decorr", OURS)):
        (commands / name).write_text(text.format(**values))
        (commands / name).chmod(stat.S_IRWXU)
    path = f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    for language, text in blocks():
        if language == "yaml":
            name = "campaign.yaml" if "models" in yaml.safe_load(text) else "improve.yaml"
            (work / name).write_text(text)
            continue
        done = subprocess.run(
            ["bash", "-euc", text],
            cwd=work,
            env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    for page in ("campaign_stability/report", "improve_out", "inspection"):
        assert (work / page / "index.html").is_file()
    assert (work / "improve_out" / "model.nequip.pt2").is_file()
    assert (work / "run" / "results" / "runs.csv").is_file()
