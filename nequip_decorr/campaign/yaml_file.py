"""Reading YAML as plain data in which words stay words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from .validate import Mistakes


class _Loader(yaml.SafeLoader):
    """``SafeLoader`` that notes keys given twice, and takes words for words.

    YAML 1.1 reads ``1:30`` as 90 and the key ``NO`` as false; keys are texts here.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.twice: list[tuple[str, int]] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                self.twice.append((key.value, key.start_mark.line + 1))
            seen.add(key.value)
            if key.tag.startswith("tag:yaml.org,2002:"):
                key.tag = "tag:yaml.org,2002:str"
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


_PLAIN_WORDS = re.compile(
    r"^(?:[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?|(?i:yes|no|on|off))$"
)
_Loader.yaml_implicit_resolvers = {
    first: [("tag:yaml.org,2002:str", _PLAIN_WORDS), *rules]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


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
