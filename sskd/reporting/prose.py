"""The answer of a report, in sentences that depend on the numbers."""

from collections.abc import Sequence
from itertools import pairwise

from sskd.reporting.analysis import Analysis, Arm, Comparison
from sskd.reporting.arms import data_name, labeled_lists
from sskd.reporting.metrics import METRICS
from sskd.reporting.numbers import list_words, show_difference, show_level, show_number
from sskd.reporting.statistics import (
    ALPHA,
    POWER,
    minimum_detectable_difference,
    pooled_deviation,
)

__all__ = ["answer", "headline", "setting"]

_RULED = ("agrees", "differs", "undecided")


def answer(analysis: Analysis) -> str:
    """One paragraph: the verdicts on the paper's claims, and what stands behind them."""
    planned = sum(len(arm.cells) for arm in analysis.arms)
    done = len(analysis.records)
    if not done:
        return f"No cell has finished yet: {planned} of {planned} are missing."
    main = analysis.metrics[0]
    sentences = [f"**{headline(analysis)}**"]
    if done < planned:
        sentences.append(f"This is preliminary: {planned - done} of {planned} cells are missing.")
    reached = "; ".join(_reaches(arm, main) for arm in analysis.counterparts)
    sentences.append(f"On {setting(analysis)}, {reached}.")
    comparisons = analysis.of(main)
    sentences += _verdicts(comparisons)
    sentences += _unclaimed(comparisons)
    sentences += _orders(analysis, main)
    sentences += _looks(analysis)
    sd = pooled_deviation([c.difference for c in comparisons if c.difference])
    pairs, measure = analysis.pairs(main), METRICS[main]
    looks = analysis.looks.count if analysis.looks else 1
    if sd and (found := minimum_detectable_difference(sd, pairs[0], looks=looks)) is not None:
        amount = f"{show_number(found, measure.digits + 1)} {measure.difference_unit}".rstrip()
        fewest = f" (comparisons have {pairs[0]} to {pairs[-1]})" if len(pairs) > 1 else ""
        sentences.append(
            f"With {pairs[0]} seeds{fewest} a true difference of {amount} would be found in "
            f"{100 * POWER:.0f} % of experiments; smaller ones mostly stay undecided."
        )
    return " ".join(sentences)


def _looks(analysis: Analysis) -> list[str]:
    if analysis.looks is None:
        return []
    return [
        "Seeds were added to what was undecided, and p-values of verdicts are corrected for it "
        f"(looks at the numbers: {analysis.looked} of at most {analysis.looks.count})."
    ]


def headline(analysis: Analysis) -> str:
    """The answer in a sentence, by the main metric."""
    comparisons = analysis.of(analysis.metrics[0])
    ruled = [c for c in comparisons if c.verdict in _RULED]
    if not comparisons:
        return "Not comparable: what the paper compares with is not run here."
    titles = list(dict.fromkeys(c.other.title for c in comparisons))
    others, one = list_words(titles, "or"), len(titles) == 1
    if not ruled and any(c.obstacle for c in comparisons):
        return "Not comparable: none of the paper's claims can be held against these cells."
    if all(c.difference is None for c in comparisons):
        return "Undecided: no variant and its counterpart have both finished a seed."
    if all(c.difference is None or c.difference.n == 1 for c in comparisons):
        return "Undecided: a single seed allows no test."
    if not ruled:
        return _own_finding(comparisons, others)
    counts = [
        f"{n} {_plural(word) if n > 1 else word}"
        for word in _RULED
        if (n := sum(c.verdict == word for c in ruled))
    ]
    against = f" against {others}" if one else ""
    if len(ruled) == 1 and (len(comparisons) > 1 or ruled[0].verdict == "differs"):
        return f"The paper's one claim{against}: {ruled[0].verdict}."
    if all(c.verdict == "agrees" for c in ruled):
        if len(ruled) == len(comparisons) and one:
            return f"Agrees with the paper on every variant against {others}."
        return f"Agrees with the paper in all {len(ruled)} of its claims{against}."
    if all(c.verdict == "undecided" for c in ruled):
        rivals = f"that the paper ranks against {others}" if one else "that the paper ranks"
        return (
            f"Undecided: no variant {rivals} is separated from "
            f"{'it' if one else 'its counterpart'} here."
        )
    return f"Of the paper's {len(ruled)} claims{against}: {', '.join(counts)}."


def setting(analysis: Analysis) -> str:
    """``toycity at tiny scale with 10 % labels``."""
    configs = [arm.cells[0].config for arm in analysis.arms]
    shares = sorted({config.data.label_fraction for config in configs})
    labels = list_words([f"{100 * share:g}" for share in shares])
    cell = analysis.reference.cells[0]
    lists = labeled_lists(arm.cells[0] for arm in analysis.arms)
    labeled = f"the labels of {lists}" if lists else f"{labels} % labels"
    return f"{data_name(cell)} at {cell.config.scale} scale with {labeled}"


