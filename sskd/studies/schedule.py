"""Which cell to begin next, so that no worker waits for what another one computes."""

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from sskd.engine.store import Store
from sskd.studies.cells import PlannedCell

__all__ = ["KnownStage", "Schedule", "time_to_wait"]


@runtime_checkable
class KnownStage(Protocol):
    """A stage of a cell; ``sskd.engine.run.PlannedStage``."""

    @property
    def name(self) -> str:
        """Of the stage."""

    @property
    def key(self) -> str:
        """Its content."""


class Schedule:
    """Chooses among waiting cells by the stages that they still need.

    Cells share stages, such as a seed's teacher. A worker that needs one that is being computed
    waits for it; so a cell is better begun when its first missing stage is nobody's yet.
    """

    def __init__(self, home: Path, stages: Mapping[str, Sequence[KnownStage]]) -> None:
        """Look nothing up yet.

        Args:
            home: With the store.
            stages: Of each cell, by fingerprint, in the order in which they run.
        """
        self._store, self._stages = Store(home / "store"), stages

    def choose(self, waiting: Sequence[PlannedCell], active: Iterable[str]) -> PlannedCell:
        """The first cell that can begin at once; if none can, one that waits for least.

        Args:
            waiting: At least one.
            active: Fingerprints of the cells that run now.
        """
        busy = {key for fingerprint in active for key in self._missing(fingerprint)}
        missing = [self._missing(cell.fingerprint) for cell in waiting]
        return waiting[_choose(missing, busy)]

    def _missing(self, fingerprint: str) -> list[str]:
        stages = self._stages[fingerprint]
        return [s.key for s in stages if not self._store.path(s.key, s.name).is_dir()]


def time_to_wait(cells: Iterable[Mapping[str, float]], workers: int) -> float:
    """Seconds until workers who choose so have computed all cells, each stage once.

    Args:
        cells: What each lacks: keys of stages, in their order, to seconds.
        workers: Cells at once.
    """
    waiting = list(cells)
    ends: dict[str, float] = {}
    free = [0.0] * workers
    while waiting:
        now = heapq.heappop(free)
        missing = [[key for key in cell if ends.get(key, now + 1) > now] for cell in waiting]
        cell = waiting.pop(_choose(missing, {key for key, end in ends.items() if end > now}))
        for key, seconds in cell.items():
            now = max(now, ends.setdefault(key, now + seconds))
        heapq.heappush(free, now)
    return max(free)


def _choose(missing: Sequence[Sequence[str]], busy: Collection[str]) -> int:
    """The first cell that can begin at once; if none can, the one that waits for least.

    Args:
        missing: Of each cell, the keys of the stages that it lacks.
        busy: Those that are being computed, or will be by cells that run.
    """
    for index, keys in enumerate(missing):
        if not keys or keys[0] not in busy:
            return index
    # All wait for a foundation model, say: after it, another seed's teacher is nobody's yet.
    return min(range(len(missing)), key=lambda index: len(set(busy).intersection(missing[index])))
