"""How well detections meet the instances of an image, to rank pictures by.

An image's score is the mean over its ground-truth instances (crowds left out) of the best IoU that
a detection of the same class with a score above ``MIN_SCORE`` has with it: in [0, 1], 0 for an
instance that nothing meets. It ranks pictures; it is no result, since false positives cost nothing.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_mask

from sskd.data.coco import CocoData

__all__ = [
    "MATCH_IOU",
    "MIN_SCORE",
    "Detections",
    "extremes",
    "match",
    "overlaps",
    "score_images",
    "sure",
]

MIN_SCORE = 0.3
"""Detections at or below it are neither scored nor drawn: the threshold of the pseudo-labels."""

MATCH_IOU = 0.5
"""A detection that overlaps an instance of its class this much takes the instance's colour."""

Detections = list[dict[str, Any]]
"""Entries of a COCO result list."""


def score_images(data: CocoData, predictions: Detections) -> dict[int, float]:
    """The score of every image that has an instance, by image id."""
    by_image = sure(predictions)
    scores = {}
    for image in data.images:
        found = overlaps(data, image.id, by_image.get(image.id, []))
        if found.shape[1]:
            best = found.max(axis=0) if len(found) else np.zeros(found.shape[1])
            scores[image.id] = float(best.mean())
    return scores


def extremes(
    mine: Mapping[int, float], other: Mapping[int, float], *, among: Collection[int]
) -> tuple[int | None, int | None]:
    """The images on which one model loses and gains the most against another, ties by id.

    Args:
        mine: Score by image id.
        other: The other model's.
        among: The images to choose from; all, where none of them has a score.

    Returns:
        Ids of the largest loss and of the largest gain; ``None`` where no image loses, or gains.
    """
    shared = set(mine) & set(other)
    gains = {i: round(mine[i] - other[i], 9) for i in sorted(shared & set(among) or shared)}
    loss = min(gains, key=lambda image: gains[image], default=None)
    gain = max(gains, key=lambda image: gains[image], default=None)
    return (
        loss if loss is not None and gains[loss] < 0 else None,
        gain if gain is not None and gains[gain] > 0 else None,
    )


def match(iou: np.ndarray) -> list[int | None]:
    """Which instance each detection shows, one to one, earlier detections first.

    Args:
        iou: IoU (detections, instances), 0 where the classes differ.

    Returns:
        For each detection the free instance that it overlaps most, by ``MATCH_IOU`` or more.
    """
    free = np.ones(iou.shape[1], dtype=bool)
    matches: list[int | None] = []
    for row in iou:
        open_row = np.where(free, row, 0)
        best = int(open_row.argmax()) if open_row.size else 0
        if open_row.size and open_row[best] >= MATCH_IOU:
            free[best] = False
            matches.append(best)
        else:
            matches.append(None)
    return matches


def sure(predictions: Detections) -> dict[int, Detections]:
    """Detections above the threshold, the surest first."""
    by_image: dict[int, Detections] = {}
    for detection in sorted(predictions, key=lambda d: -d["score"]):
        if detection["score"] > MIN_SCORE:
            by_image.setdefault(detection["image_id"], []).append(detection)
    return by_image


def overlaps(data: CocoData, image_id: int, detections: Detections) -> np.ndarray:
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
