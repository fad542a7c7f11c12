"""Who stands where in a toycity street: groups of things, trees and poles, not yet drawn."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from sskd.data.toycity_domains import ToycityDomain
from sskd.data.toycity_painter import Painter
from sskd.data.toycity_people import draw_bicycle, draw_motorcycle, draw_person, draw_rider
from sskd.data.toycity_street import OCCLUDERS, Street, draw_occluder
from sskd.data.toycity_vehicles import draw_bus, draw_car, draw_train, draw_truck

__all__ = ["Item", "item_box", "populate"]

_REACH = {
    "person": (3.4, 10.5),
    "car": (4.4, 11.0),
    "long": (6.0, 11.0),
    "two-wheeler": (3.7, 8.0),
    "occluder": (3.6, 14.0),
}
"""Nearest and farthest place of a kind, in metres from the camera."""


@dataclass(frozen=True)
class Item:
    """Something that stands on the ground."""

    name: str
    """A thing class; empty for stuff."""
    x: float
    z: float
    """Of its nearest point, in metres."""
    extent: tuple[float, float, float]
    turn: float
    mirrored: bool
    draw: Callable[[Painter], None]


def populate(street: Street, domain: ToycityDomain, generator: np.random.Generator) -> list[Item]:
    """The things and occluders of a scene, each group at the freest of a few random places."""
    # A wider picture shows more street.
    share = max(1.0, street.camera.width / street.camera.height)
    placed: list[Item] = []
    while len(placed) < 2:
        placed = []
        for kind, probability in domain.groups:
            for _ in range(math.floor(probability * share + generator.random())):
                placed += _place(kind, street, domain, placed, generator)
    count = generator.integers(domain.occluders[0], domain.occluders[1] + 1)
    kinds = tuple(OCCLUDERS)
    for _ in range(round(count * share)):
        kind = kinds[generator.integers(len(kinds))]
        z = generator.uniform(*_REACH["occluder"])
        x = _aside(street, z, generator) if street.canyon else _somewhere(street, z, generator)
        width, height = OCCLUDERS[kind]
        draw = partial(draw_occluder, kind, domain=domain, generator=generator)
        placed.append(Item("", x, z, (width, 0.1, height), math.pi / 2, False, draw))
    return placed


def _place(
    kind: str,
    street: Street,
    domain: ToycityDomain,
    placed: Sequence[Item],
    generator: np.random.Generator,
) -> list[Item]:
    taken = [item_box(item, street) for item in placed]
    best: list[Item] = []
    lowest = math.inf
    for _ in range(domain.tries):
        group = _GROUPS[kind](street, domain, generator)
        cost = sum(_hidden(item_box(item, street), taken, street) for item in group) / len(group)
        if cost < lowest:
            best, lowest = group, cost
    return best


def _hidden(
    box: tuple[float, float, float, float],
    taken: Sequence[tuple[float, float, float, float]],
    street: Street,
) -> float:
    """How much of a box others cover or the frame cuts off, in boxes."""
    left, top, right, bottom = box
    area = (right - left) * (bottom - top)
    inside = max(0.0, min(right, street.camera.width) - max(left, 0)) * (
        min(bottom, street.camera.height) - top
    )
    overlap = 0.0
    for other in taken:
        across = min(right, other[2]) - max(left, other[0])
        along = min(bottom, other[3]) - max(top, other[1])
        if across > 0 and along > 0:
            smaller = min(area, (other[2] - other[0]) * (other[3] - other[1]))
            overlap += across * along / smaller
    return overlap + 1.5 * (1 - inside / area)


def item_box(item: Item, street: Street) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of an item, roughly, in supersampled pixels."""
    x, y = street.camera.point(item.x, 0.0, item.z)
    scale = street.camera.focal / item.z
    length, width, height = item.extent
    half = (length * math.sin(item.turn) + width * math.cos(item.turn)) / 2 * scale * 0.9
    return x - half, y - height * scale, x + half, y


