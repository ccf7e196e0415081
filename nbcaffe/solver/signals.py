"""Signals while a net trains: stop with a snapshot, or write one and go on."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

STOP = ("SIGINT", "SIGTERM")
SNAPSHOT = ("SIGHUP",)  # missing on Windows


class Signals:
    """Notes signals inside a ``with`` block, for the loop to obey between iterations; a second stop is immediate."""

    def __init__(self) -> None:
        self.stop: int | None = None  # the number of the signal that asked for it
        self.snapshot = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers there only
            for names, handler in ((STOP, self._on_stop), (SNAPSHOT, self._on_snapshot)):
                for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
                    self._before[number] = signal.signal(number, handler)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def take_snapshot_request(self) -> bool:
        asked, self.snapshot = self.snapshot, False
        return asked

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        if self.stop is not None:
            raise KeyboardInterrupt
        self.stop = number

    def _on_snapshot(self, number: int, frame: FrameType | None) -> None:
        self.snapshot = True
