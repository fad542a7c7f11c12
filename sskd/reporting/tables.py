"""Rows of text from an analysis, and rows as a markdown table."""

from sskd.config import flatten
from sskd.reporting.analysis import METRICS, Analysis, Arm, Comparison
from sskd.reporting.cost import Cost
from sskd.reporting.statistics import (
    Difference,
    Summary,
    minimum_detectable_difference,
    needed_seeds,
    pooled_deviation,
)

__all__ = [
    "MINUS",
    "Rows",
    "class_rows",
    "comparison_rows",
    "cost_rows",
    "markdown",
    "power_rows",
    "result_rows",
    "seed_rows",
    "show_difference",
    "show_duration",
    "show_level",
    "show_p",
    "summary_rows",
    "variant_cost_rows",
    "variant_rows",
]

Rows = list[list[str]]
"""A header, then rows of the same length."""

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
"""Stands where there is no number."""


def show_number(value: float, digits: int = 1, *, sign: bool = False) -> str:
    """A number with a real minus sign; never "-0.0"."""
    rounded = round(value, digits) + 0.0
    text = f"{rounded:{'+' if sign and rounded else ''}.{digits}f}"
    return text.replace("-", MINUS)


def show_level(summary: Summary | None) -> str:
    """``mean ± s.d.``; one seed has no ±."""
    if summary is None:
        return "missing"
    if summary.sd is None:
        return show_number(summary.mean)
    return f"{show_number(summary.mean)} ± {show_number(summary.sd)}"


def show_interval(part: Summary) -> str:
    """``[low, high]``, or a dash where there is none."""
    if part.low is None or part.high is None:
        return NONE
    return f"[{show_number(part.low, 2, sign=True)}, {show_number(part.high, 2, sign=True)}]"


def show_difference(difference: Difference) -> str:
    """``mean [low, high]``."""
    mean = show_number(difference.mean, 2, sign=True)
    return mean if difference.low is None else f"{mean} {show_interval(difference)}"


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


def markdown(rows: Rows, *, text: bool = False) -> str:
    """A pipe table, the columns after the first to the right, or to the left if they are text."""
    width = len(rows[0])
    assert all(len(row) == width for row in rows)
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = [" | ".join(row) for row in cells]
    lines.insert(1, " | ".join([":---", *[":---" if text else "---:"] * (width - 1)]))
    return "\n".join(f"| {line} |" for line in lines)


def result_rows(analysis: Analysis) -> Rows:
    """Levels by variant: ours, the paper's, and the distance between them."""
    header = ["Variant", "n"]
    for metric in analysis.metrics:
        name = METRICS[metric]
        header += [f"{name} (%) ↑", f"paper {name}", f"ours {MINUS} paper {name}"]
    rows = [header]
    for arm in analysis.arms:
        row = [arm.label, _count(arm)]
        for metric in analysis.metrics:
            summary, paper = arm.summary(metric), arm.paper.get(metric)
            level = show_level(summary) if summary or not arm.records else NONE
            bold = analysis.bold[metric] == arm.name
            both = summary is not None and paper is not None
            row += [
                f"**{level}**" if bold else level,
                NONE if paper is None else show_number(paper),
                show_number(summary.mean - paper, sign=True) if both else NONE,  # type: ignore[union-attr,operator]
            ]
        rows.append(row)
    return rows


def comparison_rows(analysis: Analysis) -> Rows:
    """Paired differences to the reference, and what they say of the paper's claim."""
    header = ["Comparison", "pairs", "difference", "95 % interval", "p", "p (Holm)"]
    rows = [[*header, "paper's difference", "paper's claim"]]
    for metric in analysis.metrics:
        for c in analysis.of(metric):
            name = f"{METRICS[metric]}: {c.arm.label} {MINUS} {analysis.reference.label}"
            claimed = NONE if c.claimed is None else show_number(c.claimed, sign=True)
            if c.difference is None:
                rows.append([name, "0", "missing", NONE, NONE, NONE, claimed, c.verdict])
                continue
            d = c.difference
            mean = show_number(d.mean, 2, sign=True)
            p_values = [show_p(d.p), show_p(c.adjusted)]
            rows.append([name, str(d.n), mean, show_interval(d), *p_values, claimed, c.verdict])
    return rows


