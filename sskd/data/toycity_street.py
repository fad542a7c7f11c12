"""The street that toycity's things stand in: camera, sky, buildings, ground, trees and poles.

World frame: ``x`` to the right and ``y`` up in metres from the ground below the camera, ``z`` away
from it.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from sskd.data.toycity_domains import Mood, ToycityDomain
from sskd.data.toycity_painter import Colour, Painter, mix, pick, shade, value_noise

__all__ = [
    "OCCLUDERS",
    "SUPERSAMPLING",
    "Camera",
    "Street",
    "draw_occluder",
    "make_street",
    "paint_street",
]

SUPERSAMPLING = 3
"""Samples a pixel and side."""

OCCLUDERS = {"tree": (2.4, 4.6), "pole": (0.9, 4.4), "bush": (1.5, 0.95), "sign": (0.8, 2.5)}
"""What may stand before things without being one: width and height in metres."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks along the street; lengths in supersampled pixels."""

    width: int
    height: int
    horizon: float
    centre: float
    focal: float
    eye: float
    """Height over the ground, in metres."""

    def point(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Where a point of the world lies in the picture."""
        return self.centre + self.focal * x / z, self.horizon + self.focal * (self.eye - y) / z


@dataclass(frozen=True)
class Street:
    """One street at one moment."""

    camera: Camera
    mood: Mood
    canyon: bool
    """Whether the street leads away between two walls, or runs across before one."""
    kerbs: tuple[float, float]
    """Canyon: ``x`` of the road's edges. Otherwise: ``z`` of its near and far edge."""
    walls: tuple[float, float]
    """Canyon: ``x`` of the walls. Otherwise: both ``z`` of the wall."""
    haze: float
    """Share of light lost a metre."""
    sun: float
    """-1 (from the left) to 1 (from the right)."""
    outline: float
    """Width of the lines around parts, in supersampled pixels."""

    def hazed(self, colour: Colour, z: float) -> Colour:
        """A colour as it looks from ``z`` metres away."""
        return mix(colour, self.mood.sky_bottom, self.veil(z))

    def veil(self, z: float) -> float:
        """How much of what is ``z`` metres away the haze hides, 0 to 1."""
        return float(1 - np.exp(-self.haze * z))


def make_street(
    domain: ToycityDomain, *, size: tuple[int, int], generator: np.random.Generator
) -> Street:
    """A random street for a canvas of (height, width) supersampled pixels."""
    height, width = size
    canyon = bool(generator.random() < 0.6)
    camera = Camera(
        width=width,
        height=height,
        horizon=height * generator.uniform(0.3, 0.4),
        centre=width * (generator.uniform(0.3, 0.7) if canyon else 0.5),
        focal=1.4 * height,
        eye=generator.uniform(1.7, 2.2),
    )
    if canyon:
        kerbs = (-generator.uniform(1.4, 4.0), generator.uniform(1.4, 4.0))
        pavement = generator.uniform(2.2, 3.6)
        walls = (kerbs[0] - pavement, kerbs[1] + pavement)
    else:
        far = generator.uniform(12.0, 15.0)
        kerbs = (generator.uniform(3.8, 4.6), far)
        walls = (far + 6.0,) * 2
    return Street(
        camera=camera,
        mood=domain.moods[generator.integers(len(domain.moods))],
        canyon=canyon,
        kerbs=kerbs,
        walls=walls,
        haze=generator.uniform(*domain.haze),
        sun=generator.uniform(-1, 1),
        outline=generator.uniform(*domain.outline) * height / 96,
    )


def paint_street(
    street: Street, domain: ToycityDomain, *, generator: np.random.Generator
) -> Image.Image:
    """The empty street in supersampled pixels."""
    camera = street.camera
    road, pavement = pick(domain.roads, generator), pick(domain.pavements, generator)
    far = generator.uniform(26.0, 45.0)
    canvas = Image.new("RGB", (camera.width, camera.height), pavement)
    draw = ImageDraw.Draw(canvas)
    if street.canyon:
        _road_ahead(draw, street, road, pavement, far, generator)
    else:
        _road_across(draw, street, road, pavement)
    rows = np.arange(camera.height)[:, None]
    depth = camera.focal * camera.eye / np.maximum(rows - camera.horizon, 1.0)
    veil = (255 * (1 - np.exp(-street.haze * depth))).astype(np.uint8)  # (h, 1)
    canvas.paste(street.mood.sky_bottom, mask=Image.fromarray(veil).resize(canvas.size, _NEAREST))
    canvas.paste(_sky(street, generator))
    if street.canyon:
        _houses_ahead(draw, street, domain, far, generator)
    else:
        _houses_across(draw, street, domain, generator)
    return canvas


def draw_occluder(
    kind: str, painter: Painter, domain: ToycityDomain, *, generator: np.random.Generator
) -> None:
    """A tree, a lamp post, a bush or a traffic sign; see ``OCCLUDERS``."""
    _, height = OCCLUDERS[kind]
    steel = shade((104, 106, 110), generator.uniform(0.7, 1.1))
    if kind == "tree":
        leaf = pick(domain.leaves, generator)
        painter.limb((0.0, 0.0), (0.05, height * 0.6), 0.3, (84, 66, 52))
        for _ in range(9):
            u, y = generator.uniform(-0.75, 0.75), generator.uniform(0.52, 0.86) * height
            r = generator.uniform(0.35, 0.6)
            painter.disc((u, y), (r, r * 0.9), shade(leaf, generator.uniform(0.75, 1.2)))
    elif kind == "pole":
        painter.limb((0.0, 0.0), (0.0, height - 0.2), 0.14, steel)
        painter.limb((0.0, height - 0.2), (0.4, height - 0.12), 0.1, steel)
        painter.disc((0.36, height - 0.18), (0.14, 0.09), (250, 236, 190))
    elif kind == "sign":
        painter.limb((0.0, 0.0), (0.0, height - 0.4), 0.1, steel)
        painter.disc((0.0, height - 0.45), (0.3, 0.3), (200, 44, 40))
        painter.disc((0.0, height - 0.45), (0.18, 0.18), (236, 232, 224))
    else:
        leaf = pick(domain.leaves, generator)
        for _ in range(7):
            u, y = generator.uniform(-0.45, 0.45), generator.uniform(0.25, 0.6)
            painter.disc((u, y), (0.28, 0.28), shade(leaf, generator.uniform(0.7, 1.15)))
        painter.flat([(-0.7, 0.0), (0.7, 0.0), (0.66, 0.34), (-0.66, 0.34)], (122, 108, 96))


def _sky(street: Street, generator: np.random.Generator) -> Image.Image:
    """Everything above the horizon, with some clouds."""
    camera = street.camera
    size = (camera.width, int(camera.horizon))
    small = (size[1] // SUPERSAMPLING, size[0] // SUPERSAMPLING)
    share = np.linspace(0, 1, small[0], dtype=np.float32)[:, None, None]
    top, bottom = np.array(street.mood.sky_top), np.array(street.mood.sky_bottom)
    clouds = value_noise(small, camera.height / 21, generator=generator)
    sky = top * (1 - share) + bottom * share + 34 * np.clip(clouds - 0.1, 0, 1)[:, :, None]
    pixels = np.clip(sky, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)


def _road_ahead(
    draw: ImageDraw.ImageDraw,
    street: Street,
    road: Colour,
    pavement: Colour,
    far: float,
    generator: np.random.Generator,
) -> None:
    """A road that leads to its vanishing point, with kerbs, dashes and perhaps a zebra crossing."""
    near = 1.2
    left, right = street.kerbs

    camera = street.camera
    _strip(draw, camera, (left, right), (near, far), road)
    for kerb in street.kerbs:
        _strip(draw, camera, (kerb - 0.16, kerb + 0.16), (near, far), shade(pavement, 1.15))
    middle, paint = (left + right) / 2, shade(road, 1.7)
    for z in np.arange(2.0, far, 3.0):
        _strip(draw, camera, (middle - 0.07, middle + 0.07), (z, z + 1.4), paint)
    if generator.random() < 0.4:
        z = generator.uniform(4.0, 9.0)
        for x in np.arange(left + 0.3, right - 0.5, 0.8):
            _strip(draw, camera, (x, x + 0.4), (z, z + 1.8), paint)


def _strip(
    draw: ImageDraw.ImageDraw,
    camera: Camera,
    across: tuple[float, float],
    ahead: tuple[float, float],
    colour: Colour,
) -> None:
    """A rectangle on the ground, between two ``x`` and two ``z``."""
    (x0, x1), (z0, z1) = across, ahead
    corners = [(x0, z0), (x1, z0), (x1, z1), (x0, z1)]
    draw.polygon([camera.point(x, 0.0, z) for x, z in corners], fill=colour)


def _road_across(draw: ImageDraw.ImageDraw, street: Street, road: Colour, pavement: Colour) -> None:
    """A road that runs across the picture between two pavements."""
    camera = street.camera
    near, far = street.kerbs
    y_far, y_near = (camera.point(0.0, 0.0, z)[1] for z in (far, near))
    draw.rectangle((0, y_far, camera.width, y_near), fill=road)
    for y in (y_far, y_near):
        draw.rectangle((0, y - 2, camera.width, y + 1), fill=shade(pavement, 1.15))
    reach = camera.width / camera.focal * far / 2 + 2
    middle, paint = (near * far) ** 0.5, shade(road, 1.7)
    for x in np.arange(-reach, reach, 2.6):
        _strip(draw, camera, (x, x + 1.3), (middle, middle + 0.3), paint)
    for x in np.arange(-reach, reach, 1.5):  # the joints of the near pavement
        joint = [camera.point(x, 0.0, near), camera.point(x, 0.0, 1.2)]
        draw.line(joint, fill=shade(pavement, 0.9), width=2)


def _houses_ahead(
    draw: ImageDraw.ImageDraw,
    street: Street,
    domain: ToycityDomain,
    far: float,
    generator: np.random.Generator,
) -> None:
    """A wall of houses on either side of the street, and one at its end."""
    if generator.random() < 0.6:
        colour, (left, right) = pick(domain.walls, generator), street.walls
        roof = generator.uniform(4.0, 8.0)
        _house(draw, street, domain, colour, roof, (left, far), (right, far), generator)
    for wall, side in zip(street.walls, (-1, 1), strict=True):
        # From the far end on, so that nearer houses hide the farther.
        ends = [far]
        while ends[-1] > 2.0:
            ends.append(max(1.5, ends[-1] - generator.uniform(4.5, 8.0)))
        for z1, z0 in pairwise(ends):
            colour = shade(pick(domain.walls, generator), 1 - 0.16 * side * street.sun)
            roof = generator.uniform(5.0, 11.0)
            _house(draw, street, domain, colour, roof, (wall, z0), (wall, z1), generator)


def _houses_across(
    draw: ImageDraw.ImageDraw,
    street: Street,
    domain: ToycityDomain,
    generator: np.random.Generator,
) -> None:
    """A row of houses that faces the camera, with a gap here and there."""
    wall = street.walls[0]
    reach = street.camera.width / street.camera.focal * wall / 2 + 1
    x = -reach - generator.uniform(0, 4)
    while x < reach:
        end = x + generator.uniform(5.0, 9.0)
        if generator.random() < 0.9:
            roof, colour = generator.uniform(5.0, 9.5), pick(domain.walls, generator)
            _house(draw, street, domain, colour, roof, (x, wall), (end, wall), generator)
        x = end


def _house(
    draw: ImageDraw.ImageDraw,
    street: Street,
    domain: ToycityDomain,
    colour: Colour,
    roof: float,
    start: tuple[float, float],
    end: tuple[float, float],
    generator: np.random.Generator,
) -> None:
    """A facade over the ground line from ``start`` to ``end``, each (x, z), with its windows."""
    far = max(start[1], end[1])
    wall = _Wall(draw, street.camera, start, end)
    colour = street.hazed(colour, far)
    wall.fill((0.0, 1.0), (0.0, roof), colour)
    wall.fill((0.0, 1.0), (roof - 0.35, roof), shade(colour, 0.8))
    wall.fill((0.0, 1.0), (0.0, 0.5), shade(colour, 0.75))
    columns = max(2, round((abs(end[0] - start[0]) + abs(end[1] - start[1])) / 2.2))
    shop = generator.random() < 0.4
    dark = street.hazed(shade(domain.glass, generator.uniform(0.7, 1.0)), far)
    bright = street.hazed((250, 216, 130), far)
    for floor in range(int((roof - 0.8) / 2.5)):
        half, sill = (0.42, 0.7) if shop and floor == 0 else (0.26, 0.95)
        heights = (floor * 2.5 + sill, floor * 2.5 + 2.1)
        for column in range(columns):
            lit = generator.random() < domain.lights * 0.45
            span = ((column + 0.5 - half) / columns, (column + 0.5 + half) / columns)
            wall.fill(span, heights, bright if lit else dark)
    if not shop:
        door = generator.integers(columns)
        wall.fill(((door + 0.3) / columns, (door + 0.7) / columns), (0.0, 2.1), shade(colour, 0.5))


@dataclass(frozen=True)
class _Wall:
    """An upright plane over the ground line from ``start`` to ``end``, each (x, z)."""

    draw: ImageDraw.ImageDraw
    camera: Camera
    start: tuple[float, float]
    end: tuple[float, float]

    def fill(self, span: tuple[float, float], heights: tuple[float, float], colour: Colour) -> None:
        """A rectangle; ``span`` in shares (0 to 1) of the line, ``heights`` in metres."""
        (x0, z0), (x1, z1) = self.start, self.end
        (left, right), (low, high) = span, heights
        corners = [(left, low), (right, low), (right, high), (left, high)]
        self.draw.polygon(
            [self.camera.point(x0 + (x1 - x0) * u, y, z0 + (z1 - z0) * u) for u, y in corners],
            fill=colour,
        )


_NEAREST = Image.Resampling.NEAREST
