"""Against scipy's own tests, hand-made values, and simulations of a known truth."""

import numpy as np
import pytest
from scipy import stats

from sskd.reporting.statistics import (
    Difference,
    holm,
    minimum_detectable_difference,
    needed_seeds,
    paired_difference,
    pooled_deviation,
    power,
    separated_from_all,
    summarize,
    verdict,
)


def test_summary_of_three_values_by_hand() -> None:
    summary = summarize([1.0, 2.0, 6.0])
    assert summary.mean == pytest.approx(3.0)
    assert summary.sd == pytest.approx(7**0.5)  # (4 + 1 + 9) / 2
    half = 4.302652729911275 * (7 / 3) ** 0.5  # t_{.975, 2} of any table
    assert (summary.low, summary.high) == (pytest.approx(3 - half), pytest.approx(3 + half))


def test_one_seed_has_neither_spread_nor_interval() -> None:
    summary = summarize([30.0])
    assert (summary.n, summary.mean) == (1, 30.0)
    assert (summary.sd, summary.low, summary.high) == (None, None, None)
    assert paired_difference([1.0], [2.0]).p is None


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_nothing_and_no_numbers_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"no values|finite"):
        summarize(values)


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match="2 values cannot be paired with 1"):
        paired_difference([1.0, 2.0], [1.0])


def test_paired_difference_is_scipys() -> None:
    rng = np.random.default_rng(0)
    for n in (2, 3, 5, 12):
        first, second = rng.normal(1, 1, n), rng.normal(0, 1, n)
        ours = paired_difference(list(first), list(second))
        theirs = stats.ttest_rel(first, second)
        interval = theirs.confidence_interval(0.95)
        assert ours.p == pytest.approx(theirs.pvalue)
        assert (ours.low, ours.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_pairs_without_spread_are_no_evidence(shift: float) -> None:
    difference = paired_difference([shift + 1, shift + 1], [1.0, 1.0])
    assert difference.mean == pytest.approx(shift)
    assert (difference.sd, difference.low, difference.p) == (0.0, None, None)


def test_differences_that_agree_to_rounding_have_no_spread() -> None:
    for first, second in (
        ([30.1, 30.2, 30.3], [30.0, 30.1, 30.2]),
        ([100 * x for x in (0.301, 0.322, 0.07)], [100 * x for x in (0.3, 0.321, 0.069)]),
        ([0.1 + 0.2, 0.7], [0.3, 0.7]),
    ):
        found = paired_difference(first, second)
        assert (found.sd, found.low, found.high, found.p) == (0.0, None, None, None)
    assert summarize([0.1 + 0.2, 0.3, 0.3]).sd == 0.0


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_a_real_spread_is_kept_whatever_the_unit(unit: float) -> None:
    first, second = [30.1, 30.2, 30.3 + 1e-9], [30.0, 30.1, 30.2]
    found = paired_difference([unit * x for x in first], [unit * x for x in second])
    assert found.sd == pytest.approx(unit * 1e-9 / 3**0.5, rel=1e-4)
    assert found.p is not None


def within_luck(count: int, trials: int, chance: float) -> bool:
    """Whether a count is one that a right implementation gives but once in ten thousand times."""
    low, high = stats.binom.interval(0.9999, trials, chance)
    return bool(low <= count <= high)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_interval_covers_the_truth_as_often_as_it_says(n: int) -> None:
    rng = np.random.default_rng(n)
    seeds, noise = rng.normal(0, 3, (2000, n)), rng.normal(0, 1, (2, 2000, n))
    covered = 0
    for shared, first, second in zip(seeds, *noise, strict=True):
        found = paired_difference(list(shared + first + 0.7), list(shared + second))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.7 <= found.high
    assert within_luck(covered, 2000, 0.95)


def test_holm_by_hand() -> None:
    # Ascending .005 .01 .03 .04: times 4, 3, 2, 1 = .02 .03 .06 .04, then never falling.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_holm_holds_the_chance_of_any_false_finding() -> None:
    rng = np.random.default_rng(1)
    p_values = stats.ttest_1samp(rng.normal(0, 1, (2000, 3, 3)), 0, axis=2).pvalue
    wrong = np.mean([min(holm(list(row))) < 0.05 for row in p_values])
    unadjusted = np.mean(p_values.min(axis=1) < 0.05)
    assert wrong <= 0.06 < unadjusted


@pytest.mark.parametrize(
    ("claimed", "observed", "p", "expected"),
    [
        (-2.8, -1.0, 0.01, "agrees"),
        (-2.8, 1.0, 0.01, "differs"),
        (1.0, 0.2, 0.049, "agrees"),
        (-2.8, -1.0, 0.05, "undecided"),
        (-2.8, -1.0, None, "undecided"),
        (None, -1.0, 0.001, "not comparable"),
        (0.0, -1.0, 0.001, "not comparable"),
    ],
)
def test_verdict(claimed: float | None, observed: float, p: float | None, expected: str) -> None:
    assert verdict(claimed, observed, p) == expected


def test_an_interval_that_holds_zero_is_never_decided() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        found = paired_difference(list(rng.normal(0.5, 1, 3)), list(rng.normal(0, 1, 3)))
        assert found.low is not None
        assert found.high is not None
        if found.low <= 0 <= found.high:
            assert verdict(1.0, found.mean, found.p) == "undecided"


def test_only_what_lies_above_all_is_separated() -> None:
    best, near, far = [10.0, 11.0, 12.1], [9.0, 11.9, 11.5], [5.0, 6.1, 7.0]
    assert separated_from_all(best, [far])
    assert not separated_from_all(best, [far, near])
    assert not separated_from_all(far, [best])
    assert not separated_from_all([10.0], [[5.0]])
    assert not separated_from_all(best, [])


def test_pooled_deviation_weighs_by_degrees_of_freedom() -> None:
    parts = [Difference(3, 0.0, 1.0, 0.0, 0.0, 1.0), Difference(5, 0.0, 2.0, 0.0, 0.0, 1.0)]
    assert pooled_deviation(parts) == pytest.approx(((2 * 1 + 4 * 4) / 6) ** 0.5)
    assert pooled_deviation([Difference(1, 0.0, None, None, None, None)]) is None


@pytest.mark.parametrize(("n", "effect"), [(3, 1.5), (5, 1.0), (20, 0.5)])
def test_power_is_the_noncentral_ts(n: int, effect: float) -> None:
    delta, t = n**0.5 * effect, stats.t.ppf(0.975, n - 1)
    exact = stats.nct.sf(t, n - 1, delta) + stats.nct.cdf(-t, n - 1, delta)
    assert power(effect, n) == pytest.approx(exact, abs=1e-4)


def test_power_without_an_effect_is_the_level() -> None:
    assert power(0.0, 3) == pytest.approx(0.05, abs=1e-4)


def test_detectable_difference_is_found_in_four_of_five_experiments() -> None:
    found = minimum_detectable_difference(2.0, 3)
    assert found == pytest.approx(2 * 3.2640, rel=1e-3)  # as statistical software prints it
    draws = np.random.default_rng(3).normal(found, 2.0, (4000, 3))
    assert np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05) == pytest.approx(
        0.8, abs=0.02
    )
    assert minimum_detectable_difference(2.0, 1) is None


