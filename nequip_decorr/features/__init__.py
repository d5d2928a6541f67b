"""From a model's output to named blocks of features."""

from .. import _moved


def __getattr__(name: str) -> object:
    return _moved.within(__name__, name)
