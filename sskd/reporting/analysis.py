"""Declaration and records joined: values by variant and seed, comparisons, verdicts.

Every number here is in its metric's unit, as it is read: AP in per cent, its differences in points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from sskd.config import PAPERS_DATA
from sskd.reporting.arms import Arm, data_name, read_arms
from sskd.reporting.metrics import METRICS, OFFICIAL
from sskd.reporting.records import Record
from sskd.reporting.statistics import (
    Difference,
    Verdict,
    holm,
    paired_difference,
    separated_from_all,
    verdict,
)
from sskd.studies.cells import PlannedCell, own_changes
from sskd.studies.declaration import Ablation
from sskd.studies.launches import Looks

__all__ = ["Analysis", "Arm", "Comparison", "Direction", "analyse"]

Direction = Literal["above", "below", "level"]


@dataclass(frozen=True)
class Comparison:
    """A variant against its counterpart, by one metric."""

    metric: str
    arm: Arm
    other: Arm
    difference: Difference | None
    """Variant minus counterpart over the seeds that both have; ``None`` where they share none."""
    adjusted: float | None
    """The difference's p-value after Holm, over the comparisons of this metric and the looks."""
    claimed: float | None
    """The same difference in the paper; ``None`` where it prints none."""
    direction: Direction | None
    """Where the paper puts the variant, by its numbers or in words."""
    verdict: Verdict
    obstacle: str | None
    """Why a claim that there is cannot be held against ours."""


@dataclass(frozen=True)
class Analysis:
    """What a report says, before it is worded."""

    ablation: Ablation
    metrics: tuple[str, ...]
    rows: tuple[Arm, ...]
    """Every variant in declared order, those without cells too."""
    comparisons: tuple[Comparison, ...]
    bold: dict[str, tuple[str, ...]]
    """By metric the variants that are better than every other of their group after Holm."""
    looks: Looks | None = None
    """If seeds were added as needed; ``None`` where their number was fixed."""
    earlier: tuple[int, ...] = ()
    """Other numbers of seeds whose results could be looked at before; nothing corrects for it."""

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The variants that have cells, finished or not."""
        return tuple(arm for arm in self.rows if arm.cells)

    @property
    def reference(self) -> Arm:
        """The arm that others are compared with, unless they say otherwise."""
        return next(arm for arm in self.rows if arm.name == self.ablation.reference)

    @property
    def counterparts(self) -> tuple[Arm, ...]:
        """Every arm that others are held against; the reference alone in most tables."""
        others = {self.ablation.against(arm.name) for arm in self.arms}
        names = others - {None} or {self.ablation.reference}
        return tuple(arm for arm in self.arms if arm.name in names)

    @property
    def groups(self) -> list[tuple[str | None, list[Arm]]]:
        """The rows under their headings."""
        return [(group, list(rows)) for group, rows in groupby(self.rows, lambda arm: arm.group)]

    @property
    def unlike_paper(self) -> str:
        """Why only the order of the paper's numbers can compare, not their levels; or nothing."""
        cell = self.reference.cells[0]
        data = data_name(cell)
        printed = any(data in variant.paper_on for variant in self.ablation.variants.values())
        reasons = [
            *(["other data"] if not printed and data != PAPERS_DATA[0] else []),
            *(["another scale"] if cell.config.scale != "paper" else []),
            *(["other settings"] if own_changes(self.ablation, cell) else []),
        ]
        return " and ".join(reasons)

    @property
    def records(self) -> list[Record]:
        """Every finished cell's, in order of variant and seed."""
        return [record for arm in self.arms for record in arm.records.values()]

    @property
    def missing(self) -> list[PlannedCell]:
        """The cells without a record."""
        return [cell for arm in self.arms for cell in arm.cells if cell.seed not in arm.records]

    @property
    def seeds(self) -> list[int]:
        """Every planned seed, ascending."""
        return sorted({cell.seed for arm in self.arms for cell in arm.cells})

    @property
    def looked(self) -> int:
        """How many looks there have been, this one included; 0 where none could add seeds."""
        most = 1 + max((seed for arm in self.arms for seed in arm.records), default=-1)
        return sum(n <= most for n in self.looks.at) if self.looks else 0

    def pairs(self, metric: str) -> list[int]:
        """How many pairs of seeds comparisons have, ascending; of those with a test, if any has."""
        found = {c.difference.n for c in self.of(metric) if c.difference}
        return sorted(n for n in found if n > 1) or sorted(found)

    def of(self, metric: str) -> list[Comparison]:
        """The comparisons by one metric: of the variants in their order, then further claims."""
        return [comparison for comparison in self.comparisons if comparison.metric == metric]

    def own(self, metric: str) -> dict[str, Comparison]:
        """By name each variant's comparison with its own counterpart, without further claims."""
        return {
            c.arm.name: c
            for c in self.of(metric)
            if c.other.name == self.ablation.against(c.arm.name)
        }


