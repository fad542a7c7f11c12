"""Cars, trucks, buses and trains of toycity: boxes with profiles, windows, wheels and lights.

``a`` and ``b`` are half the length and half the width: the near end lies at ``u = -a``, the near
side at ``w = b``.
"""

import numpy as np

from sskd.data.toycity_domains import ToycityDomain
from sskd.data.toycity_painter import Colour, Painter, mix, pick, shade

__all__ = ["draw_bus", "draw_car", "draw_train", "draw_truck"]

_RUBBER: Colour = (28, 28, 31)
_STEEL: Colour = (150, 152, 156)
_TRIM: Colour = (54, 54, 58)
_ROOF, _END = 1.14, 0.84
"""How light the faces are next to the side, which is 1."""

Extent = tuple[float, float, float]
"""Length, width and height in metres."""


def draw_car(
    painter: Painter, domain: ToycityDomain, *, extent: Extent, generator: np.random.Generator
) -> None:
    """A saloon or an estate, its front or its rear towards the camera."""
    length, width, height = extent
    a, b = length / 2, width / 2
    colour = pick(domain.liveries.cars, generator)
    glass = mix(domain.glass, (255, 255, 255), generator.uniform(0.0, 0.15))
    rear, estate = generator.random() < 0.5, generator.random() < 0.4
    belt = height * domain.car[2] * generator.uniform(0.94, 1.06)
    low, hood, inner, outer = 0.2, belt * 0.95, b * 0.8, b * 0.96
    # Where the cabin begins and ends at the belt line, and, further in, at the roof.
    bonnet, boot = 0.24 * length, (0.05 if estate else 0.1) * length
    foot = (-a + boot, a - bonnet) if rear else (-a + bonnet, a - boot)
    rake = ((1 - domain.boxy) * 0.16 + 0.06) * length
    roof = (foot[0] + rake, foot[1] - rake)

    for wheel in ((-b, -b * 0.7), (b * 0.7, b)):
        painter.end(-a, wheel, (0.02, low + 0.1), _RUBBER)
    painter.top((-a, a), b, hood, shade(colour, _ROOF))
    painter.top(roof, inner, height, shade(colour, _ROOF))
    screen = [
        (foot[0], -outer, hood),
        (foot[0], outer, hood),
        (roof[0], inner, height),
        (roof[0], -inner, height),
    ]
    painter.polygon(screen, shade(colour, _END))
    painter.polygon(_inset(screen, 0.12), glass)
    ends = [(foot[0], outer, hood), (roof[0], inner, height)]
    painter.polygon([*ends, (roof[1], inner, height), (foot[1], outer, hood)], colour)
    lift, middle = height - (height - belt) * 0.16, (roof[0] + roof[1]) / 2
    for left, right in ((foot[0], middle), (middle, foot[1])):
        pane = [
            (left + 0.09, outer, belt + 0.04),
            (max(left + 0.09, roof[0] + 0.02), inner, lift),
            (min(right - 0.06, roof[1] - 0.02), inner, lift),
            (right - 0.06, outer, belt + 0.04),
        ]
        painter.polygon(pane, shade(glass, 0.85))
    painter.end(-a, (-b, b), (low, hood), shade(colour, _END))
    flank = [(-a, b, low), (a, b, low), (a, b, hood), (foot[1], b, belt)]
    painter.polygon([*flank, (foot[0], b, belt), (-a, b, hood)], colour)
    painter.side((-a, a), (low, low + 0.1), b, shade(colour, 0.6))
    _wheels(painter, (-a * 0.62, a * 0.62), 0.3, b)
    lit = generator.random() < domain.lights
    _lamps(painter, -a, b, (low, hood), rear=rear, lit=lit)


