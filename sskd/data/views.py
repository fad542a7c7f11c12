"""From one image to a weak and a strong view of it, and the map between them.

The weak view is the image resized, cropped, padded and flipped, together with its masks. The
strong view is the weak one with other colours, and, where the geometry is ``mapped``, a crop of it
resized to the same shape and perhaps flipped.

Pixel coordinates are (x, y) with pixel centres at integers: the top left pixel is (0, 0), the
bottom right one (w - 1, h - 1). ``weak_to_strong`` maps centres to centres, what ``grid_sample``
means by ``align_corners=True``. Padding is the mean colour, 0 after normalisation.

Axes: b images, h w pixels of a view, n instances of an image.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from kornia.enhance import (
    adjust_brightness_accumulative,
    adjust_contrast_with_mean_subtraction,
    adjust_hue,
    adjust_saturation_with_gray_subtraction,
)
from kornia.filters import gaussian_blur2d
from kornia.geometry.transform import warp_affine
from PIL import Image
from torch import Tensor

from sskd.config import ViewsConfig

__all__ = ["Views", "make_views", "to_model_input"]

_MEAN = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
_STD = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
_DRAWS = 16


class Views(NamedTuple):
    """Two views of each image; normalised with ImageNet's mean and standard deviation."""

    weak: Float[Tensor, "b 3 h w"]
    strong: Float[Tensor, "b 3 h w"]
    weak_to_strong: Float[Tensor, "b 3 3"]
    """Homogeneous map of pixel coordinates (x, y, 1); points cropped away land outside."""
    masks: tuple[Bool[Tensor, "_ h w"], ...]
    """In the weak view; all of them, in the order given, those cropped away are empty."""


class _Draws(NamedTuple):
    """Independent uniform numbers in [0, 1), one a column for each image.

    All are drawn whether a setting reads them or not: settings do not shift each other's draws.
    """

    scale: Tensor
    flip: Tensor
    left: Tensor
    top: Tensor
    jitter: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    hue: Tensor
    grayscale: Tensor
    blur: Tensor
    sigma: Tensor
    strong_scale: Tensor
    strong_left: Tensor
    strong_top: Tensor
    strong_flip: Tensor


def to_model_input(image: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "3 h w"]:
    """An RGB image as the models take it, at its own size."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    return (pixels.float() / 255 - _MEAN) / _STD


def make_views(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    masks: Sequence[Bool[np.ndarray, "_ _ _"]],
    *,
    config: ViewsConfig,
    generator: torch.Generator,
    places: Sequence[int] | None = None,
) -> Views:
    """Draw a weak and a strong view of each image.

    An image's views depend on its place in the batch, whatever other places are there.

    Args:
        images: RGB, of any sizes.
        masks: Of each image, (n, h, w) at its size; n may be 0.
        config: Shape of the views and ranges of what is drawn.
        generator: The only source of randomness; on the CPU.
        places: Of the images in their batch; ``None``: they are all of it.

    Raises:
        ValueError: If there is no image.
    """
    if not images:
        raise ValueError("no images to make views of")
    places = range(len(images)) if places is None else places
    numbers = torch.rand(max(places) + 1, _DRAWS, generator=generator)[[*places]]
    draws = _Draws(*numbers.unbind(dim=1))
    height, width = config.crop
    weak = _MEAN.expand(len(images), 3, height, width).clone()
    seen: list[Tensor] = []
    for place, (image, image_masks) in enumerate(zip(images, masks, strict=True)):
        window = _Window.draw(image.shape[:2], config, *(float(d[place]) for d in draws[:4]))
        window.paste(image, weak[place])
        seen.append(window.cut(image_masks))
    matrix = _strong_matrix(config, draws)
    strong = weak
    if config.geometry == "mapped":
        strong = warp_affine(
            weak, matrix[:, :2], (height, width), padding_mode="border", align_corners=True
        )
    strong = _recolour(strong, config, draws)
    return Views((weak - _MEAN) / _STD, (strong - _MEAN) / _STD, matrix, tuple(seen))


class _Window(NamedTuple):
    """Where the weak view lies on the resized image, which it may exceed."""

    image: tuple[int, int]
    resized: tuple[int, int]
    view: tuple[int, int]
    corner: tuple[int, int]
    """Row and column of the view's first pixel on the resized image; negative where padded."""
    flip: bool

    @classmethod
    def draw(
        cls,
        size: tuple[int, int],
        config: ViewsConfig,
        scale: float,
        flip: float,
        left: float,
        top: float,
    ) -> "_Window":
        """The window of numbers drawn from [0, 1)."""
        low, high = config.scale
        factor = (low + (high - low) * scale) * min(config.crop) / min(size)
        resized = max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
        row, column = (
            int(math.copysign(min(int(number * (abs(room) + 1)), abs(room)), room))
            for number, room in zip(
                (top, left), (r - v for r, v in zip(resized, config.crop, strict=True)), strict=True
            )
        )
        return cls((size[0], size[1]), resized, config.crop, (row, column), flip < config.flip)

    def span(self, axis: int) -> tuple[int, int]:
        """First and last but one pixel of the resized image that the view shows."""
        start = self.corner[axis]
        return max(start, 0), min(start + self.view[axis], self.resized[axis])

    def paste(self, image: UInt8[np.ndarray, "_ _ 3"], view: Float[Tensor, "3 h w"]) -> None:
        """Resize what the view shows of the image, with anti-aliasing, into the view."""
        (top, bottom), (left, right) = self.span(0), self.span(1)
        down, across = (i / r for i, r in zip(self.image, self.resized, strict=True))
        box = (left * across, top * down, right * across, bottom * down)
        size = (right - left, bottom - top)
        patch = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, box=box)
        pixels = torch.from_numpy(np.array(patch)).permute(2, 0, 1).float() / 255
        rows, columns = self._place()
        view[:, rows, columns] = pixels.flip(-1) if self.flip else pixels

    def cut(self, masks: Bool[np.ndarray, "n _ _"]) -> Bool[Tensor, "n h w"]:
        """The masks in the view: of each pixel centre, the pixel of the image that it lies in."""
        seen = np.zeros((len(masks), *self.view), np.bool_)
        rows, columns = self._place()
        # decoded masks are column-major: taking columns first copies whole runs of memory
        some = masks[:, :, self._sources(1)][:, self._sources(0)]
        seen[:, rows, columns] = some[:, :, ::-1] if self.flip else some
        return torch.from_numpy(seen)

    def _sources(self, axis: int) -> np.ndarray:
        """The image's pixel under each pixel that the view shows."""
        start, stop = self.span(axis)
        centres = np.arange(start, stop) + 0.5
        return (centres * self.image[axis] / self.resized[axis]).astype(np.intp)

    def _place(self) -> tuple[slice, slice]:
        """Where in the view the shown part lies, after the flip."""
        (top, bottom), (left, right) = self.span(0), self.span(1)
        rows = slice(top - self.corner[0], bottom - self.corner[0])
        first, last = left - self.corner[1], right - self.corner[1]
        if self.flip:
            first, last = self.view[1] - last, self.view[1] - first
        return rows, slice(first, last)


