"""A contact sheet: some images of a data set with their masks drawn on them."""

import colorsys
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from sskd.data.coco import CocoData, Instances

__all__ = ["draw_sheet"]

_TILE = 256
_CAPTION = 30
_MARGIN = 6
_FILL = 0.4


def draw_sheet(
    data: CocoData,
    path: Path,
    *,
    count: int,
    seed: int,
    image_ids: Sequence[int] | None = None,
) -> None:
    """Write a PNG of images with masks, each instance in its own colour, crowds in grey.

    Args:
        data: Images without instances are shown only if there are not enough others.
        path: Replaced if it exists.
        count: Images on the sheet, or all of them where there are fewer.
        seed: Which images.
        image_ids: The images to show, in this order, rather than a random choice.

    Raises:
        ValueError: If ``count`` is not positive, there is no image, or one is unreadable.
    """
    if count < 1:
        raise ValueError(f"number of images must be positive, got {count}")
    if not data.images:
        raise ValueError(f"{data.path}: no images to show")
    order = np.random.default_rng(seed).permutation(len(data.images))
    chosen = sorted((data.images[i].id for i in order), key=lambda i: not data.annotations(i))
    ids = list(image_ids or chosen)[:count]
    columns = max(1, min(len(ids), round(len(ids) ** 0.5)))
    rows = -(-len(ids) // columns)
    step = (_TILE + _MARGIN, _TILE + _CAPTION + _MARGIN)
    sheet = Image.new(
        "RGB", (columns * step[0] + _MARGIN, rows * step[1] + _MARGIN), (255, 255, 255)
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for number, image_id in enumerate(ids):
        left = _MARGIN + number % columns * step[0]
        top = _MARGIN + number // columns * step[1]
        instances = data.instances(image_id)
        tile = Image.fromarray(_painted(data.read_image(image_id), instances))
        tile = tile.resize(_fit(tile.size), Image.Resampling.BILINEAR)
        sheet.paste(tile, (left, top))
        lines = f"image {image_id}\n{_caption(data, instances)}"
        draw.multiline_text((left, top + _TILE + 1), lines, fill=(0, 0, 0), font=font, spacing=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    sheet.save(partial, format="PNG")
    partial.replace(path)


def _fit(size: tuple[int, int]) -> tuple[int, int]:
    """As large as a tile allows, in the same proportions."""
    factor = _TILE / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _painted(image: UInt8[np.ndarray, "h w 3"], instances: Instances) -> UInt8[np.ndarray, "h w 3"]:
    canvas = image.astype(np.float64)
    for number, (mask, crowd) in enumerate(zip(instances.masks, instances.crowd, strict=True)):
        # golden-ratio steps keep the hues of any number of neighbours apart
        hue = number * 0.618 % 1
        colour = 255 * np.array((0.5,) * 3 if crowd else colorsys.hsv_to_rgb(hue, 0.9, 1.0))
        canvas[mask] = (1 - _FILL) * canvas[mask] + _FILL * colour
        canvas[_outline(mask)] = colour
    return canvas.round().astype(np.uint8)


def _outline(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask that have a neighbour outside it, or outside the image."""
    inside = np.pad(mask, 1)
    core = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    edge: np.ndarray = mask & ~core
    return edge


def _caption(data: CocoData, instances: Instances) -> str:
    counts = Counter(data.class_names[index] for index in instances.classes[~instances.crowd])
    text = ", ".join(f"{number} {name}" for name, number in counts.most_common())
    return text if len(text) <= 42 else f"{text[:41]}…"
