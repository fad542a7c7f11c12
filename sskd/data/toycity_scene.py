"""One toycity scene: painted from far to near with supersampling, then lit and photographed."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from sskd.data.toycity_domains import ToycityDomain
from sskd.data.toycity_painter import Painter, value_noise
from sskd.data.toycity_street import SUPERSAMPLING, Street, make_street, paint_street
from sskd.data.toycity_traffic import Item, item_box, populate

__all__ = ["CATEGORIES", "Scene", "render"]

CATEGORIES = {
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
"""Cityscapes' names and ids of its thing classes."""

_MIN_AREA = 12
"""Instances with fewer visible pixels are dropped."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in supersampled pixels."""


class Scene(NamedTuple):
    """A picture and its visible instances."""

    image: NDArray[np.uint8]
    """(h, w, 3) RGB."""
    ids: NDArray[np.int32]
    """(h, w): 0 is stuff, ``k`` the pixels of the k-th of ``names``."""
    names: tuple[str, ...]


def render(
    domain: ToycityDomain, *, size: tuple[int, int], generator: np.random.Generator
) -> Scene:
    """A random scene.

    Args:
        domain: What the street, its things and the camera look like.
        size: Height and width of the picture in pixels.
        generator: The only source of randomness.
    """
    canvas_size = (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING)
    street = make_street(domain, size=canvas_size, generator=generator)
    canvas = paint_street(street, domain, generator=generator)
    # Which item each sample shows; 0 is the street.
    owners = Image.new("I", canvas.size)
    items = sorted(populate(street, domain, generator), key=lambda item: -item.z)
    boxes = []
    for number, item in enumerate(items, start=1):
        _cast_shadow(item, street, domain, canvas)
        boxes.append(_paint(item, street, canvas, owners, number))
    owner = _majority(np.asarray(owners))
    pixels = np.asarray(canvas.reduce(SUPERSAMPLING), dtype=np.float32)
    pixels = _light(pixels, owner, items, boxes, street, domain, generator)
    ids, names = _visible(owner, items)
    return Scene(_photograph(pixels, street, domain, generator), ids, names)


def _paint(
    item: Item, street: Street, canvas: Image.Image, owners: Image.Image, number: int
) -> Box:
    """Put an item on the canvas and its number on ``owners``; where it lies, cut off or not."""
    camera = street.camera
    painter = Painter(
        scale=camera.focal / item.z,
        extent=item.extent,
        turn=item.turn,
        eye=camera.eye,
        distance=item.z,
        mirrored=item.mirrored,
        outline=street.outline,
    )
    item.draw(painter)
    patch, left, top = painter.patch(*camera.point(item.x, 0.0, item.z))
    alpha = patch.getchannel("A")
    canvas.paste(patch, (left, top), alpha)
    owners.paste(number, (left, top), alpha.point(_OPAQUE))
    return left, top, left + patch.width, top + patch.height


def _cast_shadow(item: Item, street: Street, domain: ToycityDomain, canvas: Image.Image) -> None:
    """Darken the ground below an item with a soft ellipse."""
    camera = street.camera
    length, width, _ = item.extent
    reach = (length * math.cos(item.turn) + width * math.sin(item.turn)) / 2
    cx, cy = camera.point(item.x, 0.0, item.z + reach)
    left, _, right, _ = item_box(item, street)
    rx = (right - left) / 2 * (0.45 if width < 0.2 else 1.15)
    depth = camera.point(0.0, 0.0, item.z)[1] - cy
    ry = max(2.0, 0.07 * rx, depth * (0.5 if width < 0.5 else 1.25))
    cx -= street.sun * 0.2 * rx
    size = (math.ceil(2 * rx), math.ceil(2 * ry))
    mask = _shadow(domain.shadow).resize(size, Image.Resampling.BILINEAR)
    canvas.paste((0, 0, 0), (round(cx - rx), round(cy - ry)), mask)


@lru_cache(maxsize=4)
def _shadow(darkness: float) -> Image.Image:
    """A mask with a soft disc that covers ``darkness`` (0 to 1) at its centre."""
    radius = np.hypot(*np.meshgrid(np.linspace(-1, 1, 33), np.linspace(-1, 1, 33)))
    return Image.fromarray((255 * darkness * np.clip(2 - 2 * radius**2, 0, 1)).astype(np.uint8))


