"""Which images are labeled: seeded, covering every class, and nested in the fraction.

One order of the images is made for each seed, whatever the fraction; a split is a prefix of it.
So 5 % lies within 10 %. The order is a hash of the ids, except that it begins with the few images
that show every class once.

Training opens the two files that ``write_split`` makes, never the original: the labels of the
unlabeled images are not in them.
"""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sskd.config import digest
from sskd.data.coco import Annotation, CocoData, ImageRecord, load_coco
from sskd.data.datasets import DataSet
from sskd.data.images import picture_files, upright_size

__all__ = ["Split", "make_split", "write_split"]


@dataclass(frozen=True)
class Split:
    """The ids of the labeled and of the unlabeled images, each ascending."""

    labeled: tuple[int, ...]
    unlabeled: tuple[int, ...]
    fraction: float
    seed: int
    sha256: str
    """Of the two lists: fractions that round to the same images are the same split."""


def make_split(train: CocoData, *, fraction: float, seed: int) -> Split:
    """Divide the training images into labeled and unlabeled ones.

    Args:
        train: Crowd regions do not count as showing their class; a class without any instance
            is not asked for.
        fraction: Share of the images that are labeled, in (0, 1]; rounded, at least one image.
        seed: Another seed gives another order.

    Raises:
        ValueError: If there is no image, or so few labeled images leave a class out.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"label fraction must lie in (0, 1], got {fraction}")
    if not train.images:
        raise ValueError(f"{train.path}: no images to split")
    shown = {image.id: _classes(train, image.id) for image in train.images}
    order, needed = _order(shown, seed)
    count = max(1, math.floor(fraction * len(order) + 0.5))
    if count < needed:
        seen = set().union(*(shown[image_id] for image_id in order[:count]))
        lost = sorted(set().union(*shown.values()) - seen)
        raise ValueError(
            f"{train.path}: class {train.class_names[lost[0]]!r} has no labeled image at label "
            f"fraction {fraction:g} ({count} of {len(order)} images); "
            f"use at least {_round_up(needed / len(order)):g}"
        )
    labeled, unlabeled = tuple(sorted(order[:count])), tuple(sorted(order[count:]))
    sha256 = digest({"labeled": labeled, "unlabeled": unlabeled})
    return Split(labeled, unlabeled, fraction, seed, sha256)


def write_split(dataset: DataSet, split: Split, folder: Path) -> tuple[Path, Path]:
    """Write ``labeled.json`` and ``unlabeled.json``, the second without any annotation.

    Pictures of the data set's extra unlabeled folder join the unlabeled images, with ids after
    the largest and absolute file names. ``split.json`` holds the ids; it is written last, and
    files that it finds to be of this split are reused.

    Returns:
        The two paths; both load with ``load_coco`` and the data set's images folder.

    Raises:
        ValueError: If the split does not belong to this data set, or a picture is unreadable.
    """
    paths = folder / "labeled.json", folder / "unlabeled.json"
    manifest = {
        "dataset": dataset.name,
        "dataset_sha256": dataset.sha256,
        "fraction": split.fraction,
        "seed": split.seed,
        "sha256": split.sha256,
        "labeled": list(split.labeled),
        "unlabeled": list(split.unlabeled),
    }
    if all(path.is_file() for path in paths) and _holds(folder / "split.json", manifest):
        return paths
    train = load_coco(dataset.train_json, dataset.images, check_files=False)
    if {*split.labeled, *split.unlabeled} != {image.id for image in train.images}:
        raise ValueError(f"{train.path}: the split lists other images than this file")
    pool = [train.image(image_id) for image_id in split.unlabeled]
    if dataset.unlabeled_images is not None:
        pool += _extra(dataset.unlabeled_images, after=max(image.id for image in train.images))
    labels = [a for image_id in split.labeled for a in train.annotations(image_id)]
    folder.mkdir(parents=True, exist_ok=True)
    _write(paths[0], _coco(train, [train.image(i) for i in split.labeled], labels))
    _write(paths[1], _coco(train, pool, []))
    _write(folder / "split.json", manifest)
    return paths


def _classes(train: CocoData, image_id: int) -> frozenset[int]:
    return frozenset(
        train.class_index(annotation.category_id)
        for annotation in train.annotations(image_id)
        if not annotation.crowd
    )


def _order(shown: Mapping[int, frozenset[int]], seed: int) -> tuple[list[int], int]:
    """All ids, first those that show the rarest class not yet shown, then the rest by hash.

    Returns:
        The order, and how many of its first images show every class.
    """
    hashed = sorted(shown, key=lambda i: hashlib.sha256(f"{seed}:{i}".encode()).digest())
    frequency: dict[int, int] = {}
    for classes in shown.values():
        for one in classes:
            frequency[one] = frequency.get(one, 0) + 1
    first: list[int] = []
    missing = set(frequency)
    while missing:
        rarest = min(missing, key=lambda one: (frequency[one], one))
        found = next(i for i in hashed if rarest in shown[i])
        first.append(found)
        missing -= shown[found]
    taken = set(first)
    return first + [i for i in hashed if i not in taken], len(first)


def _round_up(fraction: float) -> float:
    """To three digits, never below what is needed."""
    return min(1.0, math.ceil(fraction * 1000) / 1000)


def _extra(folder: Path, *, after: int) -> list[ImageRecord]:
    files = picture_files(folder)
    sizes = (upright_size(path) for path in files)
    return [
        ImageRecord(after + number, str(path.resolve()), height, width)
        for number, (path, (height, width)) in enumerate(zip(files, sizes, strict=True), start=1)
    ]


def _coco(
    train: CocoData, images: Iterable[ImageRecord], annotations: Iterable[Annotation]
) -> dict[str, Any]:
    return {
        "info": {"description": f"a split of {train.path.name}"},
        "images": [
            {"id": i.id, "file_name": i.file_name, "height": i.height, "width": i.width}
            for i in images
        ],
        "categories": [{"id": c.id, "name": c.name} for c in train.categories],
        "annotations": [_entry(annotation) for annotation in annotations],
    }


def _entry(annotation: Annotation) -> dict[str, Any]:
    entry = {
        "id": annotation.id,
        "image_id": annotation.image_id,
        "category_id": annotation.category_id,
        "segmentation": annotation.segmentation,
        "iscrowd": int(annotation.crowd),
        "area": annotation.area,
        "bbox": annotation.bbox,
        "score": annotation.score,
    }
    return {key: value for key, value in entry.items() if value is not None}


def _holds(path: Path, manifest: Mapping[str, Any]) -> bool:
    try:
        return bool(json.loads(path.read_text("utf-8")) == manifest)
    except (OSError, ValueError):
        return False


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Whole or not at all, also when another process writes the same file."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, suffix=".tmp", delete=False
    ) as file:
        json.dump(content, file)
    os.replace(file.name, path)  # noqa: PTH105 - the name is a string
