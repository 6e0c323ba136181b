"""Being asked to stop: the run ends behind a whole step, with a checkpoint."""

from __future__ import annotations

import signal
import threading
from typing import Any


class StopSignals:
    """Inside its `with` block, SIGTERM and the first SIGINT only set `received`.

    A second SIGINT interrupts as usual. Outside of the main thread, where Python cannot catch
    signals, it does nothing.

    Example:
      >>> import os, signal, optlab as ol
      >>> with ol.training.StopSignals() as stop:
      ...     os.kill(os.getpid(), signal.SIGTERM)
      >>> stop.received.name
      'SIGTERM'
    """

    received: signal.Signals | None = None

    def __enter__(self) -> StopSignals:
        self._old: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._old[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: Any) -> None:
        if self.received is signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
