"""Built-in benchmark data."""

from .. import _moved


def __getattr__(name: str) -> object:
    return _moved.within(__name__, name)
