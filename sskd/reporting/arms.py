"""The rows of an ablation: variants with what has been measured of them, or why nothing was."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sskd.reporting.metrics import METRICS
from sskd.reporting.records import Record, read_history, read_record
from sskd.reporting.statistics import Summary, summarize
from sskd.studies.cells import PlannedCell, label_at, not_applicable
from sskd.studies.declaration import Ablation, Variant

__all__ = ["Arm", "data_name", "end_of_training", "labeled_lists", "read_arms"]


@dataclass(frozen=True)
class Arm:
    """One variant: with cells, or with the reason why it has none."""

    name: str
    label: str
    title: str
    """The label, with the group before it where another arm has the same."""
    group: str | None
    cells: tuple[PlannedCell, ...]
    """By seed, ascending."""
    records: dict[int, Record]
    """By seed, ascending; finished cells only."""
    paper: dict[str, float]
    """The paper's numbers for this data, as shown."""
    absent: str | None = None
    """Why there are no cells."""
    stand_in: str | None = None
    """Why this is another thing than the paper's, at this scale."""
    ends: dict[int, dict[str, float]] = field(default_factory=dict)
    """By seed: the metrics of training, averaged over its end."""

    def stored(self, metric: str) -> dict[int, float]:
        """By seed, as the records have it; finished and defined ones only."""
        trained = METRICS[metric].from_training
        found = {
            seed: self.ends.get(seed, {}).get(metric) if trained else record.final.get(metric)
            for seed, record in self.records.items()
        }
        return {seed: value for seed, value in found.items() if value is not None}

    def values(self, metric: str) -> dict[int, float]:
        """The same in the metric's unit."""
        factor = METRICS[metric].factor
        return {seed: factor * value for seed, value in self.stored(metric).items()}

    def summary(self, metric: str) -> Summary | None:
        """Over seeds; ``None`` where there is nothing."""
        values = self.values(metric)
        return summarize(list(values.values())) if values else None


def read_arms(ablation: Ablation, cells: Sequence[PlannedCell], *, home: Path) -> list[Arm]:
    """Every variant in declared order, those without cells too.

    Raises:
        ValueError: If a record is broken, or no cell is of the reference; one line.
    """
    reference = next((cell for cell in cells if cell.variant == ablation.reference), None)
    if reference is None:
        raise ValueError(f"no cell of the reference {ablation.reference!r} to report on")
    scale, data = reference.config.scale, data_name(reference)
    from_training = [metric for metric in ablation.metrics if METRICS[metric].from_training]
    arms = []
    for name, variant in ablation.variants.items():
        own = tuple(sorted((c for c in cells if c.variant == name), key=lambda c: c.seed))
        found = {cell.seed: read_record(home, cell.fingerprint) for cell in own}
        records = {seed: record for seed, record in found.items() if record is not None}
        at = variant.scales.get(scale)  # type: ignore[call-overload]
        label = label_at(variant, own[0].config if own else reference.config)
        arms.append(
            Arm(
                name,
                label,
                label,
                variant.group,
                own,
                records,
                _printed(ablation, variant, data),
                absent=None if own else _why_absent(ablation, name, reference),
                stand_in=at.stand_in if at and own else None,
                ends={
                    seed: end_of_training(home, record) if from_training else {}
                    for seed, record in records.items()
                },
            )
        )
    labels = [arm.label for arm in arms]
    return [
        replace(arm, title=f"{arm.group}: {arm.label}")
        if arm.group and labels.count(arm.label) > 1
        else arm
        for arm in arms
    ]


def labeled_lists(cells: Iterable[PlannedCell]) -> str:
    """Names of the published lists that say what is labeled; empty where a share does."""
    lists = (cell.config.data.labeled_file for cell in cells)
    return ", ".join(sorted({f"`{path.name}`" for path in lists if path is not None}))


def data_name(cell: PlannedCell) -> str:
    """The data set's name; of one given as a file, its folder's."""
    name = cell.config.data.name
    path = Path(name)
    return path.parent.name or name if path.suffix == ".json" else name


def end_of_training(home: Path, record: Record) -> dict[str, float]:
    """Mean of every metric over the last tenth of the steps that the final stage has logged.

    Returns:
        Metric to mean; empty where the stage trained nothing.
    """
    if record.trained is None:
        return {}
    # The last step lies beyond nine tenths of itself: there is always one value or more.
    return {
        metric: float(np.mean(values[steps > 0.9 * steps[-1]])) if steps[-1] else float(values[-1])
        for metric, (steps, values) in read_history(home, record.trained).items()
    }


def _printed(ablation: Ablation, variant: Variant, data: str) -> dict[str, float]:
    """Numbers of one data set only: a table must not mix them."""
    elsewhere = any(data in v.paper_on for v in ablation.variants.values())
    printed = variant.paper_on.get(data) if elsewhere else variant.paper
    return dict[str, float]((printed or {}).items())


def _why_absent(ablation: Ablation, name: str, reference: PlannedCell) -> str:
    not_run = ablation.variants[name].not_run
    if not_run is not None:
        return f"not run: {not_run}"
    # What a variant cannot have here, its reference does not have either: data, not method.
    reasons = not_applicable(ablation, reference.config.model_dump(mode="json"), {})
    return reasons.get(name, "no cells here")
