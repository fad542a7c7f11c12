"""What to watch of the contrastive term's mechanism: whose instance the negatives belong to.

Proposition 3.1 of arXiv 2604.03841 assumes that a negative is of another instance with
probability p > 0.5; ``1 - false_negative_rate`` estimates p.

Axes: g groups of t anchors that share r negatives.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["same_instance", "share"]

UNKNOWN = -2
"""Of an instance; -1 is none."""


def same_instance(
    anchor_instances: Int[Tensor, "g t"],
    anchor_images: Int[Tensor, "g t"],
    negative_instances: Int[Tensor, "g r"],
    negative_images: Int[Tensor, "g r"],
) -> tuple[Bool[Tensor, "g t r"], Bool[Tensor, "g t r"]]:
    """Which negatives are of their anchor's instance, and of which pairs that can be told.

    An unknown negative in another image of the step is of another instance; one in the anchor's
    image, or from a memory bank, cannot be judged. "No instance" equals itself.

    Args:
        anchor_instances: -1 none, -2 unknown, else unique in the step.
        anchor_images: Which image of the step.
        negative_instances: As for the anchors.
        negative_images: -1 for an image of an earlier step.

    Returns:
        Same, and judged; same only where judged.
    """
    own, theirs = anchor_instances[..., None], negative_instances[:, None]
    image = negative_images[:, None]
    elsewhere = (image >= 0) & (image != anchor_images[..., None])
    judged = (own != UNKNOWN) & ((theirs != UNKNOWN) | ((own >= 0) & elsewhere))
    return judged & (theirs == own), judged


def share(part: Tensor, whole: Tensor) -> Float[Tensor, ""]:
    """Sum over sum; nan where there is nothing to measure."""
    return part.sum(dtype=torch.float32) / whole.sum(dtype=torch.float32)
