"""People and two-wheelers of toycity, part by part."""

import math

import numpy as np

from sskd.data.toycity_domains import ToycityDomain
from sskd.data.toycity_painter import Colour, Paint, Painter, Pattern, pick, shade

__all__ = ["draw_bicycle", "draw_motorcycle", "draw_person", "draw_rider"]

_PATTERNS: tuple[Pattern, ...] = ("hoops", "pinstripes", "checks")
_RUBBER: Colour = (30, 30, 33)


def draw_person(
    painter: Painter, domain: ToycityDomain, *, height: float, generator: np.random.Generator
) -> None:
    """A standing or walking person of a height in metres, seen from the front, back or side."""
    top, bottom = _cloth(domain, generator), _cloth(domain, generator)
    skin, hair = pick(domain.skins, generator), pick(domain.hairs, generator)
    b = height * domain.build / 1.7 * generator.uniform(0.9, 1.12)
    aside = generator.random() < 0.35
    half = b * (0.15 if aside else 0.22)
    hip, shoulder = 0.48 * height, 0.82 * height
    stride = generator.uniform(0.06, 0.18) * (1 if aside else 0.3)
    swing = generator.uniform(-0.16, 0.16)

    painter.limb((half * 0.9, shoulder - 0.06), (half + 0.05 + swing, hip), 0.1 * b, top)
    for side in (-1, 1):
        foot = side * (stride + 0.07 * b)
        painter.limb((side * 0.075 * b, hip + 0.04), (foot, 0.05), 0.16 * b, bottom)
        painter.limb((foot - 0.07 * b, 0.04), (foot + 0.09 * b, 0.04), 0.08, _RUBBER)
    style = generator.random()
    hem = hip - (0.22 * height if style < 0.25 else 0.02)
    flare = 1.25 if style < 0.25 else 0.9
    waist = half * 0.85
    painter.flat(
        [
            (-half, shoulder - 0.03),
            (-half * 0.55, shoulder + 0.03),
            (half * 0.55, shoulder + 0.03),
            (half, shoulder - 0.03),
            (waist, hip + 0.1),
            (half * flare, hem),
            (-half * flare, hem),
            (-waist, hip + 0.1),
        ],
        top,
    )
    if style > 0.7:
        bag = pick(domain.clothes, generator)
        low, high = (hip + 0.08, shoulder - 0.06) if style > 0.85 else (hip - 0.2, hip + 0.08)
        middle = 0.0 if style > 0.85 else half
        painter.flat(
            [
                (middle + dl * b, y)
                for y in (low, high)
                for dl in ((-0.13, 0.13)[:: 1 if y == low else -1])
            ],
            bag,
        )
    painter.limb(
        (-half * 0.9, shoulder - 0.06), (-half - 0.05 - swing, hip), 0.11 * b, _darker(top)
    )
    painter.disc((-half - 0.05 - swing, hip - 0.02), (0.045, 0.055), skin)
    r = domain.head * height
    middle = 0.03 if aside else 0.0
    painter.flat(
        [
            (x + middle, y)
            for x, y in (
                (-0.05, shoulder),
                (0.05, shoulder),
                (0.05, height - r),
                (-0.05, height - r),
            )
        ],
        skin,
    )
    _head(painter, (middle, height - r), r, skin, hair, back=generator.random() < 0.35, aside=aside)


def draw_bicycle(
    painter: Painter, domain: ToycityDomain, *, generator: np.random.Generator
) -> None:
    """A bicycle: two spoked wheels, frame, saddle, handlebar; 1.75 m long."""
    frame = pick(domain.liveries.bicycles, generator)
    for u in (-0.52, 0.52):
        painter.disc((u, 0.34), (0.35, 0.34), _RUBBER)
        painter.disc((u, 0.34), (0.26, 0.25), (126, 128, 130), alpha=120)
        painter.disc((u, 0.34), (0.05, 0.05), _RUBBER)
    crank, seat, stem = (-0.02, 0.34), (-0.18, 0.82), (0.4, 0.86)
    for start, end in ((crank, seat), (crank, stem), (seat, stem), ((-0.52, 0.34), seat)):
        painter.limb(start, end, 0.075, frame)
    painter.limb((-0.52, 0.34), crank, 0.07, frame)
    painter.limb((0.52, 0.34), (0.37, 1.0), 0.07, frame)
    painter.limb((-0.32, 0.93), (-0.06, 0.9), 0.1, _RUBBER)
    painter.limb((0.28, 1.02), (0.5, 1.0), 0.09, _RUBBER)
    if generator.random() < 0.3:
        painter.flat([(0.45, 0.72), (0.78, 0.72), (0.82, 0.98), (0.42, 0.98)], (120, 92, 60))


