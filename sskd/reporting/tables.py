"""Rows of text from an analysis."""

from sskd.config import flatten
from sskd.reporting.analysis import Analysis, Arm, Comparison
from sskd.reporting.cost import Cost
from sskd.reporting.document import literal
from sskd.reporting.metrics import METRICS
from sskd.reporting.numbers import (
    MINUS,
    NONE,
    show_difference,
    show_duration,
    show_interval,
    show_level,
    show_mean,
    show_number,
    show_p,
)
from sskd.reporting.statistics import (
    minimum_detectable_difference,
    needed_seeds,
    pooled_deviation,
)
from sskd.studies.cells import changes_at

__all__ = [
    "Rows",
    "class_rows",
    "comparison_rows",
    "cost_rows",
    "power_rows",
    "result_rows",
    "seed_rows",
    "show_claim",
    "summary_rows",
    "variant_cost_rows",
    "variant_rows",
]

Rows = list[list[str]]
"""A header, then rows of the same length; a row of one cell is a heading of those below it."""


def result_rows(analysis: Analysis) -> Rows:
    """Levels by variant: ours, the paper's, and the distance between them."""
    printed = _printed(analysis)
    header = ["Variant", "n"]
    for metric in analysis.metrics:
        measure = METRICS[metric]
        header.append(measure.head)
        if metric in printed:
            header += [f"paper {measure.name}", f"ours {MINUS} paper"]
    rows = [header]
    for group, arms in analysis.groups:
        rows += [[group]] if group else []
        rows += [_result_row(analysis, arm, printed) for arm in arms]
    return rows


def comparison_rows(analysis: Analysis) -> Rows:
    """Paired differences to the counterparts, and what they say of the paper's claims."""
    header = ["Variant \N{MINUS SIGN} counterpart", "pairs", "difference", "95 % interval", "p"]
    rows = [[*header, _corrected(analysis), "paper's difference", "paper's claim"]]
    for metric in analysis.metrics:
        measure = METRICS[metric]
        unit = f", in {measure.difference_unit}" if measure.difference_unit else ""
        comparisons = analysis.of(metric)
        rows += [[f"{measure.name}{unit}"]] if comparisons else []
        for c in comparisons:
            name = f"{c.arm.title} {MINUS} {c.other.title}"
            end = [show_claim(c), c.verdict]
            if c.difference is None:
                rows.append([name, "0", _nothing(c), NONE, NONE, NONE, *end])
                continue
            shown = [show_mean(c.difference, measure), show_interval(c.difference, measure)]
            p_values = [show_p(c.difference.p), show_p(c.adjusted)]
            rows.append([name, str(c.difference.n), *shown, *p_values, *end])
    return rows


def power_rows(analysis: Analysis) -> Rows:
    """What as many seeds as the comparisons have can find, by metric."""
    header = ["Metric", "noise floor", "s.d. of paired differences", "n"]
    rows = [[*header, "detectable at n", "smallest claim of the paper", "seeds it needs"]]
    looks = analysis.looks.count if analysis.looks else 1
    for metric in analysis.metrics:
        measure, n = METRICS[metric], min(analysis.pairs(metric), default=0)
        noise = pooled_deviation([s for a in analysis.counterparts if (s := a.summary(metric))])
        sd = pooled_deviation([c.difference for c in analysis.of(metric) if c.difference])
        found = None if sd is None else minimum_detectable_difference(sd, n, looks=looks)
        claims = [abs(c.claimed) for c in analysis.of(metric) if c.claimed and not c.obstacle]
        seeds = needed_seeds(min(claims), sd, looks=looks) if claims and sd is not None else None
        unit = f" ({measure.difference_unit})" if measure.difference_unit else ""
        digits = measure.digits + 1
        rows.append(
            [
                measure.name + unit,
                *(NONE if part is None else show_number(part, digits) for part in (noise, sd)),
                str(n),
                NONE if found is None else show_number(found, digits),
                show_number(min(claims), measure.digits) if claims else NONE,
                NONE if sd is None or not claims else str(seeds or "> 1000"),
            ]
        )
    return rows


