"""What stages cost: as measured in a store, else as the scale's source states it."""

from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean
from typing import Protocol, runtime_checkable

from sskd.config import load_scale, stated_costs
from sskd.engine.store import Store

__all__ = ["CostedStage", "Costs"]

HOUR = 3600.0


@runtime_checkable
class CostedStage(Protocol):
    """A stage of a cell; ``sskd.engine.run.PlannedStage``."""

    @property
    def name(self) -> str:
        """Of the stage."""

    @property
    def key(self) -> str:
        """Its content."""

    @property
    def steps(self) -> int | None:
        """Of a training."""


class Costs:
    """Seconds that stages take, whatever their settings but the number of their steps."""

    def __init__(self, store: Store, scale: str) -> None:
        """Read what is known.

        Args:
            store: Whose finished stages say what they cost.
            scale: Whose stated costs stand in where nothing was measured.
        """
        measured: defaultdict[str, list[float]] = defaultdict(list)
        for stage in store.entries():
            steps = stage.result.get("steps") or 1
            measured[stage.name].append(float(stage.result["seconds"]) / steps)
        stages = load_scale(scale)["stages"]
        self._per_step = {
            name: hours * HOUR / stages[name]["steps"]
            for name, hours in stated_costs(scale).items()
        }
        self.measured = set(measured)
        """Names of stages whose cost was measured here."""
        self._per_step |= {name: fmean(seconds) for name, seconds in measured.items()}

    def of(self, stage: CostedStage) -> float | None:
        """Seconds of one stage; ``None`` where nothing is known."""
        per_step = self._per_step.get(stage.name)
        return None if per_step is None else per_step * (stage.steps or 1)

    def total(self, stages: Iterable[CostedStage]) -> float:
        """Seconds of all stages whose cost is known, each key once."""
        distinct = {stage.key: stage for stage in stages}.values()
        return sum((self.of(stage) or 0.0 for stage in distinct), 0.0)

    def unknown(self, stages: Iterable[CostedStage]) -> set[str]:
        """Names of the stages whose cost nobody knows."""
        return {stage.name for stage in stages if self.of(stage) is None}
