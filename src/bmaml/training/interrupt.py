"""Ctrl-C as a flag that a loop reads between chunks."""

from __future__ import annotations

import signal
import threading


class Interrupt:
    """In the `with` block the first SIGINT or SIGTERM sets `raised`, and a second one acts as before.

    Blocks may be nested. The end of the innermost block returns the signals to their old handlers.
    """

    def __init__(self):
        self.raised = False
        self._old: dict[signal.Signals, object] = {}

    def __enter__(self) -> Interrupt:
        listening = self.raised or self._old
        if not listening and threading.current_thread() is threading.main_thread():
            self._old = {s: signal.signal(s, self._set) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _set(self, *_) -> None:
        self.raised = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]
        self._old = {}

    def __exit__(self, *_) -> None:
        self._restore()
