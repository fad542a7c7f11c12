"""A teacher's sure predictions as hard labels, in a COCO file with scores and provenance."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask

from sskd import __version__
from sskd.config import EvaluationConfig, PseudoLabelConfig
from sskd.data.coco import CocoData
from sskd.engine.errors import RunStopped
from sskd.engine.predict import Detections, InferenceRules, predict_data
from sskd.engine.store import write_json_atomic
from sskd.models.contract import InstanceModel
from sskd.types import Progress

__all__ = ["PseudoLabelStats", "make_pseudo_labels", "write_pseudo_labels"]

_BINS = 10
_ALL_QUERIES = 2**31 - 1


@dataclass(frozen=True)
class PseudoLabelStats:
    """What was kept of the teacher's predictions."""

    images: int
    images_without: int
    """Images that got no label."""
    labels: int
    labels_per_image: float
    per_class: dict[str, int]
    """Labels by class name, in the order of the category ids."""
    score_histogram: tuple[int, ...]
    """Labels by score, in ten bins of equal width from 0 to 1."""
    near_misses: int
    """Predictions that score between half the threshold and the threshold."""

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def make_pseudo_labels(
    model: InstanceModel,
    unlabeled: CocoData,
    out: Path,
    *,
    config: PseudoLabelConfig,
    inference: EvaluationConfig,
    device: torch.device | str,
    batch: int = 16,
    provenance: Mapping[str, Any],
    progress: Progress | None = None,
) -> PseudoLabelStats:
    """Label images with a teacher and write one COCO instance file.

    A query gives one label at most, of its most probable class: an instance that carries two
    classes would teach both. Two queries may label the same pixels; the threshold is the only
    judge of that, as in the paper. Every image is listed, also one without a label.

    Args:
        model: The teacher.
        unlabeled: The images; their annotations, if any, are not looked at.
        out: The JSON file; replaced in one step. Not written if the labels are not usable.
        config: Thresholds, limits, and the range of labels an image that is plausible.
        inference: What the teacher sees of an image, and its precision.
        device: Where the model is.
        batch: Most images of one forward pass.
        provenance: Plain data that tells where the labels come from, such as the teacher's stage
            key; kept under ``info.provenance`` with the settings and this package's version.
        progress: Called after each image.

    Raises:
        RunStopped: If the teacher labels too little (collapse) or too much (flood).
        ValueError: If there is no image.
    """
    rules = InferenceRules(
        short_side=inference.short_side,
        window=inference.window,
        precision=inference.precision,
        batch=batch,
        max_dets=_ALL_QUERIES,
        mask_threshold=config.mask_threshold,
        score_threshold=config.score_threshold / 2,
        one_class=True,
    )
    return write_pseudo_labels(
        predict_data(model, unlabeled, rules, device=device),
        unlabeled,
        out,
        config=config,
        provenance={
            **provenance,
            "mask_threshold": config.mask_threshold,
            "input_short_side": inference.short_side,
            "input_window": inference.window,
            "precision": inference.precision,
        },
        progress=progress,
    )