def variant_rows(analysis: Analysis) -> Rows:
    """What each variant changes of the base, and what it is compared with."""
    titles = {arm.name: arm.title for arm in analysis.rows}
    scale = analysis.reference.cells[0].config.scale
    rows = [["Variant", "changes", "compared with"]]
    for group, arms in analysis.groups:
        rows += [[group]] if group and any(arm.cells for arm in arms) else []
        for arm in (arm for arm in arms if arm.cells):
            variant = analysis.ablation.variants[arm.name]
            shown = [f"`{k}={v}`" for k, v in flatten(changes_at(variant, scale)).items()]
            if variant.base not in (None, analysis.ablation.base):
                shown.insert(0, f"base `{variant.base}`")
            other = analysis.ablation.against(arm.name)
            against = titles[other] if other else NONE
            rows.append([arm.label, ", ".join(shown) or "none: the base itself", against])
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
    shown = [
        metric
        for metric, how in METRICS.items()
        if metric in analysis.metrics or not (how.from_training or how.optional)
    ]
    heads = [f"{how.name} ({how.unit})" if (how := METRICS[m]).unit else how.name for m in shown]
    rows = [["Variant", "seed", *heads, "cell"]]
    for arm in analysis.arms:
        for cell in arm.cells:
            values = [(metric, arm.values(metric).get(cell.seed)) for metric in shown]
            texts = [
                NONE if value is None else show_number(value, METRICS[metric].digits + 1)
                for metric, value in values
            ]
            if cell.seed not in arm.records:
                texts[0] = "missing"
            rows.append([arm.title, str(cell.seed), *texts, f"`{cell.fingerprint[:16]}`"])
    return rows


def class_rows(analysis: Analysis) -> Rows:
    """Mean AP over seeds by class; empty where no record has it."""
    by_arm = [(arm, [record.per_class for record in arm.records.values()]) for arm in analysis.arms]
    names = list(dict.fromkeys(name for _, parts in by_arm for part in parts for name in part))
    if not names:
        return []
    rows = [["AP (%)", *map(literal, names)]]
    for arm, parts in by_arm:
        row = [arm.title]
        for name in names:
            values = [value for part in parts if (value := part.get(name)) is not None]
            row.append(show_number(100 * sum(values) / len(values)) if values else NONE)
        rows.append(row)
    return rows


def summary_rows(analysis: Analysis) -> Rows:
    """The results in a width that fits a terminal: a header, then one row a variant with cells."""
    main = analysis.metrics[0]
    measure = METRICS[main]
    heads = [METRICS[metric].head for metric in analysis.metrics]
    by_name = analysis.own(main)
    tested = [f"Δ {measure.name}", _corrected(analysis)]
    rows = [["variant", "n", *heads, *tested, "paper", "paper's claim"]]
    for arm in analysis.arms:
        levels = [_level(arm, metric) for metric in analysis.metrics]
        paper = show_number(arm.paper[main], measure.digits) if main in arm.paper else NONE
        found = by_name.get(arm.name)
        against = ["reference", NONE, paper, NONE]
        if found is not None:
            d = found.difference
            shown = NONE if d is None else show_difference(d, measure)
            against = [shown, show_p(found.adjusted), paper, found.verdict]
        rows.append([arm.title, _count(arm), *levels, *against])
    return rows


def _result_row(analysis: Analysis, arm: Arm, printed: set[str]) -> list[str]:
    row = [arm.label, _count(arm)]
    for metric in analysis.metrics:
        measure, summary, paper = METRICS[metric], arm.summary(metric), arm.paper.get(metric)
        level = _level(arm, metric)
        row.append(f"**{level}**" if arm.name in analysis.bold[metric] else level)
        if metric in printed:
            both = summary is not None and paper is not None
            row += [
                NONE if paper is None else show_number(paper, measure.digits),
                show_number(summary.mean - paper, measure.digits, sign=True) if both else NONE,  # type: ignore[union-attr,operator]
            ]
    return row


def _level(arm: Arm, metric: str) -> str:
    summary = arm.summary(metric)
    # A finished cell may lack a metric: what trained nothing has no training loss.
    if summary is None and (arm.records or not arm.cells):
        return NONE
    return show_level(summary, METRICS[metric])


def _corrected(analysis: Analysis) -> str:
    looks = f", {analysis.looks.count} looks" if analysis.looks else ""
    return f"p (Holm{looks})"


def _printed(analysis: Analysis) -> set[str]:
    """Metrics of which the paper has a number or more."""
    return {m for m in analysis.metrics if any(m in arm.paper for arm in analysis.rows)}


def show_claim(comparison: Comparison) -> str:
    """The paper's difference, or where it puts the variant in words, or a dash."""
    if comparison.claimed is not None:
        return show_number(comparison.claimed, METRICS[comparison.metric].digits, sign=True)
    return comparison.direction or NONE


def _nothing(comparison: Comparison) -> str:
    """What stands for a difference that is not there: a cell is wanted, or no metric is defined."""
    arms = (comparison.arm, comparison.other)
    wanted = any(not arm.values(comparison.metric) and not arm.records for arm in arms)
    return "missing" if wanted and not comparison.other.absent else NONE


def _count(arm: Arm) -> str:
    if arm.absent:
        return arm.absent.partition(":")[0]
    done, planned = len(arm.records), len(arm.cells)
    return str(done) if done == planned else f"{done} of {planned}"
