"""Which images are labeled: seeded, covering every class, and nested in the fraction.

One order of the images is made for each seed, whatever the fraction; a split is a prefix of it.
So 5 % lies within 10 %. The order is a hash of the ids, except that it begins with the few images
that show every class once.

A published list of labeled images may stand in the place of such an order; it is taken as it is.

Some of the labeled images can be held out, to choose settings on: walking along that order, an
image is held out whenever those so far are too few, the first that show every class never. So what
is held out of 5 % lies within what is held out of 10 %, and what is left likewise. Held-out images
are neither labeled nor unlabeled.

Training opens the two files that ``write_split`` makes, never the original: the labels of the
unlabeled images are not in them.
"""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sskd.config import digest
from sskd.data.coco import Annotation, CocoData, ImageRecord, load_coco
from sskd.data.datasets import DataSet
from sskd.data.images import picture_files, upright_size

__all__ = ["Split", "SplitFiles", "make_listed_split", "make_split", "write_split"]


@dataclass(frozen=True)
class Split:
    """The ids of the labeled and of the unlabeled images, each ascending."""

    labeled: tuple[int, ...]
    unlabeled: tuple[int, ...]
    fraction: float
    """As it was asked for; of a list, its share of the images."""
    seed: int
    sha256: str
    """Of the lists: fractions that round to the same images are the same split."""
    held_out: tuple[int, ...] = ()


class SplitFiles(NamedTuple):
    """COCO JSON of the parts of a split."""

    labeled: Path
    unlabeled: Path
    """Without any annotation."""
    held_out: Path | None
    """With annotations; none where nothing is held out."""


def make_split(train: CocoData, *, fraction: float, seed: int, held_out: float = 0.0) -> Split:
    """Divide the training images into labeled and unlabeled ones, and held-out ones.

    Args:
        train: Crowd regions do not count as showing their class; a class without any instance
            is not asked for.
        fraction: Share of the images that are labeled, in (0, 1]; rounded, at least one image.
        seed: Another seed gives another order.
        held_out: Share of the labeled images that are held out, in [0, 1); rounded down.

    Raises:
        ValueError: If there is no image, so few labeled images leave a class out, or what is held
            out shows no instance.
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
    return _divide(train, order, count, needed, fraction=fraction, seed=seed, held_out=held_out)


def make_listed_split(
    train: CocoData, listed: Sequence[int], *, seed: int, held_out: float = 0.0
) -> Split:
    """Divide the training images into listed, hence labeled ones, unlabeled and held-out ones.

    A class may lack any labeled image: published lists are taken as they are.

    Args:
        train: As ``make_split`` takes it.
        listed: Ids of the labeled images, at least one.
        seed: Read where images are held out: which ones.
        held_out: Share of the labeled images that are held out, in [0, 1); rounded down.

    Raises:
        ValueError: If what is held out shows no instance.
    """
    assert listed, "an empty list"
    order, needed = _order({image_id: _classes(train, image_id) for image_id in listed}, seed)
    rest = {image.id for image in train.images} - {*listed}
    return _divide(
        train,
        [*order, *rest],
        len(order),
        needed,
        fraction=len(order) / len(train.images),
        seed=seed,
        held_out=held_out,
    )


def _divide(
    train: CocoData,
    order: Sequence[int],
    count: int,
    needed: int,
    *,
    fraction: float,
    seed: int,
    held_out: float,
) -> Split:
    """The first images of an order are labeled, but for the held-out ones of them."""
    kept_out = _held_out(order[:count], needed, held_out)
    if held_out > 0 and not any(_classes(train, image_id) for image_id in kept_out):
        raise ValueError(
            f"{train.path}: held_out {held_out:g} of {count} labeled images, "
            f"{needed} of which are needed to show every class, leaves no instance to measure on; "
            "raise data.held_out or data.label_fraction"
        )
    labeled = tuple(sorted({*order[:count]} - {*kept_out}))
    unlabeled = tuple(sorted(order[count:]))
    lists = {"labeled": labeled, "unlabeled": unlabeled}
    # Without held-out images the hash, hence every stage's key, is of the two lists alone.
    sha256 = digest(lists | {"held_out": kept_out} if kept_out else lists)
    return Split(labeled, unlabeled, fraction, seed, sha256, kept_out)


def write_split(dataset: DataSet, split: Split, folder: Path) -> SplitFiles:
    """Write ``labeled.json``, ``unlabeled.json`` and, where there is any, ``held-out.json``.

    Pictures of the data set's extra unlabeled folder join the unlabeled images, with ids after
    the largest and absolute file names. ``split.json`` holds the ids; it is written last, and
    files that it finds to be of this split are reused.

    Returns:
        The paths; all load with ``load_coco`` and the data set's images folder.

    Raises:
        ValueError: If the split does not belong to this data set, or a picture is unreadable.
    """
    held_out = folder / "held-out.json" if split.held_out else None
    files = SplitFiles(folder / "labeled.json", folder / "unlabeled.json", held_out)
    manifest = {
        "dataset": dataset.name,
        "dataset_sha256": dataset.sha256,
        "fraction": split.fraction,
        "seed": split.seed,
        "sha256": split.sha256,
        "labeled": list(split.labeled),
        "unlabeled": list(split.unlabeled),
    }
    if split.held_out:
        manifest["held_out"] = list(split.held_out)
    if all(path is None or path.is_file() for path in files) and _holds(
        folder / "split.json", manifest
    ):
        return files
    train = load_coco(dataset.train_json, dataset.images, check_files=False)
    if {*split.labeled, *split.unlabeled, *split.held_out} != {image.id for image in train.images}:
        raise ValueError(f"{train.path}: the split lists other images than this file")
    pool = [train.image(image_id) for image_id in split.unlabeled]
    if dataset.unlabeled_images is not None:
        pool += _extra(dataset.unlabeled_images, after=max(image.id for image in train.images))
    folder.mkdir(parents=True, exist_ok=True)
    _write(files.labeled, _annotated(train, split.labeled))
    _write(files.unlabeled, _coco(train, pool, []))
    if files.held_out is not None:
        _write(files.held_out, _annotated(train, split.held_out))
    _write(folder / "split.json", manifest)
    return files


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


def _held_out(order: Sequence[int], needed: int, share: float) -> tuple[int, ...]:
    """Of a prefix of the order, the images that are held out, ascending."""
    taken: list[int] = []
    for place, image_id in enumerate(order):
        # A hair, so that 0.1 of 30 is 3 although 0.1 * 30 may lie below it.
        if place >= needed and len(taken) < math.floor((place + 1) * share + 1e-9):
            taken.append(image_id)
    return tuple(sorted(taken))


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


def _annotated(train: CocoData, ids: Sequence[int]) -> dict[str, Any]:
    labels = [annotation for image_id in ids for annotation in train.annotations(image_id)]
    return _coco(train, [train.image(image_id) for image_id in ids], labels)


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
