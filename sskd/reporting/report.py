"""The report of an ablation: a pure function of declaration, records and validation images.

Equal inputs give equal bytes. It reads nothing that it wrote, and a cell without a record is shown
as missing, with the command that fills it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from sskd.reporting import prose, tables
from sskd.reporting.analysis import Analysis, analyse
from sskd.reporting.cost import cost_of
from sskd.reporting.curves import MAX_POINTS, collect_curves
from sskd.reporting.gallery import MATCH_IOU, MIN_INSTANCES, MIN_SCORE, Gallery, draw_gallery
from sskd.reporting.plots import draw_curves, draw_points
from sskd.reporting.statistics import ALPHA, POWER
from sskd.studies.cells import PlannedCell
from sskd.studies.declaration import Ablation

__all__ = ["summary_lines", "write_report"]


def write_report(
    ablation: Ablation,
    cells: Sequence[PlannedCell],
    *,
    home: Path,
    out: Path,
    command: str,
    failures: Mapping[str, str] | None = None,
) -> Path:
    """Write ``out/NAME.md`` with its figures ``out/NAME-*.png`` beside it.

    Args:
        ablation: The declaration.
        cells: All its cells, finished or not.
        home: Where the records are.
        out: A folder; made if need be.
        command: What runs the cells, as the reader would type it.
        failures: Fingerprint to reason, one line, of cells that were tried and failed.

    Returns:
        The path of the markdown file.

    Raises:
        ValueError: If a record is broken, or no cell is of the reference; one line.
    """
    out.mkdir(parents=True, exist_ok=True)
    analysis = analyse(ablation, cells, home=home)
    figures = {kind: out / f"{ablation.name}-{kind}.png" for kind in ("points", "curves", "images")}
    for path in figures.values():
        # A figure that can no longer be drawn must not outlive its numbers.
        path.unlink(missing_ok=True)
    if analysis.records:
        draw_points(analysis, figures["points"])
    curves = collect_curves(analysis, home=home)
    if curves:
        draw_curves(curves, analysis.arms, figures["curves"])
    gallery, reason = _pictures(analysis, figures["images"], home)
    text = _template().render(
        **_facts(analysis, failures or {}),
        command=command,
        figures={kind: path.name for kind, path in figures.items()},
        curves=curves,
        gallery=gallery,
        no_pictures=reason,
    )
    path = out / f"{ablation.name}.md"
    path.write_text(text, "utf-8")
    return path


def summary_lines(
    ablation: Ablation, cells: Sequence[PlannedCell], *, home: Path
) -> list[list[str]]:
    """The table of a report for a terminal: a header, then one row a variant, all plain text.

    Args:
        ablation: The declaration.
        cells: Its cells, finished or not.
        home: Where the records are.

    Raises:
        ValueError: If a record is broken, or no cell is of the reference; one line.
    """
    return tables.summary_rows(analyse(ablation, cells, home=home))


def _pictures(analysis: Analysis, path: Path, home: Path) -> tuple[Gallery | None, str]:
    """Pictures are worth having, but no report should fail for want of them."""
    try:
        return draw_gallery(analysis, path, home=home), ""
    except (ValueError, OSError) as error:
        return None, " ".join(str(error).split()).replace(str(home), "<home>")


def _facts(analysis: Analysis, failures: Mapping[str, str]) -> dict[str, Any]:
    """Everything of the text that needs no picture."""
    cost = cost_of(analysis.arms)
    variants = analysis.ablation.variants
    deviations = dict.fromkeys(
        line for arm in analysis.arms for cell in arm.cells for line in cell.config.deviations
    )
    notes = [f"{variants[arm.name].label}: {note}" for arm in analysis.arms
             if (note := variants[arm.name].note)]  # fmt: skip
    classes = tables.class_rows(analysis)
    return {
        "ablation": analysis.ablation,
        "reference": analysis.reference,
        "answer": prose.answer(analysis),
        "caption": prose.caption(analysis),
        "footnotes": prose.footnotes(analysis, failures),
        "environment": prose.environment(analysis),
        "at_papers_scale": analysis.at_papers_scale,
        "has_results": bool(analysis.records),
        "results": tables.markdown(tables.result_rows(analysis)),
        "comparisons": tables.markdown(tables.comparison_rows(analysis)),
        "power_table": tables.markdown(tables.power_rows(analysis)),
        "variants": tables.markdown(tables.variant_rows(analysis), text=True),
        "costs": tables.markdown(tables.cost_rows(cost)),
        "variant_costs": tables.markdown(tables.variant_cost_rows(cost)),
        "data": prose.data_name(analysis),
        "seeds": tables.markdown(tables.seed_rows(analysis)),
        "classes": tables.markdown(classes) if classes else "",
        "cost": cost,
        "duration": tables.show_duration,
        "deviations": list(deviations),
        "notes": [*analysis.ablation.notes, *notes],
        "missing": [
            (variants[cell.variant].label, cell, failures.get(cell.fingerprint, ""))
            for cell in analysis.missing
        ],
        "config": analysis.reference.cells[0].config,
        "alpha": ALPHA,
        "power": POWER,
        "max_points": MAX_POINTS,
        "min_score": MIN_SCORE,
        "min_instances": MIN_INSTANCES,
        "match_iou": MATCH_IOU,
    }


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("sskd.reporting"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - markdown, from the user's own files
    )
    return environment.get_template("ablation.md.j2")
