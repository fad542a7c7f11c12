"""How good pseudo-labels are, against the labels that training never saw.

For people, after the fact: nothing that trains may call this.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from pycocotools import mask as coco_mask

from sskd.data.coco import Annotation, CocoData, load_coco

__all__ = ["Agreement", "Audit", "audit"]


class Agreement(NamedTuple):
    """Pseudo-labels against the hidden instances."""

    precision: float
    """Share of the pseudo-labels that are right, in [0, 1]; NaN if there is none."""
    recall: float
    """Share of the hidden instances that were found, in [0, 1]; NaN if there is none."""
    matched: int
    predicted: int
    hidden: int


class Audit(NamedTuple):
    """Every pseudo-label that counts, by its class and score, and whether it is right.

    Axes: n pseudo-labels, k classes.
    """

    classes: tuple[str, ...]
    images: int
    """That have both pseudo-labels, perhaps none, and truth."""
    hidden: Int[np.ndarray, " k"]
    """Instances of each class."""
    ranks: Int[np.ndarray, " n"]
    """Which class."""
    scores: Float[np.ndarray, " n"]
    right: Bool[np.ndarray, " n"]

    def agreement(self, *, name: str | None = None, above: float = -1.0) -> Agreement:
        """Of one class or of all, of the pseudo-labels that score more than ``above``.

        Matching goes from the highest score down: what a higher threshold leaves out changes
        nothing of the rest.
        """
        chosen = self.scores > above
        hidden = int(self.hidden.sum())
        if name is not None:
            rank = self.classes.index(name)
            chosen &= self.ranks == rank
            hidden = int(self.hidden[rank])
        predicted, matched = int(chosen.sum()), int(self.right[chosen].sum())
        return Agreement(
            _share(matched, predicted), _share(matched, hidden), matched, predicted, hidden
        )


def audit(pseudo_labels: Path, truth: CocoData, *, iou_threshold: float = 0.5) -> Audit:
    """Match pseudo-labels with hidden truth, greedily from the highest score down.

    Within an image and a class, a pseudo-label takes the free instance of largest IoU if that
    reaches the threshold. One that lies in a crowd region of its class (share of its own area
    inside, same threshold) counts neither way. Images without truth, those of an extra
    unlabeled folder, are left out.

    Args:
        pseudo_labels: A COCO file of the training images, or of some of them.
        truth: The training set with all its labels.
        iou_threshold: In (0, 1].

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
    hidden = np.zeros(len(truth.categories), np.int64)
    judged: list[tuple[int, float, bool]] = []
    for image_id in shared:
        for rank, category in enumerate(truth.categories):
            labels, instances = (
                [a for a in data.annotations(image_id) if a.category_id == category.id]
                for data in (found, truth)
            )
            hidden[rank] += sum(not a.crowd for a in instances)
            matches = _match(found, labels, truth, instances, iou_threshold)
            judged += [(rank, score, right) for score, right in matches]
    ranks, scores, right = zip(*judged, strict=True) if judged else ((), (), ())
    return Audit(
        truth.class_names,
        len(shared),
        hidden,
        np.array(ranks, np.int64),
        np.array(scores, np.float64),
        np.array(right, np.bool_),
    )


def _match(
    found: CocoData,
    labels: Sequence[Annotation],
    truth: CocoData,
    hidden: Sequence[Annotation],
    threshold: float,
) -> list[tuple[float, bool]]:
    """Score and rightness of the pseudo-labels of one class in one image that count."""
    scores = {a.id: a.score if a.score is not None else 1.0 for a in labels}
    labels = sorted(labels, key=lambda a: -scores[a.id])
    if not labels or not hidden:
        return [(scores[a.id], False) for a in labels]
    crowd = np.array([a.crowd for a in hidden], np.bool_)
    overlaps = np.asarray(
        coco_mask.iou(
            [found.rle(a) for a in labels], [truth.rle(a) for a in hidden], crowd.tolist()
        )
    )  # (labels, hidden)
    free, judged = ~crowd, []
    for label, row in zip(labels, overlaps, strict=True):
        best = int(np.where(free, row, -1.0).argmax())
        right = bool(free[best] and row[best] >= threshold)
        if right:
            free[best] = False
        elif bool((row[crowd] >= threshold).any()):
            continue
        judged.append((scores[label.id], right))
    return judged


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
