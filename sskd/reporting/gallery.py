"""Each variant beside its counterpart, on the images where it loses and gains the most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_mask
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from sskd.data.coco import CocoData, load_coco
from sskd.reporting.analysis import Analysis, Comparison
from sskd.reporting.pictured import choose_predictions, val_dataset
from sskd.reporting.records import read_predictions
from sskd.reporting.scores import Detections, extremes, match, overlaps, score_images, sure
from sskd.reporting.style import DPI, FAINT, INK, house_style, save

__all__ = ["MAX_ROWS", "MIN_INSTANCES", "Gallery", "draw_gallery"]

MAX_ROWS = 8
"""Later comparisons have no pictures: more would be read by nobody."""

MIN_INSTANCES = 3
"""Images with fewer are drawn only where none has as many: they show no crowding."""

COLOURS = (
    "#FF5566", "#22BBFF", "#FFDD33", "#44CC66", "#FF9922", "#BB77FF", "#BBEE55", "#FF99CC",
    "#5588FF", "#00CCAA", "#DD8855", "#DDDDFF",
)  # fmt: skip
"""Bright enough for a night scene."""

_WIDTH = 9.6
_GAP = 0.1
_LINE = 0.16
"""Inches of a line of text."""
_LETTERS = 135
"""Of a line as wide as the figure."""


@dataclass(frozen=True)
class Gallery:
    """What a drawn gallery shows."""

    seed: int
    file_names: tuple[str, ...]
    """Each once, in the order of the pictures."""
    missing: tuple[str, ...]
    """Titles of the variants without pictures."""


@dataclass(frozen=True)
class _Case:
    """One image under a variant and its counterpart."""

    image: int
    detections: tuple[Detections, Detections]
    """The counterpart's, then the variant's."""
    scores: tuple[float, float]


def draw_gallery(
    analysis: Analysis, path: Path, endings: Sequence[str] = ("png",), *, home: Path
) -> Gallery:
    """Choose the images of every comparison and draw them: a row each, the loss and the gain.

    The seed is the first one that any variant and its counterpart both have pictures of.

    Raises:
        ValueError: If there is nothing to draw: why, in one line.
    """
    seed, files = choose_predictions(analysis, home)
    dataset = val_dataset(analysis, seed, home)
    found = {name: read_predictions(path) for name, path in files.items()}
    data = load_coco(dataset.val_json, dataset.val_images, check_files=False)
    pairs = [c for c in _pairs(analysis) if {c.arm.name, c.other.name} <= set(found)]
    rows = _cases(data, pairs[:MAX_ROWS], found)
    if not rows:
        raise ValueError("every variant scores like its counterpart on every image")
    sizes = {image.id: image for image in data.images}
    shown = dict.fromkeys(case.image for _, *cases in rows for case in cases if case)
    ratio = float(np.mean([sizes[i].height / sizes[i].width for i in shown]))
    headings = [
        fill(f"{c.arm.title} against {c.other.title}", _LETTERS, break_on_hyphens=False)
        for c, *_ in rows
    ]
    # Inches of a picture, and of the words around it: they take as much wherever they stand.
    tall = _WIDTH / 6 * ratio
    above = _LINE * (1.3 + max(heading.count("\n") + 1 for heading in headings))
    below = 1.3 * _LINE
    height = len(rows) * (tall + above + below)
    with house_style():
        figure = Figure(figsize=(_WIDTH, height))
        grid = figure.subplots(
            len(rows),
            7,
            squeeze=False,
            width_ratios=(1, 1, 1, _GAP, 1, 1, 1),
            gridspec_kw={
                "left": 0.003,
                "right": 0.997,
                "bottom": below / height,
                "top": 1 - above / height,
                "wspace": 0.03,
                "hspace": (above + below) / tall,
            },
        )
        for axes, heading, (_, loss, gain) in zip(grid, headings, rows, strict=True):
            axes[0].annotate(
                heading,
                (0, 1),
                (0, 72 * 1.2 * _LINE),
                xycoords="axes fraction",
                textcoords="offset points",
                fontweight="bold",
                fontsize=8,
            )
            _triple(list(axes[:3]), "largest loss", data, loss, "no image loses")
            axes[3].set_visible(False)
            _triple(list(axes[4:]), "largest gain", data, gain, "no image gains")
        save(figure, path, endings)
    drawn = {arm.name for c, *_ in rows for arm in (c.arm, c.other)}
    without = tuple(arm.title for arm in analysis.arms if arm.name not in drawn)
    return Gallery(seed, tuple(sizes[i].file_name for i in shown), without)


def _pairs(analysis: Analysis) -> list[Comparison]:
    return list(analysis.own(analysis.metrics[0]).values())


def _cases(
    data: CocoData, pairs: Sequence[Comparison], found: Mapping[str, Detections]
) -> list[tuple[Comparison, _Case | None, _Case | None]]:
    crowded = {image.id for image in data.images if _instances(data, image.id) >= MIN_INSTANCES}
    names = dict.fromkeys(name for c in pairs for name in (c.arm.name, c.other.name))
    scores = {name: score_images(data, found[name]) for name in names}
    if not any(scores.values()):
        raise ValueError("no validation image has an instance")
    by_image = {name: sure(found[name]) for name in names}
    rows = []
    for c in pairs:
        sides = (c.other.name, c.arm.name)
        chosen = extremes(scores[c.arm.name], scores[c.other.name], among=crowded)
        loss, gain = (
            None
            if image is None
            else _Case(
                image,
                (by_image[sides[0]].get(image, []), by_image[sides[1]].get(image, [])),
                (scores[sides[0]][image], scores[sides[1]][image]),
            )
            for image in chosen
        )
        if loss or gain:
            rows.append((c, loss, gain))
    return rows


def _instances(data: CocoData, image_id: int) -> int:
    return sum(not annotation.crowd for annotation in data.annotations(image_id))


def _triple(
    axes: Sequence[Axes], title: str, data: CocoData, case: _Case | None, nothing: str
) -> None:
    axes[0].set_title(title, loc="left", fontsize=8, pad=3)
    if case is None:
        for axis in axes:
            axis.set_axis_off()
        axes[1].text(0.5, 0.5, nothing, transform=axes[1].transAxes, ha="center", color=FAINT)
        return
    image = _backdrop(data.read_image(case.image))
    _draw_truth(axes[0], image, data, case.image)
    axes[0].set_xlabel(f"truth, image {case.image}", labelpad=2, fontsize=7)
    names = ("counterpart", "variant")
    for axis, name, found, score in zip(axes[1:], names, case.detections, case.scores, strict=True):
        _draw_detections(axis, image, data, case.image, found)
        axis.set_xlabel(f"{name}, score {score:.2f}", labelpad=2, fontsize=7)


def _backdrop(image: np.ndarray) -> np.ndarray:
    """The image with half its colour, so that the instances' colours stand out."""
    colour = image.astype(np.float64) / 255
    result: np.ndarray = 0.5 * colour + 0.5 * colour.mean(axis=2, keepdims=True)
    return result


