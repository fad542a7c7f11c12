"""Mask AP, as COCO defines it, by faster-coco-eval.

Axes of the precision array: t IoU thresholds .5:.05:.95, r recall thresholds 0:.01:1, k classes,
a area ranges (all, small, medium, large), 1 the one limit on detections.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from faster_coco_eval import COCO, COCOeval_faster
from jaxtyping import Float
from pycocotools import mask as coco_mask

from sskd.config import EvaluationConfig
from sskd.data.coco import CocoData
from sskd.engine.predict import Detections, InferenceRules, predict_data
from sskd.models.contract import InstanceModel
from sskd.types import Progress

__all__ = ["EvaluationResult", "evaluate", "mask_ap"]

_SHOWN_SCORE = 0.01
_SCORE_DIGITS = 5


@dataclass(frozen=True)
class EvaluationResult:
    """Mask AP in [0, 1]; ``None`` where no instance of that size or class is annotated."""

    mask_ap: float
    mask_ap50: float
    mask_ap75: float
    mask_ap_small: float | None
    """Instances of less than 32 x 32 pixels of the original image."""
    mask_ap_medium: float | None
    mask_ap_large: float | None
    """Instances of 96 x 96 pixels or more."""
    per_class: dict[str, float | None]
    """AP by class name, in the order of the category ids."""
    detections: list[dict[str, Any]] = field(default_factory=list, repr=False)
    """COCO's result list, for pictures: what scores .01 or more, scores rounded to 5 decimals.
    AP is measured on all detections and on exact scores; the tail that pictures never show would
    make most of the file."""

    def to_dict(self) -> dict[str, Any]:
        """The metrics as plain data, without the detections."""
        return {
            "mask_ap": self.mask_ap,
            "mask_ap50": self.mask_ap50,
            "mask_ap75": self.mask_ap75,
            "mask_ap_small": self.mask_ap_small,
            "mask_ap_medium": self.mask_ap_medium,
            "mask_ap_large": self.mask_ap_large,
            "per_class": dict(self.per_class),
        }


def evaluate(
    model: InstanceModel,
    data: CocoData,
    *,
    config: EvaluationConfig,
    device: torch.device | str,
    batch: int = 16,
    progress: Progress | None = None,
    limit: int | None = None,
    export: Callable[[int, Detections], None] | None = None,
) -> EvaluationResult:
    """Mask AP of a model on a data set; full masks exist for one image at a time.

    Args:
        model: Gives ``Predictions``; its training mode is restored afterwards.
        data: Images with ground truth; crowd regions are neither hits nor misses.
        config: The input size, the precision, the most detections an image, the mask threshold.
        device: Where the model is.
        batch: Most images of one forward pass.
        progress: Called after each image.
        limit: Evaluate that many images only, from the lowest id on.
        export: Called with each image's id and its detections, with exact scores.

    Raises:
        ValueError: If the images have no annotated instance: AP is undefined.
    """
    records = data.images[:limit]
    category_ids = [category.id for category in data.categories]
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    rules = InferenceRules(
        short_side=config.short_side,
        window=config.window,
        max_dets=config.max_dets,
        mask_threshold=config.mask_threshold,
        precision=config.precision,
        batch=batch,
    )
    predicted = predict_data(model, data, rules, device=device, limit=limit)
    for done, (image_id, detections) in enumerate(predicted, start=1):
        annotations += _ground_truth(data, image_id, first_id=len(annotations) + 1)
        results += _results(detections, image_id, category_ids)
        if export is not None:
            export(image_id, detections)
        if progress is not None:
            progress("evaluation", done, len(records))
    if all(annotation["iscrowd"] for annotation in annotations):
        raise ValueError(f"{data.path}: no instance in {len(records)} images, AP is undefined")
    truth = {
        "images": [{"id": r.id, "height": r.height, "width": r.width} for r in records],
        "categories": [{"id": c.id, "name": c.name} for c in data.categories],
        "annotations": annotations,
    }
    return mask_ap(truth, results, max_dets=config.max_dets)


def mask_ap(
    truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], *, max_dets: int
) -> EvaluationResult:
    """COCO's mask AP of a result list.

    Args:
        truth: A COCO instance dictionary with at least one instance that is no crowd; annotation
            ids are not 0, masks are RLE or polygons.
        results: COCO's result list, with sparse category ids.
        max_dets: Most detections an image and class that count, the surest first. COCO's own
            summary fixes it at 100.
    """
    # The evaluator writes into what it is given.
    ground_truth = COCO({**truth, "annotations": [dict(a) for a in truth["annotations"]]})
    detections = ground_truth.loadRes([dict(result) for result in results])
    # One thread: the run's number of threads is the configuration's business.
    evaluator = COCOeval_faster(ground_truth, detections, "segm", rle_iou_max_workers=1)
    evaluator.params.maxDets = [max_dets]
    evaluator.evaluate()
    evaluator.accumulate()
    precision = np.asarray(evaluator.eval["precision"])[..., -1]  # (t, r, k, a)
    overall, small, medium, large = (_mean(precision[..., area]) for area in range(4))
    assert overall is not None, "no ground truth"
    names = {category["id"]: str(category["name"]) for category in truth["categories"]}
    return EvaluationResult(
        mask_ap=overall,
        mask_ap50=_mean(precision[0, ..., 0]) or 0.0,
        mask_ap75=_mean(precision[5, ..., 0]) or 0.0,
        mask_ap_small=small,
        mask_ap_medium=medium,
        mask_ap_large=large,
        per_class={
            names[category_id]: _mean(precision[:, :, k, 0])
            for k, category_id in enumerate(evaluator.params.catIds)
        },
        detections=[
            {**result, "score": round(float(result["score"]), _SCORE_DIGITS)}
            for result in results
            if result["score"] >= _SHOWN_SCORE
        ],
    )


def _mean(precision: Float[np.ndarray, "..."]) -> float | None:
    """Mean over everything that has ground truth; the rest is marked with -1."""
    measured = precision[precision > -1]
    return float(measured.mean()) if measured.size else None


def _ground_truth(data: CocoData, image_id: int, *, first_id: int) -> list[dict[str, Any]]:
    """An image's annotations with ids of our own: 0 means "unmatched" to the evaluator."""
    truth = []
    for number, annotation in enumerate(data.annotations(image_id), start=first_id):
        rle = data.rle(annotation)
        area = annotation.area if annotation.area is not None else float(coco_mask.area(rle))
        truth.append(
            {
                "id": number,
                "image_id": image_id,
                "category_id": annotation.category_id,
                "segmentation": rle,
                "area": area,
                "iscrowd": int(annotation.crowd),
            }
        )
    return truth


def _results(
    detections: Detections, image_id: int, category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    return [
        {
            "image_id": image_id,
            "category_id": category_ids[int(index)],
            "segmentation": rle,
            "score": float(score),
        }
        for rle, score, index in zip(
            detections.rles, detections.scores, detections.classes, strict=True
        )
    ]
