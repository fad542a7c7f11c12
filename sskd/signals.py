"""What asks a program to stop, and how often it means the same request."""

import signal
import time

__all__ = ["REPEAT_SECONDS", "STOPS", "ignore_stops", "is_repeat"]

STOPS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)
)
"""Ctrl-C; what ends a job; a lost terminal; what Slurm sends ahead of the end, if asked to.

Terminals and schedulers send them to all processes of a job at once.
"""

REPEAT_SECONDS = 1.0
"""``timeout`` signals its child and then the child's group, a scheduler a wrapper that hands on."""


def is_repeat(since: float) -> bool:
    """Whether a signal now is the same request as one before, and nobody insists.

    Args:
        since: When that one came, of ``time.monotonic()``, in seconds.
    """
    return time.monotonic() - since < REPEAT_SECONDS


def ignore_stops() -> None:
    """For a process whose parent decides when it ends."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
