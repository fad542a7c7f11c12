"""The histories of training, joined over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from sskd.reporting.analysis import Analysis, Arm
from sskd.reporting.records import read_history

__all__ = ["MAX_POINTS", "Curve", "Curves", "collect_curves", "join"]

MAX_POINTS = 60
"""Longer histories are averaged over this many equal spans of steps."""

History = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Curve:
    """One metric of one variant; all arrays (points,)."""

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    """Smallest of the seeds."""
    high: np.ndarray
    n: int
    """Seeds."""


@dataclass(frozen=True)
class Curves:
    """Metrics of one stage's training, over the variants that end with it."""

    stage: str
    by_metric: Mapping[str, Mapping[str, Curve]]
    """Metric, then variant's name; only what was logged."""

    @property
    def names(self) -> list[str]:
        """The variants that have a curve, each once."""
        return list(dict.fromkeys(name for part in self.by_metric.values() for name in part))


def join(histories: Sequence[History]) -> Curve:
    """Mean and range over seeds, at the steps that every seed has logged.

    Args:
        histories: Steps ascending, and values, one pair a seed; at least one.
    """
    steps = reduce(np.intersect1d, [steps for steps, _ in histories])
    values = np.stack([v[np.isin(own, steps)] for own, v in histories])  # (seeds, points)
    if len(steps) > MAX_POINTS:
        spans = np.array_split(np.arange(len(steps)), MAX_POINTS)
        values = np.stack([values[:, span].mean(axis=1) for span in spans], axis=1)
        steps = np.array([steps[span].mean() for span in spans])
    return Curve(steps, values.mean(0), values.min(0), values.max(0), len(histories))


def collect_curves(analysis: Analysis, metrics: Sequence[str], *, home: Path) -> list[Curves]:
    """Metrics as they were logged over the steps of each variant's final stage.

    Returns:
        By stage, in the order in which the variants end with them; empty where nothing was logged.
    """
    stages = dict.fromkeys(record.final_stage for record in analysis.records)
    found = (_of_stage(analysis, metrics, stage, home) for stage in stages)
    return [curves for curves in found if curves.by_metric]


def _of_stage(analysis: Analysis, metrics: Sequence[str], stage: str, home: Path) -> Curves:
    histories = {arm.name: _histories(arm, stage, home) for arm in analysis.arms}
    by_metric: dict[str, dict[str, Curve]] = {}
    for metric in metrics:
        for name, parts in histories.items():
            if logged := [part[metric] for part in parts if metric in part]:
                by_metric.setdefault(metric, {})[name] = join(logged)
    return Curves(stage, by_metric)


def _histories(arm: Arm, stage: str, home: Path) -> list[dict[str, History]]:
    trained = [r.trained for r in arm.records.values() if r.final_stage == stage]
    return [read_history(home, own) for own in trained if own is not None]
