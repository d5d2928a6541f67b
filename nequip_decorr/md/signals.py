"""Asking a long loop to stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Final

_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")


class StopRequest:
    """Turns the first SIGINT, SIGTERM or SIGHUP into a flag; a second one acts as usual.

    A context manager. Outside the main thread, where Python allows no handlers, the flag can only
    be set with :meth:`set`.

    Args:
        signals: names of the signals, instead of all three.
    """

    def __init__(self, *signals: str) -> None:
        self.requested = False
        self.name = ""
        self._signals = signals or _SIGNALS
        self._before: dict[int, Any] = {}

    def set(self, name: str = "request") -> None:
        """Ask for a stop; ``name`` says who did."""
        self.requested, self.name = True, name

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            numbers = [getattr(signal, name) for name in self._signals if hasattr(signal, name)]
            self._before = {number: signal.signal(number, self._handle) for number in numbers}
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.set(signal.Signals(number).name)
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)

    def __exit__(self, *exception: object) -> None:
        self._restore()
