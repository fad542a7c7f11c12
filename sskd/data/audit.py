"""How good pseudo-labels are, against the labels that training never saw.

For people, after the fact: nothing that trains may call this.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from sskd.data.coco import Annotation, CocoData, load_coco

__all__ = ["ClassAudit", "audit"]


class ClassAudit(NamedTuple):
    """Pseudo-labels of one class against its hidden instances."""

    precision: float
    """Share of the pseudo-labels that are right, in [0, 1]; NaN if there is none."""
    recall: float
    """Share of the hidden instances that were found, in [0, 1]; NaN if there is none."""
    matched: int
    predicted: int
    hidden: int


def audit(
    pseudo_labels: Path, truth: CocoData, *, iou_threshold: float = 0.5
) -> dict[str, ClassAudit]:
    """Match pseudo-labels with hidden truth, greedily from the highest score down.

    Within an image and a class, a pseudo-label takes the free instance of largest IoU if that
    reaches the threshold. One that lies in a crowd region of its class (share of its own area
    inside, same threshold) counts neither way. Images without truth, those of an extra
    unlabeled folder, are left out.

    Args:
        pseudo_labels: A COCO file of the training images, or of some of them.
        truth: The training set with all its labels.
        iou_threshold: In (0, 1].

    Returns:
        By class name, in the order of the classes.

    Raises:
        ValueError: If the files do not have the same categories or an image in common.
    """
    found = load_coco(pseudo_labels, truth.images_dir, check_files=False)
    if found.categories != truth.categories:
        raise ValueError(f"{pseudo_labels}: other categories than {truth.path}")
    known = {image.id for image in truth.images}
    shared = [image.id for image in found.images if image.id in known]
    if not shared:
        raise ValueError(f"{pseudo_labels}: no image in common with {truth.path}")
    counts = np.zeros((len(truth.categories), 3), np.int64)  # matched, predicted, hidden
    for image_id in shared:
        for rank, category in enumerate(truth.categories):
            counts[rank] += _match(
                found,
                [a for a in found.annotations(image_id) if a.category_id == category.id],
                truth,
                [a for a in truth.annotations(image_id) if a.category_id == category.id],
                iou_threshold,
            )
    return {
        name: ClassAudit(_share(matched, predicted), _share(matched, hidden), *row)
        for name, row in zip(truth.class_names, counts.tolist(), strict=True)
        for matched, predicted, hidden in (row,)
    }


def _match(
    found: CocoData,
    labels: Sequence[Annotation],
    truth: CocoData,
    hidden: Sequence[Annotation],
    threshold: float,
) -> tuple[int, int, int]:
    """Matched, predicted and hidden instances of one class in one image."""
    crowd = np.array([a.crowd for a in hidden], np.bool_)
    real = int((~crowd).sum())
    if not labels or not hidden:
        return 0, len(labels), real
    labels = sorted(labels, key=lambda a: -(a.score if a.score is not None else 1.0))
    overlaps = np.asarray(
        coco_mask.iou(
            [found.rle(a) for a in labels], [truth.rle(a) for a in hidden], crowd.tolist()
        )
    )  # (labels, hidden)
    free = ~crowd
    matched = ignored = 0
    for row in overlaps:
        best = int(np.where(free, row, -1.0).argmax())
        if free[best] and row[best] >= threshold:
            free[best] = False
            matched += 1
        elif bool((row[crowd] >= threshold).any()):
            ignored += 1
    return matched, len(labels) - ignored, real


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