def _majority(samples: NDArray[np.int32]) -> NDArray[np.int32]:
    """The number that most samples of each pixel have; (h, w)."""
    step = SUPERSAMPLING
    height, width = samples.shape[0] // step, samples.shape[1] // step
    grid = samples.reshape(height, step, width, step)
    blocks = grid.transpose(0, 2, 1, 3).reshape(height, width, step * step)
    most = blocks[:, :, 0].copy()
    mixed = (blocks != most[:, :, None]).any(axis=2)
    torn = blocks[mixed]  # (m, step * step)
    votes = (torn[:, :, None] == torn[:, None, :]).sum(axis=2)
    most[mixed] = torn[np.arange(len(torn)), votes.argmax(axis=1)]
    return most


def _light(
    pixels: NDArray[np.float32],
    owner: NDArray[np.int32],
    items: Sequence[Item],
    boxes: Sequence[Box],
    street: Street,
    domain: ToycityDomain,
    generator: np.random.Generator,
) -> NDArray[np.float32]:
    """Light from above and aside, surface texture, and the haze before each item; (h, w, 3)."""
    height, width = owner.shape
    # One row an item; the street comes first, and has its light and its haze already.
    box = np.array([(0, 0, 1, 1), *boxes], dtype=np.float32) / SUPERSAMPLING
    veil = np.array([0.0, *(street.veil(item.z) for item in items)], dtype=np.float32)
    shading = np.full(len(box), domain.shading, dtype=np.float32)
    shading[0] = 0
    shift = generator.integers(0, min(height, width), size=(len(box), 2))

    rows, columns = np.ogrid[:height, :width]
    left, top, right, bottom = np.moveaxis(box[owner], 2, 0)
    down = 0.35 - 0.7 * (rows - top) / (bottom - top)
    aside = 0.6 * ((columns - left) / (right - left) - 0.5)
    gain = 1 + shading[owner] * (down + street.sun * aside)
    noise = 0.6 * value_noise(owner.shape, height / 20, generator=generator)
    noise += 0.4 * (2 * generator.random(owner.shape, dtype=np.float32) - 1)
    # Each item has its own cut of the noise, so that their borders can be seen.
    moved = noise[(rows + shift[owner, 0]) % height, (columns + shift[owner, 1]) % width]
    share = veil[owner]
    offset = domain.texture * (1 - share) * moved
    haze = share[:, :, None] * np.array(street.mood.sky_bottom)
    lit = pixels * (gain * (1 - share))[:, :, None] + offset[:, :, None] + haze
    result: NDArray[np.float32] = lit.astype(np.float32)
    return result


def _photograph(
    pixels: NDArray[np.float32],
    street: Street,
    domain: ToycityDomain,
    generator: np.random.Generator,
) -> NDArray[np.uint8]:
    """The scene as the domain's camera sees it: blur, white balance, contrast, noise."""
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    radius = generator.uniform(*domain.blur) * image.height / 96
    blurred = image.filter(ImageFilter.GaussianBlur(radius))
    tint = np.array(street.mood.tint, dtype=np.float32)
    contrast = generator.uniform(*domain.contrast)
    brightness = generator.uniform(*domain.brightness)
    noise = generator.standard_normal(pixels.shape, dtype=np.float32)
    seen = (np.asarray(blurred, dtype=np.float32) * tint - 118) * contrast + 118 + brightness
    seen += generator.uniform(*domain.noise) * noise
    result: NDArray[np.uint8] = np.clip(seen + 0.5, 0, 255).astype(np.uint8)
    return result


def _visible(
    owner: NDArray[np.int32], items: Sequence[Item]
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """The things among the items that show enough pixels, numbered from 1, and their names."""
    areas = np.bincount(owner.ravel(), minlength=len(items) + 1)
    kept = [k for k, item in enumerate(items, 1) if item.name and areas[k] >= _MIN_AREA]
    numbers = np.zeros(len(areas), dtype=np.int32)
    numbers[kept] = np.arange(1, len(kept) + 1)
    return numbers[owner], tuple(items[k - 1].name for k in kept)


_OPAQUE = [0] + [255] * 255
"""Maps alpha to a mask of everything that was painted, spokes included."""