def _somewhere(street: Street, z: float, generator: np.random.Generator) -> float:
    camera = street.camera
    return (camera.width * generator.uniform(0.06, 0.94) - camera.centre) * z / camera.focal


def _aside(street: Street, z: float, generator: np.random.Generator) -> float:
    """A place on a pavement of the canyon, in view; anywhere in view where there is none."""
    for _ in range(6):
        x = _somewhere(street, z, generator)
        if not street.kerbs[0] < x < street.kerbs[1]:
            return float(np.clip(x, street.walls[0] + 0.5, street.walls[1] - 0.5))
    return _somewhere(street, z, generator)


def _far(street: Street, kind: str, generator: np.random.Generator) -> float:
    """A distance; uniform in its logarithm, so that large and small are as frequent."""
    near, far = _REACH[kind]
    if not street.canyon and kind in ("car", "long"):
        near = max(near, street.kerbs[0] + 0.5)
        far = min(far, street.kerbs[1] - 0.5)
    return float(np.exp(generator.uniform(math.log(near), math.log(far))))


def _heading(street: Street, generator: np.random.Generator) -> tuple[float, bool]:
    """How a vehicle in the traffic is turned to the camera, and whether it is mirrored."""
    low, high = (0.1, 0.75) if street.canyon else (1.1, math.pi / 2)
    return generator.uniform(low, high), bool(generator.random() < 0.5)


def _person(domain: ToycityDomain, generator: np.random.Generator, x: float, z: float) -> Item:
    height = generator.uniform(1.55, 1.85) * (0.68 if generator.random() < 0.08 else 1.0)
    draw = partial(draw_person, domain=domain, height=height, generator=generator)
    return Item(
        "person", x, z, (1.3, 0.1, height), math.pi / 2, bool(generator.random() < 0.5), draw
    )


def _pedestrian(
    street: Street, domain: ToycityDomain, generator: np.random.Generator
) -> list[Item]:
    z = _far(street, "person", generator)
    walks = street.canyon and generator.random() < 0.7
    x = _aside(street, z, generator) if walks else _somewhere(street, z, generator)
    return [_person(domain, generator, x, z)]


def _crowd(street: Street, domain: ToycityDomain, generator: np.random.Generator) -> list[Item]:
    """People shoulder to shoulder."""
    z = _far(street, "person", generator) * 1.1
    x = _somewhere(street, z, generator)
    people = []
    for _ in range(generator.integers(domain.crowd[0], domain.crowd[1] + 1)):
        people.append(_person(domain, generator, x, z * generator.uniform(0.95, 1.06)))
        x += generator.uniform(0.42, 0.68) * domain.build
    return people


def _car_at(
    domain: ToycityDomain,
    generator: np.random.Generator,
    x: float,
    z: float,
    turn: float,
    mirrored: bool,
) -> Item:
    length, height, _ = domain.car
    van = 1.25 if generator.random() < 0.15 else 1.0
    extent = (length * generator.uniform(0.92, 1.08), 1.75, height * van)
    draw = partial(draw_car, domain=domain, extent=extent, generator=generator)
    return Item("car", x, z, extent, turn, mirrored, draw)


def _car(street: Street, domain: ToycityDomain, generator: np.random.Generator) -> list[Item]:
    z = _far(street, "car", generator)
    turn, mirrored = _heading(street, generator)
    return [_car_at(domain, generator, _on_road(street, z, generator), z, turn, mirrored)]


