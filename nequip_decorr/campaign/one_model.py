"""One model as the command line names it, in the spelling of a campaign's ``models:``."""

from __future__ import annotations

from pathlib import Path

import yaml

from ..errors import UserError
from ..models.spec import ModelSpec
from .models import FORMS, read_models
from .validate import Mistakes


def read_model(text: str, name: str = "labels", folder: Path | None = None) -> ModelSpec:
    """Read a model from a YAML snippet, a YAML file with one, ``reference:siox`` or a model file.

    Args:
        text: what the user wrote.
        name: name of the model, for messages.
        folder: what paths are relative to; by default the working directory, or the YAML file's
            folder.

    Raises:
        UserError: it names no model.
    """
    folder, source = folder or Path.cwd(), text
    path = folder / text
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"{name}: no such file: {path}")
        folder, source = path.parent, path.read_text(encoding="utf-8")
    elif ":" in text and text.split(":")[0].isalpha() and not path.exists():
        source = text if ": " in text else text.replace(":", ": ", 1)
    try:
        entry = yaml.safe_load(source)
    except yaml.YAMLError as err:
        raise UserError(f"{name}: not valid YAML: {' '.join(str(err).split())}") from None
    mistakes = Mistakes()
    found = read_models({name: entry}, folder.resolve(), mistakes)
    if mistakes.lines or not found:
        lines = "; ".join(mistakes.lines) or f"got {text!r}"
        raise UserError(f"{lines}; allowed: {FORMS}")
    return found[0]