def _draw_truth(axis: Axes, image: np.ndarray, data: CocoData, image_id: int) -> None:
    rles = [data.rle(a) for a in data.annotations(image_id) if not a.crowd]
    _draw(axis, image, rles, list(range(len(rles))))


def _draw_detections(
    axis: Axes, image: np.ndarray, data: CocoData, image_id: int, detections: Detections
) -> None:
    owners = match(overlaps(data, image_id, detections))
    _draw(axis, image, [d["segmentation"] for d in detections], owners)


def _draw(axis: Axes, image: np.ndarray, rles: Sequence[Any], owners: Sequence[int | None]) -> None:
    """Filled and outlined in the owner's colour; a dashed white outline where there is none."""
    masks = [coco_mask.decode(rle).astype(bool) for rle in rles]
    shown = image.copy()
    for mask, owner in zip(masks, owners, strict=True):
        if owner is not None:
            colour = np.array(to_rgb(COLOURS[owner % len(COLOURS)]))
            shown[mask] = 0.5 * shown[mask] + 0.5 * colour
    # Enlarged smoothly, the noise of small images doubles the file and tells nothing.
    enlarged = image.shape[1] < _WIDTH / 6 * DPI
    axis.imshow(np.clip(shown, 0, 1), interpolation="nearest" if enlarged else "auto")
    for mask, owner in zip(masks, owners, strict=True):
        if mask.any() and not mask.all():
            # A rim of zeros closes the outlines of instances that the image cuts off.
            rim = np.pad(mask.astype(np.float64), 1)
            span_x, span_y = np.arange(-1, mask.shape[1] + 1), np.arange(-1, mask.shape[0] + 1)
            colour_name = "white" if owner is None else COLOURS[owner % len(COLOURS)]
            style = "dashed" if owner is None else "solid"
            axis.contour(
                span_x, span_y, rim, [0.5], colors=[colour_name], linewidths=1.2, linestyles=style
            )
    axis.set_xlim(-0.5, image.shape[1] - 0.5)
    axis.set_ylim(image.shape[0] - 0.5, -0.5)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(visible=False)
    for side in axis.spines.values():
        side.set_visible(True)
        side.set_color(INK)
        side.set_linewidth(0.5)
