"""A transparent patch on which one object of a toycity scene is painted, in metres.

Object frame: ``u`` along the object, ``w`` across it, ``y`` up from the ground, all in metres. The
object is turned by ``turn`` (0: seen from its end, pi/2: seen from its side), so that the end at
the smallest ``u`` and the side at the largest ``w`` face the camera.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

__all__ = ["Colour", "Paint", "Painter", "mix", "pick", "shade", "value_noise"]

Colour = tuple[int, int, int]
"""RGB, 0 to 255."""

Pattern = Literal["plain", "hoops", "pinstripes", "checks"]


class Paint(NamedTuple):
    """A plain colour, or two colours in a regular pattern."""

    colour: Colour
    second: Colour
    pattern: Pattern
    period: float
    """In metres."""


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """``share`` (0 to 1) of the second colour, the rest of the first."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def pick(colours: tuple[Colour, ...], generator: np.random.Generator) -> Colour:
    """One of the colours, a little lighter or darker."""
    return shade(colours[generator.integers(len(colours))], generator.uniform(0.88, 1.12))


def shade(colour: Colour, factor: float) -> Colour:
    """The colour, brighter (factor > 1) or darker, clipped to 0..255."""
    red, green, blue = (min(255, max(0, round(c * factor))) for c in colour)
    return red, green, blue