def _parked(street: Street, domain: ToycityDomain, generator: np.random.Generator) -> list[Item]:
    """Cars in a row, their boxes overlapping: along the kerb, or side by side."""
    count = generator.integers(domain.row[0], domain.row[1] + 1)
    z = _far(street, "car", generator)
    mirrored = bool(generator.random() < 0.5)
    turn = generator.uniform(0.15, 0.5)
    if street.canyon and generator.random() < 0.6:
        side = generator.integers(2)
        x = street.kerbs[side] + (0.9, -0.9)[side]
        z = min(z, 7.5)
        gap = domain.car[0] * generator.uniform(0.75, 1.0)
        # The flank that faces the middle of the road is the one to be seen.
        spots = [(x, z + k * gap) for k in range(count)]
        return [_car_at(domain, generator, *spot, turn, bool(side)) for spot in spots]
    x = _somewhere(street, z, generator)
    gap = 1.75 * generator.uniform(0.95, 1.25)
    return [
        _car_at(domain, generator, x + k * gap, z * generator.uniform(0.98, 1.03), turn, mirrored)
        for k in range(count)
    ]


def _on_road(street: Street, z: float, generator: np.random.Generator) -> float:
    x = _somewhere(street, z, generator)
    if not street.canyon:
        return x
    left, right = street.kerbs
    return float(np.clip(x, left + 0.8, right - 0.8))


def _long(
    name: str, street: Street, domain: ToycityDomain, generator: np.random.Generator
) -> list[Item]:
    """A truck, a bus or a train."""
    length, width, height = {
        "truck": (5.0, 2.0, 2.6),
        "bus": (6.2, 2.1, 2.7),
        "train": (9.6, 2.2, 3.3),
    }[name]
    extent = (length * generator.uniform(0.9, 1.1), width, height * generator.uniform(0.95, 1.05))
    drawer = {"truck": draw_truck, "bus": draw_bus, "train": draw_train}[name]
    z = _far(street, "long", generator)
    turn, mirrored = _heading(street, generator)
    draw = partial(drawer, domain=domain, extent=extent, generator=generator)
    return [Item(name, _on_road(street, z, generator), z, extent, turn, mirrored, draw)]


def _two_wheelers(
    name: str,
    count: int,
    ridden: bool,
    street: Street,
    domain: ToycityDomain,
    generator: np.random.Generator,
) -> list[Item]:
    z = _far(street, "two-wheeler", generator)
    x = _on_road(street, z, generator) if ridden else _somewhere(street, z, generator)
    turn, mirrored = generator.uniform(0.55, math.pi / 2), bool(generator.random() < 0.5)
    extent = (1.95, 0.4, 1.1) if name == "motorcycle" else (1.75, 0.3, 1.05)
    drawer = draw_motorcycle if name == "motorcycle" else draw_bicycle
    items = []
    for _ in range(count):
        draw = partial(drawer, domain=domain, generator=generator)
        items.append(Item(name, x, z, extent, turn, mirrored, draw))
        if ridden:
            seated = partial(
                draw_rider, domain=domain, motorised=name == "motorcycle", generator=generator
            )
            # A hair nearer: the legs hide the vehicle. The same depth, so the same frame.
            items.append(Item("rider", x, z - 1e-6, (*extent[:2], 1.95), turn, mirrored, seated))
        x += generator.uniform(0.6, 0.9) * extent[0] * math.sin(turn)
        z *= generator.uniform(0.97, 1.04)
    return items


def _parked_two_wheelers(
    name: str, street: Street, domain: ToycityDomain, generator: np.random.Generator
) -> list[Item]:
    count = int(generator.integers(1, 4))
    return _two_wheelers(name, count, False, street, domain, generator)


_GROUPS: dict[str, Callable[[Street, ToycityDomain, np.random.Generator], list[Item]]] = {
    "pedestrian": _pedestrian,
    "crowd": _crowd,
    "car": _car,
    "parked": _parked,
    "truck": partial(_long, "truck"),
    "bus": partial(_long, "bus"),
    "train": partial(_long, "train"),
    "cyclist": partial(_two_wheelers, "bicycle", 1, True),
    "motorcyclist": partial(_two_wheelers, "motorcycle", 1, True),
    "bicycles": partial(_parked_two_wheelers, "bicycle"),
    "motorcycles": partial(_parked_two_wheelers, "motorcycle"),
}
