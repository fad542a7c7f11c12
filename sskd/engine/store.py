"""Finished stages, addressed by content: a folder each, written once, shared by every cell.

A stage is done when ``NAME-KEY16/`` exists with its ``result.json``. Work goes on in
``NAME-KEY16.partial/``, which survives a kill and is offered again for resuming; the rename to the
final name is the commit. Whoever computes a stage holds ``NAME-KEY16.lock``, which the operating
system releases when its holder dies.
"""

import json
import math
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

__all__ = [
    "WEIGHTS",
    "MetricLog",
    "Slot",
    "Store",
    "StoredStage",
    "read_metrics",
    "write_json_atomic",
]

RESULT = "result.json"
METRICS = "metrics.jsonl"
WEIGHTS = "weights.safetensors"
KEY_DIGITS = 16
"""Digits of a key in a folder's name; the full key is in its ``result.json``."""

Row = dict[str, int | float | None]
"""A line of a metric history: ``step``, ``time``, and values, ``None`` for what is not finite."""

Waiting = Callable[[str], None]
"""Called once with the stage's name when another process is computing it."""


def write_json_atomic(path: Path, value: object, *, indent: int | None = None) -> None:
    """Write plain data so that a reader sees the old file or the new one, even after a kill.

    Args:
        path: The file; its folder exists.
        value: Mappings, sequences, strings and numbers; a number that is not finite becomes
            ``null``, which JSON can say.
        indent: Spaces a level, for files that people read.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(_plain(value), indent=indent, separators=separators, allow_nan=False)
    # Unique to the writer: two processes may write the same file, and the last one wins whole.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync(path.parent)


def read_metrics(path: Path) -> tuple[Row, ...]:
    """The lines of a metric history, oldest first; none where there is no file.

    A last line without its end is still being written, or was cut by a kill: it is left out.

    Raises:
        ValueError: If a complete line is not JSON.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    lines = text.split("\n")[:-1]
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            raise ValueError(
                f"{path}, line {number}: not JSON; delete the stage's folder"
            ) from None
    return tuple(rows)


class MetricLog:
    """An append-only history of named values, one JSON object a line.

    To resume without a step twice, keep ``offset`` in each checkpoint and ``truncate`` to it. The
    file may be followed while it grows; it is open only while a line is written.

    Args:
        path: The file; its folder exists. A last line that a kill has cut is dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists():
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)

    @property
    def offset(self) -> int:
        """Bytes written so far: the place to ``truncate`` to."""
        return self.path.stat().st_size if self.path.exists() else 0

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write one line: the step, the time in seconds since 1970, and the values.

        Args:
            step: Optimizer step.
            metrics: Values by name; one that is not finite is written as ``null``.
        """
        row = {"step": step, "time": round(time.time(), 3), **metrics}
        with self.path.open("ab", buffering=0) as file:
            # One write: a reader sees the line whole.
            file.write(json.dumps(_plain(row), allow_nan=False).encode() + b"\n")

    def truncate(self, offset: int) -> None:
        """Forget what was written after a checkpoint.

        Args:
            offset: What ``offset`` was when the checkpoint was saved.

        Raises:
            ValueError: If the file is shorter than that.
        """
        size = self.offset
        if offset > size:
            raise ValueError(
                f"{self.path}: {size} bytes, but {offset} when its checkpoint was saved; "
                "delete the stage's folder"
            )
        if size:
            os.truncate(self.path, offset)


@dataclass(frozen=True)
class StoredStage:
    """A finished stage; its files do not change any more."""

    name: str
    key: str
    folder: Path
    result: dict[str, Any]
    """What ``commit`` was given."""

    @property
    def weights(self) -> Path:
        """Where the stage's weights are, if it trains a model."""
        return self.folder / WEIGHTS

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def metrics(self) -> tuple[Row, ...]:
        """The metric history, empty where the stage logs none."""
        return read_metrics(self.folder / METRICS)


