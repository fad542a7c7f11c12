"""COCO instance files: the one format that the project reads, checked on the way in.

Ours and other people's files alike, pseudo-labels too: those carry a ``score`` an annotation and
say in ``info.provenance`` where they come from. ``file_name`` is relative to the images folder;
an absolute one stands for itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

from sskd.data.coco_schema import AnnotationEntry, CocoFile, RleEntry, read_coco_file
from sskd.data.images import read_rgb
from sskd.data.segmentations import (
    Polygons,
    RunLengths,
    Segmentation,
    check_segmentation,
    decode,
    to_rle,
)

__all__ = ["Annotation", "Category", "CocoData", "ImageRecord", "Instances", "load_coco"]


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a COCO file; sizes in pixels."""

    id: int
    file_name: str
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Category:
    """One class of a COCO file; ids may be sparse."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Annotation:
    """One instance, or a crowd region, as the file has it."""

    id: int
    image_id: int
    category_id: int
    segmentation: Segmentation
    crowd: bool
    area: float | None
    """In pixels; evaluation sorts instances by it. ``None`` if the file is silent."""
    bbox: tuple[float, ...] | None
    """x, y, width, height; nothing here depends on it."""
    score: float | None
    """Of a pseudo-label, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Instances:
    """The annotations of one image, decoded, in the order of the annotation ids."""

    masks: Bool[np.ndarray, "n h w"]
    classes: Int64[np.ndarray, " n"]
    """Contiguous: the rank of the category id."""
    crowd: Bool[np.ndarray, " n"]
    areas: Float64[np.ndarray, " n"]
    """As the file states them, counted where it does not."""
    annotation_ids: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class CocoData:
    """A checked COCO file, and the folder of its images."""

    path: Path
    images_dir: Path
    images: tuple[ImageRecord, ...]
    """By id."""
    categories: tuple[Category, ...]
    """By id; a class index is a rank in this order."""
    info: Mapping[str, Any]
    by_image: Mapping[int, tuple[Annotation, ...]]
    """Only images that have annotations."""

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names in the order of the class indices."""
        return tuple(category.name for category in self.categories)

    @cached_property
    def _records(self) -> dict[int, ImageRecord]:
        return {image.id: image for image in self.images}

    @cached_property
    def _ranks(self) -> dict[int, int]:
        return {category.id: rank for rank, category in enumerate(self.categories)}

    def image(self, image_id: int) -> ImageRecord:
        """The record of an image.

        Raises:
            ValueError: If there is no such image.
        """
        if image_id not in self._records:
            raise ValueError(f"{self.path}: no image {image_id}")
        return self._records[image_id]

    def file(self, image_id: int) -> Path:
        """Where the image lies."""
        return self.images_dir / self.image(image_id).file_name

    def class_index(self, category_id: int) -> int:
        """The contiguous class of a category id of this file."""
        return self._ranks[category_id]

    def annotations(self, image_id: int) -> tuple[Annotation, ...]:
        """The annotations of an image by id, crowd regions too; empty where it has none."""
        return self.by_image.get(self.image(image_id).id, ())

    def rle(self, annotation: Annotation) -> RunLengths:
        """The mask as compressed run lengths: ``size`` (h, w) and ``counts`` as bytes."""
        image = self.image(annotation.image_id)
        return to_rle(annotation.segmentation, height=image.height, width=image.width)

    def read_image(self, image_id: int) -> UInt8[np.ndarray, "h w 3"]:
        """The picture in RGB, oriented as its masks are.

        Raises:
            ValueError: If it is missing, unreadable, or of another size than the file says.
        """
        image = self.image(image_id)
        return read_rgb(self.file(image_id), height=image.height, width=image.width)

    def instances(self, image_id: int) -> Instances:
        """The masks and classes of an image, crowd regions marked, not left out."""
        image = self.image(image_id)
        annotations = self.annotations(image_id)
        masks = decode([self.rle(a) for a in annotations], height=image.height, width=image.width)
        areas = [
            float(mask.sum()) if annotation.area is None else annotation.area
            for annotation, mask in zip(annotations, masks, strict=True)
        ]
        return Instances(
            masks=masks,
            classes=np.array([self._ranks[a.category_id] for a in annotations], np.int64),
            crowd=np.array([a.crowd for a in annotations], np.bool_),
            areas=np.array(areas, np.float64),
            annotation_ids=tuple(a.id for a in annotations),
        )


def load_coco(json_path: Path, images: Path, *, check_files: bool = True) -> CocoData:
    """Read and check a COCO instance file. Unknown keys are ignored; pixels are not read.

    Args:
        json_path: The file.
        images: The folder that its ``file_name`` entries are relative to.
        check_files: Whether every image file must exist.

    Raises:
        ValueError: One line with the file, the entry, and the rule that the first defect breaks.
    """
    file = read_coco_file(json_path)
    try:
        _unique("image", (image.id for image in file.images))
        _unique("annotation", (annotation.id for annotation in file.annotations))
        _unique("category", (category.id for category in file.categories))
        _unique("category name", (category.name for category in file.categories))
        by_image = _group(file)
        if check_files:
            _check_files(file, images)
    except ValueError as error:
        raise ValueError(f"{json_path}: {error}") from None
    records = (ImageRecord(i.id, i.file_name, i.height, i.width) for i in file.images)
    return CocoData(
        path=json_path,
        images_dir=images,
        images=tuple(sorted(records, key=lambda image: image.id)),
        categories=tuple(
            sorted((Category(c.id, c.name) for c in file.categories), key=lambda c: c.id)
        ),
        info=file.info,
        by_image=by_image,
    )


def _unique(what: str, values: Iterable[int | str]) -> None:
    seen: set[int | str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{what} {value!r} stands there twice; each needs its own")
        seen.add(value)


def _group(file: CocoFile) -> dict[int, tuple[Annotation, ...]]:
    """Checked annotations by image, in the order of their ids."""
    sizes = {image.id: (image.height, image.width) for image in file.images}
    known = {category.id for category in file.categories}
    groups: dict[int, list[Annotation]] = {}
    for entry in sorted(file.annotations, key=lambda annotation: annotation.id):
        try:
            groups.setdefault(entry.image_id, []).append(_checked(entry, sizes, known))
        except ValueError as error:
            raise ValueError(f"annotation {entry.id}: {error}") from None
    return {image_id: tuple(group) for image_id, group in groups.items()}


def _checked(
    entry: AnnotationEntry, sizes: Mapping[int, tuple[int, int]], known: set[int]
) -> Annotation:
    if entry.image_id not in sizes:
        raise ValueError(f"image {entry.image_id} is not among the images of this file")
    if entry.category_id not in known:
        listed = ", ".join(str(category) for category in sorted(known)[:10])
        raise ValueError(f"category {entry.category_id} is not in the list of categories: {listed}")
    if entry.bbox and min(entry.bbox[2:]) < 0:
        raise ValueError(f"bbox {entry.bbox} has a negative side; x, y, width, height are needed")
    height, width = sizes[entry.image_id]
    segmentation: Polygons | RunLengths
    if isinstance(entry.segmentation, RleEntry):
        segmentation = entry.segmentation.model_dump(mode="json")
    else:
        segmentation = entry.segmentation
    check_segmentation(segmentation, height=height, width=width)
    return Annotation(
        id=entry.id,
        image_id=entry.image_id,
        category_id=entry.category_id,
        segmentation=segmentation,
        crowd=bool(entry.iscrowd),
        area=entry.area,
        bbox=tuple(entry.bbox) if entry.bbox else None,
        score=entry.score,
    )


def _check_files(file: CocoFile, folder: Path) -> None:
    missing = [image for image in file.images if not (folder / image.file_name).is_file()]
    if missing:
        raise ValueError(
            f"image {missing[0].id}: no such image file: {folder / missing[0].file_name} "
            f"({len(missing)} of {len(file.images)} are missing)"
        )