def draw_truck(
    painter: Painter, domain: ToycityDomain, *, extent: Extent, generator: np.random.Generator
) -> None:
    """A lorry: a driver's cab, and a tall cargo box with ribs and a stripe."""
    length, width, height = extent
    a, b, bed, low = length / 2, width / 2, 0.75, 0.35
    colour = pick(domain.liveries.trucks, generator)
    cargo = mix(colour, (226, 222, 212), generator.uniform(0.4, 0.9))
    rear, lit = generator.random() < 0.4, generator.random() < domain.lights
    cab, cab_height = 0.28 * length, height * generator.uniform(0.7, 0.82)
    box_span = (-a, a - cab - 0.15) if rear else (-a + cab + 0.15, a)
    cab_span = (a - cab, a) if rear else (-a, -a + cab)

    painter.side((-a, a), (low, bed), b, _TRIM)
    painter.end(-a, (-b, b), (low, bed), shade(_TRIM, _END))

    panes = (low + (cab_height - low) * 0.5, cab_height - 0.15)
    # What is farther away is painted first.
    for part in ("cab", "cargo") if rear else ("cargo", "cab"):
        if part == "cargo":
            _cargo(painter, box_span, b, (bed, height), cargo, stripe=colour)
        else:
            _box(painter, cab_span, b, (low, cab_height), colour)
            door = (cab_span[0] + 0.25, cab_span[1] - 0.25)
            painter.side(door, panes, b, shade(domain.glass, 0.9))
    if rear:
        painter.end(-a, (-0.04, 0.04), (bed, height), shade(cargo, 0.6))
    else:
        painter.end(-a, (-b * 0.88, b * 0.88), panes, domain.glass)
    _wheels(painter, (-a * 0.72, a * 0.35, a * 0.75), 0.42, b)
    _lamps(painter, -a, b, (low, low + 0.5), rear=rear, lit=lit)


