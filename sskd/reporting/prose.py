"""The sentences of a report that depend on the numbers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from sskd.reporting.analysis import METRICS, Analysis, Arm, Comparison
from sskd.reporting.statistics import (
    ALPHA,
    POWER,
    minimum_detectable_difference,
    pooled_deviation,
)
from sskd.reporting.tables import MINUS, show_difference, show_level, show_number

__all__ = ["answer", "caption", "data_name", "environment", "footnotes"]

_NOT_ITS_LEVELS = (
    "The paper's levels come from other data and another scale: compare orders and signs."
)
_ORDER = ("agrees", "differs", "undecided", "not comparable")


def answer(analysis: Analysis) -> str:
    """One paragraph: the verdicts on the paper's claims, and what stands behind them."""
    planned = sum(len(arm.cells) for arm in analysis.arms)
    done = len(analysis.records)
    if not done:
        return f"No cell has finished yet: {planned} of {planned} are missing."
    main = analysis.metrics[0]
    name, reference = METRICS[main], analysis.reference
    config = reference.cells[0].config
    comparisons = analysis.of(main)
    sentences = [f"**{_headline(comparisons, reference)}**"]
    if done < planned:
        sentences.append(f"This is preliminary: {planned - done} of {planned} cells are missing.")
    setting = f"{data_name(analysis)} at {config.scale} scale"
    sentences.append(
        f"On {setting} with {100 * config.data.label_fraction:g} % labels, {reference.label} "
        + _reaches(reference, main)
    )
    sentences += _verdicts(comparisons, reference, name)
    sentences += _order(analysis, main)
    differences = [c.difference for c in comparisons if c.difference]
    sd, n = pooled_deviation(differences), len(analysis.seeds)
    if sd is not None and (found := minimum_detectable_difference(sd, n)) is not None:
        sentences.append(
            f"With {n} seeds a true difference of {show_number(found, 2)} points would be "
            f"found in {100 * POWER:.0f} % of experiments; smaller ones mostly stay undecided."
        )
    return " ".join(sentences)


def caption(analysis: Analysis) -> str:
    """What the results table shows and how it was measured."""
    cell = analysis.reference.cells[0]
    config, records = cell.config, analysis.records
    stages = sorted({record.final_stage.replace("_", " ") for record in records})
    which = " or ".join(stages) or str(config.pipeline.final)
    data = f"`{data_name(analysis)}`" + (f" (sha256 `{records[0].sha256[:12]}`)" if records else "")
    single = max(len(arm.records) for arm in analysis.arms) == 1
    spread = (
        "A single seed: no ± and no interval"
        if single
        else "Mean ± standard deviation over seeds (ddof 1)"
    )
    return " ".join(
        [
            f"{spread}; n is the number of seeds (planned: {_list(analysis.seeds)}).",
            "A seed sets initial weights, data order and sampling; the split, the validation",
            "images and the foundation model's weights stay, so that the spread knows nothing of",
            "theirs.",
            "AP is COCO mask AP as pycocotools defines it, computed by faster-coco-eval,",
            f"in %, higher is better, of the last checkpoint of the stage *{which}*",
            "(never the best on the reported set).",
            f"Evaluated on all validation images of {data}, short side",
            f"{config.evaluation.short_side} pixels at the model's input, masks scored at the",
            f"images' own size, at most {config.evaluation.max_dets} detections an image.",
            *([] if analysis.at_papers_scale else [_NOT_ITS_LEVELS]),
            "Bold: above every other variant, paired t-tests,",
            f"Holm-corrected p < {ALPHA:g}; nothing else is bold.",
        ]
    )


