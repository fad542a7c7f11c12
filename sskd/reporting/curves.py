"""The histories of diagnostics, joined over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from sskd.reporting.analysis import Analysis
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
    """The diagnostics of one stage."""

    stage: str
    by_metric: Mapping[str, Mapping[str, Curve]]
    """Metric, then variant's name; only what was logged."""


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


def collect_curves(analysis: Analysis, *, home: Path) -> Curves | None:
    """The declared diagnostics over the steps of the last trained stage that logged them.

    Returns:
        ``None`` where no diagnostic is declared, or none was logged.
    """
    wanted = list(analysis.ablation.diagnostics)
    trained = [s.name for record in analysis.records for s in record.stages if s.steps is not None]
    for stage in reversed(list(dict.fromkeys(trained))):
        found: dict[str, dict[str, list[History]]] = {}
        for arm in analysis.arms:
            for record in arm.records.values():
                own = next((s for s in record.stages if s.name == stage), None)
                history = read_history(home, own) if own else {}
                for metric in wanted:
                    if metric in history:
                        by_arm = found.setdefault(metric, {})
                        by_arm.setdefault(arm.name, []).append(history[metric])
        if found:
            by_metric = {
                metric: {name: join(parts) for name, parts in found[metric].items()}
                for metric in wanted
                if metric in found
            }
            return Curves(stage, by_metric)
    return None
