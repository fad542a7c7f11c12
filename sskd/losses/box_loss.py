"""The set loss of a detector that reads text: boxes and tokens against instances.

Axes: n instances of an image, h w pixels of a view.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.profiler import record_function
from transformers.loss import loss_grounding_dino

from sskd import processes
from sskd.types import BoxPredictions, Targets

__all__ = ["BoxLossTerms", "box_set_loss", "boxes_of"]

_library: Any = loss_grounding_dino

_FOCAL_ALPHA = 0.25
"""Of mm-Grounding-DINO (arXiv 2401.02361) and every other detector of its family."""


class BoxLossTerms(NamedTuple):
    """A set loss and its parts, float32, each summed over the layers."""

    total: Float[Tensor, ""]
    """The parts times their weights."""
    classification: Float[Tensor, ""]
    box: Float[Tensor, ""]
    giou: Float[Tensor, ""]


def box_set_loss(
    detection: BoxPredictions,
    targets: Sequence[Targets],
    *,
    num_labeled: int,
    class_weight: float,
    box_weight: float,
    giou_weight: float,
    class_cost: float,
) -> tuple[BoxLossTerms, BoxLossTerms]:
    """Match boxes to instances; then classify the tokens of all boxes and move the matched ones.

    The loss of Grounding DINO (arXiv 2303.05499, Sec. 3.4), by the matcher and the criterion of
    ``transformers``::

        L = sum over layers of  w_class focal + w_box L1 + w_giou (1 - GIoU)

    All three are sums divided by the number of the group's instances, at least 1. A matched box is
    wanted to score 1 on every token of its class, everything else 0. Where the classes need several
    sentences, each has boxes of its own, which are matched to the instances of its own classes.
    Float32 inside, also under autocast.

    Args:
        detection: Of labeled images first, then of pseudo-labeled ones.
        targets: One an image, in that order; no instances is fine.
        num_labeled: How many of the images, from the first, form the labeled group.
        class_weight: Of the focal loss.
        box_weight: Of L1, in the loss and in the matching, as is the next one.
        giou_weight: Of ``1 - GIoU``.
        class_cost: Of the focal cost, in the matching.

    Returns:
        The terms of the labeled and of the pseudo-labeled group, >= 0; zero for an empty group, not
        a number where a box is not.
    """
    matcher = _library.GroundingDinoHungarianMatcher(
        class_cost=class_cost, bbox_cost=box_weight, giou_cost=giou_weight
    )
    criterion = _library.GroundingDinoImageLoss(matcher, _FOCAL_ALPHA, ["labels", "boxes"])
    weights = (class_weight, box_weight, giou_weight)
    groups = slice(0, num_labeled), slice(num_labeled, None)
    device = detection.class_tokens.device
    counts = [float(sum(len(target.classes) for target in targets[group])) for group in groups]
    # Such that the mean of the losses of the processes that share a batch is the batch's.
    counts = [max(x, 1 / processes.number()) for x in processes.mean_numbers(counts, device)]
    with torch.autocast(device.type, enabled=False):
        sup, semi = (
            _group(detection, targets, group, count, criterion, weights)
            for group, count in zip(groups, counts, strict=True)
        )
    return sup, semi


def boxes_of(masks: Bool[Tensor, "n h w"]) -> Float[Tensor, "n 4"]:
    """The smallest boxes around masks, from pixel border to pixel border.

    Args:
        masks: None of them empty.

    Returns:
        Centre and size, (x, y, width, height), in units of the image's sides.
    """
    bounds = []
    for axis, length in ((1, masks.shape[2]), (2, masks.shape[1])):  # columns, then rows
        hit = masks.any(dim=axis).float()
        first = hit.argmax(1)
        last = length - hit.flip(1).argmax(1)
        bounds.append(torch.stack([first, last], dim=1) / length)
    (left, right), (top, bottom) = (side.unbind(1) for side in bounds)
    centre = [(left + right) / 2, (top + bottom) / 2]
    return torch.stack([*centre, right - left, bottom - top], dim=1)


def _group(
    detection: BoxPredictions,
    targets: Sequence[Targets],
    group: slice,
    num_boxes: float,
    criterion: Any,
    weights: tuple[float, float, float],
) -> BoxLossTerms:
    # To the criterion an image under another sentence is another image.
    wanted = [
        {"class_labels": target.classes[own], "boxes": boxes_of(target.masks[own])}
        for target in targets[group]
        for own in _by_sentence(target, detection)
    ]
    zero = detection.layers[-1].boxes.new_zeros((), dtype=torch.float32)
    if not wanted:
        return BoxLossTerms(zero, zero, zero, zero)
    if not all(bool(layer.boxes[group].isfinite().all()) for layer in detection.layers):
        # A matching of such boxes is an error; the loss tells, and the run stops in its own way.
        return BoxLossTerms(*[zero * torch.nan] * 4)
    # Of a class only the row is read that its own sentence's boxes are compared with.
    label_maps = (detection.class_tokens.long(),) * len(wanted)
    terms = []
    for layer in detection.layers:
        logits = layer.token_logits[group].float()
        one = {
            "logits": logits.flatten(0, 1),
            "pred_boxes": layer.boxes[group].float().flatten(0, 1),
            "label_maps": label_maps,
            "text_mask": detection.tokens[:, None].expand_as(logits).flatten(0, 1),
        }
        with record_function("sskd matching"):
            pairs = criterion.matcher(one, wanted)
        # Not the whole criterion, which would count the boxes in its own way.
        terms.append(
            criterion.loss_labels(one, wanted, pairs, num_boxes)
            | criterion.loss_boxes(one, wanted, pairs, num_boxes)
        )
    parts = [
        sum((term[name] for term in terms), zero) for name in ("loss_ce", "loss_bbox", "loss_giou")
    ]
    total = sum((weight * part for weight, part in zip(weights, parts, strict=True)), zero)
    return BoxLossTerms(total, *parts)


def _by_sentence(target: Targets, detection: BoxPredictions) -> Bool[Tensor, "s n"]:
    """Which instances of an image are of the classes of each sentence."""
    sentences = torch.arange(len(detection.tokens), device=target.classes.device)
    return detection.sentence_of[target.classes] == sentences[:, None]
