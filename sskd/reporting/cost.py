"""What the cells cost, a shared stage counted once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sskd.reporting.analysis import Arm
from sskd.reporting.records import Record, StageRecord

__all__ = ["Cost", "StageCost", "VariantCost", "cost_of"]


@dataclass(frozen=True)
class StageCost:
    """One kind of stage over all cells."""

    name: str
    computed: int
    """Different computations, by key."""
    used: int
    """Cells that need one of them."""
    seconds: float
    """Of all computations together."""
    peak_memory_bytes: int | None


@dataclass(frozen=True)
class VariantCost:
    """All finished cells of one variant."""

    label: str
    cells: int
    alone: float
    """Seconds if its cells had computed all their stages."""
    own: float
    """Seconds in stages that no other variant uses."""


@dataclass(frozen=True)
class Cost:
    """All finished cells together."""

    stages: tuple[StageCost, ...]
    variants: tuple[VariantCost, ...]
    cells: int
    shared: float
    """Seconds with each stage computed once."""
    alone: float
    """Seconds if every cell had computed all its stages."""

    @property
    def factor(self) -> float:
        """How many times sharing is cheaper; 1 where nothing cost time."""
        return self.alone / self.shared if self.shared else 1.0


def cost_of(arms: Sequence[Arm]) -> Cost:
    """Sum the stages of the finished cells.

    A stage's time is that of its own computation, in whichever cell it took place.
    """
    by_arm = {arm.title: _stages(arm.records.values()) for arm in arms if arm.records}
    used = [stage for parts in by_arm.values() for stage in parts]
    once = {(stage.name, stage.key): stage for stage in used}
    variants = []
    for label, parts in by_arm.items():
        others = {s.key for name, rest in by_arm.items() if name != label for s in rest}
        own = sum((stage.seconds for stage in parts if stage.key not in others), 0.0)
        count = next(len(arm.records) for arm in arms if arm.title == label)
        variants.append(VariantCost(label, count, sum((s.seconds for s in parts), 0.0), own))
    return Cost(
        tuple(
            _stage_cost(name, [s for s in once.values() if s.name == name], used)
            for name in dict.fromkeys(stage.name for stage in used)
        ),
        tuple(variants),
        sum(variant.cells for variant in variants),
        sum((stage.seconds for stage in once.values()), 0.0),
        sum((stage.seconds for stage in used), 0.0),
    )


def _stages(records: Iterable[Record]) -> list[StageRecord]:
    return [stage for record in records for stage in record.stages]


def _stage_cost(
    name: str, computed: Sequence[StageRecord], used: Sequence[StageRecord]
) -> StageCost:
    peaks = [s.peak_memory_bytes for s in computed if s.peak_memory_bytes is not None]
    return StageCost(
        name,
        len(computed),
        sum(stage.name == name for stage in used),
        sum((stage.seconds for stage in computed), 0.0),
        max(peaks, default=None),
    )
