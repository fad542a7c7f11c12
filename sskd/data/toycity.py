"""Toycity, the embedded data set: synthetic street scenes in COCO's instance format.

Scenes of one set depend only on the seed, the set and their index: more of them can be asked for
without changing the first ones.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from sskd.data.toycity_domains import SOURCE, TARGET, ToycityDomain
from sskd.data.toycity_scene import CATEGORIES, Scene, render
from sskd.types import Progress

__all__ = ["DEFAULT_COUNTS", "TOYCITY_VERSION", "ToycityCounts", "generate"]

TOYCITY_VERSION = 1
"""Raised by hand whenever the same seed would give other pictures."""

_IMAGES_A_SET = 100_000
"""Ids of the sets start this far apart."""
_INSTANCES_AN_IMAGE = 4096


@dataclass(frozen=True)
class ToycityCounts:
    """How many images each set has."""

    source: int
    """Labeled images of the source domain, for pretraining."""
    train: int
    """Images of the target domain to split into labeled and unlabeled."""
    val: int
    """Images of the target domain to evaluate on."""


DEFAULT_COUNTS = ToycityCounts(source=800, train=440, val=150)

_SETS: tuple[tuple[str, ToycityDomain], ...] = (
    ("source", SOURCE),
    ("train", TARGET),
    ("val", TARGET),
)


def generate(
    folder: Path,
    *,
    seed: int,
    counts: ToycityCounts,
    size: tuple[int, int] = (96, 96),
    progress: Progress | None = None,
) -> None:
    """Write ``source.json``, ``train.json``, ``val.json`` and ``images/*.png`` to a folder.

    Args:
        folder: Created if absent; files of the same names are replaced.
        seed: Non-negative; other seeds give other scenes.
        counts: Images of each set; the first ones do not depend on how many follow.
        size: Height and width of the images, at least 32 pixels each.
        progress: Called after each image.

    Raises:
        ValueError: If the seed, a count or the size is out of range.
    """
    if seed < 0:
        raise ValueError(f"toycity: seed must be 0 or more, got {seed}")
    if min(size) < 32:
        raise ValueError(f"toycity: size must be at least 32x32 pixels, got {size[0]}x{size[1]}")
    for name, count in asdict(counts).items():
        if not 0 <= count < _IMAGES_A_SET:
            raise ValueError(
                f"toycity: {name} must be between 0 and {_IMAGES_A_SET - 1}, got {count}"
            )
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    total, done = sum(asdict(counts).values()), 0
    for number, (name, domain) in enumerate(_SETS):
        content: dict[str, Any] = {
            "info": {
                "description": f"toycity, set {name}",
                "generator": "toycity",
                "version": TOYCITY_VERSION,
                "domain": domain.name,
                "seed": seed,
            },
            "categories": [
                {"id": category, "name": label, "supercategory": "thing"}
                for label, category in CATEGORIES.items()
            ],
            "images": [],
            "annotations": [],
        }
        for index in range(getattr(counts, name)):
            generator = np.random.Generator(np.random.PCG64([seed, number, index]))
            scene = render(domain, size=size, generator=generator)
            image_id = number * _IMAGES_A_SET + index + 1
            file_name = f"{name}_{index + 1:06d}.png"
            Image.fromarray(scene.image).save(images / file_name, compress_level=4)
            content["images"].append(
                {"id": image_id, "file_name": file_name, "height": size[0], "width": size[1]}
            )
            content["annotations"] += _annotations(scene, image_id)
            done += 1
            if progress is not None:
                progress("toycity", done, total)
        text = json.dumps(content, separators=(",", ":"))
        (folder / f"{name}.json").write_text(text, "utf-8")


def _annotations(scene: Scene, image_id: int) -> list[dict[str, Any]]:
    """COCO annotations of the visible masks, far to near."""
    if not scene.names:
        return []
    numbers = np.arange(1, len(scene.names) + 1)
    masks = np.asfortranarray(scene.ids[:, :, None] == numbers, dtype=np.uint8)  # (h, w, n)
    codes = coco_mask.encode(masks)
    boxes, areas = coco_mask.toBbox(codes), coco_mask.area(codes)
    return [
        {
            "id": image_id * _INSTANCES_AN_IMAGE + k,
            "image_id": image_id,
            "category_id": CATEGORIES[name],
            "segmentation": {"size": code["size"], "counts": code["counts"].decode("ascii")},
            "bbox": [float(value) for value in box],
            "area": int(area),
            "iscrowd": 0,
        }
        for k, (name, code, box, area) in enumerate(
            zip(scene.names, codes, boxes, areas, strict=True)
        )
    ]