def _strong_matrix(config: ViewsConfig, draws: _Draws) -> Float[Tensor, "b 3 3"]:
    """The map from the weak to the strong view: a crop's corner to 0, its size to the view's."""
    matrix = torch.eye(3).repeat(len(draws.scale), 1, 1)
    if config.geometry == "shared":
        return matrix
    height, width = config.crop
    low, high = config.strong_scale
    share = low + (high - low) * draws.strong_scale
    left = draws.strong_left * (1 - share) * (width - 1)
    top = draws.strong_top * (1 - share) * (height - 1)
    mirrored = draws.strong_flip < config.flip
    matrix[:, 0, 0] = torch.where(mirrored, -1 / share, 1 / share)
    matrix[:, 0, 2] = torch.where(mirrored, width - 1 + left / share, -left / share)
    matrix[:, 1, 1] = 1 / share
    matrix[:, 1, 2] = -top / share
    return matrix


def _recolour(
    images: Float[Tensor, "b 3 h w"], config: ViewsConfig, draws: _Draws
) -> Float[Tensor, "b 3 h w"]:
    """Colour jitter in a fixed order, grayscale, blur; each for the images that drew it."""
    images = images.clone()
    chosen = draws.jitter < config.jitter_probability
    if chosen.any():
        images[chosen] = _jitter(images[chosen], config, draws, chosen)
    chosen = draws.grayscale < config.grayscale
    if chosen.any():
        images[chosen] = adjust_saturation_with_gray_subtraction(images[chosen], 0.0)
    chosen = draws.blur < config.blur_probability
    if chosen.any():
        low, high = config.blur_sigma
        sigma = low + (high - low) * draws.sigma[chosen]
        kernel = (config.blur_kernel, config.blur_kernel)
        images[chosen] = gaussian_blur2d(images[chosen], kernel, torch.stack((sigma, sigma), 1))
    return images


def _jitter(
    images: Float[Tensor, "some 3 h w"],
    config: ViewsConfig,
    draws: _Draws,
    chosen: Bool[Tensor, " b"],
) -> Float[Tensor, "some 3 h w"]:
    brightness, contrast, saturation, hue = config.jitter

    def factor(strength: float, drawn: Tensor) -> Tensor:
        low = max(0.0, 1 - strength)
        return low + (1 + strength - low) * drawn[chosen]

    if brightness:
        images = adjust_brightness_accumulative(images, factor(brightness, draws.brightness))
    if contrast:
        images = adjust_contrast_with_mean_subtraction(images, factor(contrast, draws.contrast))
    if saturation:
        images = adjust_saturation_with_gray_subtraction(
            images, factor(saturation, draws.saturation)
        )
    if hue:
        turns = hue * (2 * draws.hue[chosen] - 1)
        images = adjust_hue(images, 2 * math.pi * turns)
    return images
