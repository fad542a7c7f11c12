"""The same validation images under every variant, beside the ground truth.

An image's score is the mean over its ground-truth instances (crowds left out) of the best IoU that
a detection of the same class with a score above ``MIN_SCORE`` has with it: in [0, 1], 0 for an
instance that nothing meets. It ranks pictures; it is no result, since false positives cost nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_mask
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from sskd.data.coco import CocoData, load_coco
from sskd.data.datasets import open_dataset
from sskd.reporting.analysis import Analysis
from sskd.reporting.plots import INK, house_style, save
from sskd.reporting.records import read_predictions

__all__ = [
    "MATCH_IOU",
    "MIN_INSTANCES",
    "MIN_SCORE",
    "Gallery",
    "choose_images",
    "draw_gallery",
    "match",
    "score_images",
]

MIN_SCORE = 0.3
"""Detections at or below it are neither scored nor drawn: the threshold of the pseudo-labels."""

MATCH_IOU = 0.5
"""A detection that overlaps an instance of its class this much takes the instance's colour."""

IMAGES = 4

MIN_INSTANCES = 3
"""Images with fewer are drawn only where none has as many: they show no crowding."""

COLOURS = (
    "#FF5566", "#22BBFF", "#FFDD33", "#44CC66", "#FF9922", "#BB77FF", "#BBEE55", "#FF99CC",
    "#5588FF", "#00CCAA", "#DD8855", "#DDDDFF",
)  # fmt: skip
"""Bright enough for a night scene."""

Detections = list[dict[str, Any]]
"""Entries of a COCO result list."""


@dataclass(frozen=True)
class Gallery:
    """What a drawn gallery shows."""

    seed: int
    file_names: tuple[str, ...]
    missing: tuple[str, ...]
    """Labels of the variants without pictures."""


def score_images(data: CocoData, predictions: Detections) -> dict[int, float]:
    """The score of every image that has an instance, by image id."""
    by_image = _by_image(predictions)
    scores = {}
    for image in data.images:
        overlaps = _overlaps(data, image.id, by_image.get(image.id, []))
        if overlaps.shape[1]:
            best = overlaps.max(axis=0) if len(overlaps) else np.zeros(overlaps.shape[1])
            scores[image.id] = float(best.mean())
    return scores


def choose_images(
    scores: Mapping[str, Mapping[int, float]], *, count: int, among: Collection[int]
) -> list[int]:
    """The images whose score differs most between variants, ties by id.

    Args:
        scores: By variant, then by image id.
        count: How many at most.
        among: The images to choose from; all, where none of them has a score.

    Returns:
        Ids by falling spread, the largest minus the smallest score.
    """
    shared = set.intersection(*(set(part) for part in scores.values())) if scores else set()
    spread = {}
    for image in shared & set(among) or shared:
        values = [part[image] for part in scores.values()]
        spread[image] = round(max(values) - min(values), 9)
    return sorted(spread, key=lambda image: (-spread[image], image))[:count]


def match(overlaps: np.ndarray) -> list[int | None]:
    """Which instance each detection shows, one to one, earlier detections first.

    Args:
        overlaps: IoU (detections, instances), 0 where the classes differ.

    Returns:
        For each detection the free instance that it overlaps most, by ``MATCH_IOU`` or more.
    """
    free = np.ones(overlaps.shape[1], dtype=bool)
    matches: list[int | None] = []
    for row in overlaps:
        open_row = np.where(free, row, 0)
        best = int(open_row.argmax()) if open_row.size else 0
        if open_row.size and open_row[best] >= MATCH_IOU:
            free[best] = False
            matches.append(best)
        else:
            matches.append(None)
    return matches


