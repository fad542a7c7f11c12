"""From the detector's scores of tokens to boxes with scores of classes, duplicates suppressed.

Axes: b images, q queries of the detector, t tokens, c foreground classes, m chosen boxes.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchvision.ops import batched_nms, box_convert

from sskd import processes

__all__ = ["POOLINGS", "Chosen", "choose", "class_scores"]

_CANDIDATES = 1000
"""Most pairs of box and class of an image that compete, the surest."""


class Chosen(NamedTuple):
    """Boxes that get a mask, by falling score; an image with fewer than the most is filled up."""

    boxes: Float[Tensor, "b m 4"]
    """Centre and size, in units of the image's sides."""
    scores: Float[Tensor, "b m c"]
    """In [0, 1]; 0 for a class that the box does not stand for."""


def _mean(scores: Float[Tensor, "b q t"], tokens: Bool[Tensor, "c t"]) -> Float[Tensor, "b q c"]:
    weights = tokens.to(scores.dtype)
    return torch.einsum("bqt,ct->bqc", scores, weights / weights.sum(1, keepdim=True))


def _max(scores: Float[Tensor, "b q t"], tokens: Bool[Tensor, "c t"]) -> Float[Tensor, "b q c"]:
    return torch.stack([scores[..., own].amax(-1) for own in tokens], dim=-1)


POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mean": _mean, "max": _max}
"""How the scores of a class's tokens become the class's; mean is what the detector learned with."""


def class_scores(
    token_logits: Float[Tensor, "b q t"], class_tokens: Bool[Tensor, "c t"], *, pooling: str
) -> Float[Tensor, "b q c"]:
    """The score of each class: its tokens' sigmoids, pooled; float32, in [0, 1].

    It means something for boxes of the sentence that names the class.

    Args:
        token_logits: The detector's.
        class_tokens: Which tokens name a class.
        pooling: A key of ``POOLINGS``.
    """
    return POOLINGS[pooling](token_logits.float().sigmoid(), class_tokens)


def choose(
    boxes: Float[Tensor, "b q 4"],
    scores: Float[Tensor, "b q c"],
    *,
    threshold: float,
    nms_iou: float,
    most: int,
) -> Chosen:
    """The surest boxes of each image, without duplicates of one class.

    A box that two classes share stays one box with two scores; a pair of box and class that a surer
    box of the class overlaps by more than ``nms_iou`` scores 0.

    Args:
        boxes: Centre and size, in units of the image's sides.
        scores: Of every box and class.
        threshold: Pairs that score this or less score 0.
        nms_iou: In [0, 1].
        most: Boxes an image, by their best class.

    Returns:
        As many boxes as the image with the most has, of all processes' images; at least one.
    """
    if boxes.is_meta:  # shapes without values: as many boxes as there can be
        return Chosen(boxes[:, :most], scores[:, :most])
    kept = torch.stack(
        [
            _suppress(own, pairs, threshold=threshold, nms_iou=nms_iou)
            for own, pairs in zip(box_convert(boxes, "cxcywh", "xyxy"), scores, strict=True)
        ]
    )
    best = kept.amax(-1)  # (b, q)
    count = processes.largest(int((best > 0).sum(1).max()), best.device)
    count = min(most, max(1, count))
    place = best.topk(count, dim=1).indices
    return Chosen(
        boxes.gather(1, place[..., None].expand(-1, -1, 4)),
        kept.gather(1, place[..., None].expand(-1, -1, kept.shape[-1])),
    )


def _suppress(
    corners: Float[Tensor, "q 4"],
    scores: Float[Tensor, "q c"],
    *,
    threshold: float,
    nms_iou: float,
) -> Float[Tensor, "q c"]:
    """The scores of the pairs that stand, 0 for the others."""
    pairs = scores.flatten()
    surest, place = pairs.topk(min(_CANDIDATES, len(pairs)))
    place = place[surest > threshold]
    queries, classes = place // scores.shape[1], place % scores.shape[1]
    kept = place[batched_nms(corners[queries].float(), pairs[place], classes, nms_iou)]
    standing = torch.zeros_like(pairs)
    standing[kept] = pairs[kept]
    return standing.view_as(scores)
