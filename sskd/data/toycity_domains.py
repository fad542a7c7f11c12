"""The two looks of toycity: a clean rendered noon to learn from, and a hazy dusk to adapt to."""

from dataclasses import dataclass

from sskd.data.toycity_painter import Colour

__all__ = ["SOURCE", "TARGET", "Liveries", "Mood", "ToycityDomain"]


@dataclass(frozen=True)
class Mood:
    """Sky and light of one time of day."""

    sky_top: Colour
    sky_bottom: Colour
    tint: tuple[float, float, float]
    """Factors of red, green and blue: the light's colour."""


@dataclass(frozen=True)
class Liveries:
    """The colours of this town's vehicles: what a small network can tell classes by early on."""

    cars: tuple[Colour, ...]
    trucks: tuple[Colour, ...]
    """Of the cab; the box is paler."""
    buses: tuple[Colour, ...]
    trains: tuple[Colour, ...]
    motorcycles: tuple[Colour, ...]
    bicycles: tuple[Colour, ...]
    vests: tuple[Colour, ...]
    """Of riders, to be seen by."""


@dataclass(frozen=True)
class ToycityDomain:
    """Everything that tells one domain's pictures from another's."""

    name: str
    moods: tuple[Mood, ...]
    # What the camera does to the picture.
    contrast: tuple[float, float]
    """Range of factors around mid-grey; below 1 is flatter."""
    brightness: tuple[float, float]
    """Range of what is added, in 0..255."""
    haze: tuple[float, float]
    """Range of the share of light lost a metre."""
    noise: tuple[float, float]
    """Range of the sensor noise's standard deviation, in 0..255."""
    blur: tuple[float, float]
    """Range of the radius of the lens blur, in pixels at a height of 96."""
    # How things are drawn.
    outline: tuple[float, float]
    """Range of the width of the dark lines around parts, in pixels at a height of 96; an image
    with less than half a sample has none."""
    shading: float
    """How much lighter tops are than bottoms, 0 (flat) to 1."""
    texture: float
    """Amplitude of blotches and grain on surfaces, in 0..255."""
    patterned: float
    """Share of clothes with stripes or checks, 0 to 1."""
    lights: float
    """Share of vehicles with their lights on, and of lit windows, 0 to 1."""
    shadow: float
    """Darkness of the shadows on the ground, 0 to 1."""
    # Palettes.
    liveries: Liveries
    clothes: tuple[Colour, ...]
    skins: tuple[Colour, ...]
    hairs: tuple[Colour, ...]
    roads: tuple[Colour, ...]
    pavements: tuple[Colour, ...]
    walls: tuple[Colour, ...]
    leaves: tuple[Colour, ...]
    glass: Colour
    # Proportions.
    build: float
    """Width of people relative to their height; 1 is neutral."""
    head: float
    """Radius of heads relative to the height of people."""
    car: tuple[float, float, float]
    """Length and height of cars in metres, and the share of the height below the windows."""
    boxy: float
    """How upright windscreens are, 0 (raked) to 1."""
    # What is in the street.
    groups: tuple[tuple[str, float], ...]
    """Kind of group and how probable it is that an image has one."""
    crowd: tuple[int, int]
    """Fewest and most people of a crowd."""
    row: tuple[int, int]
    """Fewest and most vehicles of a parked row."""
    occluders: tuple[int, int]
    """Fewest and most trees, poles and bushes of an image."""
    tries: int
    """Positions tried for each group, the least occluded is taken; fewer means more occlusion."""