def write_pseudo_labels(
    predicted: Iterable[tuple[int, Detections]],
    unlabeled: CocoData,
    out: Path,
    *,
    config: PseudoLabelConfig,
    provenance: Mapping[str, Any],
    progress: Progress | None = None,
) -> PseudoLabelStats:
    """Write what the thresholds keep of predictions, whoever made them.

    Args:
        predicted: Image id and detections, the surest first, of every image.
        unlabeled: The images.
        out: The JSON file; replaced in one step. Not written if the labels are not usable.
        config: Thresholds, limits, and the range of labels an image that is plausible.
        provenance: Kept under ``info.provenance`` with the settings and this package's version.
        progress: Called after each image.

    Raises:
        RunStopped: If there is too little (collapse) or too much (flood).
        ValueError: If there is no image.
    """
    total = len(unlabeled.images)
    if total == 0:
        raise ValueError(f"{unlabeled.path}: no image to pseudo-label")
    category_ids = [category.id for category in unlabeled.categories]
    annotations: list[dict[str, Any]] = []
    without = near_misses = 0
    for done, (image_id, detections) in enumerate(predicted, start=1):
        large = detections.areas >= config.min_area
        sure = detections.scores > config.score_threshold
        near_misses += int((large & ~sure).sum())
        kept = np.flatnonzero(large & sure)[: config.max_per_image]  # the surest come first
        annotations += _annotations(
            detections, kept, image_id, category_ids, first_id=len(annotations) + 1
        )
        without += len(kept) == 0
        if progress is not None:
            progress("pseudo-labels", done, total, labels_per_image=len(annotations) / done)
    stats = _stats(annotations, unlabeled, without, near_misses)
    _check(stats, config, unlabeled)
    settings = {
        **config.model_dump(mode="json", include={"score_threshold", "min_area", "max_per_image"}),
        "sskd": __version__,
    }
    info = {"description": "pseudo-labels", "provenance": {**provenance, **settings}}
    images = [
        {"id": r.id, "file_name": r.file_name, "height": r.height, "width": r.width}
        for r in unlabeled.images
    ]
    categories = [{"id": c.id, "name": c.name} for c in unlabeled.categories]
    write_json_atomic(
        out,
        {"info": info, "images": images, "categories": categories, "annotations": annotations},
    )
    return stats


def _annotations(
    detections: Detections,
    kept: np.ndarray[Any, np.dtype[np.int64]],
    image_id: int,
    category_ids: list[int],
    *,
    first_id: int,
) -> list[dict[str, Any]]:
    return [
        {
            "id": first_id + rank,
            "image_id": image_id,
            "category_id": category_ids[int(detections.classes[i])],
            "segmentation": detections.rles[i],
            "area": int(detections.areas[i]),
            "bbox": coco_mask.toBbox(detections.rles[i]).tolist(),
            "iscrowd": 0,
            "score": round(float(detections.scores[i]), 5),
        }
        for rank, i in enumerate(kept.tolist())
    ]


def _stats(
    annotations: list[dict[str, Any]], unlabeled: CocoData, without: int, near_misses: int
) -> PseudoLabelStats:
    labels = [annotation["category_id"] for annotation in annotations]
    scores = [annotation["score"] for annotation in annotations]
    histogram, _ = np.histogram(scores, bins=_BINS, range=(0, 1))
    return PseudoLabelStats(
        images=len(unlabeled.images),
        images_without=without,
        labels=len(labels),
        labels_per_image=len(labels) / len(unlabeled.images),
        per_class={category.name: labels.count(category.id) for category in unlabeled.categories},
        score_histogram=tuple(histogram.tolist()),
        near_misses=near_misses,
    )


def _check(stats: PseudoLabelStats, config: PseudoLabelConfig, unlabeled: CocoData) -> None:
    """Stop before a student is trained on labels that say nothing or everything."""
    threshold = config.score_threshold
    seen = (
        f"{stats.labels} labels scoring more than {threshold:g} in {stats.images} images of "
        f"{unlabeled.path}, {stats.labels_per_image:.3g} an image"
    )
    if stats.labels_per_image < config.min_mean:
        raise RunStopped(
            f"pseudo-labels collapsed: {seen}, less than pseudo_labels.min_mean "
            f"{config.min_mean:g}; train the teacher longer, or lower "
            f"pseudo_labels.score_threshold ({stats.near_misses} more score above "
            f"{threshold / 2:g})"
        )
    if stats.labels_per_image > config.max_mean:
        raise RunStopped(
            f"pseudo-labels flood: {seen}, more than pseudo_labels.max_mean "
            f"{config.max_mean:g}; raise pseudo_labels.score_threshold or pseudo_labels.min_area"
        )
