"""Prediction window by window, for images with many things that are small against the whole.

A query-based decoder finds about as many things, of about such sizes, as its training views
showed. Windows of the views' size bring an image of any size back to that.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

__all__ = ["Rle", "corners", "is_cut", "merge", "paste"]

Rle = dict[str, Any]

SAME = 0.5
"""IoU, or share of the smaller mask, from which two windows' masks are one thing."""


def corners(length: int, window: int) -> list[int]:
    """Where windows begin along a side, so that they cover it and overlap by a third or more.

    Args:
        length: Of the side, in pixels.
        window: Of a window, in pixels.
    """
    if window >= length:
        return [0]
    count = 1 + -(-3 * (length - window) // (2 * window))
    return [round(i * (length - window) / (count - 1)) for i in range(count)]


def paste(rle: Rle, corner: tuple[int, int], size: tuple[int, int]) -> Rle:
    """A window's mask as the whole image's.

    Args:
        rle: In the window.
        corner: Row and column of the window's first pixel.
        size: Height and width of the image.
    """
    whole = np.zeros(size, np.uint8, order="F")
    mask = coco_mask.decode(rle)
    height, width = mask.shape
    whole[corner[0] : corner[0] + height, corner[1] : corner[1] + width] = mask
    encoded = coco_mask.encode(whole)
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def merge(
    rles: Sequence[Rle],
    scores: Sequence[float],
    classes: Sequence[int],
    windows: Sequence[int],
    cut: Sequence[bool],
) -> list[int]:
    """Which detections stand when each thing may be seen by several windows.

    A detection goes if a better one of its class, from another window, covers half of it or shares
    half of their union; the surer is better, but none that a window's edge cut off is better than
    a whole one. Within a window nothing is suppressed: the decoder itself does without.

    Args:
        rles: Masks in the whole image.
        scores: Of each.
        classes: Of each.
        windows: Which window each is from.
        cut: Whether the mask reaches an edge of its window that is none of the image.

    Returns:
        Places of those that stand, by falling score.
    """
    order = sorted(range(len(rles)), key=lambda place: (cut[place], -scores[place]))
    kept: list[int] = []
    for place in order:
        others = [k for k in kept if classes[k] == classes[place] and windows[k] != windows[place]]
        if others:
            theirs = [rles[k] for k in others]
            union = coco_mask.iou([rles[place]], theirs, [0] * len(theirs))
            # As a crowd, the other counts by how much of this mask it covers.
            cover = coco_mask.iou([rles[place]], theirs, [1] * len(theirs))
            if max(union.max(), cover.max()) > SAME:
                continue
        kept.append(place)
    return sorted(kept, key=lambda place: -scores[place])


def is_cut(rle: Rle, corner: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether a window's mask reaches an edge of the window that is none of the image.

    Args:
        rle: In the window.
        corner: Row and column of the window's first pixel.
        size: Height and width of the image.
    """
    left, top, width, height = coco_mask.toBbox(rle).tolist()
    rows, columns = rle["size"]
    return bool(
        (top <= 0 and corner[0] > 0)
        or (left <= 0 and corner[1] > 0)
        or (top + height >= rows and corner[0] + rows < size[0])
        or (left + width >= columns and corner[1] + columns < size[1])
    )
