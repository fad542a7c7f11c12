"""Which cell to begin next, so that no worker waits for what another one computes."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from sskd.engine.store import Store
from sskd.studies.cells import PlannedCell

__all__ = ["KnownStage", "Schedule"]


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
        missing = {cell.fingerprint: self._missing(cell.fingerprint) for cell in waiting}
        for cell in waiting:
            if not missing[cell.fingerprint] or missing[cell.fingerprint][0] not in busy:
                return cell
        # All wait for a foundation model, say: after it, another seed's teacher is nobody's yet.
        return min(waiting, key=lambda cell: len(busy.intersection(missing[cell.fingerprint])))

    def _missing(self, fingerprint: str) -> list[str]:
        stages = self._stages[fingerprint]
        return [s.key for s in stages if not self._store.path(s.key, s.name).is_dir()]
