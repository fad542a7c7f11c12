"""What the tables of a report show, how it was measured, and what a reader must know first."""

import json
from collections.abc import Mapping

from sskd.config import PRECISIONS, Config
from sskd.reporting.adaptive import narrow_enough
from sskd.reporting.analysis import Analysis
from sskd.reporting.arms import data_name
from sskd.reporting.document import literal
from sskd.reporting.metrics import METRICS, OFFICIAL
from sskd.reporting.numbers import MINUS, list_words
from sskd.reporting.statistics import ALPHA

__all__ = [
    "comparison_caption",
    "environment",
    "footnotes",
    "looks_caption",
    "power_caption",
    "result_caption",
    "whose_classes",
]

_CITYSCAPES_AP = (
    "Cityscapes AP is the benchmark's own, of the same detections, by cityscapesscripts on gtFine: "
    "an IoU must exceed its threshold, the measured precision-recall steps are integrated, and "
    "groups and instances under 100 pixels are ignored. The paper's numbers stand beside AP."
)
_EVALUATORS = " AP: COCO's definition, by faster-coco-eval; Cityscapes AP: by cityscapesscripts."


def result_caption(analysis: Analysis) -> str:
    """What the spread is, n, the metrics' definitions, checkpoint rule, evaluator, resolution."""
    cell = analysis.reference.cells[0]
    config, records = cell.config, analysis.records
    data = f"`{data_name(cell)}`" + (f" (sha256 `{records[0].sha256[:12]}`)" if records else "")
    stages = sorted({record.final_stage.replace("_", " ") for record in records})
    which = f"the stage *{stages[0] if stages else config.pipeline.final}*"
    if len(stages) > 1:
        which = f"each variant's final stage ({list_words(stages, 'or')})"
    single = max(len(arm.records) for arm in analysis.arms) == 1
    spread = (
        "A single seed: no ± and no interval"
        if single
        else "Mean ± standard deviation over seeds (ddof 1)"
    )
    sentences = [
        f"{spread}; n is the number of seeds (planned: {_planned(analysis)}).",
        "A seed sets initial weights, data order and sampling; the split, the validation images "
        "and the foundation model's weights stay, so that the spread knows nothing of theirs.",
    ]
    if any(not METRICS[metric].from_training for metric in analysis.metrics):
        sentences += [
            "AP is COCO mask AP as pycocotools defines it, computed by faster-coco-eval, in %, "
            f"higher is better, of the last checkpoint of {which} (never the best on the reported "
            "set).",
            f"Evaluated on all validation images of {data}, short side "
            f"{config.evaluation.short_side} pixels at the model's input, masks scored at the "
            f"images' own size, at most {config.evaluation.max_dets} detections an image"
            f"{_precision(config)}.",
        ]
    if _official(analysis):
        sentences.append(_CITYSCAPES_AP)
    trained = [METRICS[m].name for m in analysis.metrics if METRICS[m].from_training]
    if trained:
        names = list_words([f"*{name}*" for name in trained])
        verb = "is the mean" if len(trained) == 1 else "are means"
        sentences.append(
            f"{names} {verb} over the last tenth of the steps of {which}, on training batches."
        )
    printed = any(arm.paper for arm in analysis.rows)
    if printed and analysis.unlike_paper:
        sentences.append(
            f"The paper's levels come from {analysis.unlike_paper}: compare orders and signs."
        )
    rivals = "variant of its group" if len(analysis.groups) > 1 else "variant"
    sentences.append(
        f"Bold: better than every other {rivals} that was run, paired t-tests, "
        f"Holm-corrected p < {ALPHA:g}; nothing else is bold."
    )
    return " ".join(sentences)


def comparison_caption(analysis: Analysis) -> str:
    """What is taken from what, how it is tested, and what the verdicts mean."""
    return (
        f"Differences, variant minus {_counterpart(analysis)}, paired by seed: both share it, and "
        "with it split, data order and initial weights as far as their settings are the same. The "
        "interval is Student's, for each difference by itself; Holm's correction runs over all "
        "comparisons of a metric in this table. The paper's claim *agrees* or *differs* where "
        "Holm-corrected "
        f"p < {ALPHA:g} and the sign is, or is not, the paper's; it is *undecided* otherwise, "
        "always so where the interval holds 0, and *not comparable* where the paper prints no "
        "difference and says none in words, or the arm here is not the paper's."
        + (_EVALUATORS if _official(analysis) else "")
    )


def looks_caption(analysis: Analysis) -> str:
    """When the numbers could be looked at, and what is corrected for it."""
    if not analysis.earlier:
        return _added(analysis)
    return (
        f"{_added(analysis)} It was launched before with "
        f"{list_words([str(n) for n in analysis.earlier])} seeds a variant; p-values make no "
        "allowance for looks at those."
    )


