"""What the config of this run asks for, compared with the loss that is trained.

Reads the config in effect from Hydra's own state, so that it needs no ``.hydra/`` folder, and works
in multiruns and in the processes that Lightning starts for further ranks.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any, Final

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from nequip.scripts._workflow_utils import get_workflow_state
from omegaconf import OmegaConf

from ..errors import UserError
from .loss_config import entries_of
from .schedule import Schedule
from .term import FeatureDecorrelation

LOSS: Final = "training_module.loss"
LOOP: Final = (
    "for c in 0.01 0.1; do nequip-train -cn stock.yaml +decorr=default decorr.coeff=$c; done"
)
MULTIRUN: Final = (
    "`+decorr` has no effect in a multirun, in which Hydra runs no callback that could edit the "
    "config (and NequIP trains once per process). Use a shell loop, e.g.\n    " + LOOP
)
CHECKPOINT: Final = (
    "start a new training from its weights with `nequip.model.ModelFromCheckpoint`, or take the "
    "request out"
)


def check_request(terms: Iterable[str]) -> list[dict[str, Any]]:
    """Compare the loss that will be trained with what this run's config asks for.

    Args:
        terms: names of the decorrelation terms in the loss.

    Returns:
        The entries of the config's loss that are decorrelation terms; none without Hydra.

    Raises:
        UserError: the config or the command line asks for a term that the loss does not have.
    """
    if not HydraConfig.initialized():
        return []
    hydra = HydraConfig.get()
    if get_workflow_state() == "train" and _select("training_module") is None:
        raise UserError("can't read the config of this run, to check that its loss is as asked for")
    terms = list(terms)
    chosen = [
        f"{group}={option}"
        for group, option in hydra.runtime.choices.items()
        if option is not None and str(group).partition("@")[0] == "decorr"
    ]
    if _select("decorr") is not None or (chosen and not terms):
        raise UserError(_not_done(chosen, hydra.mode == RunMode.MULTIRUN))
    wanted = list(entries_of(_select(LOSS)))
    missing = [entry["name"] for entry in wanted if entry["name"] not in terms]
    if missing and _select("ckpt_path"):
        raise UserError(
            f"the config has the loss terms {missing}, but the loss comes from the checkpoint "
            f"(`ckpt_path`), which was trained without them; {CHECKPOINT}"
        )
    if missing:
        raise UserError(
            f"the config has the loss terms {missing} where the loss does not read them; they "
            f"belong in the list `{LOSS}.extra_metrics` (or `metrics` of a MetricsManager)"
        )
    options = {file.name for file in files(f"{__package__}.groups").joinpath("decorr").iterdir()}
    for override in () if terms else hydra.overrides.task:
        name, _, value = override.removeprefix("+").partition("=")
        if (
            override.startswith("+deco")
            and name not in hydra.runtime.choices
            and (f"{value}.yaml" in options)
        ):
            raise UserError(
                f"`{override}` has no effect, and the loss has no decorrelation term; did you mean "
                f"`+decorr={value}`?"
            )
    return wanted


def _not_done(chosen: list[str], multirun: bool) -> str:
    if multirun:
        return MULTIRUN
    for choice in chosen:
        if "@" in choice:
            return (
                f"`+{choice}` puts the group where nothing reads it, so that the loss has no "
                "decorrelation term; write `+" + "=".join([choice.partition("@")[0],
                choice.rpartition("=")[2]]) + "`"
            )  # fmt: skip
    if chosen:
        return (
            f"`+{chosen[0]}` was asked for, but the loss has no decorrelation term: Hydra's "
            "`hydra.callbacks.decorr` did not run, or the loss comes from a checkpoint"
        )
    return (
        "the config has a node `decorr`, which alone does nothing; choose the group on the command "
        "line with `+decorr=default`, or take the node out"
    )


def _select(key: str) -> Any:
    """A node of the whole config; Hydra's own node hangs in it."""
    hydra: Any = HydraConfig.get()
    return OmegaConf.select(hydra, f"..{key}", throw_on_resolution_failure=False)


def differences(asked: Mapping[str, Any], trained: Mapping[str, Any]) -> list[str]:
    """Describe what a config asks of a term and its checkpoint does not have.

    A resumed training keeps the checkpoint's loss. What ``asked`` leaves open is no difference.
    """
    a, b = _settings(asked), _settings(trained)
    given = {"coeff", "schedule", *asked["metric"]}
    return [
        f"{name}: {b[name]} (asked: {a[name]})"
        for name in sorted(given & set(a))
        if a[name] != b[name] and not str(a[name]).startswith("${")
    ]


def _settings(entry: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(FeatureDecorrelation).parameters
    known = {name: p.default for name, p in parameters.items() if name != "kwargs"}
    metric = {name: value for name, value in entry["metric"].items() if name in known}
    coeff = entry.get("coeff")
    settings = {**known, **metric, "coeff": None if coeff is None else float(coeff)}
    if settings["schedule"] is not None:
        schedule = Schedule.read(settings["schedule"]).ending_at(settings["coeff"], entry["name"])
        settings["schedule"] = schedule.described()
    return settings
