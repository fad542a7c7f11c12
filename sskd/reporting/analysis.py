"""Declaration and records joined: values by variant and seed, comparisons, verdicts.

Everything here is in points, AP times 100, as it is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sskd.reporting.records import Record, read_record
from sskd.reporting.statistics import (
    Difference,
    Summary,
    Verdict,
    holm,
    paired_difference,
    separated_from_all,
    summarize,
    verdict,
)
from sskd.studies.cells import PlannedCell, label_at
from sskd.studies.declaration import Ablation

__all__ = ["METRICS", "Analysis", "Arm", "Comparison", "analyse"]

METRICS = {
    "mask_ap": "AP",
    "mask_ap50": "AP50",
    "mask_ap75": "AP75",
    "mask_ap_small": "AP small",
    "mask_ap_medium": "AP medium",
    "mask_ap_large": "AP large",
}
"""Every metric of a result, and what readers call it."""


@dataclass(frozen=True)
class Arm:
    """One variant with what has been measured of it."""

    name: str
    label: str
    cells: tuple[PlannedCell, ...]
    records: dict[int, Record]
    """By seed, ascending; finished cells only."""
    paper: dict[str, float]
    """The paper's numbers, in points."""

    def values(self, metric: str) -> dict[int, float]:
        """Points by seed, finished and defined ones only."""
        found = {seed: record.final.get(metric) for seed, record in self.records.items()}
        return {seed: 100 * value for seed, value in found.items() if value is not None}

    def summary(self, metric: str) -> Summary | None:
        """Over seeds; ``None`` where there is nothing."""
        values = self.values(metric)
        return summarize(list(values.values())) if values else None


@dataclass(frozen=True)
class Comparison:
    """A variant against the reference, by one metric."""

    metric: str
    arm: Arm
    difference: Difference | None
    """Variant minus reference over the seeds that both have; ``None`` where they share none."""
    adjusted: float | None
    """The difference's p-value after Holm, over the comparisons of this metric."""
    claimed: float | None
    """The same difference in the paper, in points."""
    verdict: Verdict


@dataclass(frozen=True)
class Analysis:
    """What a report says, before it is worded."""

    ablation: Ablation
    metrics: tuple[str, ...]
    arms: tuple[Arm, ...]
    comparisons: tuple[Comparison, ...]
    bold: dict[str, str | None]
    """By metric the variant whose mean lies above every other's after Holm, if there is one."""

    @property
    def reference(self) -> Arm:
        """The arm that the others are compared with."""
        return next(arm for arm in self.arms if arm.name == self.ablation.reference)

    @property
    def at_papers_scale(self) -> bool:
        """Whether the paper's levels, not only their order, can be held against ours."""
        return self.reference.cells[0].config.scale == "paper"

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

    def of(self, metric: str) -> list[Comparison]:
        """The comparisons by one metric, in the order of the variants."""
        return [comparison for comparison in self.comparisons if comparison.metric == metric]


def analyse(ablation: Ablation, cells: Sequence[PlannedCell], *, home: Path) -> Analysis:
    """Read the cells' records and compare the variants.

    Args:
        ablation: The declaration.
        cells: All its cells, finished or not.
        home: Where the records are.

    Returns:
        Arms in declared order, and every other arm against the reference by every metric.

    Raises:
        ValueError: If a record is broken, or no cell is of the reference.
    """
    arms = []
    for name, variant in ablation.run.items():
        own = tuple(sorted((c for c in cells if c.variant == name), key=lambda c: c.seed))
        if not own:
            continue
        found = {cell.seed: read_record(home, cell.fingerprint) for cell in own}
        records = {seed: record for seed, record in found.items() if record is not None}
        arms.append(
            Arm(
                name,
                label_at(variant, own[0].config),
                own,
                records,
                dict[str, float]((variant.paper or {}).items()),
            )
        )
    reference = next((arm for arm in arms if arm.name == ablation.reference), None)
    if reference is None:
        raise ValueError(f"no cell of the reference {ablation.reference!r} to report on")
    metrics = tuple(ablation.metrics)
    comparisons = [
        comparison
        for metric in metrics
        for comparison in _compare(metric, reference, [a for a in arms if a is not reference])
    ]
    return Analysis(
        ablation,
        metrics,
        tuple(arms),
        tuple(comparisons),
        {metric: _best(metric, arms) for metric in metrics},
    )


def _paired(metric: str, first: Arm, second: Arm) -> tuple[list[float], list[float]]:
    mine, other = first.values(metric), second.values(metric)
    shared = [seed for seed in mine if seed in other]
    return [mine[seed] for seed in shared], [other[seed] for seed in shared]


def _compare(metric: str, reference: Arm, others: Sequence[Arm]) -> list[Comparison]:
    pairs = [_paired(metric, arm, reference) for arm in others]
    differences = [paired_difference(*pair) if pair[0] else None for pair in pairs]
    tested = [i for i, d in enumerate(differences) if d is not None and d.p is not None]
    p_values = [p for d in differences if d is not None and (p := d.p) is not None]
    adjusted = dict(zip(tested, holm(p_values), strict=True))
    comparisons = []
    for i, (arm, difference) in enumerate(zip(others, differences, strict=True)):
        claimed = None
        if metric in arm.paper and metric in reference.paper:
            # The paper prints one decimal: a difference of two such numbers has one, too.
            claimed = round(arm.paper[metric] - reference.paper[metric], 6)
        mean = difference.mean if difference else 0.0
        ruling = verdict(claimed, mean, adjusted.get(i))
        comparisons.append(Comparison(metric, arm, difference, adjusted.get(i), claimed, ruling))
    return comparisons


def _best(metric: str, arms: Sequence[Arm]) -> str | None:
    means = {arm.name: s.mean for arm in arms if (s := arm.summary(metric))}
    if len(means) < len(arms) or len(arms) < 2:
        return None
    best = max(arms, key=lambda arm: means[arm.name])
    rivals = [arm for arm in arms if arm is not best]
    shared = set.intersection(*(set(arm.values(metric)) for arm in arms))
    rows = [[v for s, v in arm.values(metric).items() if s in shared] for arm in (best, *rivals)]
    if not shared or not separated_from_all(rows[0], rows[1:]):
        return None
    return best.name