def _plural(ruling: str) -> str:
    """``2 agree``, but ``2 undecided``."""
    return ruling.removesuffix("s")


def _own_finding(comparisons: Sequence[Comparison], others: str) -> str:
    """Where the paper claims nothing: what is separated, and on which side."""
    found = [f"{c.arm.title} lies {_side(c)} {c.other.title}" for c in comparisons if _separated(c)]
    if not found:
        return f"Undecided: nothing is separated from {others}."
    rest = "" if len(found) == len(comparisons) else "; nothing else is separated"
    return f"{list_words(found)}{rest}."


def _separated(comparison: Comparison) -> bool:
    return comparison.adjusted is not None and comparison.adjusted < ALPHA


def _side(comparison: Comparison) -> str:
    difference = comparison.difference
    return "above" if difference is not None and difference.mean > 0 else "below"


def _reaches(arm: Arm, metric: str) -> str:
    summary, measure = arm.summary(metric), METRICS[metric]
    if summary is None:
        return f"{arm.title} has no result yet"
    seeds = "1 seed" if summary.n == 1 else f"{summary.n} seeds"
    level = show_level(summary, measure)
    if measure.unit == "%":
        return f"{arm.title} reaches {level} {measure.name} over {seeds}"
    unit = f" {measure.unit}" if measure.unit else ""
    return f"{arm.title} has a {measure.name} of {level}{unit} over {seeds}"


def _shown(comparison: Comparison) -> str:
    if comparison.difference is None:
        return "missing"
    return show_difference(comparison.difference, METRICS[comparison.metric])


def _verdicts(comparisons: Sequence[Comparison]) -> list[str]:
    sentences = []
    for ruling in _RULED:
        parts = [
            f"{c.arm.title} {c.direction} {c.other.title} ({_shown(c)})"
            for c in comparisons
            if c.verdict == ruling
        ]
        if parts:
            name = METRICS[comparisons[0].metric].name
            sentences.append(f"The paper's {name} puts {list_words(parts)}: *{ruling}*.")
    return sentences


def _unclaimed(comparisons: Sequence[Comparison]) -> list[str]:
    """What the paper does not rank, or what here is another thing than the paper's."""
    sentences = []
    for separated in (True, False):
        parts = [
            f"{c.arm.title} against {c.other.title} ({_shown(c)})"
            for c in comparisons
            if c.verdict == "not comparable" and c.difference and _separated(c) == separated
        ]
        if parts:
            ruling = "separated" if separated else "not separated"
            sentences.append(f"Without a claim to hold it against, {list_words(parts)}: {ruling}.")
    return sentences


def _orders(analysis: Analysis, metric: str) -> list[str]:
    """By mean: of the expected variants against the paper's order, or of each group."""
    expected = [
        arm
        for name in analysis.ablation.expected_order or ()
        for arm in analysis.arms
        if arm.name == name and arm.summary(metric)
    ]
    if len(expected) > 1:
        printed = " > ".join(arm.title for arm in _in_the_paper(expected, metric))
        sentence, ours = _order("", expected, metric)
        if any(arm.stand_in for arm in expected):
            return [f"{sentence}."]
        theirs = ", as in the paper" if ours == printed else f"; the paper's is {printed}"
        return [f"{sentence}{theirs}."]
    groups = [
        (group, [arm for arm in rows if arm.summary(metric)]) for group, rows in analysis.groups
    ]
    return [
        _order(f" in the group {group}" if group else "", rows, metric)[0] + "."
        for group, rows in groups
        if len(rows) > 1
    ]


def _in_the_paper(declared: Sequence[Arm], metric: str) -> list[Arm]:
    """By the paper's numbers on this data; as declared, which is by its words, if one lacks."""
    if any(metric not in arm.paper for arm in declared):
        return list(declared)
    sign = 1 if METRICS[metric].better == "lower" else -1
    return sorted(declared, key=lambda arm: sign * arm.paper[metric])


def _order(where: str, arms: Sequence[Arm], metric: str) -> tuple[str, str]:
    # Declared order among equals: a rerun must not swap them.
    lower = METRICS[metric].better == "lower"
    mean = {arm.name: s.mean for arm in arms if (s := arm.summary(metric))}
    ordered = sorted(arms, key=lambda arm: mean[arm.name] * (1 if lower else -1))
    order = ordered[0].title + "".join(
        f" {'=' if mean[before.name] == mean[arm.name] else '>'} {arm.title}"
        for before, arm in pairwise(ordered)
    )
    uneven = len({len(arm.values(metric)) for arm in arms}) > 1
    by = "By mean alone, over unequal numbers of seeds," if uneven else "By mean alone"
    better = " (lower is better)" if lower else ""
    return f"{by} the order{where} is {order}{better}", order
