"""One controller a study: what lets it take everything that is still running for dead."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["StudyLocked", "is_running", "study_folder", "study_lock"]

PATIENCE = 1.0
"""Seconds to wait: ``is_running`` holds the lock for an instant."""


class StudyLocked(ValueError):  # noqa: N818 - a state, not a defect
    """Another controller is at work on the study."""


def study_folder(home: Path, experiment: str) -> Path:
    """Where a study keeps its lock and its log: ``home/studies/ablate-negatives@tiny-toycity``."""
    return home / "studies" / experiment.replace("/", "-")


@contextmanager
def study_lock(home: Path, experiment: str) -> Iterator[None]:
    """Be the only controller of an experiment; the system lets go of it when we die.

    Raises:
        StudyLocked: If somebody is; the line says who.
    """
    folder = study_folder(home, experiment)
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / "study.owner"
    lock = FileLock(folder / "study.lock", poll_interval=0.05)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise StudyLocked(
            f"study {experiment} is already running{_who(owner)}; "
            "wait for it, or stop it and start again"
        ) from None
    try:
        owner.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}), "utf-8")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def is_running(home: Path, experiment: str) -> bool:
    """Whether a controller is at work on the experiment."""
    path = study_folder(home, experiment) / "study.lock"
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def _who(owner: Path) -> str:
    try:
        said = json.loads(owner.read_text("utf-8"))
        return f" (process {said['pid']} on {said['host']})"
    except (OSError, ValueError, KeyError):
        return ""