SOURCE = ToycityDomain(
    name="source",
    moods=(
        Mood((92, 160, 232), (200, 226, 248), (1.0, 1.0, 1.0)),
        Mood((70, 140, 220), (180, 214, 246), (1.04, 1.02, 0.96)),
        Mood((120, 176, 230), (226, 236, 246), (1.03, 1.0, 0.98)),
    ),
    contrast=(0.9, 1.15),
    brightness=(-8.0, 14.0),
    haze=(0.0, 0.014),
    noise=(0.0, 2.5),
    blur=(0.0, 0.35),
    outline=(0.0, 0.5),
    shading=0.1,
    texture=3.0,
    patterned=0.05,
    lights=0.1,
    shadow=0.45,
    liveries=Liveries(
        cars=((214, 40, 40), (36, 92, 200), (240, 240, 240), (60, 60, 66), (176, 178, 184)),
        trucks=((236, 120, 30), (224, 96, 40)),
        buses=((244, 200, 30), (250, 214, 70)),
        trains=((30, 150, 84), (50, 170, 100)),
        motorcycles=((160, 50, 170), (130, 44, 150)),
        bicycles=((30, 190, 204), (70, 214, 200)),
        vests=((190, 240, 50), (214, 250, 90)),
    ),
    clothes=(
        (220, 50, 60),
        (40, 90, 200),
        (250, 210, 60),
        (60, 160, 90),
        (240, 240, 240),
        (150, 60, 160),
        (40, 44, 60),
        (240, 130, 50),
        (140, 140, 140),
        (92, 74, 62),
        (62, 76, 104),
        (186, 176, 156),
    ),
    skins=((244, 204, 172), (224, 172, 132), (176, 120, 84)),
    hairs=((60, 40, 28), (30, 26, 24), (190, 140, 70)),
    roads=((112, 114, 120), (124, 124, 126)),
    pavements=((196, 190, 180), (206, 200, 192)),
    walls=((222, 186, 140), (206, 130, 106), (232, 220, 196), (168, 190, 206), (214, 200, 120)),
    leaves=((70, 150, 60), (96, 170, 70)),
    glass=(112, 148, 176),
    build=0.95,
    head=0.075,
    car=(3.7, 1.4, 0.52),
    boxy=0.15,
    groups=(
        ("pedestrian", 0.6),
        ("crowd", 0.2),
        ("car", 0.6),
        ("parked", 0.2),
        ("truck", 0.24),
        ("bus", 0.22),
        ("train", 0.2),
        ("cyclist", 0.2),
        ("motorcyclist", 0.2),
        ("bicycles", 0.14),
        ("motorcycles", 0.14),
    ),
    crowd=(2, 4),
    row=(2, 3),
    occluders=(0, 2),
    tries=8,
)
"""Rendered noon: saturated plain colours, dark contours, hard shadows, few occlusions."""


TARGET = ToycityDomain(
    name="target",
    moods=(
        Mood((92, 104, 136), (214, 178, 150), (1.08, 0.97, 0.88)),
        Mood((128, 134, 146), (186, 186, 186), (0.96, 1.0, 1.05)),
        Mood((70, 84, 120), (170, 160, 168), (0.94, 0.96, 1.08)),
    ),
    contrast=(0.85, 1.05),
    brightness=(-6.0, 18.0),
    haze=(0.004, 0.016),
    noise=(2.0, 5.0),
    blur=(0.1, 0.4),
    outline=(0.0, 0.0),
    shading=0.5,
    texture=9.0,
    patterned=0.25,
    lights=0.6,
    shadow=0.3,
    liveries=Liveries(
        cars=((140, 48, 46), (48, 72, 124), (206, 204, 198), (40, 42, 48), (150, 154, 158)),
        trucks=((190, 108, 52), (170, 84, 48)),
        buses=((206, 168, 56), (196, 176, 96)),
        trains=((44, 112, 84), (66, 124, 90)),
        motorcycles=((116, 58, 126), (92, 50, 108)),
        bicycles=((52, 140, 150), (84, 156, 150)),
        vests=((156, 186, 62), (170, 196, 92)),
    ),
    clothes=(
        (52, 56, 74),
        (96, 72, 58),
        (134, 134, 132),
        (178, 168, 150),
        (110, 46, 52),
        (60, 86, 74),
        (36, 36, 40),
        (84, 104, 138),
        (196, 150, 84),
        (190, 56, 60),
        (54, 92, 176),
    ),
    skins=((226, 184, 156), (190, 140, 108), (120, 82, 60), (84, 58, 44)),
    hairs=((48, 34, 26), (24, 22, 22), (120, 100, 84), (140, 140, 140)),
    roads=((86, 86, 90), (98, 94, 92), (76, 80, 86)),
    pavements=((138, 132, 126), (124, 122, 124), (150, 138, 124)),
    walls=((138, 112, 94), (118, 116, 118), (160, 146, 128), (104, 92, 90), (130, 134, 138)),
    leaves=((62, 78, 48), (88, 82, 48), (50, 70, 56)),
    glass=(68, 82, 100),
    build=1.12,
    head=0.088,
    car=(3.4, 1.55, 0.58),
    boxy=0.6,
    groups=(
        ("pedestrian", 0.3),
        ("crowd", 0.45),
        ("car", 0.35),
        ("parked", 0.35),
        ("truck", 0.2),
        ("bus", 0.2),
        ("train", 0.17),
        ("cyclist", 0.18),
        ("motorcyclist", 0.18),
        ("bicycles", 0.14),
        ("motorcycles", 0.14),
    ),
    crowd=(2, 4),
    row=(2, 3),
    occluders=(0, 2),
    tries=8,
)
"""Photographed dusk: haze, noise, blur, muted patterned colours, crowds and occlusions."""
