"""Cityscapes from its own folders: leftImg8bit and gtFine, 8 thing classes, groups as crowds.

The id maps are those of ``*_gtFine_instanceIds.png``. Their coding, and which labels have instances
and count, stand in github.com/mcordts/cityscapesScripts (``preparation/json2instanceImg.py`` and
``helpers/labels.py``): a pixel of the n-th instance of a label is ``1000 * label + n``; a group
whose members could not be told apart, and everything that has no instances, is the label itself.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Int64

from sskd.data.conversion import Pair, Source, find_pairs
from sskd.data.instance_maps import Region

__all__ = ["CLASSES", "cityscapes", "instance_ids_of"]

CLASSES = {
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
"""Thing classes that the benchmark evaluates, by the label's official id, our category id."""

_HAVE_INSTANCES = frozenset(range(24, 34))
"""Caravans (29) and trailers (30) have instance ids too, but take no part in the benchmark."""
_LABELS = frozenset(range(34))
_IMAGE = "_leftImg8bit.png"
_MAP = "_gtFine_instanceIds.png"


def cityscapes(root: Path) -> Source:
    """What a folder with ``leftImg8bit`` and ``gtFine`` holds for training and validation.

    Raises:
        ValueError: If it is not that folder, or an image has no annotation.
    """
    root = root.absolute()
    for part in ("leftImg8bit", "gtFine"):
        for name in ("train", "val"):
            if not (root / part / name).is_dir():
                hint = "" if part == root.name else f"; unpack {part}_trainvaltest.zip there"
                if root.name in ("leftImg8bit", "gtFine"):
                    hint = f"; give its parent {root.parent}"
                raise ValueError(
                    f"{root}: not the folder of Cityscapes: there is no {part}/{name} in it{hint}"
                )
    found: dict[str, list[Pair]] = {
        name: find_pairs(
            "Cityscapes",
            root / "leftImg8bit" / name,
            f"*/*{_IMAGE}",
            lambda image: instance_ids_of(root, image.relative_to(root / "leftImg8bit").as_posix()),
        )
        for name in ("train", "val")
    }
    return Source(
        title="Cityscapes",
        images=root / "leftImg8bit",
        train=found["train"],
        val=found["val"],
        counts=(2975, 500),
        categories=CLASSES,
        mode="L",
        regions=_regions,
        cityscapes=root,
    )


def instance_ids_of(root: Path, file_name: str) -> Path:
    """Where the official id map of an image is.

    Args:
        root: The folder with ``leftImg8bit`` and ``gtFine``.
        file_name: Of the image, relative to ``leftImg8bit``: ``val/CITY/CITY_..._leftImg8bit.png``.
    """
    return root / "gtFine" / (file_name.removesuffix(_IMAGE) + _MAP)


def _regions(ids: Int64[np.ndarray, "h w"]) -> tuple[np.ndarray, dict[int, Region]]:
    regions = {}
    for one in np.unique(ids).tolist():
        label = one // 1000 if one >= 1000 else one
        if label not in (_HAVE_INSTANCES if one >= 1000 else _LABELS):
            raise ValueError(
                f"id {one}, label {label}: not in the list of Cityscapes' labels, which are 0 to "
                "33, of which 24 to 33 have instances (1000 * label + number)"
            )
        if label in CLASSES:
            regions[one] = Region(label, crowd=one < 1000)
    return ids, regions
