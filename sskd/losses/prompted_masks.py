"""The part of a set loss that masks drawn in boxes add: each box that found an instance wants it.

Axes: b images, m boxes of an image, n instances of an image, r pairs of an image, hm wm locations
of the mask logits.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from torchvision.ops import box_convert, box_iou

from sskd import processes
from sskd.losses.box_loss import boxes_of
from sskd.losses.points import point_losses
from sskd.types import Targets

__all__ = ["prompted_mask_loss"]

_MIN_IOU = 0.5
"""With an instance's box: a mask that is drawn in any other is of something else."""


def prompted_mask_loss(
    mask_logits: Float[Tensor, "b m hm wm"],
    boxes: Float[Tensor, "b m 4"],
    targets: Sequence[Targets],
    *,
    num_labeled: int,
    mask_weight: float,
    dice_weight: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Hold the mask of each box against the instance that the box overlaps most.

    ::

        L = mean over pairs of  w_mask BCE + w_dice dice

    A pair is a box and its instance, of whatever class, with an IoU of their boxes of at least 0.5;
    an instance may be in several. Masks are compared at every location of the logits' grid, to
    which the instance's is averaged. Where processes share a batch, the mean is over the pairs of
    all, such that the mean of the processes' losses is the batch's. Float32 inside, also under
    autocast.

    Args:
        mask_logits: Of the whole images, labeled ones first, then pseudo-labeled ones.
        boxes: What prompted the masks; centre and size, in units of the image's sides, without
            gradient. One without extent is in no pair.
        targets: One an image, in that order; no instances is fine.
        num_labeled: How many of the images, from the first, form the labeled group.
        mask_weight: Of BCE, in nats.
        dice_weight: Of dice.

    Returns:
        The losses of the labeled and of the pseudo-labeled group, >= 0; zero for a group without
        pairs, with a gradient of zero.
    """
    device, size = mask_logits.device, mask_logits.shape[-2:]
    pairs = [_pairs(own, target) for own, target in zip(boxes, targets, strict=True)]
    counts = [len(places) for places, _ in pairs]
    labeled = sum(counts[:num_labeled])
    numbers = processes.mean_numbers([float(labeled), float(sum(counts) - labeled)], device)
    least = 1 / processes.number()  # one pair in all of the batch
    with torch.autocast(device.type, enabled=False):
        drawn, wanted = [], []
        for masks, target, (places, instances) in zip(mask_logits, targets, pairs, strict=True):
            drawn.append(masks[places].float())
            on_grid = functional.interpolate(target.masks[:, None].float(), size, mode="area")
            wanted.append(on_grid[instances, 0])
        cross_entropy, dice = point_losses(
            torch.cat(drawn).flatten(1), torch.cat(wanted).flatten(1)
        )
        losses = mask_weight * cross_entropy + dice_weight * dice
        sup, semi = (
            part.sum() / max(number, least)
            for part, number in zip((losses[:labeled], losses[labeled:]), numbers, strict=True)
        )
    return sup, semi


@torch.no_grad()
def _pairs(
    boxes: Float[Tensor, "m 4"], target: Targets
) -> tuple[Int[Tensor, " r"], Int[Tensor, " r"]]:
    """Boxes of an image that found an instance, and which."""
    prompts = box_convert(boxes.float(), "cxcywh", "xyxy").clamp(0, 1)  # as SAM 2 gets them
    instances = box_convert(boxes_of(target.masks), "cxcywh", "xyxy")
    # A last column, for images without any instance.
    overlaps, best = functional.pad(box_iou(prompts, instances), (0, 1)).max(1)
    (places,) = torch.where(overlaps >= _MIN_IOU)
    return places, best[places]
