"""Where more seeds would help: comparisons that are neither decided nor known well enough."""

from sskd.reporting.analysis import Analysis, Comparison
from sskd.reporting.statistics import ALPHA

__all__ = ["is_open", "undecided"]


def is_open(comparison: Comparison, until: float) -> bool:
    """Whether a difference is not separated from 0, and its interval is wider than wanted.

    Args:
        comparison: With or without a claim of the paper's.
        until: Half the width that is narrow enough, in the unit of the metric's differences.
    """
    if comparison.adjusted is not None and comparison.adjusted < ALPHA:
        return False
    difference = comparison.difference
    if difference is None or difference.sd is None:
        return True  # fewer than two pairs
    if difference.low is None or difference.high is None:
        return False  # every pair differs by the same amount: more of them would, too
    return (difference.high - difference.low) / 2 > until


def undecided(analysis: Analysis, until: float) -> tuple[str, ...]:
    """The variants that need more seeds, with their counterparts, in declared order.

    By the first metric. A comparison whose counterpart cannot be with this data stays out.

    Args:
        analysis: Of the seeds so far.
        until: See ``is_open``.

    Returns:
        Names; empty where everything is decided or narrow enough.

    Raises:
        ValueError: If ``until`` is not above 0.
    """
    if until <= 0:
        raise ValueError(f"until must be above 0, got {until:g}")
    wanted = {
        name
        for c in analysis.of(analysis.metrics[0])
        if c.other.cells and is_open(c, until)
        for name in (c.arm.name, c.other.name)
    }
    return tuple(arm.name for arm in analysis.arms if arm.name in wanted)
