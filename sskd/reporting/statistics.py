r"""What a few seeds can tell: pure functions of numbers, in whatever unit the caller uses.

Arms of an ablation share seed, split, data order and initial weights, so that differences are
taken seed by seed. Intervals are Student's: at three seeds a percentile bootstrap that promises
95 % covers about 75 %, and Wilcoxon's signed ranks cannot reach p < 0.05 below six.

Symbols: n seeds, s standard deviation with ddof 1, nu = n - 1 degrees of freedom, alpha the level
of two-sided tests.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from scipy import optimize, stats

__all__ = [
    "ALPHA",
    "POWER",
    "Difference",
    "Summary",
    "Verdict",
    "holm",
    "minimum_detectable_difference",
    "needed_seeds",
    "paired_difference",
    "pooled_deviation",
    "power",
    "separated_from_all",
    "summarize",
    "verdict",
]

ALPHA = 0.05
"""Level of every test, and one minus the coverage of every interval."""

POWER = 0.8
"""The chance of finding a difference that the minimum detectable one is defined by."""

Verdict = Literal["agrees", "differs", "undecided", "not comparable"]

_MAX_SEEDS = 1000
_QUANTILES = 4096
_ROUNDING = 8 * float(np.finfo(np.float64).eps)
"""Of the magnitude of numbers: two differences of such numbers that lie closer may be equal. A
number is off by half an eps as it is written and by another half as it is scaled to its unit."""


@dataclass(frozen=True)
class Summary:
    """Mean and spread over seeds; what one seed cannot tell is ``None``."""

    n: int
    mean: float
    sd: float | None
    """Standard deviation over seeds, ddof 1."""
    low: float | None
    """Lower end of the 95 % t-interval of the mean."""
    high: float | None


@dataclass(frozen=True)
class Difference(Summary):
    """A paired difference and its test against 0."""

    p: float | None
    """Two-sided, paired t-test; ``None`` with one pair, or where the pairs have no spread."""


def summarize(values: Sequence[float], *, magnitude: float = 0.0) -> Summary:
    r"""Mean, standard deviation and t-interval of the mean.

    ``s^2 = sum (x - mean)^2 / (n - 1)`` and ``mean +- t_{1 - alpha/2, n-1} s / sqrt(n)``.

    Args:
        values: One finite number a seed.
        magnitude: Of the largest number that the values were computed from, if not their own: what
            differs by no more than such a number's rounding has no spread.

    Returns:
        The summary; the interval is ``None`` where ``n = 1`` or ``s = 0``, because Student's t is
        undefined there.

    Raises:
        ValueError: If there is no value, or one is not finite.
    """
    if not values:
        raise ValueError("no values to summarize")
    x = np.asarray(values, dtype=np.float64)
    if not np.isfinite(x).all():
        raise ValueError(f"values must be finite, got {list(values)}")
    n, mean = len(x), float(x.mean())
    if n == 1:
        return Summary(n, mean, None, None, None)
    # Equal values must have no spread, whatever their rounding and their mean's.
    tolerance = _ROUNDING * max(magnitude, float(np.abs(x).max()))
    sd = 0.0 if np.ptp(x) <= tolerance else float(x.std(ddof=1))
    if sd == 0:
        return Summary(n, mean, sd, None, None)
    half = float(stats.t.ppf(1 - ALPHA / 2, n - 1)) * sd / math.sqrt(n)
    return Summary(n, mean, sd, mean - half, mean + half)


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    r"""``first - second``, pair by pair, with the paired t-test.

    ``t = mean(d) / (s_d / sqrt(n))``, ``p = 2 P(T_{n-1} > |t|)``.

    Args:
        first: One number a seed.
        second: The same seeds in the same order.

    Raises:
        ValueError: If the lengths differ, there is no pair, or a value is not finite.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values cannot be paired with {len(second)}")
    magnitude = max((abs(value) for value in (*first, *second)), default=0.0)
    differences = [a - b for a, b in zip(first, second, strict=True)]
    part = summarize(differences, magnitude=magnitude)
    p = None
    if part.sd:
        t = part.mean / (part.sd / math.sqrt(part.n))
        p = float(2 * stats.t.sf(abs(t), part.n - 1))
    return Difference(part.n, part.mean, part.sd, part.low, part.high, p)


def holm(p_values: Sequence[float], *, looks: int = 1) -> list[float]:
    r"""Adjusted p-values of Holm's step-down method (Scand. J. Statist. 6, 1979).

    In ascending order ``p~_(i) = max_{j <= i} min(1, l (m - j + 1) p_(j))``: holds the chance of
    one or more false findings among the ``m`` tests at alpha, whatever their dependence, and,
    after Bonferroni, whichever of ``l`` looks at the growing data the p-values are from.

    Args:
        p_values: The family's raw p-values.
        looks: ``l``: looks that could be taken, each with leave to stop there; 1 where the number
            of seeds was fixed.

    Returns:
        Adjusted p-values in the order given.
    """
    m = len(p_values)
    adjusted = [0.0] * m
    worst = 0.0
    for rank, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        worst = max(worst, min(1.0, looks * (m - rank) * p_values[index]))
        adjusted[index] = worst
    return adjusted


