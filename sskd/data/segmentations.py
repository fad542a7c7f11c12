"""COCO's spellings of a mask (polygons, run lengths) checked, and turned into masks.

pycocotools trusts what it is given: run lengths that do not cover the image leave undefined
pixels, a polygon of two points is read as a box. So everything foreign is checked first.
"""

import warnings
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as coco_mask

__all__ = ["Polygons", "RunLengths", "Segmentation", "check_segmentation", "decode", "to_rle"]

Polygons: TypeAlias = list[list[float]]
"""Parts of one instance, each x0, y0, x1, y1, ... in pixels."""

RunLengths: TypeAlias = dict[str, Any]
"""``size`` (height, width) and ``counts``: a compressed string, or a list of run lengths."""

Segmentation: TypeAlias = Polygons | RunLengths


def check_segmentation(segmentation: Segmentation, *, height: int, width: int) -> None:
    """Check that a segmentation can be decoded on an image of this size.

    Raises:
        ValueError: A fragment that names the rule: what is wrong, and what would be right.
    """
    if isinstance(segmentation, dict):
        _check_rle(segmentation, height, width)
        return
    if not segmentation:
        raise ValueError("no segmentation; instance masks are needed, boxes alone do not do")
    for number, part in enumerate(segmentation, start=1):
        if len(part) % 2:
            raise ValueError(f"polygon {number} has {len(part)} numbers; pairs x, y are needed")
        if len(part) < 6:
            raise ValueError(f"polygon {number} has {len(part) // 2} points; at least 3 are needed")
        for axis, start, size in (("x", 0, width), ("y", 1, height)):
            low, high = min(part[start::2]), max(part[start::2])
            if low < -size or high > 2 * size:
                far = low if low < -size else high
                raise ValueError(
                    f"polygon {number} reaches {axis} = {far:g}, far outside an image of "
                    f"{width}x{height} (w x h)"
                )


def to_rle(segmentation: Segmentation, *, height: int, width: int) -> RunLengths:
    """One compressed run-length mask, the parts of several polygons united.

    Args:
        segmentation: As ``check_segmentation`` accepts it.
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Returns:
        ``size`` (height, width) and ``counts`` as bytes, as pycocotools takes it.
    """
    rle: RunLengths
    if isinstance(segmentation, list):
        rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        rle = coco_mask.frPyObjects(segmentation, height, width)
    else:
        counts = segmentation["counts"]
        counts = counts.encode() if isinstance(counts, str) else counts
        rle = {"size": [height, width], "counts": counts}
    return rle


def decode(rles: Sequence[RunLengths], *, height: int, width: int) -> Bool[np.ndarray, "n h w"]:
    """Masks of compressed run lengths; a view in pycocotools' column-major memory."""
    if not rles:
        return np.zeros((0, height, width), np.bool_)
    with warnings.catch_warnings():  # its compiled __array__ lacks NumPy 2's copy argument
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        columns = coco_mask.decode(list(rles)).transpose(2, 1, 0)  # (n, w, h), contiguous
    masks: np.ndarray = columns.view(np.bool_).transpose(0, 2, 1)
    return masks


def _check_rle(rle: RunLengths, height: int, width: int) -> None:
    if tuple(rle["size"]) != (height, width):
        raise ValueError(
            f"RLE of size {list(rle['size'])}, but the image is [{height}, {width}] (h, w)"
        )
    counts = rle["counts"]
    if isinstance(counts, list):
        if min(counts, default=0) < 0:
            raise ValueError("RLE with a negative run length")
        covered = sum(counts)
    else:
        covered = _covered(counts.encode() if isinstance(counts, str) else counts)
    if covered != height * width:
        raise ValueError(f"RLE covers {covered} pixels, but the image has {height * width}")


def _covered(counts: bytes) -> int:
    """The pixels under a compressed string: the sum of its runs.

    Characters from ``0`` on carry 5 bits each, least significant first, and a bit that says that
    the number goes on; from the fourth number on, each is the difference to the last but one.
    """
    codes = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if not codes.size:
        return 0
    goes_on = (codes & 32) != 0
    ends = np.flatnonzero(~goes_on)
    if codes.min() < 0 or codes.max() > 63 or goes_on[-1]:
        raise ValueError("RLE counts are no compressed COCO run lengths")
    starts = np.concatenate(([0], ends[:-1] + 1))
    digits = ends - starts + 1
    if digits.max() > 8:
        raise ValueError("RLE counts hold a number that no image needs")
    place = np.arange(codes.size) - np.repeat(starts, digits)
    runs = np.add.reduceat((codes & 31) << (5 * place), starts)
    runs -= np.where(codes[ends] & 16, 1 << (5 * digits), 0)  # two's complement
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    if runs.min() < 0:
        raise ValueError("RLE with a negative run length")
    return int(runs.sum())