def footnotes(analysis: Analysis, failures: Mapping[str, str]) -> list[str]:
    """What a reader must know before trusting a row."""
    notes = []
    for arm in analysis.arms:
        done, planned = len(arm.records), len(arm.cells)
        absent = [cell for cell in arm.cells if cell.seed not in arm.records]
        if absent:
            failed = sum(cell.fingerprint in failures for cell in absent)
            reason = f" ({failed} failed)" if failed else ""
            notes.append(f"{arm.label}: {done} of {planned} seeds finished{reason}.")
        if done == 1:
            notes.append(f"{arm.label}: single seed, so no ±, no interval and no test.")
    for key, values in environment(analysis).items():
        if len(values) > 1:
            shown = ", ".join(f"{value} ({count} cells)" for value, count in values.items())
            notes.append(f"Mixed {key}: {shown}. Differences may owe something to it.")
    flat = [c for c in analysis.comparisons if c.difference and c.difference.sd == 0]
    notes += [
        f"{METRICS[c.metric]}, {c.arm.label} {MINUS} {analysis.reference.label}: "
        "every pair differs by the same amount, so that Student's t is undefined."
        for c in flat
    ]
    return notes


def data_name(analysis: Analysis) -> str:
    """The data set's name; of one given as a file, its folder's."""
    name = analysis.reference.cells[0].config.data.name
    path = Path(name)
    return path.parent.name or name if path.suffix == ".json" else name


def environment(analysis: Analysis) -> dict[str, dict[str, int]]:
    """Versions and machine: key, then each value with the number of cells that have it."""
    found: dict[str, dict[str, int]] = {}
    for record in analysis.records:
        for key, value in sorted(record.environment.items()):
            text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            by_value = found.setdefault(key, {})
            by_value[text] = by_value.get(text, 0) + 1
    return found


def _headline(comparisons: Sequence[Comparison], reference: Arm) -> str:
    by_verdict = {v: [c for c in comparisons if c.verdict == v] for v in _ORDER}
    claims = len(comparisons) - len(by_verdict["not comparable"])
    if not claims:
        return "The paper makes no claim that these cells could be held against."
    counts = [f"{len(by_verdict[v])} {v}" for v in _ORDER[:3] if by_verdict[v]]
    if len(by_verdict["agrees"]) == claims:
        return f"Agrees with the paper on every variant against {reference.label}."
    if all(c.difference is None or c.difference.n == 1 for c in comparisons):
        return "Undecided: a single seed allows no test."
    if len(by_verdict["undecided"]) == claims:
        return (
            f"Undecided: no variant that the paper ranks against {reference.label} "
            "is separated from it here."
        )
    return f"Of the paper's {claims} claims against {reference.label}: {', '.join(counts)}."


def _reaches(arm: Arm, metric: str) -> str:
    summary = arm.summary(metric)
    if summary is None:
        return "has no result yet."
    seeds = "1 seed" if summary.n == 1 else f"{summary.n} seeds"
    return f"reaches {show_level(summary)} {METRICS[metric]} over {seeds}."


def _verdicts(comparisons: Sequence[Comparison], reference: Arm, name: str) -> list[str]:
    sentences = []
    for ruling in _ORDER[:3]:
        parts = []
        for c in comparisons:
            if c.verdict == ruling:
                where = "below" if (c.claimed or 0) < 0 else "above"
                shown = show_difference(c.difference) if c.difference else "missing"
                parts.append(f"{c.arm.label} {where} {reference.label} ({shown})")
        if parts:
            sentences.append(f"The paper's {name} puts {_list(parts)}: *{ruling}*.")
    return sentences


def _order(analysis: Analysis, metric: str) -> list[str]:
    means = {arm.name: s.mean for arm in analysis.arms if (s := arm.summary(metric))}
    labels = {arm.name: arm.label for arm in analysis.arms}
    if len(means) < 2:
        return []
    ours = sorted(means, key=lambda name: -means[name])
    uneven = len({len(arm.values(metric)) for arm in analysis.arms if arm.name in means}) > 1
    by = "By mean alone, over unequal numbers of seeds," if uneven else "By mean alone"
    sentence = f"{by} the order is {' > '.join(labels[name] for name in ours)}"
    expected = [name for name in analysis.ablation.expected_order or () if name in means]
    if len(expected) == len(ours):
        printed = " > ".join(labels[name] for name in expected)
        same = ours == expected
        sentence += ", as in the paper" if same else f"; the paper's is {printed}"
    return [sentence + "."]


def _list(parts: Sequence[object]) -> str:
    *first, last = map(str, parts)
    return f"{', '.join(first)} and {last}" if first else last