def verdict(claimed: float | None, observed: float, p: float | None) -> Verdict:
    """Whether our difference bears out the sign of the paper's.

    An interval that holds 0 gives ``p >= alpha``, and Holm's correction only raises ``p``: such a
    difference is always undecided.

    Args:
        claimed: The paper's difference; ``None`` or 0 where it claims no order.
        observed: Our mean paired difference.
        p: Its p-value after correction; ``None`` where there is no test.
    """
    if not claimed:
        return "not comparable"
    if p is None or p >= ALPHA:
        return "undecided"
    return "agrees" if (observed > 0) == (claimed > 0) else "differs"


def separated_from_all(
    best: Sequence[float], rivals: Sequence[Sequence[float]], *, looks: int = 1
) -> bool:
    """Whether the first arm lies above every rival, tests corrected after Holm.

    Args:
        best: One number a seed.
        rivals: Other arms; the same seeds in the same order.
        looks: See ``holm``.

    Returns:
        False too where there is no rival or no test.
    """
    differences = [paired_difference(best, rival) for rival in rivals]
    p_values = [d.p for d in differences if d.p is not None]
    if not differences or len(p_values) < len(differences):
        return False
    return all(d.mean > 0 for d in differences) and max(holm(p_values, looks=looks)) < ALPHA


def pooled_deviation(differences: Sequence[Summary]) -> float | None:
    r"""One standard deviation from several, of levels or of paired differences.

    ``s_p^2 = sum_i nu_i s_i^2 / sum_i nu_i``. ``None`` where nothing has a spread.
    """
    parts = [(d.n - 1, d.sd) for d in differences if d.sd is not None]
    weight = sum(nu for nu, _ in parts)
    return math.sqrt(sum(nu * sd**2 for nu, sd in parts) / weight) if weight else None


def power(effect: float, n: int, *, looks: int = 1) -> float:
    r"""The chance that the paired t-test finds a true difference.

    The statistic is noncentral t with ``delta = sqrt(n) effect``. Its tail is integrated over the
    distribution of s, ``E_V[Phi(delta - t sqrt(V / nu)) + Phi(-delta - t sqrt(V / nu))]`` with
    ``V ~ chi^2_nu``, because library routines for the noncentral t give no number at few degrees
    of freedom and large delta.

    Args:
        effect: True mean difference over the true standard deviation of differences, >= 0.
        n: Seeds, at least 2.
        looks: By which alpha is divided.
    """
    threshold = _thresholds(n, ALPHA / looks)
    delta = math.sqrt(n) * effect
    return float((stats.norm.cdf(delta - threshold) + stats.norm.cdf(-delta - threshold)).mean())


@cache
def _thresholds(n: int, alpha: float) -> np.ndarray:
    """``t_{1 - alpha/2} sqrt(V / nu)`` at the midpoints of equally likely slices of V."""
    nu = n - 1
    u = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    critical = float(stats.t.ppf(1 - alpha / 2, nu))
    result: np.ndarray = critical * np.sqrt(stats.chi2.ppf(u, nu) / nu)
    return result


def minimum_detectable_difference(sd: float, n: int, *, looks: int = 1) -> float | None:
    """The true difference that ``n`` seeds would find in ``POWER`` of all experiments.

    By the noncentral t (see ``power``), for one two-sided paired test at ``ALPHA``.

    Args:
        sd: Standard deviation of the paired differences.
        n: Seeds.
        looks: By which alpha is divided.

    Returns:
        In the unit of ``sd``; ``None`` below two seeds.
    """
    if n < 2:
        return None

    def excess(effect: float) -> float:
        return power(effect, n, looks=looks) - POWER

    return sd * float(optimize.brentq(excess, 0.0, 1000.0))


def needed_seeds(difference: float, sd: float, *, looks: int = 1) -> int | None:
    """The fewest seeds that would find a true difference in ``POWER`` of all experiments.

    Args:
        difference: The true difference, either sign.
        sd: Standard deviation of the paired differences.
        looks: By which alpha is divided.

    Returns:
        At least 2; ``None`` above 1000.
    """
    if sd == 0:
        return 2 if difference else None
    effect = abs(difference) / sd
    low, high = 1, _MAX_SEEDS
    if power(effect, high, looks=looks) < POWER:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        found = power(effect, middle, looks=looks) >= POWER
        low, high = (low, middle) if found else (middle, high)
    return high
