"""Child processes that neither outlive their parent nor hear the terminal's Ctrl-C."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait

__all__ = ["fate", "live_as_child", "share_of_gpus", "without_ctrl_c"]


@contextmanager
def without_ctrl_c() -> Iterator[None]:
    """A process started within never sees Ctrl-C, which goes to all of a terminal's processes.

    Until its own code begins it imports for seconds, and would end with a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def live_as_child() -> None:
    """What a child begins with: its parent decides when it ends, and takes it along."""
    for name in ("SIGINT", "SIGHUP", "SIGUSR1"):  # what a terminal or a job sends to all at once
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


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
