"""Stored results of finished campaigns; ``python -m tests.report.golden`` writes them again.

Each campaign is made up by :mod:`tests.helpers.synthetic` from fixed random numbers. The folder
beside this program holds the ``summary.json`` of its report: every number, verdict and sentence.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from nequip_decorr.report.analysis import analyse
from nequip_decorr.report.export import to_dict
from tests.helpers.synthetic import write_campaign

FOLDER = Path(__file__).parent / "golden"
HAZARDS = {
    "stock": {"contact": 0.6, "temperature": 0.4, "energy": 0.2},
    "decorrelated": {"energy": 0.1, "force": 0.05},
    "Tersoff": {},
}
SMALL = {"structures": ("quartz", "cristobalite"), "seeds": (1, 2, 3)}
NAMES = ("ordinary", "nve", "trained", "survivors")


def result(name: str, folder: Path) -> dict[str, Any]:
    """The summary of one campaign's report, made in ``folder``."""
    options: dict[str, Any] = {}
    if name == "ordinary":
        made = {"reference": "Tersoff", "errors": 2, "interrupted": 2}
        campaign = write_campaign(folder / "campaign", HAZARDS, **made)
    elif name == "nve":
        hazards = {"stock": {"drift": 0.5}, "decorrelated": {"nonfinite": 0.2, "lost": 0.1}}
        campaign = write_campaign(folder / "campaign", hazards, ensemble="nve", **SMALL)
    elif name == "trained":
        hazards = {f"{m}-{k}": HAZARDS[m] for m in ("stock", "decorrelated") for k in range(4)}
        campaign = write_campaign(folder / "campaign", hazards, trajectory=False, **SMALL)
        options["groups"] = {model: tuple(model.split("-")) for model in hazards}
    else:
        campaign = write_campaign(folder / "campaign", {"rock": {}, "stone": {}}, **SMALL)
    found = json.loads(json.dumps(to_dict(analyse([campaign], **options))))
    found["sweep"].sort(key=lambda point: (point["criterion"], point["scale"], point["model"]))
    return found


def main() -> None:
    """Write every stored result."""
    FOLDER.mkdir(exist_ok=True)
    for name in NAMES:
        with tempfile.TemporaryDirectory() as folder:
            text = json.dumps(result(name, Path(folder)), indent=1) + "\n"
        text = re.sub(r"\[[^][{}\"]*\]", lambda numbers: " ".join(numbers[0].split()), text)
        (FOLDER / f"{name}.json").write_text(text)


if __name__ == "__main__":
    main()
