"""Stability campaigns from Python: load, run, read, compare, report.

The same campaigns as with ``nequip-decorr stability`` on the command line; either goes on where the
other stopped. A small campaign, two classical potentials on four copper atoms:

>>> import ase.build, ase.io
>>> from nequip_decorr import stability
>>> ase.io.write("copper.xyz", ase.build.bulk("Cu", cubic=True).repeat(2))
>>> campaign = stability.load({
...     "models": {
...         "emt": {"ase": {"calculator": "ase.calculators.emt.EMT"}},
...         "soft": {"ase": {"calculator": "ase.calculators.morse.MorsePotential",
...                          "arguments": {"epsilon": 0.3, "r0": 2.6}}},
...     },
...     "structures": {"copper": "copper.xyz"},
...     "temperatures_K": [300],
...     "replicas": 2,
...     "length_ps": 0.02,
...     "out": "copper",
... })
>>> campaign.num_runs
4
>>> summary = stability.run(campaign, workers=1)
>>> rows = stability.read("copper")
>>> sorted({row["status"] for row in rows})
['survived']
>>> stability.compare("copper", "emt", "soft").verdict
'inconclusive'
>>> stability.report("copper").name
'index.html'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .campaign.runner import run_campaign as run
    from .campaign.schema import Campaign
    from .campaign.times import Time
    from .cure.collect import Collected
    from .report.report import write_report as report
    from .survival.verdict import Comparison

__all__ = ["collect", "compare", "load", "read", "report", "run"]
Folders = str | Path | Sequence[str | Path]
# Where the two are; they load torch and matplotlib.
_LOADED_ON_USE: Final = {
    "run": ("campaign.runner", "run_campaign"),
    "report": ("report.report", "write_report"),
}
# Modules of the former package of this name are found below it: `_moved.py`.
__path__: list[str] = []


def load(campaign: str | Path | Mapping[str, Any], out: str | Path | None = None) -> Campaign:
    """Read and check a campaign; nothing runs.

    Args:
        campaign: the YAML file, or a mapping with its keys, whose paths are relative to the
            working directory.
        out: results folder, instead of the campaign's own.

    Returns:
        The checked campaign.

    Raises:
        ValueError: the campaign has mistakes; the message lists all of them.
    """
    from .campaign.schema import load_campaign, parse_campaign

    if isinstance(campaign, Mapping):
        return parse_campaign(dict(campaign), out=out)
    return load_campaign(campaign, out=out)


def read(folders: Folders, *, unfinished: bool = False) -> list[dict[str, Any]]:
    """Rows of the runs of one or more campaigns.

    Args:
        folders: results folder, or several.
        unfinished: also the runs that are pending or running.

    Returns:
        A row per run: model, structure, temperature, seed, status, cause, stable time (ps) and
        more; ``pandas.DataFrame`` takes it as it is. Of several folders, with the names of
        :func:`compare`.

    Raises:
        ValueError: a folder holds no campaign, or is given twice.
    """
    from .campaign.several import join

    return [row for part in join(_listed(folders)) for row in part.rows(unfinished)]


def compare(
    folders: Folders,
    model_a: str,
    model_b: str,
    *,
    horizon_ps: float | None = None,
    time: Time = "stable",
) -> Comparison:
    """Compare the stability of two models over the runs that they share.

    Two models of one name in two campaigns are called ``NAME (CAMPAIGN)``.

    Args:
        folders: results folder, or several.
        model_a: the baseline.
        model_b: the model to compare with it.
        horizon_ps: compare up to this time; by default as far as both models are known.
        time: how long a model is ``stable`` (criteria), ``trusted`` (extrapolation grade) or
            ``right`` (labels).

    Returns:
        Verdict, conclusion as a sentence, notes, and the numbers behind them.

    Raises:
        ValueError: no campaign in a folder, no shared run, or an unknown model.
    """
    from .campaign.several import check_models, join, remarks
    from .campaign.times import known_and_missing
    from .survival.comparison import compare as compare_runs

    parts = join(_listed(folders))
    check_models(parts, [model_a, model_b])
    rows, missing = known_and_missing(parts, time, (model_a, model_b))
    return compare_runs(
        rows,
        model_a,
        model_b,
        horizon_ps=horizon_ps,
        time=time,
        missing=missing,
        remarks=remarks(parts, (model_a, model_b)),
    )


def collect(
    folders: Folders,
    model: str | Path | None = None,
    *,
    grade: str | Path | None = None,
    **rules: Any,
) -> Collected:
    """Choose the frames of MD that are worth a label.

    Args:
        folders: results folders, folders of ``lammps input`` after the run, LAMMPS dumps or
            structure files.
        model: checkpoint or package to improve; by default what the campaigns' model was compiled
            from.
        grade: its fitted grade; by default the file beside it.
        **rules: fields of :class:`nequip_decorr.cure.rules.Rules`, such as ``frames``.

    Returns:
        The frames, with run, step, time and grade in ``info``, and what became of the others.

    Raises:
        ValueError: nothing to read, no checkpoint, no grade, or a rule that is not allowed.
    """
    from .cure.collect import collect as collect_frames
    from .cure.rules import Rules

    return collect_frames(_listed(folders), model, grade, Rules(**rules))


def _listed(folders: Folders) -> list[Path]:
    return [Path(f) for f in ([folders] if isinstance(folders, str | Path) else folders)]


def __getattr__(name: str) -> Any:
    if name not in _LOADED_ON_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, function = _LOADED_ON_USE[name]
    return getattr(import_module(f".{module}", __package__), function)
