"""Several processes that train one model together, each with its share of every batch.

They are children of the process that asks: what went on in them is gone with them, and one that
dies, for want of memory say, does not leave the others waiting for ever.
"""

import multiprocessing
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from sskd.engine.children import ask_to_end, fate, live_as_child, without_stops
from sskd.engine.errors import RunStopped
from sskd.engine.stop_requests import StopRequests

__all__ = ["GRACE_SECONDS", "train_together"]

GRACE_SECONDS = 60.0
"""For the end of a step and a checkpoint, once it was asked to stop."""

POLL_SECONDS = 0.2
"""A signal does not end a wait for messages; it is looked for as often as this."""

Callback = Callable[..., None]


@dataclass(frozen=True)
class _Said:
    """A call of the first process: of ``log`` or ``progress``."""

    name: str
    args: tuple[Any, ...]
    facts: dict[str, float]


@dataclass(frozen=True)
class _Done:
    result: Any


@dataclass(frozen=True)
class _Failed:
    error: BaseException


def train_together(
    work: Callable[..., Any],
    *args: Any,
    count: int,
    threads: int,
    log: Callback,
    progress: Callback,
) -> Any:
    """Call ``work(*args, log=..., progress=...)`` in ``count`` new processes at once.

    Within, ``torch.distributed`` is about to be set up by the environment, as ``torchrun`` does it.
    They hear no signal to stop. One that comes here is handed to the first of them, and does here
    what it always does once that one has ended; a second signal does not wait.

    Args:
        work: Found again by its name in the other processes.
        args: Sent to all of them.
        count: Of processes, >= 2.
        threads: Of each.
        log: Called here as the first of them calls its own, and so is ``progress``.
        progress: As ``log``.

    Returns:
        What it returned in the first process.

    Raises:
        ValueError: As ``work`` raised it in any of them.
        RunStopped: If one died.
        KeyboardInterrupt: If it was asked to stop, after a checkpoint.
    """
    context = multiprocessing.get_context("spawn")
    environment = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "OMP_NUM_THREADS": str(threads),
        "TORCH_CPP_LOG_LEVEL": "ERROR",  # its warnings would come from every process
    }
    members: dict[Connection[Any, Any], SpawnProcess] = {}
    with StopRequests() as stop:
        try:
            for index in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_take_part,
                    args=(theirs, environment | {"RANK": str(index), "LOCAL_RANK": str(index)}),
                    name=f"sskd-process-{index}",
                )
                with without_stops():
                    process.start()
                theirs.close()
                ours.send((work, args))
                members[ours] = process
            result = _listen(members, {"log": log, "progress": progress}, stop)
        finally:
            _end(members)
        if stop.asked:
            stop.obey()
    return result


def _listen(
    members: "dict[Connection[Any, Any], SpawnProcess]",
    calls: dict[str, Callback],
    stop: StopRequests,
) -> Any:
    """Until all are done, or until it is asked to stop."""
    first, *_ = members
    running, result = dict(members), None
    while running:
        ready = wait([*running], POLL_SECONDS)
        if stop.asked:
            return None
        for connection in ready:
            assert isinstance(connection, Connection)
            try:
                message = connection.recv()
            except (EOFError, OSError):
                dead = members[connection]
                dead.join()
                message = _Failed(
                    RunStopped(
                        f"a process of this training died ({fate(dead.exitcode)}); "
                        "the last checkpoint is kept"
                    )
                )
            if isinstance(message, _Said):
                calls[message.name](*message.args, **message.facts)
            elif isinstance(message, _Failed):
                for process in members.values():
                    process.kill()  # they would wait for the one that failed
                raise message.error
            else:
                del running[connection]
                result = message.result if connection is first else result
    return result


def _end(members: "dict[Connection[Any, Any], SpawnProcess]") -> None:
    """Let the first write its checkpoint, for which the others meet it."""
    first, *_ = members.values()
    try:
        if first.is_alive():
            ask_to_end(first)
            first.join(GRACE_SECONDS)
    finally:  # also where a second signal does not wait
        for process in members.values():
            if process.is_alive():
                process.kill()
            process.join()
        for connection in members:
            connection.close()


def _take_part(connection: "Connection[Any, Any]", environment: dict[str, str]) -> None:
    """One process's life."""
    live_as_child()
    os.environ |= environment  # torch, which is imported next, reads it
    work, args = connection.recv()

    def tell(name: str) -> Callback:
        def call(*values: Any, **facts: float) -> None:
            if environment["RANK"] == "0":
                connection.send(_Said(name, values, facts))

        return call

    try:
        result = work(*args, log=tell("log"), progress=tell("progress"))
    except KeyboardInterrupt:
        pass  # the first one was asked to stop
    except Exception as error:
        connection.send(_Failed(error))
    else:
        connection.send(_Done(result))


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
