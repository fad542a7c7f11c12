"""The law of the negatives as a table of weights, and draws from it: exact, and quadratic.

For the few anchors whose proposals are hardly ever accepted, and to hold the rest against.

Axes: n anchors, q locations of the pool, k negatives of each anchor.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sskd.losses.negatives import ROUNDING, SCOPES, SLOTS, Locations

__all__ = ["Draw", "draw_negatives", "negative_weights"]


class Draw(NamedTuple):
    """Negatives of each anchor."""

    indices: Int[Tensor, "n k"]
    """Into the pool; any index for an anchor that has no negative."""
    possible: Bool[Tensor, " n"]
    """Whether the anchor has a negative at all."""
    repeated: Bool[Tensor, " n"]
    """Whether it had fewer distinct ones than were asked for without replacement."""


def negative_weights(
    anchors: Locations,
    pool: Locations,
    *,
    own: Int[Tensor, " n"] | None,
    exponent: float,
    scope: str,
    cross_image_slots: str,
) -> Float[Tensor, "n q"]:
    """How likely each location of the pool is as a negative, up to a factor for each anchor.

    Args:
        anchors: Where negatives are needed.
        pool: Whence they come.
        own: Where each anchor itself is in the pool, if it is there: nobody is a negative of its
            own.
        exponent: > 0, of the score ``d``.
        scope: A key of ``SCOPES``.
        cross_image_slots: A key of ``SLOTS``.

    Returns:
        Weights in [0, 1]; 0 is never drawn.
    """
    same_image = anchors.images[:, None] == pool.images[None, :]
    slots = anchors.slot_scores @ pool.slot_scores.T
    if not SLOTS[cross_image_slots]:
        slots.mul_(same_image)
    # In place from here on: the table is large.
    weights = torch.addmm(slots, anchors.class_scores, pool.class_scores.T, beta=-1, alpha=-1)
    weights.add_(1).nan_to_num_(0)  # a diverged model draws nothing, rather than raising here
    torch.threshold_(weights, ROUNDING, 0)
    if exponent != 1:
        weights.pow_(exponent)
    if not SCOPES[scope].other_images:
        weights.mul_(same_image)
    if not SCOPES[scope].own_image:
        weights.mul_(~same_image)
    if own is not None:
        weights.scatter_(1, own[:, None], 0)
    return weights


def draw_negatives(
    weights: Float[Tensor, "n q"],
    num_negatives: int,
    *,
    replacement: bool,
    generator: torch.Generator,
    already: Int[Tensor, "n k"] | None = None,
) -> Draw:
    """Draw from each row with probability proportional to its weights, exactly.

    With replacement the inverse of the cumulative sum, in float64. Without, an exponential race:
    the order of ``E_j / w_j`` is that of successive draws. An anchor with fewer eligible
    locations than ``num_negatives`` gets each of them once and the rest with replacement.

    Args:
        weights: >= 0, finite.
        num_negatives: An anchor, > 0; may exceed the pool.
        replacement: Whether a location may come twice for an anchor.
        generator: On any device; the same draw on all of them.
        already: Without replacement, what each anchor has drawn before, first come first, then -1:
            the draw goes on from there.
    """
    cumulative = weights.double().cumsum_(dim=1)
    total = cumulative[:, -1:]
    indices = _inverse(cumulative, num_negatives, generator)
    possible = total[:, 0] > 0
    repeated = torch.zeros_like(possible)
    if not replacement:
        if already is None:
            already = torch.full_like(indices, -1)
        known = already >= 0
        had = known.sum(dim=1, keepdim=True)
        # One column more, for what is not known.
        drawn = torch.zeros_like(cumulative, dtype=torch.bool)
        drawn = torch.cat([drawn, drawn[:, :1]], dim=1)
        drawn.scatter_(1, torch.where(known, already, weights.shape[1]), value=True)
        rest = weights.masked_fill(drawn[:, :-1], 0)
        eligible = rest.gt(0).sum(dim=1, keepdim=True)
        order = _race(rest, min(num_negatives, rest.shape[1]), generator)
        place = torch.arange(num_negatives, device=had.device) - had
        following = order.gather(1, place.clamp(0, order.shape[1] - 1))
        indices = torch.where((place >= 0) & (place < eligible), following, indices)
        indices = torch.where(known, already, indices)
        repeated = possible & ((eligible + had)[:, 0] < num_negatives)
    return Draw(indices, possible, repeated)


def _inverse(cumulative: Tensor, num_negatives: int, generator: torch.Generator) -> Tensor:
    uniform = torch.rand(
        len(cumulative),
        num_negatives,
        generator=generator,
        device=generator.device,
        dtype=torch.float64,
    ).to(cumulative.device)
    # "right" steps over entries of weight 0, which do not raise the sum; and a product with a
    # number below 1 rounds below the total, so that only rows without any weight need the clamp.
    indices = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    return indices.clamp_(max=cumulative.shape[1] - 1)


def _race(weights: Tensor, num_negatives: int, generator: torch.Generator) -> Tensor:
    # In float64: float32 is 0 once in 2**24, and would win whatever the weight.
    uniform = torch.rand(
        weights.shape, generator=generator, device=generator.device, dtype=torch.float64
    )
    times = uniform.to(weights.device).neg_().log1p_().neg_().div_(weights)
    times.masked_fill_(weights == 0, torch.inf)  # 0 / 0 must not win
    return times.topk(num_negatives, dim=1, largest=False, sorted=True).indices
