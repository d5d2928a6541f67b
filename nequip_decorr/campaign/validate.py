"""Types of the values of a campaign file, and every mistake in one list."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from inspect import isclass
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from ..errors import Finding, UserError, did_you_mean


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
        self.warnings: list[Finding] = []

    def add(self, what: str, got: Any, allowed: str) -> None:
        """Note a mistake as ``what: got ...; allowed: ...``."""
        self.lines.append(f"{what}: got {_show(got)}; allowed: {allowed}")

    def say(self, line: str) -> None:
        """Note a mistake in other words."""
        self.lines.append(line)

    def warn(self, line: str) -> None:
        """Note something that is odd but allowed."""
        self.warnings.append(Finding(line, "warning"))

    def note(self, findings: Iterable[Finding]) -> None:
        """Note the findings of a check."""
        for finding in findings:
            if finding.severity == "error":
                self.lines.append(str(finding))
            else:
                self.warnings.append(finding)

    def raise_if_any(self, source: str) -> None:
        """Raise :class:`CampaignError` if a mistake was noted."""
        if self.lines:
            raise CampaignError(source, self.lines)


def _show(value: Any) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


class NotAllowed(ValueError):
    """A value of a campaign file that is not allowed; the text says what is."""


class Strict(BaseModel):
    """A mapping of a campaign file: unknown keys are mistakes, ``null`` stands for the default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_null(cls, data: Any) -> Any:
        return {k: v for k, v in data.items() if v is not None} if isinstance(data, dict) else data


Schema = TypeVar("Schema", bound=Strict)


def number(above: float | None = None, least: float | None = None, whole: bool = False) -> Any:
    """A finite number; YAML 1.1 reads ``1e3`` as text, which is taken as the number it means."""
    bound = f" above {above:g}" if above is not None else ""
    bound = f" of at least {least:g}" if least is not None else bound
    allowed = f"a finite {'whole number' if whole else 'number'}{bound}"

    def read(value: Any) -> float | int:
        parsed = value
        if isinstance(value, str):
            try:
                parsed = float(value)
            except ValueError:
                parsed = None
        if isinstance(parsed, bool) or not isinstance(parsed, (int, float)):
            raise NotAllowed(allowed)
        low = (above is not None and parsed <= above) or (least is not None and parsed < least)
        if not math.isfinite(parsed) or low or (whole and parsed != int(parsed)):
            raise NotAllowed(allowed)
        return int(parsed) if whole else float(parsed)

    return BeforeValidator(read)


Finite = Annotated[float, number()]
Positive = Annotated[float, number(above=0)]
Count = Annotated[int, number(least=1, whole=True)]


def one_or_more(what: str) -> Any:
    """A value, or a list of values of which none may be given twice."""

    def read(value: Any) -> list[Any]:
        items = value if isinstance(value, (list, tuple)) else [value]
        if not items:
            raise NotAllowed(f"{what}, or a list of them")
        for item in items:
            if list(items).count(item) > 1:
                text = f"{item:g}" if isinstance(item, (int, float)) else item
                raise UserError(f"{text} is given twice; allowed: each value once")
        return list(items)

    return BeforeValidator(read)


def one_of(allowed: Iterable[str]) -> Any:
    """One of a few words."""
    names = list(allowed)

    def read(value: Any) -> str:
        if isinstance(value, str) and value in names:
            return value
        raise NotAllowed(f"one of {', '.join(names)}{did_you_mean(value, names)}")

    return BeforeValidator(read)


def of_kind(kinds: type | tuple[type, ...], allowed: str, empty: bool = False) -> Any:
    """A value of these types; an empty one only where that is said."""

    def read(value: Any) -> Any:
        if not isinstance(value, kinds) or not (value or empty):
            raise NotAllowed(allowed)
        return value

    return BeforeValidator(read)


def words(allowed: str, split: Callable[[str], list[str]]) -> Any:
    """One word or more, as a list or as a text that ``split`` takes apart."""

    def read(value: Any) -> tuple[str, ...]:
        found = split(value) if isinstance(value, str) else value
        texts = isinstance(found, (list, tuple)) and all(isinstance(word, str) for word in found)
        if not (texts and found):
            raise NotAllowed(allowed)
        return tuple(found)

    return BeforeValidator(read)


def validate(
    model: type[Schema],
    data: dict[str, Any],
    mistakes: Mistakes,
    what: str = "",
    partial: bool = False,
) -> Schema | None:
    """Validate a mapping and note what is wrong.

    Args:
        model: the schema.
        data: the mapping.
        mistakes: where mistakes go; the validators' ``info.context``.
        what: where in the file the mapping is, e.g. ``models.stock``.
        partial: give an object without what is wrong, so that checking can go on.

    Returns:
        The object, or ``None`` where something is wrong and ``partial`` is not asked for.
    """
    try:
        return model.model_validate(data, context=mistakes)
    except ValidationError as err:
        found = err.errors()
    for error in found:
        mistakes.say(_line(model, data, error, what))
    if not partial:
        return None
    for error in found:
        data = _without(data, error["loc"])
    return model.model_validate(data, context=Mistakes())


def _line(model: type[BaseModel], data: Any, error: Any, prefix: str) -> str:
    loc, reason = error["loc"], error.get("ctx", {}).get("error")
    if error["type"] == "extra_forbidden":
        allowed, key = _keys_at(model, loc[:-1]), str(loc[-1])
        parent = _where(data, loc[:-1], prefix) or "campaign"
        hint = did_you_mean(key, allowed)
        return f"{parent}: unknown key {key!r}{hint}; allowed: {', '.join(allowed)}"
    what = _where(data, loc, prefix)
    if isinstance(reason, ValueError) and not isinstance(reason, NotAllowed):
        return f"{what}: {reason}"
    return f"{what}: got {_show(error['input'])}; allowed: {reason or error['msg']}"


def _where(data: Any, loc: tuple[int | str, ...], text: str) -> str:
    """The place of a value as people write it; a single value need not be in a list."""
    for part in loc:
        if isinstance(part, str):
            text += f".{part}" if text else part
        elif isinstance(data, list) and len(data) > 1:
            text += f"[{part}]"
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            data = None
    return text


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    for part in loc:
        model = _model_in(model.model_fields[str(part)].annotation) or model
    return sorted(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)


def _without(data: Any, loc: tuple[int | str, ...]) -> Any:
    """The mapping without the key that an error points at, or without the key that holds it."""
    if not loc or not isinstance(data, dict) or loc[0] not in data:
        return data
    inner = data[loc[0]]
    if len(loc) > 1 and isinstance(inner, dict) and loc[1] in inner:
        return {**data, loc[0]: _without(inner, loc[1:])}
    return {key: value for key, value in data.items() if key != loc[0]}


def check_keys(
    what: str, data: Mapping[Any, Any], allowed: Iterable[str], mistakes: Mistakes
) -> None:
    """Note every key that is not one of the names that the campaign gives."""
    allowed = sorted(allowed)
    for key in data:
        if key not in allowed:
            hint = did_you_mean(key, allowed)
            mistakes.say(f"{what}: unknown key {str(key)!r}{hint}; allowed: {', '.join(allowed)}")
