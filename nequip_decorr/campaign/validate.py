"""Reading values from a campaign file: every mistake is noted, none stops the reading.

Each reader returns the value, or ``None`` after it has noted what, got and allowed. The campaign
is refused once, with the whole list.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from ..errors import Finding, UserError, did_you_mean
from ..md.spec import Criteria


class CampaignError(UserError):
    """A campaign that cannot be run; the text lists every mistake found.

    Attributes:
        mistakes: one line each.
    """

    def __init__(self, source: str, mistakes: list[str]) -> None:
        self.mistakes = mistakes
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        lines = "".join(f"\n  {i}. {line}" for i, line in enumerate(mistakes, 1))
        super().__init__(f"{source}: {count}{lines}")


class Mistakes:
    """Collects mistakes and warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []

    def add(self, what: str, got: Any, allowed: str) -> None:
        """Note a mistake as ``what: got ...; allowed: ...``."""
        self.lines.append(f"{what}: got {_show(got)}; allowed: {allowed}")

    def say(self, line: str) -> None:
        """Note a mistake in other words."""
        self.lines.append(line)

    def warn(self, line: str) -> None:
        """Note something that is odd but allowed."""
        self.warnings.append(line)

    def note(self, finding: Finding) -> None:
        """Note a finding of a check."""
        (self.lines if finding.severity == "error" else self.warnings).append(str(finding))

    def raise_if_any(self, source: str) -> None:
        """Raise :class:`CampaignError` if a mistake was noted."""
        if self.lines:
            raise CampaignError(source, self.lines)


def _show(value: Any) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


class _Loader(yaml.SafeLoader):
    """``SafeLoader`` that remembers keys given twice, which YAML forbids and PyYAML allows."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.twice: list[tuple[str, int]] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in seen:
                self.twice.append((key_node.value, key_node.start_mark.line + 1))
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def load_yaml(path: Path, mistakes: Mistakes) -> dict[str, Any] | None:
    """Read a YAML mapping with plain types only; nothing in the file is executed."""
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        data = loader.get_single_data()
    except (OSError, UnicodeDecodeError) as err:
        mistakes.say(f"campaign file: cannot be read: {err}")
        return None
    except yaml.YAMLError as err:
        mistakes.say("campaign file: not valid YAML: " + " ".join(str(err).split()))
        return None
    for key, line in loader.twice:
        mistakes.say(f"{key}: given twice (again in line {line}); allowed: each name once")
    if not isinstance(data, dict):
        mistakes.add("campaign file", data, "a mapping with `models:`, `structures:`, ...")
        return None
    return data


def check_keys(
    what: str, data: Mapping[Any, Any], allowed: Iterable[str], mistakes: Mistakes
) -> None:
    """Note every key that is not allowed."""
    allowed = sorted(allowed)
    for key in data:
        if key not in allowed:
            hint = did_you_mean(key, allowed)
            mistakes.say(f"{what}: unknown key {str(key)!r}{hint}; allowed: {', '.join(allowed)}")


def number(
    what: str,
    value: Any,
    mistakes: Mistakes,
    *,
    above: float | None = None,
    least: float | None = None,
    whole: bool = False,
) -> Any:
    """A finite number; YAML 1.1 reads ``1e3`` as text, which is taken as the number it means."""
    unit = "whole number" if whole else "number"
    bound = f" above {above:g}" if above is not None else ""
    bound = f" of at least {least:g}" if least is not None else bound
    allowed = f"a finite {unit}{bound}"
    parsed = value
    if isinstance(value, str):
        try:
            parsed = float(value)
        except ValueError:
            parsed = None
    if isinstance(parsed, bool) or not isinstance(parsed, (int, float)):
        mistakes.add(what, value, allowed)
        return None
    bad = not math.isfinite(parsed)
    bad = bad or (above is not None and parsed <= above) or (least is not None and parsed < least)
    if bad or (whole and parsed != int(parsed)):
        mistakes.add(what, value, allowed)
        return None
    return int(parsed) if whole else float(parsed)


def numbers(what: str, value: Any, mistakes: Mistakes, **bounds: Any) -> tuple[Any, ...]:
    """One number or a list of different ones."""
    items = value if isinstance(value, list) else [value]
    if not items:
        mistakes.add(what, value, "a number or a list of numbers")
    read = [
        number(f"{what}[{i}]" if len(items) > 1 else what, item, mistakes, **bounds)
        for i, item in enumerate(items)
    ]
    good = [item for item in read if item is not None]
    for item in sorted({item for item in good if good.count(item) > 1}):
        mistakes.say(f"{what}: {item:g} is given twice; allowed: each value once")
    return tuple(dict.fromkeys(good))


def choice(what: str, value: Any, allowed: Iterable[str], mistakes: Mistakes) -> str | None:
    """One of a few words."""
    allowed = list(allowed)
    if isinstance(value, str) and value in allowed:
        return value
    hint = did_you_mean(value, allowed)
    mistakes.add(what, value, f"one of {', '.join(allowed)}{hint}")
    return None


_UNITS_S = {
    "s": 1,
    "sec": 1,
    "m": 60,
    "min": 60,
    "h": 3600,
    "hour": 3600,
    "hours": 3600,
    "d": 86400,
}


def duration_s(what: str, value: Any, mistakes: Mistakes) -> float | None:
    """Seconds from ``90``, ``30 min``, ``2h``, ``1d`` or ``HH:MM:SS``."""
    allowed = "seconds, or a text such as '90 s', '30 min', '2 h', '1 d' or 'HH:MM:SS'"
    if not isinstance(value, str):
        seconds = value if isinstance(value, (int, float)) and not isinstance(value, bool) else 0
    elif match := re.fullmatch(r"(\d+):([0-5]?\d):([0-5]?\d)", value.strip()):
        hours, minutes, rest = (int(group) for group in match.groups())
        seconds = 3600 * hours + 60 * minutes + rest
    elif match := re.fullmatch(r"(\d+(?:\.\d*)?)\s*([a-z]*)", value.strip().lower()):
        seconds = float(match[1]) * _UNITS_S.get(match[2] or "s", 0)
    else:
        seconds = 0
    if not (math.isfinite(seconds) and seconds > 0):
        mistakes.add(what, value, allowed)
        return None
    return float(seconds)


def read_criteria(data: Any, mistakes: Mistakes) -> Criteria:
    """Overrides of :class:`~nequip_decorr.md.spec.Criteria`, checked field by field."""
    if data is None:
        return Criteria()
    if not isinstance(data, dict):
        mistakes.add("criteria", data, "a mapping of criterion to value, or null to switch it off")
        return Criteria()
    known = {item.name: item for item in fields(Criteria)}
    check_keys("criteria", data, known, mistakes)
    chosen: dict[str, Any] = {}
    for name, value in data.items():
        if name not in known:
            continue
        what = f"criteria.{name}"
        if value is None:
            if "None" in str(known[name].type):
                chosen[name] = None
            else:
                mistakes.add(what, value, "a number; this one cannot be switched off")
        elif name == "check_every":
            chosen[name] = number(what, value, mistakes, least=1, whole=True)
        elif name == "temperature_factor":
            chosen[name] = number(what, value, mistakes, above=1)
        elif name == "temperature_floor_K":
            chosen[name] = number(what, value, mistakes, least=0)
        else:
            chosen[name] = number(what, value, mistakes, above=0)
    return Criteria(**{k: v for k, v in chosen.items() if v is not None or data[k] is None})
