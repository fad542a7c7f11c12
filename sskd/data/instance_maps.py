"""Pictures whose pixels are instance ids, as run lengths: what Cityscapes and ADE20K publish.

All instances of a picture are encoded in one pass over its runs, so that the cost does not grow
with their number, and an instance in several parts is one mask.
"""

import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64
from PIL import Image
from pycocotools import mask as coco_mask

__all__ = ["Region", "decode_map", "encode_regions"]


class Region(NamedTuple):
    """What an id of a picture stands for."""

    category: int
    crowd: bool
    """Whether it is a group that nobody told apart."""


def decode_map(content: bytes, *, mode: str) -> np.ndarray:
    """The pixels of a PNG file, channels last.

    Args:
        content: Of the file.
        mode: ``L`` for one channel, of 8 or 16 bits or a palette's indices; ``RGB`` for three.

    Returns:
        int64, (h, w) or (h, w, 3).

    Raises:
        ValueError: A fragment that says what is wrong.
    """
    try:
        with Image.open(io.BytesIO(content)) as picture:
            found = picture.mode
            pixels = np.asarray(picture)
    except Exception as error:  # decoders of foreign bytes fail in any way they like
        raise ValueError(f"truncated or broken PNG: {' '.join(str(error).split())}") from None
    if pixels.shape[2:] != (() if mode == "L" else (3,)):
        channels = {"L": "one channel of ids", "RGB": "the channels red, green, blue"}[mode]
        raise ValueError(f"pixels of mode {found!r}; {channels} are needed")
    return pixels.astype(np.int64)


def encode_regions(
    ids: Int64[np.ndarray, "h w"], regions: Mapping[int, Region]
) -> list[dict[str, Any]]:
    """COCO annotations, without ids, of the regions of a picture.

    Args:
        ids: Which region each pixel belongs to; ids that are not in ``regions`` are background.
        regions: In the order that is wanted; each has pixels.
    """
    height, width = ids.shape
    columns = ids.ravel(order="F")  # COCO's runs go down the columns
    starts = np.concatenate(([0], np.flatnonzero(columns[1:] != columns[:-1]) + 1))
    ends = np.concatenate((starts[1:], [columns.size]))
    owners = columns[starts]
    codes = []
    for one in regions:
        mine = owners == one
        assert mine.any(), f"region {one} has no pixel"
        borders = np.stack((starts[mine], ends[mine]), axis=1).ravel()
        # From the picture's first pixel: outside, inside, outside, ... up to its last.
        runs = np.diff(borders, prepend=0, append=columns.size)
        counts = runs.tolist() if runs[-1] else runs[:-1].tolist()
        codes.append({"size": [height, width], "counts": counts})
    if not codes:
        return []
    rles = coco_mask.frPyObjects(codes, height, width)
    boxes, areas = coco_mask.toBbox(rles), coco_mask.area(rles)
    return [
        {
            "category_id": region.category,
            "segmentation": {"size": [height, width], "counts": rle["counts"].decode("ascii")},
            "bbox": [float(value) for value in box],
            "area": int(area),
            "iscrowd": int(region.crowd),
        }
        for region, rle, box, area in zip(regions.values(), rles, boxes, areas, strict=True)
    ]