def draw_motorcycle(
    painter: Painter, domain: ToycityDomain, *, generator: np.random.Generator
) -> None:
    """A motorcycle or scooter: fat wheels, engine, tank, seat, lights; 2 m long."""
    body = pick(domain.liveries.motorcycles, generator)
    steel: Colour = (146, 148, 152)
    for u in (-0.68, 0.68):
        painter.disc((u, 0.31), (0.32, 0.31), _RUBBER)
        painter.disc((u, 0.31), (0.15, 0.15), steel)
    painter.flat(
        [(-0.62, 0.5), (-0.35, 0.22), (0.32, 0.2), (0.42, 0.55), (0.1, 0.72)], (58, 58, 62)
    )
    painter.limb((0.68, 0.31), (0.42, 1.02), 0.1, steel)
    painter.limb((-0.15, 0.26), (-0.85, 0.34), 0.12, steel)
    painter.flat([(-0.1, 0.6), (0.42, 0.58), (0.5, 0.82), (0.3, 0.95), (0.0, 0.86)], body)
    painter.flat([(-0.95, 0.72), (-0.5, 0.5), (-0.3, 0.55), (-0.4, 0.86), (-0.9, 0.86)], body)
    painter.flat([(-0.72, 0.8), (0.05, 0.76), (0.05, 0.88), (-0.7, 0.95)], _RUBBER)
    painter.limb((0.26, 1.06), (0.5, 1.02), 0.09, _RUBBER)
    painter.disc((0.56, 0.86), (0.1, 0.1), (250, 240, 190))
    painter.flat([(-0.98, 0.74), (-0.88, 0.74), (-0.88, 0.86), (-0.98, 0.86)], (210, 40, 36))
    painter.flat([(0.45, 0.66), (0.98, 0.6), (0.9, 0.68), (0.5, 0.74)], body)


def draw_rider(
    painter: Painter, domain: ToycityDomain, *, motorised: bool, generator: np.random.Generator
) -> None:
    """A seated person in the frame of a bicycle or motorcycle, without the vehicle."""
    vest = pick(domain.liveries.vests, generator)
    top, bottom = Paint(vest, vest, "plain", 0.2), _cloth(domain, generator)
    skin = pick(domain.skins, generator)
    hat = pick(domain.clothes if motorised else domain.hairs, generator)
    b = domain.build * generator.uniform(0.95, 1.1)
    if motorised:
        hip, shoulder, hand, knee, foot = (
            (-0.3, 0.92),
            (-0.08, 1.42),
            (0.36, 1.06),
            (0.2, 0.84),
            (0.0, 0.34),
        )
    else:
        hip, shoulder, hand, knee, foot = (
            (-0.18, 0.98),
            (0.1, 1.47),
            (0.38, 1.05),
            (0.2, 0.74),
            (0.02, 0.25),
        )
        painter.limb(hip, (0.12, 0.66), 0.16 * b, shade(_plain(bottom), 0.75))
    lean = generator.uniform(-0.06, 0.08)
    shoulder = (shoulder[0] + lean, shoulder[1])
    painter.limb(hip, knee, 0.2 * b, bottom)
    painter.limb(knee, foot, 0.16 * b, bottom)
    painter.limb((foot[0] - 0.05, foot[1] - 0.03), (foot[0] + 0.16, foot[1] - 0.03), 0.1, _RUBBER)
    painter.flat(
        [
            (hip[0] - 0.17 * b, hip[1] - 0.06),
            (shoulder[0] - 0.2 * b, shoulder[1]),
            (shoulder[0] - 0.02, shoulder[1] + 0.1),
            (shoulder[0] + 0.15 * b, shoulder[1] - 0.04),
            (hip[0] + 0.18 * b, hip[1] - 0.04),
        ],
        top,
    )
    elbow = ((shoulder[0] + hand[0]) / 2, min(shoulder[1], hand[1]) + 0.1)
    painter.limb(shoulder, elbow, 0.13 * b, _darker(top))
    painter.limb(elbow, hand, 0.11 * b, _darker(top))
    painter.disc(hand, (0.06, 0.06), skin)
    r = domain.head * 1.7 * (1.15 if motorised else 1.0)
    centre = (shoulder[0] + 0.1, shoulder[1] + 0.08 + r)
    _head(painter, centre, r, skin, hat, back=motorised, aside=True)
    if motorised:
        painter.flat(
            [
                (centre[0] + r * dx, centre[1] + r * dy)
                for dx, dy in ((0.2, 0.3), (0.95, 0.25), (0.9, -0.2), (0.25, -0.15))
            ],
            domain.glass,
        )


def _head(
    painter: Painter,
    centre: tuple[float, float],
    r: float,
    skin: Colour,
    hair: Colour,
    *,
    back: bool,
    aside: bool,
) -> None:
    stretch = r / max(math.sin(painter.turn), 0.3) * 0.9
    painter.disc(centre, (stretch, r), hair if back else skin)
    if not back:
        tilt = -0.3 * r if aside else 0.0
        cap = [(centre[0] + tilt + stretch * c, centre[1] + r * (0.15 + 0.95 * s)) for c, s in _CAP]
        painter.flat(cap, hair)


def _cloth(domain: ToycityDomain, generator: np.random.Generator) -> Paint:
    colour, second = pick(domain.clothes, generator), pick(domain.clothes, generator)
    kind = _PATTERNS[generator.integers(len(_PATTERNS))]
    patterned = generator.random() < domain.patterned
    return Paint(colour, second, kind if patterned else "plain", generator.uniform(0.12, 0.24))


def _plain(paint: Paint) -> Colour:
    return paint.colour


def _darker(paint: Paint) -> Paint:
    return paint._replace(colour=shade(paint.colour, 0.82), second=shade(paint.second, 0.82))


_CAP = [(math.cos(a), math.sin(a)) for a in np.linspace(0.0, math.pi, 8)]
