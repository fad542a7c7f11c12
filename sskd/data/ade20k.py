"""ADE20K's instance challenge from its own folders: images and annotations_instance, 100 classes.

Coding, folders and the list of classes stand in github.com/CSAILVision/placeschallenge
(``instancesegmentation``: ``README.md``, ``instanceInfo100_train.txt``): in an annotation the red
channel is the class, 1 to 100, and the green one the instance, unique in the image whatever its
class; what has no instance number is background.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Int64

from sskd.data.conversion import Source, find_pairs
from sskd.data.instance_maps import Region

__all__ = ["CLASSES", "ade20k"]

_NAMES = """
bed, windowpane, cabinet, person, door, table, curtain, chair, car, painting, sofa, shelf, mirror,
armchair, seat, fence, desk, wardrobe, lamp, bathtub, railing, cushion, box, column, signboard,
chest of drawers, counter, sink, fireplace, refrigerator, stairs, case, pool table, pillow,
screen door, bookcase, coffee table, toilet, flower, book, bench, countertop, stove, palm,
kitchen island, computer, swivel chair, boat, arcade machine, bus, towel, light, truck, chandelier,
awning, streetlight, booth, television receiver, airplane, apparel, pole, bannister, ottoman,
bottle, van, ship, fountain, washer, plaything, stool, barrel, basket, bag, minibike, oven, ball,
food, step, trade name, microwave, pot, animal, bicycle, dishwasher, screen, sculpture, hood,
sconce, vase, traffic light, tray, ashcan, fan, plate, monitor, bulletin board, radiator, glass,
clock, flag
"""

CLASSES = dict(enumerate((name.strip() for name in _NAMES.split(",")), start=1))
"""By the challenge's class id, which is our category id. The tar files do not ship the list."""

_SETS = {"training": "train", "validation": "val"}


def ade20k(root: Path) -> Source:
    """What a folder with ``images`` and ``annotations_instance`` holds.

    Args:
        root: Usually called ``ADEChallengeData2016``; its parent does too.

    Raises:
        ValueError: If it is not that folder, or an image has no annotation.
    """
    root = root.absolute()
    if not (root / "images").is_dir() and (root / "ADEChallengeData2016").is_dir():
        root /= "ADEChallengeData2016"
    for part in ("images", "annotations_instance"):
        for name in _SETS:
            if not (root / part / name).is_dir():
                inside = root.name in ("images", "annotations_instance")
                hint = f"give its parent {root.parent}" if inside else f"unpack {part}.tar there"
                raise ValueError(
                    f"{root}: not the folder of ADE20K's instance challenge: there is no "
                    f"{part}/{name} in it; {hint}"
                )
    found = {
        short: find_pairs(
            "ADE20K",
            root / "images" / name,
            "*.jpg",
            lambda image, name=name: (  # type: ignore[misc]
                root / "annotations_instance" / name / f"{image.stem}.png"
            ),
        )
        for name, short in _SETS.items()
    }
    return Source(
        title="ADE20K",
        images=root / "images",
        train=found["train"],
        val=found["val"],
        counts=(20210, 2000),
        categories=CLASSES,
        mode="RGB",
        regions=_regions,
    )


def _regions(pixels: Int64[np.ndarray, "h w 3"]) -> tuple[np.ndarray, dict[int, Region]]:
    classes, instances = pixels[:, :, 0], pixels[:, :, 1]
    regions: dict[int, Region] = {}
    for pair in np.unique(instances * 256 + classes).tolist():
        instance, label = divmod(pair, 256)
        if label > len(CLASSES) or (instance and not label):
            raise ValueError(
                f"instance {instance} of class {label}: not in the list of ADE20K's classes, "
                f"which are 1 to {len(CLASSES)} in the red channel"
            )
        if instance in regions:
            first = regions[instance].category
            raise ValueError(
                f"instance {instance} is of two classes, {first} and {label}; "
                "the green channel has to tell instances of all classes apart"
            )
        if instance:
            regions[instance] = Region(label, crowd=False)
    return instances, regions
