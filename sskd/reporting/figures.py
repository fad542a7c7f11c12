"""The figures of a report: which there are, and what their captions say."""

from collections.abc import Sequence
from pathlib import Path

from sskd.reporting.analysis import Analysis
from sskd.reporting.curves import MAX_POINTS, collect_curves
from sskd.reporting.document import Figure
from sskd.reporting.gallery import MAX_ROWS, MIN_INSTANCES, Gallery, draw_gallery
from sskd.reporting.lines import Line, find_lines
from sskd.reporting.numbers import list_words
from sskd.reporting.points import draw_points
from sskd.reporting.scores import MATCH_IOU, MIN_SCORE
from sskd.reporting.sections import Pictures
from sskd.reporting.training import draw_training
from sskd.reporting.values import draw_values

__all__ = ["KINDS", "draw"]

KINDS = ("points", "values", "training", "curves", "images")
"""What follows the ablation's name in the name of a figure's file."""


def draw(analysis: Analysis, folder: Path, endings: Sequence[str], *, home: Path) -> Pictures:
    """Draw everything that can be drawn into a folder.

    Args:
        analysis: What was measured.
        folder: For ``NAME-KIND.ENDING``.
        endings: Of ``png`` and ``pdf``.
        home: Where histories, predictions and images are.
    """
    stems = {kind: f"{analysis.ablation.name}-{kind}" for kind in KINDS}
    if not analysis.records:
        return Pictures(no_images="no cell has finished yet")
    draw_points(analysis, folder / stems["points"], endings)
    lines = find_lines(analysis)
    if lines:
        draw_values(lines, analysis, folder / stems["values"], endings)
    curves = {}
    for kind, metrics in (("training", ("loss",)), ("curves", analysis.ablation.diagnostics)):
        curves[kind] = collect_curves(analysis, metrics, home=home)
        if curves[kind]:
            draw_training(curves[kind], metrics, analysis, folder / stems[kind], endings)
    gallery, reason = _gallery(analysis, folder / stems["images"], endings, home)
    return Pictures(
        points=_points(analysis, stems["points"]),
        values=_values(lines, analysis, stems["values"]) if lines else None,
        training=_training(stems["training"]) if curves["training"] else None,
        diagnostics=_diagnostics(stems["curves"]) if curves["curves"] else None,
        images=_images(gallery, stems["images"]) if gallery else None,
        no_images=reason,
    )


def _gallery(
    analysis: Analysis, path: Path, endings: Sequence[str], home: Path
) -> tuple[Gallery | None, str]:
    """Pictures are worth having, but no report should fail for want of them."""
    try:
        return draw_gallery(analysis, path, endings, home=home), ""
    except (ValueError, OSError) as error:
        return None, " ".join(str(error).split()).replace(str(home), "<home>")


def _points(analysis: Analysis, stem: str) -> Figure:
    counterparts = analysis.counterparts
    other = counterparts[0].title if len(counterparts) == 1 else "the counterpart"
    caption = (
        "Small dots: seeds. Large dots: their mean with a 95 % t-interval. Left: levels. Middle: "
        f"the same seed's difference to {other}, the comparison that the verdicts rest on; it can "
        "be sharper than the levels, since seeds share what makes them good or bad."
    )
    if any(arm.paper for arm in analysis.rows):
        apart = ", apart, because only their order can compare" if analysis.unlike_paper else ""
        caption += f" Right: the paper's numbers{apart}."
    return Figure(stem, "Levels by variant, paired differences, the paper's numbers", caption)


def _values(lines: Sequence[Line], analysis: Analysis, stem: str) -> Figure:
    caption = (
        "Variants that differ in one number alone, over that number. Small dots: seeds. Line: "
        "their mean. Band: its 95 % t-interval, cut off where it leaves the panel. The scale is "
        "logarithmic where the values span more than a decade, with 0 set apart."
    )
    if any(arm.paper for arm in analysis.rows):
        apart = ", apart, because only their order can compare" if analysis.unlike_paper else ""
        caption += f" The paper's numbers stand at the paper's values{apart}."
    if any(line.rival for line in lines):
        caption += (
            " Dashed: methods that are not run, of which there are the paper's numbers alone."
        )
    return Figure(stem, "Metrics over the number that varies", caption)


_LOGGED = (
    "Logged on training batches of each variant's final stage: line, mean over seeds; band, "
    f"smallest to largest seed. Histories longer than {MAX_POINTS} points are averaged over "
    f"{MAX_POINTS} equal spans of steps."
)


def _training(stem: str) -> Figure:
    caption = (
        "The weighted sum of all terms that a variant's training has: between variants with other "
        f"terms or weights its level says nothing. {_LOGGED}"
    )
    return Figure(stem, "Training loss over the steps", caption)


def _diagnostics(stem: str) -> Figure:
    return Figure(stem, "Diagnostics over the steps", _LOGGED)


def _images(gallery: Gallery, stem: str) -> Figure:
    caption = (
        "A row a comparison: the validation images on which the variant's score lies furthest "
        "below and furthest above its counterpart's (ties by image id), among those with "
        f"{MIN_INSTANCES} instances or more, seed {gallery.seed}: chosen to show differences, not "
        f"typical; the first {MAX_ROWS} comparisons. The score below a picture is the mean, over "
        "the ground-truth instances, of the best IoU with a detection of the same class and a "
        f"confidence above {MIN_SCORE}. Only such detections are drawn. A detection has the colour "
        f"of the instance of its class that it overlaps by an IoU of at least {MATCH_IOU}; a "
        "dashed white outline is a detection without such an instance. "
        f"Images: {', '.join(gallery.file_names)}."
    )
    if gallery.missing:
        caption += f" No pictures of: {list_words(list(gallery.missing))}."
    return Figure(stem, "Validation images under each variant and its counterpart", caption)