def test_needed_seeds_turns_the_detectable_difference_round() -> None:
    for n in (2, 3, 5, 10, 34):
        found = minimum_detectable_difference(1.0, n)
        assert found is not None
        assert needed_seeds(-found * 1.001, 1.0) == n
        assert needed_seeds(found * 0.99, 1.0) == n + 1
    assert needed_seeds(0.01, 1.0) is None
    assert needed_seeds(0.0, 1.0) is None


@pytest.mark.parametrize(("n", "effect"), [(3, 2.0), (5, 1.0), (10, 0.5)])
def test_verdicts_are_right_as_often_as_the_power_says(n: int, effect: float) -> None:
    trials, rng = 1500, np.random.default_rng(n)
    verdicts = []
    for _ in range(trials):
        shared = rng.normal(0, 3, n)  # what makes a seed good or bad cancels in the pairs
        first, second = shared + rng.normal(effect, 0.6, n), shared + rng.normal(0, 0.8, n)
        found = paired_difference(list(first), list(second))
        verdicts.append(verdict(1.0, found.mean, found.p))
    assert within_luck(trials - verdicts.count("undecided"), trials, power(effect, n))
    wrong = stats.nct.cdf(-stats.t.ppf(0.975, n - 1), n - 1, n**0.5 * effect)
    assert within_luck(verdicts.count("differs"), trials, float(np.nan_to_num(wrong)))


def test_without_an_effect_one_table_in_twenty_has_a_false_verdict() -> None:
    trials, rng, false = 1500, np.random.default_rng(4), 0
    for _ in range(trials):
        arms = rng.normal(0, 1, (4, 4)) + rng.normal(0, 2, 4)  # (arms, seeds)
        differences = [paired_difference(list(arm), list(arms[0])) for arm in arms[1:]]
        adjusted = holm([d.p or 1.0 for d in differences])
        pairs = zip(differences, adjusted, strict=True)
        false += any(verdict(1.0, d.mean, p) in ("agrees", "differs") for d, p in pairs)
    # Holm promises at most one in twenty; arms that share a counterpart make it fewer.
    assert false <= stats.binom.ppf(0.9999, trials, 0.05)
    assert false > 0.01 * trials


def test_needed_seeds_find_the_difference_in_four_of_five_experiments() -> None:
    trials, rng = 3000, np.random.default_rng(5)
    n = needed_seeds(1.1, 1.5)
    assert n is not None
    shares = {}
    for seeds in (n - 1, n):
        draws = rng.normal(1.1, 1.5, (trials, seeds))
        shares[seeds] = int(np.sum(stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05))
        assert within_luck(shares[seeds], trials, power(1.1 / 1.5, seeds))
    assert power(1.1 / 1.5, n - 1) < 0.8 <= power(1.1 / 1.5, n)