def value_noise(
    shape: tuple[int, int], cell: float, *, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Smooth noise of (h, w) in -1..1 whose blotches are about ``cell`` pixels wide."""
    rows, columns = (max(2, math.ceil(side / cell) + 1) for side in shape)
    coarse = generator.random((rows, columns), dtype=np.float32) * 2 - 1
    image = Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.float32)


class Painter:
    """Polygons in the object's frame, seen in perspective, on a patch that fits the object.

    Args:
        scale: Supersampled pixels a metre at the object's nearest point.
        extent: Length, width and height of the object, in metres.
        turn: Angle of view in radians, 0 (end) to pi/2 (side).
        eye: Height of the camera over the ground, in metres.
        distance: From the camera to the object's nearest point, in metres.
        mirrored: Whether left and right are exchanged.
        outline: Width of the dark line around every part, in supersampled pixels; 0 for none.
    """

    def __init__(
        self,
        *,
        scale: float,
        extent: tuple[float, float, float],
        turn: float,
        eye: float,
        distance: float,
        mirrored: bool,
        outline: float,
    ) -> None:
        length, width, height = extent
        self.turn = turn
        self._sin, self._cos = math.sin(turn), math.cos(turn)
        self._scale, self._eye, self._distance = scale, eye, distance
        self._sign = -1 if mirrored else 1
        self._outline = round(outline)
        self._reach = length / 2 * self._cos + width / 2 * self._sin
        half = length / 2 * self._sin + width / 2 * self._cos
        margin = 3 + self._outline
        self._centre = math.ceil(half * scale) + margin
        # Seen from above its middle, the far top of an object lies lower than its near top.
        self._ground = math.ceil(height * scale) + margin
        size = (2 * self._centre + 1, self._ground + margin)
        self._image = Image.new("RGBA", size)
        self._draw = ImageDraw.Draw(self._image)

    def polygon(
        self,
        points: Sequence[tuple[float, float, float]],
        paint: Colour | Paint,
        *,
        alpha: int = 255,
    ) -> None:
        """Fill the polygon with corners ``(u, w, y)``; later parts lie over earlier ones."""
        corners = [self._project(*point) for point in points]
        colour = paint.colour if isinstance(paint, Paint) else paint
        if isinstance(paint, Paint) and paint.pattern != "plain":
            self._fill_pattern(corners, paint)
        else:
            self._draw.polygon(corners, fill=(*colour, alpha))
        if self._outline and alpha == 255:
            ring = [*corners, corners[0]]
            self._draw.line(ring, fill=(*shade(colour, 0.35), alpha), width=self._outline)

    def flat(self, points: Sequence[tuple[float, float]], paint: Colour | Paint) -> None:
        """A polygon in the plane ``w`` = 0, with corners ``(u, y)``."""
        self.polygon([(u, 0.0, y) for u, y in points], paint)

    def side(
        self,
        span: tuple[float, float],
        heights: tuple[float, float],
        w: float,
        paint: Colour | Paint,
    ) -> None:
        """A rectangle in the plane at ``w``, from ``u = span[0]`` to ``span[1]``."""
        (u0, u1), (y0, y1) = span, heights
        self.polygon([(u0, w, y0), (u1, w, y0), (u1, w, y1), (u0, w, y1)], paint)

    def end(
        self,
        u: float,
        span: tuple[float, float],
        heights: tuple[float, float],
        paint: Colour | Paint,
    ) -> None:
        """A rectangle in the plane at ``u``, from ``w = span[0]`` to ``span[1]``."""
        (w0, w1), (y0, y1) = span, heights
        self.polygon([(u, w0, y0), (u, w1, y0), (u, w1, y1), (u, w0, y1)], paint)

    def top(
        self, span: tuple[float, float], half: float, height: float, paint: Colour | Paint
    ) -> None:
        """A level rectangle, ``half`` metres to either side of the object's axis."""
        u0, u1 = span
        corners = [(u0, -half, height), (u0, half, height), (u1, half, height), (u1, -half, height)]
        self.polygon(corners, paint)

    def limb(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        width: float,
        paint: Colour | Paint,
    ) -> None:
        """A bar of some width, in metres, between two points ``(u, y)`` of the plane ``w`` = 0."""
        du, dy = end[0] - start[0], end[1] - start[1]
        norm = math.hypot(du, dy) or 1.0
        au, ay = -dy / norm * width / 2, du / norm * width / 2
        # What stands upright keeps its width however the object is turned.
        au /= max(self._sin, 0.3)
        self.flat(
            [
                (start[0] + au, start[1] + ay),
                (end[0] + au, end[1] + ay),
                (end[0] - au, end[1] - ay),
                (start[0] - au, start[1] - ay),
            ],
            paint,
        )

    def disc(
        self,
        centre: tuple[float, float],
        radius: tuple[float, float],
        paint: Colour | Paint,
        *,
        w: float = 0.0,
        alpha: int = 255,
    ) -> None:
        """An ellipse around ``(u, y)`` in the plane at ``w``."""
        self.polygon(
            [(centre[0] + radius[0] * c, w, centre[1] + radius[1] * s) for c, s in _CIRCLE],
            paint,
            alpha=alpha,
        )

    def patch(self, x: float, y: float) -> tuple[Image.Image, int, int]:
        """What was painted, and where it goes.

        Args:
            x: Column of the object's ground point on the canvas, in supersampled pixels.
            y: Its row.

        Returns:
            An RGBA image that fits the object, and the column and row of its upper left corner.
        """
        box = self._image.getbbox() or (0, 0, 1, 1)
        left, top = round(x) - self._centre + box[0], round(y) - self._ground + box[1]
        return self._image.crop(box), left, top

    def _project(self, u: float, w: float, y: float) -> tuple[float, float]:
        depth = self._reach + u * self._cos - w * self._sin
        shrink = self._distance / (self._distance + depth)
        across = (u * self._sin + w * self._cos) * shrink * self._sign
        up = self._eye + (y - self._eye) * shrink
        return self._centre + across * self._scale, self._ground - up * self._scale

    def _fill_pattern(self, corners: Sequence[tuple[float, float]], paint: Paint) -> None:
        left, top = (math.floor(min(corner[k] for corner in corners)) for k in (0, 1))
        width, height = (math.ceil(max(c[k] for c in corners)) + 1 - (left, top)[k] for k in (0, 1))
        mask = Image.new("L", (width, height))
        ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in corners], fill=255)
        period = max(4.0, paint.period * self._scale)
        rows = (np.arange(height) % period < period / 2)[:, None]
        columns = (np.arange(width) % period < period / 2)[None, :]
        if paint.pattern == "hoops":
            first = np.repeat(rows, width, axis=1)
        elif paint.pattern == "pinstripes":
            first = np.repeat(columns, height, axis=0)
        else:
            first = rows ^ columns
        pair = np.array([(*paint.second, 255), (*paint.colour, 255)], dtype=np.uint8)
        self._image.paste(Image.fromarray(pair[first.astype(np.intp)]), (left, top), mask)


_CIRCLE = [(math.cos(a), math.sin(a)) for a in np.linspace(0, 2 * math.pi, 18, endpoint=False)]