def draw_gallery(analysis: Analysis, path: Path, *, home: Path) -> Gallery:
    """Choose the images and draw them.

    The seed is the first one that any variant has pictures of.

    Raises:
        ValueError: If there is nothing to draw: why, in one line.
    """
    seed, found = _first_seed(analysis, home)
    record = next(arm.records[seed] for arm in analysis.arms if arm.name in found)
    dataset = open_dataset(home, record.config["data"]["name"])
    if dataset.sha256 != record.sha256:
        raise ValueError(f"the data set {dataset.name!r} has changed since the cells were run")
    data = load_coco(dataset.val_json, dataset.val_images, check_files=False)
    scores = {name: score_images(data, predictions) for name, predictions in found.items()}
    crowded = {i.id for i in data.images if _instances(data, i.id) >= MIN_INSTANCES}
    chosen = choose_images(scores, count=IMAGES, among=crowded)
    if not chosen:
        raise ValueError("no validation image has an instance")
    arms = [arm for arm in analysis.arms if arm.name in found]
    by_arm = {name: _by_image(predictions) for name, predictions in found.items()}
    sizes = {image.id: image for image in data.images}
    width = 9.6 / (1 + len(arms))
    ratio = float(np.mean([sizes[i].height / sizes[i].width for i in chosen]))
    with house_style():
        figure = Figure(
            figsize=(9.6, len(chosen) * (width * ratio + 0.17) + 0.25),
            layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0),
        )
        grid = figure.subplots(len(chosen), 1 + len(arms), squeeze=False)
        for axes, image_id in zip(grid, chosen, strict=True):
            image = _backdrop(data.read_image(image_id))
            _draw_truth(axes[0], image, data, image_id)
            for axis, arm in zip(axes[1:], arms, strict=True):
                detections = by_arm[arm.name].get(image_id, [])
                _draw_detections(axis, image, data, image_id, detections)
                axis.set_xlabel(f"score {scores[arm.name][image_id]:.2f}", labelpad=2, fontsize=8)
            axes[0].set_xlabel(f"image {image_id}", labelpad=2, fontsize=8)
        for axis, title in zip(grid[0], ["Ground truth", *(a.label for a in arms)], strict=True):
            axis.set_title(title, fontweight="bold", fontsize=9, pad=4)
        save(figure, path)
    names = tuple(sizes[i].file_name for i in chosen)
    return Gallery(seed, names, tuple(a.label for a in analysis.arms if a not in arms))


def _first_seed(analysis: Analysis, home: Path) -> tuple[int, dict[str, Detections]]:
    for seed in analysis.seeds:
        found = {}
        for arm in analysis.arms:
            if seed in arm.records:
                predictions = read_predictions(home, arm.records[seed])
                if predictions is not None:
                    found[arm.name] = predictions
        if found:
            return seed, found
    raise ValueError("no finished cell has kept its predictions")


def _by_image(predictions: Detections) -> dict[int, Detections]:
    """Detections above the threshold, the surest first."""
    by_image: dict[int, Detections] = {}
    for detection in sorted(predictions, key=lambda d: -d["score"]):
        if detection["score"] > MIN_SCORE:
            by_image.setdefault(detection["image_id"], []).append(detection)
    return by_image


def _instances(data: CocoData, image_id: int) -> int:
    return sum(not annotation.crowd for annotation in data.annotations(image_id))


def _overlaps(data: CocoData, image_id: int, detections: Detections) -> np.ndarray:
    """IoU (detections, instances without crowds), 0 where the classes differ."""
    annotations = [a for a in data.annotations(image_id) if not a.crowd]
    if not annotations or not detections:
        return np.zeros((len(detections), len(annotations)))
    iou = coco_mask.iou(
        [detection["segmentation"] for detection in detections],
        [data.rle(annotation) for annotation in annotations],
        [0] * len(annotations),
    )
    found = np.array([detection["category_id"] for detection in detections])
    same = found[:, None] == np.array([annotation.category_id for annotation in annotations])
    return np.where(same, np.asarray(iou, dtype=np.float64), 0.0)


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
    overlaps = _overlaps(data, image_id, detections)
    _draw(axis, image, [d["segmentation"] for d in detections], match(overlaps))


def _draw(axis: Axes, image: np.ndarray, rles: Sequence[Any], owners: Sequence[int | None]) -> None:
    """Filled and outlined in the owner's colour; a dashed white outline where there is none."""
    masks = [coco_mask.decode(rle).astype(bool) for rle in rles]
    shown = image.copy()
    for mask, owner in zip(masks, owners, strict=True):
        if owner is not None:
            colour = np.array(to_rgb(COLOURS[owner % len(COLOURS)]))
            shown[mask] = 0.5 * shown[mask] + 0.5 * colour
    axis.imshow(np.clip(shown, 0, 1), interpolation="auto")
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
