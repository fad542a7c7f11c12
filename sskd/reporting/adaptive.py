"""Where more seeds would help: comparisons that are neither decided nor known well enough."""

from collections.abc import Collection

from sskd.reporting.analysis import Analysis
from sskd.reporting.metrics import METRICS
from sskd.reporting.statistics import ALPHA, Difference

__all__ = ["is_open", "narrow_enough", "undecided"]


def narrow_enough(metric: str, points: float) -> float:
    """Points as differences of the metric are shown: hundredths of what runs from 0 to 1.

    A point of AP, which is shown in per cent, is 1; a point of a margin is 0.01.
    """
    return points * METRICS[metric].factor / 100


def is_open(difference: Difference | None, adjusted: float | None, narrow: float) -> bool:
    """Whether a difference is not separated from 0, and its interval is wider than wanted.

    Args:
        difference: With or without a claim of the paper's.
        adjusted: Its p-value after correction, for looks too.
        narrow: Half the width that is narrow enough, in the difference's unit.
    """
    if adjusted is not None and adjusted < ALPHA:
        return False
    if difference is None or difference.sd is None:
        return True  # fewer than two pairs
    if difference.low is None or difference.high is None:
        return False  # every pair differs by the same amount: more of them would, too
    return (difference.high - difference.low) / 2 > narrow


def undecided(analysis: Analysis, until: float, *, failed: Collection[str] = ()) -> tuple[str, ...]:
    """The variants that need more seeds, with their counterparts, in declared order.

    By the first metric. A comparison whose counterpart cannot be with this data stays out.

    Args:
        analysis: Of the seeds so far.
        until: Points of half an interval that are narrow enough.
        failed: Variants whose comparisons stay out: more seeds of what fails would fail, too.

    Returns:
        Names; empty where everything is decided or narrow enough.

    Raises:
        ValueError: If ``until`` is not above 0.
    """
    if until <= 0:
        raise ValueError(f"until must be above 0, got {until:g}")
    metric = analysis.metrics[0]
    narrow = narrow_enough(metric, until)
    wanted = {
        name
        for c in analysis.of(metric)
        if c.other.cells and not {c.arm.name, c.other.name} & set(failed)
        if is_open(c.difference, c.adjusted, narrow)
        for name in (c.arm.name, c.other.name)
    }
    return tuple(arm.name for arm in analysis.arms if arm.name in wanted)
