"""The sections of an ablation's report, in the order of reading."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sskd.reporting import captions, prose, tables
from sskd.reporting.analysis import Analysis
from sskd.reporting.arms import data_name, labeled_lists
from sskd.reporting.cost import cost_of
from sskd.reporting.document import (
    Block,
    Bullets,
    Code,
    Document,
    Figure,
    Heading,
    Paragraph,
    Table,
    literal,
)
from sskd.reporting.in_mlflow import in_mlflow
from sskd.reporting.numbers import list_words, show_duration
from sskd.reporting.statistics import POWER
from sskd.reporting.tables import Rows
from sskd.studies.cells import own_changes
from sskd.studies.shown import Shown

__all__ = ["Pictures", "compose"]


@dataclass(frozen=True)
class Pictures:
    """The figures that could be drawn, and why others could not."""

    points: Figure | None = None
    values: Figure | None = None
    training: Figure | None = None
    diagnostics: Figure | None = None
    images: Figure | None = None
    no_images: str = ""


def compose(
    analysis: Analysis,
    pictures: Pictures,
    *,
    command: str,
    failures: Mapping[str, str],
    shown: Shown | None = None,
) -> Document:
    """The whole report.

    Args:
        analysis: What was measured.
        pictures: What was drawn of it.
        command: What runs the cells, as the reader would type it.
        failures: Fingerprint to reason, one line, of cells that were tried and failed.
        shown: The finished cells as MLflow has them.
    """
    blocks = [
        *_head(analysis),
        *_results(analysis, pictures, failures),
        Heading("What this many seeds can tell"),
        _table(tables.power_rows(analysis), captions.power_caption(analysis, power=POWER)),
        *_training(analysis, pictures),
        Heading("Pictures"),
        pictures.images or Paragraph((f"No pictures: {literal(pictures.no_images)}.",)),
        *_cost(analysis),
        Heading("Deviations from the paper, and notes"),
        Bullets(_notes(analysis)),
        *_setting(analysis),
        *_missing(analysis, command, failures),
        *_every_seed(analysis),
        Heading("To reproduce"),
        Code(command),
        *_versions(analysis),
        *in_mlflow(shown),
    ]
    return Document.of(analysis.ablation.name, analysis.ablation.question, blocks)


def _table(rows: Rows, caption: str = "", *, text: bool = False) -> Table:
    return Table(tuple(map(tuple, rows)), caption, text=text)


def _head(analysis: Analysis) -> list[Block]:
    ablation = analysis.ablation
    source = ablation.source
    lines = [
        f"Source: {source.paper}, {source.place} ({source.setting})."
        if source
        else "Source: none; this ablation is not the paper's."
    ]
    if ablation.claim:
        lines.append(f"The paper's claim: {ablation.claim}")
    return [Paragraph(tuple(lines)), Heading("Answer"), Paragraph((prose.answer(analysis),))]


def _results(analysis: Analysis, pictures: Pictures, failures: Mapping[str, str]) -> list[Block]:
    results = tables.result_rows(analysis)
    comparisons = tables.comparison_rows(analysis)
    notes = tuple(captions.footnotes(analysis, failures))
    caption = captions.result_caption(analysis)
    first = Table(tuple(map(tuple, results)), caption, notes)
    second: list[Table] = []
    if analysis.comparisons:
        caption = captions.comparison_caption(analysis) + captions.looks_caption(analysis)
        first = replace(first, notes=())  # they are about both, and stand under the second
        second = [Table(tuple(map(tuple, comparisons)), caption, notes)]
    drawn = (part for part in (pictures.values, pictures.points) if part)
    return [Heading("Results"), first, *second, *drawn]


def _training(analysis: Analysis, pictures: Pictures) -> list[Block]:
    blocks: list[Block] = [
        Heading("Training"),
        pictures.training or Paragraph(("No training loss has been logged.",)),
    ]
    if analysis.ablation.diagnostics:
        blocks.append(pictures.diagnostics or Paragraph(("No diagnostic has been logged.",)))
    return blocks


def _cost(analysis: Analysis) -> list[Block]:
    if not analysis.records:
        return [Heading("Cost"), Paragraph(("Nothing has been computed.",))]
    cost = cost_of(analysis.arms)
    lines = (
        f"{cost.cells} cells took {show_duration(cost.shared)} with every shared stage computed "
        f"once; one by one they would have taken {show_duration(cost.alone)}, "
        f"{cost.factor:.1f} times as much.",
        "Times are those of a stage's own computation on the machine below; peak memory is the "
        "largest of the computations.",
    )
    return [
        Heading("Cost"),
        Paragraph(lines),
        _table(tables.cost_rows(cost)),
        _table(tables.variant_cost_rows(cost)),
    ]


def _notes(analysis: Analysis) -> tuple[str, ...]:
    deviations = dict.fromkeys(
        line for arm in analysis.arms for cell in arm.cells for line in cell.config.deviations
    )
    variants = analysis.ablation.variants
    notes = [f"{arm.title}: {note}" for arm in analysis.rows if (note := variants[arm.name].note)]
    changes = own_changes(analysis.ablation, analysis.reference.cells[0])
    own = [f"`{key}` {_shown(value)} ({_shown(scale)})" for key, (scale, value) in changes.items()]
    by_hand = "Set by hand, over what the lines below say, with the scale's own value after it: "
    return (
        *([f"{by_hand}{', '.join(own)}."] if own else []),
        *(deviations or ["The scale declares no deviation."]),
        *analysis.ablation.notes,
        *notes,
    )


def _shown(value: object) -> str:
    """A setting as ``--set`` takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _setting(analysis: Analysis) -> list[Block]:
    cell = analysis.reference.cells[0]
    config = cell.config
    shares = sorted({arm.cells[0].config.data.label_fraction for arm in analysis.arms})
    labels = list_words([f"{100 * share:g}" for share in shares])
    lists = labeled_lists(arm.cells[0] for arm in analysis.arms)
    labeled = (
        f"the training images of {lists} labeled"
        if lists
        else f"{labels} % of the training images labeled (split seed {config.data.split_seed})"
    )
    record = next(iter(analysis.reference.records.values()), None)
    if record is not None and record.labeled_images is not None and len(shares) == 1:
        labeled += f": {record.labeled_images:,}, beside {record.unlabeled_images:,} unlabeled"
    line = (
        f"Scale `{config.scale}`, data `{data_name(cell)}`, {labeled}, "
        f"base `{analysis.ablation.base}`."
    )
    variants = _table(tables.variant_rows(analysis), text=True)
    return [Heading("Setting"), Paragraph((line,)), variants]


def _missing(analysis: Analysis, command: str, failures: Mapping[str, str]) -> list[Block]:
    if not analysis.missing:
        return []
    titles = {arm.name: arm.title for arm in analysis.rows}
    items = []
    for cell in analysis.missing:
        reason = failures.get(cell.fingerprint, "")
        state = f"failed: {literal(reason)}" if reason else "missing"
        items.append(f"{titles[cell.variant]}, seed {cell.seed}: {state}")
    fills = Paragraph((f"`{command}` fills them.",))
    return [Heading("Missing cells"), fills, Bullets(tuple(items))]


def _every_seed(analysis: Analysis) -> list[Block]:
    blocks: list[Block] = [Heading("Every seed"), _table(tables.seed_rows(analysis))]
    if classes := tables.class_rows(analysis):
        whose = captions.whose_classes(analysis)
        blocks += [Paragraph((f"Mean over seeds by class{whose}:",)), _table(classes)]
    return blocks


def _versions(analysis: Analysis) -> Sequence[Block]:
    found = captions.environment(analysis)
    if not found:
        return [Paragraph(("No record names its versions yet.",))]
    return [Bullets(tuple(f"{key}: {'; '.join(values)}" for key, values in found.items()))]
