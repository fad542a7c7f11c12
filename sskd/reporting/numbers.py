"""Numbers as readers see them."""

from typing import Any

from sskd.config import canonical
from sskd.reporting.metrics import Measure
from sskd.reporting.statistics import Summary

__all__ = [
    "MINUS",
    "NONE",
    "list_words",
    "show_difference",
    "show_duration",
    "show_interval",
    "show_level",
    "show_mean",
    "show_number",
    "show_p",
    "spell",
]

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
"""Stands where there is no number."""


def show_number(value: float, digits: int = 1, *, sign: bool = False) -> str:
    """A number with a real minus sign; never "-0.0"."""
    rounded = round(value, digits) + 0.0
    text = f"{rounded:{'+' if sign and rounded else ''}.{digits}f}"
    return text.replace("-", MINUS)


def show_level(summary: Summary | None, measure: Measure) -> str:
    """``mean ± s.d.``; one seed has no ±."""
    if summary is None:
        return "missing"
    mean = show_number(summary.mean, measure.digits)
    return mean if summary.sd is None else f"{mean} ± {show_number(summary.sd, measure.digits)}"


def show_mean(part: Summary, measure: Measure) -> str:
    """A mean difference, always with its sign."""
    return show_number(part.mean, measure.digits + 1, sign=True)


def show_interval(part: Summary, measure: Measure) -> str:
    """``[low, high]``, or a dash where there is none."""
    if part.low is None or part.high is None:
        return NONE
    ends = (show_number(end, measure.digits + 1, sign=True) for end in (part.low, part.high))
    return f"[{', '.join(ends)}]"


def show_difference(part: Summary, measure: Measure) -> str:
    """``mean [low, high]``."""
    mean = show_mean(part, measure)
    return mean if part.low is None else f"{mean} {show_interval(part, measure)}"


def show_p(p: float | None) -> str:
    """Three decimals, or a dash where there is no test."""
    if p is None:
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def show_duration(seconds: float) -> str:
    """In the largest unit that leaves a readable number."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def list_words(parts: list[str], last: str = "and") -> str:
    """``a, b and c``."""
    *first, end = parts
    return f"{', '.join(first)} {last} {end}" if first else end


def spell(value: Any) -> str:
    """A setting as YAML and people have it."""
    return value if isinstance(value, str) else canonical(value)
