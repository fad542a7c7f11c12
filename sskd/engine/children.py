"""Child processes that neither outlive their parent nor hear what is sent to a whole job.

Ctrl-C reaches all processes of a terminal, a scheduler's SIGTERM all of a job. Only the first of
them listens. It asks its children by another signal, once, and kills one that takes too long.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from sskd.signals import STOPS, ignore_stops

__all__ = ["ASK", "ask_to_end", "fate", "live_as_child", "share_of_gpus", "without_stops"]

ASK: int = getattr(signal, "SIGUSR2", signal.SIGTERM)
"""From a parent to its child. It ends the child at once, but for a step of training."""


@contextmanager
def without_stops() -> Iterator[None]:
    """A process started within hears no signal to stop until ``live_as_child``.

    Until then it imports for seconds, and would die of it, which looks like a failure.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    resource_tracker.ensure_running()  # where this starts it, it unblocks some of them
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def live_as_child() -> None:
    """What a child begins with: its parent decides when it ends, and takes it along."""
    ignore_stops()
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)  # its own children are not ours to mask
    threading.Thread(target=_die_with_parent, daemon=True).start()


def ask_to_end(process: BaseProcess) -> None:
    """Let a child save what it does and end; nothing if it has ended. To be said once."""
    if process.is_alive():
        assert process.pid is not None
        os.kill(process.pid, ASK)  # not reaped yet, so the number is still its own


def fate(code: int | None) -> str:
    """How a process ended, for people."""
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


def share_of_gpus(place: int, places: int) -> str | None:
    """Which of this process's GPUs a child may use, so that several children do not meet on one.

    Args:
        place: Of the child, from 0 on.
        places: Children at once.

    Returns:
        ``CUDA_VISIBLE_DEVICES`` for the child; ``None`` to leave it as it is.
    """
    import torch

    number = torch.cuda.device_count()
    if number < 2:
        return None
    known = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = known.split(",")[:number] if known else [str(index) for index in range(number)]
    each = max(1, number // places)
    first = place * each % number
    return ",".join(names[first : first + each])


def _die_with_parent() -> None:
    """A parent that is killed cannot end its children, and the next one does the same work."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
