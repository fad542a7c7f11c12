"""Pseudo-labels of somebody else's teacher: a COCO result list in the place of our predictions."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pycocotools import mask as coco_mask
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sskd.config import PseudoLabelConfig
from sskd.data.coco import CocoData
from sskd.data.coco_schema import RleEntry
from sskd.data.segmentations import RunLengths, check_segmentation, to_rle
from sskd.engine.predict import Detections
from sskd.engine.pseudo_labels import PseudoLabelStats, write_pseudo_labels

__all__ = ["check_pseudo_labels", "file_hash", "import_pseudo_labels"]


class _Entry(BaseModel):
    """One prediction of a COCO result list."""

    model_config = ConfigDict(extra="ignore")

    image_id: int
    category_id: int
    segmentation: RleEntry | list[list[float]]
    score: Annotated[float, Field(ge=0, le=1)]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content.

    Raises:
        ValueError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file of pseudo-labels") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None


def check_pseudo_labels(path: Path, train: CocoData) -> None:
    """Check every entry of a COCO result list, before anything is computed with it.

    Args:
        path: As ``import_pseudo_labels`` takes it.
        train: All training images of the data set, labeled or not.

    Raises:
        ValueError: One line about the first entry that cannot be.
    """
    _by_image(path, train, frozenset())


def import_pseudo_labels(
    path: Path,
    unlabeled: CocoData,
    others: Iterable[int],
    out: Path,
    *,
    config: PseudoLabelConfig,
    provenance: Mapping[str, Any],
) -> PseudoLabelStats:
    """Check a COCO result list, and write what our thresholds keep of it as pseudo-labels.

    Args:
        path: A list of objects with ``image_id``, ``category_id``, ``segmentation`` and ``score``.
        unlabeled: The images that may be labeled, and the categories.
        others: Ids of the labeled and held-out images: predictions for them are left out.
        out: The JSON file; not written if the labels are not usable.
        config: Thresholds, limits, and the range of labels an image that is plausible.
        provenance: Kept in the file.

    Raises:
        ValueError: One line about the first entry that cannot be, or too few or many labels.
    """
    by_image = _by_image(path, unlabeled, {*others} - {image.id for image in unlabeled.images})
    categories = {category.id: rank for rank, category in enumerate(unlabeled.categories)}
    predicted = (
        (image.id, _detections(by_image.get(image.id, ()), categories))
        for image in unlabeled.images
    )
    return write_pseudo_labels(predicted, unlabeled, out, config=config, provenance=provenance)


def _by_image(
    path: Path, data: CocoData, left_out: Collection[int]
) -> dict[int, list[tuple[_Entry, RunLengths]]]:
    """The entries, checked, with their masks, by image; none of the images that are left out."""
    known = {image.id for image in data.images}
    categories = [category.id for category in data.categories]
    by_image: dict[int, list[tuple[_Entry, RunLengths]]] = {}
    for number, entry in enumerate(_read(path)):
        try:
            if entry.category_id not in categories:
                listed = ", ".join(str(category) for category in categories[:10])
                raise ValueError(f"category_id {entry.category_id} is none of {listed}")
            if entry.image_id in left_out:
                continue
            if entry.image_id not in known:
                raise ValueError(f"image_id {entry.image_id} is no training image of the data set")
            by_image.setdefault(entry.image_id, []).append((entry, _mask(entry, data)))
        except ValueError as error:
            raise ValueError(f"{path}: entry {number}: {error}") from None
    return by_image


def _read(path: Path) -> list[_Entry]:
    try:
        raw = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not JSON: {' '.join(str(error).split())}") from None
    if not isinstance(raw, list):
        raise ValueError(f"{path}: a COCO result list is needed, this is a {type(raw).__name__}")
    try:
        return TypeAdapter(list[_Entry]).validate_python(raw)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        number, *where = problem["loc"]
        name = str(where[0]) if where else "entry"
        raise ValueError(f"{path}: entry {number}: {name}: {problem['msg'].lower()}") from None


def _mask(entry: _Entry, data: CocoData) -> RunLengths:
    image = data.image(entry.image_id)
    spelling = entry.segmentation
    plain = spelling.model_dump(mode="json") if isinstance(spelling, RleEntry) else spelling
    check_segmentation(plain, height=image.height, width=image.width)
    rle = to_rle(plain, height=image.height, width=image.width)
    counts = rle["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": [image.height, image.width], "counts": text}


def _detections(
    entries: Iterable[tuple[_Entry, RunLengths]], categories: Mapping[int, int]
) -> Detections:
    """The surest first, equal ones in the order of the file; empty masks are dropped."""
    kept = sorted(entries, key=lambda pair: -pair[0].score)
    areas = [int(coco_mask.area(rle)) for _, rle in kept]
    kept = [pair for pair, area in zip(kept, areas, strict=True) if area]
    return Detections(
        rles=tuple(rle for _, rle in kept),
        scores=np.array([entry.score for entry, _ in kept], np.float64),
        classes=np.array([categories[entry.category_id] for entry, _ in kept], np.int64),
        areas=np.array([area for area in areas if area], np.int64),
        queries=np.arange(len(kept)),
    )
