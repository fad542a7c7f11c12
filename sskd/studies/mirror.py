"""Brings a running cell's metrics to MLflow now and then."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from sskd.studies.interrupts import Interrupts
from sskd.studies.tracking import CellRun

__all__ = ["Mirror"]

SECONDS = 15.0
"""Between two looks at the metrics of a running cell."""

SHARE = 0.01
"""Of a run's time that looking at its metrics may take."""


class Mirror:
    """The engine's ``log``: looks at the cell's files if it is time to; MLflow shows what is new.

    It ignores what it is told: the files say the same, and say it of the stages that came from the
    store too. Nothing interrupts a look.

    Args:
        run: Of the cell; ``None`` if MLflow could not open it.
        interrupts: Held during a look.
        guard: Round a look. A busy database must not cost the training: the next look brings what
            this one missed.
    """

    def __init__(
        self,
        run: CellRun | None,
        interrupts: Interrupts,
        guard: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._run, self._interrupts, self._guard = run, interrupts, guard
        self._next = time.monotonic() + SECONDS

    def __call__(self, *_: object) -> None:
        """Look, if it is time to."""
        began = time.monotonic()
        if self._run is None or began < self._next:
            return
        with self._interrupts.held(), self._guard():
            self._run.mirror()
        now = time.monotonic()
        self._next = now + max(SECONDS, (now - began) / SHARE)