def draw_bus(
    painter: Painter, domain: ToycityDomain, *, extent: Extent, generator: np.random.Generator
) -> None:
    """A city bus: one long body, a row of large windows, doors, a destination sign."""
    length, width, height = extent
    a, b, low = length / 2, width / 2, 0.3
    colour = pick(domain.liveries.buses, generator)
    skirt = shade(colour, generator.uniform(0.6, 0.9))
    rear, lit = generator.random() < 0.35, generator.random() < domain.lights
    sill, lintel = height * 0.48, height * 0.84
    _box(painter, (-a, a), b, (low, height), colour)
    painter.side((-a, a), (low, low + 0.45), b, skirt)
    inside = (236, 214, 150) if lit else domain.glass
    panes = max(3, round(length / 1.2))
    step = (length - 0.3) / panes
    for k in range(panes):
        left, right = (-a + 0.15 + step * (k + d) for d in (0.06, 0.94))
        door = k in (0, panes // 2) and not rear
        heights = (low + 0.12 if door else sill, lintel)
        painter.side((left, right), heights, b, inside)
        if door:
            middle = (left + right) / 2
            painter.side((middle - 0.05, middle + 0.05), heights, b, shade(colour, 0.7))
    front_sill = sill if rear else low + (height - low) * 0.32
    painter.end(-a, (-b * 0.9, b * 0.9), (front_sill, lintel), shade(domain.glass, 1.1))
    sign: Colour = (40, 40, 44) if rear else (240, 170, 40)
    painter.end(-a, (-b * 0.6, b * 0.6), (lintel + 0.06, height - 0.06), sign)
    _wheels(painter, (-a * 0.62, a * 0.6), 0.42, b)
    _lamps(painter, -a, b, (low, low + 0.5), rear=rear, lit=lit)


def draw_train(
    painter: Painter, domain: ToycityDomain, *, extent: Extent, generator: np.random.Generator
) -> None:
    """A tram: coupled cars with a band of windows, dark doors, a nose and pantographs."""
    length, width, height = extent
    a, b, low = length / 2, width / 2, 0.18
    colour = pick(domain.liveries.trains, generator)
    band = mix(colour, (245, 240, 225), 0.7)
    rear, lit = generator.random() < 0.3, generator.random() < domain.lights
    roof = height - 0.3
    sill, lintel = roof * 0.5, roof * 0.82
    for u in (-a * 0.4, a * 0.35):
        arm = [(u, roof), (u + 0.4, height), (u + 0.5, height), (u + 0.12, roof)]
        painter.flat(arm, (50, 50, 52))
    cars = 3 if length > 9 else 2
    for k in reversed(range(cars)):
        left, right = (-a + length * (k + d) / cars for d in (0.0, 0.96))
        nose = [(left + 0.35, b, roof), (left, b, lintel)] if k == 0 else [(left, b, roof)]
        painter.polygon([(left, b, low), (right, b, low), (right, b, roof), *nose], band)
        painter.side((left, right), (low, sill - 0.1), b, colour)
        painter.top((left, right), b, roof, shade(band, 0.8))
        painter.side((left + 0.3, right - 0.15), (sill, lintel), b, shade(domain.glass, 0.9))
        for share in (0.3, 0.6):
            door = left + (right - left) * share
            painter.side((door, door + 0.5), (low + 0.15, lintel), b, shade(colour, 0.62))
    painter.side((-a, a), (low, low + 0.22), b, _TRIM)
    painter.end(-a, (-b, b), (low, roof), shade(colour, _END))
    painter.end(-a, (-b * 0.82, b * 0.82), (sill - 0.1, roof - 0.22), domain.glass)
    _lamps(painter, -a, b, (low, sill), rear=rear, lit=lit)


def _box(
    painter: Painter,
    span: tuple[float, float],
    b: float,
    heights: tuple[float, float],
    colour: Colour,
) -> None:
    """A body's roof, near end and near side."""
    painter.top(span, b, heights[1], shade(colour, _ROOF))
    painter.end(span[0], (-b, b), heights, shade(colour, _END))
    painter.side(span, heights, b, colour)


def _cargo(
    painter: Painter,
    span: tuple[float, float],
    b: float,
    heights: tuple[float, float],
    colour: Colour,
    *,
    stripe: Colour,
) -> None:
    """A cargo box with ribs and a stripe along its side."""
    _box(painter, span, b, heights, colour)
    for share in (0.25, 0.5, 0.75):
        u = span[0] + (span[1] - span[0]) * share
        painter.side((u, u + 0.06), heights, b, shade(colour, 0.8))
    level = heights[0] + (heights[1] - heights[0]) * 0.3
    painter.side(span, (level, level + 0.3), b, stripe)


def _wheels(painter: Painter, places: tuple[float, ...], radius: float, b: float) -> None:
    for u in places:
        painter.disc((u, radius), (radius, radius), _RUBBER, w=b)
        painter.disc((u, radius), (radius * 0.5, radius * 0.5), _STEEL, w=b)


def _lamps(
    painter: Painter, u: float, b: float, heights: tuple[float, float], *, rear: bool, lit: bool
) -> None:
    """Lamps, bumper and number plate of the end at ``u``."""
    low, rise = heights[0], heights[1] - heights[0]
    lamp: Colour = (200, 34, 30) if rear else (246, 240, 206)
    for side in (-1, 1):
        span = (side * b * 0.58, side * b * 0.96)
        level = (low + rise * 0.48, low + rise * 0.82)
        painter.end(u, span, level, lamp if lit else shade(lamp, 0.72))
    painter.end(u, (-b, b), (low, low + rise * 0.22), _TRIM)
    painter.end(u, (-b * 0.3, b * 0.3), (low + rise * 0.26, low + rise * 0.46), (226, 224, 214))


def _inset(
    points: list[tuple[float, float, float]], share: float
) -> list[tuple[float, float, float]]:
    """The polygon, shrunk towards its middle by a share of its size."""
    u, w, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    keep = 1 - share
    return [(u + (p[0] - u) * keep, w + (p[1] - w) * keep, y + (p[2] - y) * keep) for p in points]