class Slot:
    """A stage that is being looked at: finished, or ours to compute in ``folder``."""

    def __init__(self, name: str, key: str, final: Path, stage: StoredStage | None) -> None:
        self.name = name
        self.key = key
        self.stage = stage
        self._final = final

    @property
    def done(self) -> bool:
        """Whether the stage is finished."""
        return self.stage is not None

    @property
    def folder(self) -> Path:
        """The finished stage's folder, or the working folder, with what a killed run left in it."""
        return _partial(self._final) if self.stage is None else self._final

    def commit(self, result: Mapping[str, Any]) -> StoredStage:
        """Declare the working folder finished, in one step that a kill cannot halve.

        Args:
            result: Plain data, kept in ``result.json`` beside the stage's name and key.
        """
        assert self.stage is None, f"{self.name} is committed already"
        assert not {"stage", "key"} & result.keys(), "the store writes 'stage' and 'key' itself"
        for leftover in self.folder.rglob(".*.tmp"):
            leftover.unlink()
        for path in self.folder.rglob("*"):
            _sync(path)
        # From here on the stage is complete: the next to open it finishes a commit cut short.
        record = {"stage": self.name, "key": self.key, **result}
        write_json_atomic(self.folder / RESULT, record, indent=2)
        self.stage = _publish(self.name, self.key, self._final)
        assert self.stage is not None
        return self.stage


class Store:
    """A folder of finished stages. Deleting it, or a part of it, costs only time.

    Args:
        root: The folder; made when the first stage is.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str, name: str) -> Path:
        """Where the finished stage is, or will be."""
        assert re.fullmatch(r"[a-z0-9_]+", name), name
        assert re.fullmatch(rf"[0-9a-f]{{{KEY_DIGITS},}}", key), key
        return self.root / f"{name}-{key[:KEY_DIGITS]}"

    def read(self, name: str, key: str) -> StoredStage | None:
        """The finished stage, or ``None``: a folder without a valid result is not one."""
        return _read(self.path(key, name), name, key)

    @contextmanager
    def stage(self, name: str, key: str, *, waiting: Waiting | None = None) -> Iterator[Slot]:
        """A finished stage, or the right to compute it, which no other process has meanwhile.

        Args:
            name: The stage's name.
            key: SHA-256 of everything that affects the stage, in hexadecimal.
            waiting: Called once, with the name, before waiting for the process that computes it.

        Yields:
            The slot. If it is not ``done``, fill its ``folder`` and ``commit``; a folder that is
            left without a commit is offered again, as it is, the next time.
        """
        final = self.path(key, name)
        stage = _read(final, name, key)
        if stage is None:
            with self._lock(final, waiting):
                stage = _read(final, name, key) or _publish(name, key, final)
                if stage is None:
                    _partial(final).mkdir(parents=True, exist_ok=True)
                    yield Slot(name, key, final, None)
                    return
        # Read without the lock: any number of cells share a finished stage at once.
        yield Slot(name, key, final, stage)

    def entries(self) -> tuple[StoredStage, ...]:
        """All finished stages, by name and key."""
        found = []
        for folder in sorted(self.root.glob(f"*-{'?' * KEY_DIGITS}")):
            stage = _read(folder, folder.name[: -KEY_DIGITS - 1], folder.name[-KEY_DIGITS:])
            if stage is not None:
                found.append(stage)
        return tuple(found)

    @contextmanager
    def _lock(self, final: Path, waiting: Waiting | None) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        # The lock file stays: unlinking it would let two holders lock two files of one name.
        lock = FileLock(f"{final}.lock", poll_interval=0.1)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if waiting is not None:
                waiting(final.name[: -KEY_DIGITS - 1])
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


def _partial(final: Path) -> Path:
    return final.with_name(f"{final.name}.partial")


def _read(folder: Path, name: str, key: str) -> StoredStage | None:
    """The stage in a folder, if its result is whole and is this stage's."""
    try:
        record = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.pop("stage", None) != name:
        return None
    full_key = record.pop("key", None)
    if not isinstance(full_key, str) or not full_key.startswith(key):
        return None
    return StoredStage(name, full_key, folder, record)


def _publish(name: str, key: str, final: Path) -> StoredStage | None:
    """Give a complete working folder its final name; call under the lock."""
    if _read(_partial(final), name, key) is None:
        return None
    _discard(final)  # a folder damaged from outside may stand in the way
    _partial(final).rename(final)
    _sync(final.parent)
    return _read(final, name, key)


def _discard(folder: Path) -> None:
    """Delete a folder under another name, which is never taken for a stage."""
    doomed = folder.with_name(f"{folder.name}.trash")
    shutil.rmtree(doomed, ignore_errors=True)
    if folder.exists():
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _sync(path: Path) -> None:
    """Bring a file or a folder's names to the disk, where the system knows how to."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _plain(value: object) -> object:
    """Data that JSON can say: numbers that are not finite become ``None``."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