def analyse(
    ablation: Ablation,
    cells: Sequence[PlannedCell],
    *,
    home: Path,
    looks: Looks | None = None,
    earlier: Sequence[int] = (),
) -> Analysis:
    """Read the cells' records and compare the variants.

    Args:
        ablation: The declaration.
        cells: All its cells, finished or not.
        home: Where the records are.
        looks: If seeds were added as needed: what is corrected for.
        earlier: Other numbers of seeds whose results could be looked at before.

    Returns:
        Rows in declared order, and by every metric each arm against its own counterpart, then the
        further pairs.

    Raises:
        ValueError: If a record is broken, or no cell is of the reference.
    """
    arms = read_arms(ablation, cells, home=home)
    by_name = {arm.name: arm for arm in arms}
    pairs = [
        (arm, by_name[other], ablation.variants[arm.name].claimed)
        for arm in arms
        if arm.cells and (other := ablation.against(arm.name)) is not None
    ]
    pairs += [
        (by_name[pair.variant], by_name[pair.against], pair.claimed)
        for pair in ablation.further
        if by_name[pair.variant].cells
    ]
    metrics: tuple[str, ...] = tuple(ablation.metrics)
    if any(cell.config.evaluation.cityscapes for cell in cells):
        metrics = tuple(dict.fromkeys((*metrics, *OFFICIAL)))
    groups = [list(rows) for _, rows in groupby(arms, lambda arm: arm.group)]
    times = looks.count if looks else 1
    return Analysis(
        ablation,
        metrics,
        tuple(arms),
        tuple(
            comparison
            for metric in metrics
            # Words such as "slightly worse" are about the table's main metric.
            for comparison in _compare(metric, pairs, times, in_words=metric == ablation.metrics[0])
        ),
        {m: tuple(b for rows in groups if (b := _best(m, rows, times))) for m in metrics},
        looks,
        tuple(earlier),
    )


def _compare(
    metric: str, pairs: Sequence[tuple[Arm, Arm, Direction | None]], looks: int, *, in_words: bool
) -> list[Comparison]:
    values = [_shared(metric, arm, other) for arm, other, _ in pairs]
    differences = [paired_difference(*pair) if pair[0] else None for pair in values]
    tested = [i for i, d in enumerate(differences) if d is not None and d.p is not None]
    p_values = [p for d in differences if d is not None and (p := d.p) is not None]
    adjusted = dict(zip(tested, holm(p_values, looks=looks), strict=True))
    comparisons = []
    for i, ((arm, other, words), difference) in enumerate(zip(pairs, differences, strict=True)):
        claimed = None
        if metric in arm.paper and metric in other.paper:
            # Printed decimals: a difference of two such numbers has no more of them.
            claimed = round(arm.paper[metric] - other.paper[metric], 6)
        direction = words if in_words else None
        if claimed is not None:
            direction = "level" if claimed == 0 else ("above" if claimed > 0 else "below")
        obstacle = arm.stand_in or other.stand_in or other.absent
        sign = {"above": 1.0, "below": -1.0, "level": 0.0, None: None}[direction]
        mean = difference.mean if difference else 0.0
        ruling = verdict(None if obstacle else sign, mean, adjusted.get(i))
        comparisons.append(
            Comparison(
                metric,
                arm,
                other,
                difference,
                adjusted.get(i),
                claimed,
                direction,
                ruling,
                obstacle if direction in ("above", "below") else None,
            )
        )
    return comparisons


def _shared(metric: str, first: Arm, second: Arm) -> tuple[list[float], list[float]]:
    mine, other = first.values(metric), second.values(metric)
    shared = [seed for seed in mine if seed in other]
    return [mine[seed] for seed in shared], [other[seed] for seed in shared]


def _best(metric: str, rows: Sequence[Arm], looks: int) -> str | None:
    better = METRICS[metric].better
    arms = [arm for arm in rows if arm.cells]
    means = {arm.name: s.mean for arm in arms if (s := arm.summary(metric))}
    if len(means) < len(arms) or len(arms) < 2 or better is None:
        return None
    sign = 1 if better == "higher" else -1
    best = max(arms, key=lambda arm: sign * means[arm.name])
    shared = set.intersection(*(set(arm.values(metric)) for arm in arms))
    ordered = (best, *(arm for arm in arms if arm is not best))
    values = [[sign * v for s, v in arm.values(metric).items() if s in shared] for arm in ordered]
    if not shared or not separated_from_all(values[0], values[1:], looks=looks):
        return None
    return best.name
