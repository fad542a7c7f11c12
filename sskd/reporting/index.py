"""All ablations of a scale and data set on one page."""

from collections.abc import Sequence
from pathlib import Path

from sskd.reporting.analysis import Analysis
from sskd.reporting.arms import data_name
from sskd.reporting.document import Block, Document, Heading, Paragraph, Table
from sskd.reporting.formats import to_markdown
from sskd.reporting.metrics import METRICS
from sskd.reporting.numbers import MINUS, NONE, list_words, show_difference, show_level
from sskd.reporting.prose import headline
from sskd.reporting.statistics import Verdict
from sskd.reporting.tables import show_claim

__all__ = ["write_index"]

_VERDICTS: tuple[Verdict, ...] = ("agrees", "differs", "undecided", "not comparable")


def write_index(
    analyses: Sequence[Analysis], *, out: Path, suffix: str, not_begun: Sequence[str]
) -> Path:
    """Write ``out/README.md``: a row an ablation, with its verdicts and its answer.

    Args:
        analyses: All of one scale and data set.
        out: The folder of their reports.
        suffix: Ending of the reports to link to.
        not_begun: Names of ablations without a finished cell.
    """
    blocks: list[Block] = [Paragraph((_summary(analyses),))]
    if analyses:
        blocks.append(Table(tuple(_rows(analyses, suffix)), _caption(analyses), text=True))
        claims = tuple(_claims(analyses))
        blocks += [Heading("Every claim"), Table(claims, _CLAIMS, text=True)] if claims else []
    if not_begun:
        names = ", ".join(f"`{name}`" for name in not_begun)
        blocks.append(Paragraph((f"No finished cell yet: {names}.",)))
    title = "Results"
    if analyses:
        cell = analyses[0].reference.cells[0]
        title += f": {data_name(cell)} at {cell.config.scale} scale"
    path, text = out / "README.md", to_markdown(Document.of("README", title, blocks), out)
    if not path.is_file() or path.read_bytes() != text.encode():
        path.write_text(text, "utf-8")
    return path


_CLAIMS = (
    "What the paper ranks: variant minus counterpart, by each ablation's first metric, with its "
    "95 % interval (AP in points), and the same difference in the paper, or where it puts the "
    "variant in words."
)


def _summary(analyses: Sequence[Analysis]) -> str:
    if not analyses:
        return "No cell has finished yet."
    found = [_count(analysis) for analysis in analyses]
    total = [sum(column) for column in zip(*found, strict=True)]
    words = ("agree", "differ", *_VERDICTS[2:])
    counts = ", ".join(f"{n} {word}" for word, n in zip(words, total, strict=True))
    # A cell that several tables need is missing once.
    missing = len({cell.fingerprint for analysis in analyses for cell in analysis.missing})
    rest = f" {missing} cells are missing." if missing else ""
    return f"{len(analyses)} ablations, {sum(total)} comparisons: {counts}.{rest}"


def _caption(analyses: Sequence[Analysis]) -> str:
    looked = [analysis.ablation.name for analysis in analyses if analysis.looks]
    looks = f", and in {list_words(looked)} for the looks at the numbers" if looked else ""
    return (
        "Verdicts on the paper's claims by each ablation's first metric: paired t-tests, corrected "
        f"after Holm within the ablation{looks}, not across this page. Each report has its "
        "intervals."
    )


def _rows(analyses: Sequence[Analysis], suffix: str) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("Ablation", "paper", "seeds", *_VERDICTS, "answer", "reference"),
    ]
    for analysis in analyses:
        ablation = analysis.ablation
        counts = [str(n) if n else NONE for n in _count(analysis)]
        done = sorted({len(arm.records) for arm in analysis.arms})
        seeds = str(done[0]) if len(done) == 1 else f"{done[0]} to {done[-1]}"
        measure = METRICS[analysis.metrics[0]]
        summary = analysis.reference.summary(analysis.metrics[0])
        level = f"{measure.name} {show_level(summary, measure)}"
        rows.append(
            (
                f"[{ablation.name}]({ablation.name}.{suffix})",
                ablation.source.place if ablation.source else NONE,
                seeds,
                *counts,
                headline(analysis),
                f"{analysis.reference.title}: {level}",
            )
        )
    return rows


def _claims(analyses: Sequence[Analysis]) -> list[tuple[str, ...]]:
    """A heading an ablation, then a row a claim; nothing where no paper claims anything."""
    rows: list[tuple[str, ...]] = []
    for analysis in analyses:
        measure = METRICS[analysis.metrics[0]]
        ranked = [c for c in analysis.of(analysis.metrics[0]) if c.direction]
        if ranked:
            place = f", {analysis.ablation.source.place}" if analysis.ablation.source else ""
            rows.append((f"{analysis.ablation.name}{place}: {measure.name}",))
        for c in ranked:
            ours = show_difference(c.difference, measure) if c.difference else NONE
            pairs = str(c.difference.n if c.difference else 0)
            name = f"{c.arm.title} {MINUS} {c.other.title}"
            rows.append((name, pairs, ours, show_claim(c), c.verdict))
    return [("Claim", "pairs", "difference", "paper", "verdict"), *rows] if rows else []


def _count(analysis: Analysis) -> list[int]:
    found = [c.verdict for c in analysis.of(analysis.metrics[0])]
    return [found.count(verdict) for verdict in _VERDICTS]
