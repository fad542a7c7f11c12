"""A request to stop waits for the end of a training step, so that no step is lost."""

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from sskd.engine.children import ASK
from sskd.signals import STOPS, is_repeat

__all__ = ["StopRequests"]


class StopRequests:
    """Within this context a first signal is noted; a second one does at once what it always does.

    What comes within a second of the first, of whatever kind, is the same request. Leaving the
    context obeys what was noted, before an error that is on its way: a job that is asked to end
    must not go on to something else, and the next launch meets the error again.

    Signals that were ignored still are. Python delivers them to the main thread, so in any other
    thread this does nothing.
    """

    def __init__(self) -> None:
        self._asked: int | None = None
        self._since = 0.0
        self._before: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether it is time to save and to ``obey``."""
        return self._asked is not None

    def obey(self) -> None:
        """Let the noted signal do what it would have done without this context.

        Raises:
            KeyboardInterrupt: If it does nothing, or came to another process of this training.
        """
        self._restore()
        asked, self._asked = self._asked, None
        if asked is not None:
            signal.raise_signal(asked)
        raise KeyboardInterrupt

    def __enter__(self) -> "StopRequests":
        if threading.current_thread() is threading.main_thread():
            for number in {*STOPS, ASK}:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()
        if self._asked is not None and not isinstance(error, KeyboardInterrupt):
            signal.raise_signal(self._asked)  # it came with the last step

    def _receive(self, number: int, _: FrameType | None) -> None:
        if not self.asked:
            self._asked, self._since = number, time.monotonic()
        elif not is_repeat(self._since):
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
