"""Several cells at once: a process each, which dies with the controller.

A worker runs whole cells, one after the other, and reports by messages; it knows neither ledger nor
tracker. One that dies, for want of memory say, takes only its cell with it.
"""

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from types import TracebackType
from typing import Any

from sskd.config import Config
from sskd.engine import together
from sskd.engine.children import ask_to_end, fate, live_as_child, share_of_gpus, without_stops

__all__ = ["Ended", "Pool", "Progressed", "describe"]

REPORT_SECONDS = 0.2
"""A worker sends at most one progress message in this time, and the last one of everything."""

GRACE_SECONDS = together.GRACE_SECONDS + 15.0
"""For the end of a step and a checkpoint, once a worker was asked to stop.

More than a worker has patience with its own processes, which it ends before itself.
"""


@dataclass(frozen=True)
class Progressed:
    """A worker got on: the arguments of ``sskd.types.Progress``."""

    key: str
    what: str
    done: int
    total: int
    facts: dict[str, float]


@dataclass(frozen=True)
class Ended:
    """A worker is free again."""

    key: str
    error: str | None
    """One line; ``None`` if the cell ran to its end."""
    trace: str = ""


class Pool:
    """Workers for as long as the context lasts; leaving it ends them."""

    def __init__(self, run_cell: Callable[..., object], home: Path, count: int) -> None:
        """Start no process yet: one is started when there is a cell for it.

        Args:
            run_cell: As the controller has it; found again by its name in the other process.
            home: Handed on.
            count: How many cells run at once.
        """
        self._run_cell, self._home, self._count = run_cell, home, count
        self._places = [*range(count)]
        self._context: SpawnContext = multiprocessing.get_context("spawn")
        self._idle: list[_Worker] = []
        self._busy: dict[str, _Worker] = {}

    @property
    def free(self) -> int:
        """Cells that can be submitted now."""
        return self._count - len(self._busy)

    def submit(self, key: str, config: Config) -> None:
        """Hand a cell to a free worker."""
        assert self.free > 0
        worker = self._idle.pop() if self._idle else self._start()
        worker.connection.send((key, config))
        self._busy[key] = worker

    def wait(self, seconds: float) -> list[Progressed | Ended]:
        """What the busy workers report within a time; nothing if it passes quietly."""
        messages: list[Progressed | Ended] = []
        ready = wait([worker.connection for worker in self._busy.values()], seconds)
        for key, worker in list(self._busy.items()):
            if worker.connection not in ready:
                continue
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                worker.process.join(GRACE_SECONDS)
                message = Ended(key, f"its process died ({fate(worker.process.exitcode)})")
                self._places.append(worker.place)
            else:
                if isinstance(message, Ended):
                    self._idle.append(worker)
            if isinstance(message, Ended):
                del self._busy[key]
            messages.append(message)
        return messages

    def __enter__(self) -> "Pool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """End all workers now, in the middle of whatever they do but a step of training."""
        workers = [*self._idle, *self._busy.values()]
        self._idle, self._busy = [], {}
        try:
            for worker in workers:
                ask_to_end(worker.process)
            deadline = time.monotonic() + GRACE_SECONDS
            for worker in workers:
                worker.process.join(max(0.0, deadline - time.monotonic()))
        finally:  # also where a second signal does not wait
            for worker in workers:
                if worker.process.is_alive():
                    worker.process.kill()
                worker.process.join()
                worker.connection.close()

    def _start(self) -> "_Worker":
        place = self._places.pop(0)
        gpus = share_of_gpus(place, self._count)
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(theirs, self._run_cell, self._home, gpus), name="sskd-worker"
        )
        with without_stops():
            process.start()
        theirs.close()
        return _Worker(process, ours, place)


@dataclass(frozen=True)
class _Worker:
    process: SpawnProcess
    connection: "Connection[Any, Any]"
    place: int
    """Among those that work at once, which share the GPUs."""


def describe(error: BaseException) -> str:
    """An exception in one line; a ``ValueError`` speaks for itself."""
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"


def _work(
    connection: "Connection[Any, Any]",
    run_cell: Callable[..., object],
    home: Path,
    gpus: str | None,
) -> None:
    """A worker's life."""
    live_as_child()
    if gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus  # read when a cell first asks for a GPU
    while True:
        try:
            key, config = connection.recv()
        except (EOFError, OSError):
            return
        try:
            run_cell(config, home=home, log=_no_log, progress=_Reporter(connection, key))
        except Exception as error:
            connection.send(Ended(key, describe(error), traceback.format_exc()))
        else:
            connection.send(Ended(key, None))


def _no_log(*_: object) -> None:
    """Metrics travel through files."""


class _Reporter:
    """Sends progress, but not every step."""

    def __init__(self, connection: "Connection[Any, Any]", key: str) -> None:
        self._connection, self._key = connection, key
        self._last = 0.0

    def __call__(self, what: str, done: int, total: int, **facts: float) -> None:
        now = time.monotonic()
        if done >= total or now - self._last >= REPORT_SECONDS:
            self._last = now
            self._connection.send(Progressed(self._key, what, done, total, facts))