def _added(analysis: Analysis) -> str:
    looks = analysis.looks
    if looks is None:
        return ""
    main = analysis.metrics[0]
    measure = METRICS[main]
    width = f"{narrow_enough(main, looks.until):g} {measure.difference_unit}".rstrip()
    at = list_words([str(n) for n in looks.at], "or")
    return (
        f" Seeds were added as needed: after {at} a variant, its comparisons by {measure.name} got "
        f"more unless decided or known to ± {width}; "
        f"{analysis.looked} of these {looks.count} looks have been taken. Whichever ends it, the "
        f"chance of a false verdict is held at {ALPHA:g}: Holm-corrected p-values, here and for "
        f"bold, are multiplied by {looks.count}; p and intervals are not corrected."
    )


def power_caption(analysis: Analysis, *, power: float) -> str:
    """What the noise floor and the detectable difference are."""
    titles = [arm.title for arm in analysis.counterparts]
    whose = titles[0] if len(titles) == 1 else f"{list_words(titles)}, pooled"
    mixed = any(len(analysis.pairs(metric)) > 1 for metric in analysis.metrics)
    looks = f" over {analysis.looks.count} looks" if analysis.looks else ""
    return (
        f"Noise floor: standard deviation over seeds of {whose}. n: pairs of seeds of a comparison"
        f"{', the fewest of any' if mixed else ''}. Detectable at n: the true "
        f"difference that one two-sided paired t-test at {ALPHA:g}{looks} finds with probability "
        f"{power:g} (noncentral t, from the pooled standard deviation of the paired differences, "
        "itself a rough number at few seeds; Holm's correction asks for somewhat more)."
        + (_EVALUATORS if _official(analysis) else "")
    )


def whose_classes(analysis: Analysis) -> str:
    """Which evaluator the AP of classes is by, where there are two."""
    return ", by COCO's definition" if _official(analysis) else ""


def footnotes(analysis: Analysis, failures: Mapping[str, str]) -> list[str]:
    """What a reader must know before trusting a row."""
    notes = []
    for arm in analysis.arms:
        done, planned = len(arm.records), len(arm.cells)
        absent = [cell for cell in arm.cells if cell.seed not in arm.records]
        if absent:
            failed = sum(cell.fingerprint in failures for cell in absent)
            reason = f" ({failed} failed)" if failed else ""
            notes.append(f"{arm.title}: {done} of {planned} seeds finished{reason}.")
        if done == 1:
            notes.append(f"{arm.title}: single seed, so no ±, no interval and no test.")
        if arm.stand_in:
            notes.append(f"{arm.title}: {arm.stand_in}; the paper's claim is not comparable.")
    reasons = dict.fromkeys(arm.absent for arm in analysis.rows if arm.absent)
    for reason in reasons:
        titles = [arm.title for arm in analysis.rows if arm.absent == reason]
        kind, _, why = reason.partition(": ")
        alone = (
            "; the paper's numbers alone"
            if any(arm.paper for arm in analysis.rows if arm.absent == reason)
            else ""
        )
        notes.append(f"{list_words(titles)}: {kind}{f' ({why})' if why else ''}{alone}.")
    for key, values in environment(analysis).items():
        if len(values) > 1:
            shown = ", ".join(f"{value} ({count} cells)" for value, count in values.items())
            notes.append(f"Mixed {key}: {shown}. Differences may owe something to it.")
    for c in analysis.comparisons:
        pair = f"{METRICS[c.metric].name}, {c.arm.title} {MINUS} {c.other.title}"
        if c.difference and c.difference.sd == 0:
            notes.append(
                f"{pair}: every pair differs by the same amount, so that Student's t is undefined."
            )
        if c.direction == "level":
            notes.append(f"{pair}: the paper has them level, which no test can show.")
    return notes


def environment(analysis: Analysis) -> dict[str, dict[str, int]]:
    """Versions and machine: key, then each value with the number of cells that have it."""
    found: dict[str, dict[str, int]] = {}
    for record in analysis.records:
        for key, value in sorted(record.environment.items()):
            text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            text = literal(text)
            by_value = found.setdefault(key, {})
            by_value[text] = by_value.get(text, 0) + 1
    return found


def _planned(analysis: Analysis) -> str:
    """``seeds 0, 1 and 2``; where variants have other numbers, whose they are."""
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for arm in analysis.arms:
        by_seeds.setdefault(tuple(cell.seed for cell in arm.cells), []).append(arm.title)
    parts = []
    for seeds, titles in sorted(by_seeds.items()):
        shown = f"seed{'s' if len(seeds) > 1 else ''} {list_words([str(seed) for seed in seeds])}"
        parts.append(f"{shown} of {list_words(titles)}" if len(by_seeds) > 1 else shown)
    return "; ".join(parts)


def _precision(config: Config) -> str:
    """Nothing where it is what a reader expects."""
    precision = config.evaluation.precision
    return "" if precision == "no" else f", forward passes in {PRECISIONS[precision]}"


def _official(analysis: Analysis) -> bool:
    """Whether the benchmark's own AP stands beside COCO's, so that each table names both."""
    return any(metric in OFFICIAL for metric in analysis.metrics)


def _counterpart(analysis: Analysis) -> str:
    titles = {c.other.title for c in analysis.comparisons}
    return titles.pop() if len(titles) == 1 else "its counterpart"
