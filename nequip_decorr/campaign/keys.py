"""The keys of a campaign file, with their types and defaults."""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import fields
from typing import Annotated, Any, Final, cast

from pydantic import BeforeValidator, ValidationInfo, create_model, model_validator

from ..errors import UserError
from ..md.criteria import RENAMED, Criteria
from ..md.spec import ENGINES, ENSEMBLES, THERMOSTATS
from .models import FORMS
from .validate import (
    Count,
    Finite,
    Mistakes,
    NotAllowed,
    Positive,
    Strict,
    number,
    of_kind,
    one_of,
    one_or_more,
    words,
)

# What a mode sets; each may be set by its own key as well.
MODES: Final[dict[str, dict[str, Any]]] = {
    "quick": {"length_ps": 1.0, "replicas": 1, "record_every": 10, "trajectory_every": 50},
    "standard": {"length_ps": 10.0, "replicas": 3, "record_every": 10, "trajectory_every": 100},
    "full": {"length_ps": 100.0, "replicas": 10, "record_every": 50, "trajectory_every": 1000},
}
DEFAULT_MODE: Final = "standard"


class _Criteria(Strict):
    """``criteria:``, where ``null`` switches a criterion off."""

    @model_validator(mode="before")
    @classmethod
    def _drop_null(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, dict):
            raise NotAllowed("a mapping of criterion to value, or null to switch it off")
        for old in sorted(set(data) & set(RENAMED)):
            if RENAMED[old] in data:
                raise UserError(f"{old} and {RENAMED[old]} are one; allowed: the second")
            cast(Mistakes, info.context).warn(
                f"criteria.{old} is now {RENAMED[old]}; the old name will go with the next release"
            )
        return {RENAMED.get(name, name): value for name, value in data.items()}


def _criterion(item: Any) -> Any:
    limits = {key: value for key, value in item.metadata.items() if key in ("above", "least")}
    read = number(**limits, whole=isinstance(item.default, int)).func

    def check(value: Any) -> Any:
        if value is None and "None" not in str(item.type):
            raise NotAllowed("a number; this one cannot be switched off")
        return None if value is None else read(value)

    return (Annotated[Any, BeforeValidator(check)], item.default)


CriteriaOverrides: Any = create_model(
    "CriteriaOverrides", __base__=_Criteria, **{f.name: _criterion(f) for f in fields(Criteria)}
)


class Ramp(Strict):
    """``protocol: {ramp: ...}``."""

    temperature_end_K: Positive | None = None
    pressure_end_GPa: Finite | None = None


class _Protocol(Strict):
    ramp: Ramp | None = None


def _protocol(value: Any) -> Any:
    if value == "constant":
        return {}
    if not (isinstance(value, dict) and list(value) == ["ramp"] and value["ramp"]
            and isinstance(value["ramp"], dict)):  # fmt: skip
        raise NotAllowed(
            "constant, or {ramp: {temperature_end_K: T}} or {ramp: {pressure_end_GPa: P}}"
        )
    return value


def _device(value: Any) -> Any:
    if not isinstance(value, str) or value.split(":")[0] not in ("cpu", "cuda"):
        raise NotAllowed("cpu, cuda or cuda:N")
    return value


_UNITS_S: Final = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hour": 3600, "hours": 3600,
            "d": 86400}  # fmt: skip


def duration_s(value: Any) -> float:
    """Seconds from ``90``, ``30 min``, ``2h``, ``1d`` or ``HH:MM:SS``."""
    seconds: float = 0
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = value
    elif isinstance(value, str):
        text = value.strip().lower()
        if match := re.fullmatch(r"(\d+):([0-5]?\d):([0-5]?\d)", text):
            hours, minutes, rest = (int(group) for group in match.groups())
            seconds = 3600 * hours + 60 * minutes + rest
        elif match := re.fullmatch(r"(\d+(?:\.\d*)?)\s*([a-z]*)", text):
            seconds = float(match[1]) * _UNITS_S.get(match[2] or "s", 0)
    if not (math.isfinite(seconds) and seconds > 0):
        raise NotAllowed("seconds, or a text such as '90 s', '30 min', '2 h', '1 d' or 'HH:MM:SS'")
    return float(seconds)


REQUIRED: Final = {
    "models": f"a mapping of name to model; a model is {FORMS}",
    "structures": "a file, a list of files, or a mapping of name to file",
    "temperatures_K": "a finite number above 0, or a list of them",
}


class CampaignFile(Strict):
    """The keys of a campaign file. Models and structures are read one by one after it."""

    name: Annotated[str | None, of_kind(str, "a text")] = None
    models: Annotated[dict[Any, Any], of_kind(dict, REQUIRED["models"])] = {}  # noqa: RUF012
    structures: Annotated[Any, of_kind((str, list, dict), REQUIRED["structures"])] = None
    temperatures_K: Annotated[tuple[Positive, ...], one_or_more("a finite number above 0")] = ()
    mode: Annotated[str, one_of(MODES)] = DEFAULT_MODE
    replicas: Count = 1
    seeds: Annotated[
        tuple[Annotated[int, number(least=0, whole=True)], ...] | None,
        one_or_more("a whole number"),
    ] = None
    length_ps: Positive = 1.0
    timestep_fs: Positive = 1.0
    ensemble: Annotated[str, one_of(ENSEMBLES)] = "nvt"
    thermostat: Annotated[str, one_of(THERMOSTATS)] = "nose-hoover"
    thermostat_damping_fs: Positive = 100.0
    barostat_damping_fs: Positive = 1000.0
    pressure_GPa: Finite = 0.0
    protocol: Annotated[_Protocol, BeforeValidator(_protocol)] = _Protocol()
    engine: Annotated[str | None, one_of(ENGINES)] = None
    lammps_command: Annotated[
        tuple[str, ...] | None, words("a command, as a text or a list of words", shlex.split)
    ] = None
    device: Annotated[str, BeforeValidator(_device)] = "cpu"
    criteria: CriteriaOverrides = CriteriaOverrides()
    walltime: Annotated[float | None, BeforeValidator(duration_s)] = None
    record_every: Count = 10
    trajectory_every: Count = 100
    ring_frames: Annotated[int, number(least=0, whole=True)] = 50
    reference: Any = None
    labels: Any = None
    out: Annotated[str | None, of_kind(str, "a folder name")] = None


KEYS: Final = tuple(CampaignFile.model_fields)