def power_rows(analysis: Analysis) -> Rows:
    """What the planned seeds can find, by metric and in points."""
    header = ["Metric", "noise floor", "s.d. of paired differences", "n"]
    rows = [[*header, "detectable at n", "smallest claim of the paper", "seeds it needs"]]
    for metric in analysis.metrics:
        noise = analysis.reference.summary(metric)
        differences = [c.difference for c in analysis.of(metric) if c.difference is not None]
        sd, n = pooled_deviation(differences), len(analysis.seeds)
        found = None if sd is None else minimum_detectable_difference(sd, n)
        claims = [abs(c.claimed) for c in analysis.of(metric) if c.claimed]
        seeds = needed_seeds(min(claims), sd) if claims and sd is not None else None
        rows.append(
            [
                METRICS[metric],
                NONE if noise is None or noise.sd is None else show_number(noise.sd, 2),
                NONE if sd is None else show_number(sd, 2),
                str(n),
                NONE if found is None else show_number(found, 2),
                show_number(min(claims)) if claims else NONE,
                NONE if sd is None or not claims else str(seeds or "> 1000"),
            ]
        )
    return rows


def variant_rows(analysis: Analysis) -> Rows:
    """What each variant changes of the base."""
    rows = [["Variant", "changes"]]
    for arm in analysis.arms:
        changes = flatten(analysis.ablation.variants[arm.name].changes)
        shown = ", ".join(f"`{key}={value}`" for key, value in changes.items())
        mark = " (reference)" if arm is analysis.reference else ""
        rows.append([arm.label + mark, shown or "none: the base itself"])
    return rows


def cost_rows(cost: Cost) -> Rows:
    """Time and memory by stage, each computation once."""
    rows = [["Stage", "computed", "used by cells", "each", "in all", "peak memory"]]
    for stage in cost.stages:
        peak = stage.peak_memory_bytes
        rows.append(
            [
                stage.name,
                str(stage.computed),
                str(stage.used),
                show_duration(stage.seconds / stage.computed),
                show_duration(stage.seconds),
                NONE if peak is None else f"{peak / 2**20:,.0f} MiB",
            ]
        )
    return rows


def variant_cost_rows(cost: Cost) -> Rows:
    """A cell's time by variant, and the part that no other variant shares."""
    rows = [["Variant", "cells", "a cell, alone", "of it in stages of its own"]]
    for arm in cost.variants:
        alone, own = show_duration(arm.alone / arm.cells), show_duration(arm.own / arm.cells)
        rows.append([arm.label, str(arm.cells), alone, own])
    return rows


def seed_rows(analysis: Analysis) -> Rows:
    """Every cell with all its metrics."""
    rows = [["Variant", "seed", *(f"{name} (%)" for name in METRICS.values()), "cell"]]
    for arm in analysis.arms:
        for cell in arm.cells:
            record = arm.records.get(cell.seed)
            values = [record.final.get(metric) if record else None for metric in METRICS]
            shown = [NONE if value is None else show_number(100 * value, 2) for value in values]
            if record is None:
                shown[0] = "missing"
            rows.append([arm.label, str(cell.seed), *shown, f"`{cell.fingerprint[:16]}`"])
    return rows


def class_rows(analysis: Analysis) -> Rows:
    """Mean AP over seeds by class; empty where no record has it."""
    by_arm = [(arm, [record.per_class for record in arm.records.values()]) for arm in analysis.arms]
    names = list(dict.fromkeys(name for _, parts in by_arm for part in parts for name in part))
    if not names:
        return []
    rows = [["AP (%)", *names]]
    for arm, parts in by_arm:
        row = [arm.label]
        for name in names:
            values = [value for part in parts if (value := part.get(name)) is not None]
            row.append(show_number(100 * sum(values) / len(values)) if values else NONE)
        rows.append(row)
    return rows


def summary_rows(analysis: Analysis) -> Rows:
    """The results in a width that fits a terminal: a header, then one row a variant."""
    main = analysis.metrics[0]
    reference = analysis.reference
    shown = [f"{METRICS[metric]} (%)" for metric in analysis.metrics]
    by_name = {c.arm.name: c for c in analysis.of(main)}
    to_reference = f"Δ {METRICS[main]} to {reference.label}"
    rows = [["variant", "n", *shown, to_reference, "p (Holm)", "paper", "paper's claim"]]
    for arm in analysis.arms:
        levels = [show_level(arm.summary(metric)) for metric in analysis.metrics]
        paper = show_number(arm.paper[main]) if main in arm.paper else NONE
        rows.append([arm.label, _count(arm), *levels, *_against(by_name.get(arm.name), paper)])
    return rows


def _against(comparison: Comparison | None, paper: str) -> list[str]:
    if comparison is None:
        return ["reference", NONE, paper, NONE]
    difference = comparison.difference
    shown = NONE if difference is None else show_difference(difference)
    return [shown, show_p(comparison.adjusted), paper, comparison.verdict]


def _count(arm: Arm) -> str:
    done, planned = len(arm.records), len(arm.cells)
    return str(done) if done == planned else f"{done} of {planned}"
