"""Ctrl-C and SIGTERM only where they do no harm: in a cell's work, not in the middle of the books.

A first signal elsewhere waits until the books are closed; whoever insists with a second one, more
than a second later, is obeyed at once, and the next launch puts things in order.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from sskd.signals import STOPS, is_repeat

__all__ = ["Interrupts", "Terminated"]


class Terminated(KeyboardInterrupt):
    """A polite request to end that did not come from the keyboard: SIGTERM, SIGHUP or SIGUSR1."""


class Interrupts:
    """Within this context signals raise ``KeyboardInterrupt`` in ``allowed`` regions only.

    SIGTERM, SIGHUP and SIGUSR1, which Slurm sends ahead of the end if asked to, raise
    ``Terminated``. Python delivers signals to the main thread, so in any other thread this does
    nothing.
    """

    def __init__(self) -> None:
        self._allowed = False
        self._last: float | None = None
        self._waiting: KeyboardInterrupt | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in STOPS:
                # nohup ignores SIGHUP, and means it.
                ignored = signal.getsignal(number) is signal.SIG_IGN
                if not (ignored and number.name == "SIGHUP"):
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if error is None and self._waiting is not None:
            raise self._waiting

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """A region that may be left at any line."""
        self._raise_waiting()
        self._allowed = True
        try:
            yield
        finally:
            self._allowed = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """A region within an allowed one that must not be left midway."""
        before, self._allowed = self._allowed, False
        try:
            yield
        finally:
            self._allowed = before
        if before:
            self._raise_waiting()

    def _raise_waiting(self) -> None:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            raise waiting

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self._last is not None and is_repeat(self._last):
            return  # the same request
        insists, self._last = self._last is not None, time.monotonic()
        error = KeyboardInterrupt() if number == signal.SIGINT else Terminated()
        if self._allowed or insists:
            # What runs now is left; what follows is putting things in order.
            self._allowed = False
            raise error
        self._waiting = error
