"""Debiased, instance-aware negatives: who may be drawn, and with what probability.

Every location has a score vector in two parts, over query slots and over classes; two locations
differ by ``d = max(0, 1 - <y, y'>)``, in [0, 1], and ``d ** exponent`` is the weight with which
one is drawn as a negative of the other. A table of weights is the literal form, quadratic in the
number of locations.

Axes: b images, m queries, c foreground classes, n anchors, q locations of the pool, k negatives,
h w locations of the mask logits.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

__all__ = [
    "SCOPES",
    "SCORES",
    "SLOTS",
    "Draw",
    "Locations",
    "draw_negatives",
    "negative_weights",
    "score_vectors",
]

ROUNDING = 1e-6
"""A score below this is 0: what float32 leaves of 1 - 1 must not become a negative."""


class Locations(NamedTuple):
    """Places in feature maps, of this step's weak views or of a memory bank."""

    embeddings: Float[Tensor, "n d"]
    """Of unit length."""
    slot_scores: Float[Tensor, "n m"]
    """The part of the score vector over query slots, which mean nothing across images."""
    class_scores: Float[Tensor, "n c_plus_1"]
    images: Int[Tensor, " n"]
    """Which image of the step; -1 for an image of an earlier one."""
    instances: Int[Tensor, " n"]
    """-1 none, -2 unknown, else the instance's number, unique in the step."""


class Draw(NamedTuple):
    """Negatives of each anchor."""

    indices: Int[Tensor, "n k"]
    """Into the pool; any index for an anchor that has no negative."""
    possible: Bool[Tensor, " n"]
    """Whether the anchor has a negative at all."""
    repeated: Bool[Tensor, " n"]
    """Whether it had fewer distinct ones than were asked for without replacement."""


Parts = tuple[Tensor, Tensor]


def _uniform(slots: Tensor, classes: Tensor) -> Parts:
    return torch.zeros_like(slots), torch.zeros_like(classes)


def _mask(slots: Tensor, classes: Tensor) -> Parts:
    return functional.normalize(slots, dim=-1), torch.zeros_like(classes)


def _class(slots: Tensor, classes: Tensor) -> Parts:
    return torch.zeros_like(slots), functional.normalize(classes, dim=-1)


def _fusion(slots: Tensor, classes: Tensor) -> Parts:
    length = torch.cat([slots, classes], dim=-1).norm(dim=-1, keepdim=True)
    return slots / length, classes / length


SCORES: dict[str, Callable[[Tensor, Tensor], Parts]] = {
    "uniform": _uniform,
    "mask": _mask,
    "class": _class,
    "fusion": _fusion,
}
"""The score vector from P_m and F_c, as its two parts: what is left out is zero."""


def _anyone(same_image: Tensor) -> Tensor | None:  # noqa: ARG001 - the table's signature
    return None


def _same(same_image: Tensor) -> Tensor | None:
    return same_image


SCOPES: dict[str, Callable[[Tensor], Tensor | None]] = {
    "batch": _anyone,
    "other-images": torch.logical_not,
    "same-image": _same,
    "memory-bank": _anyone,
}
"""Who is eligible, from the table (n, q) of what lies in one image; ``None`` is everybody."""


def _literal(product: Tensor, same_image: Tensor) -> Tensor:  # noqa: ARG001 - the table's signature
    return product


SLOTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "literal": _literal,
    "disjoint": torch.mul,
}
"""What the product of two slot parts counts for, given what lies in one image."""


def score_vectors(
    mask_logits: Float[Tensor, "b m h w"],
    class_logits: Float[Tensor, "b m c_plus_1"],
    *,
    grid: tuple[int, int],
    score: str,
) -> tuple[Float[Tensor, "n m"], Float[Tensor, "n c_plus_1"]]:
    """The score vector of every location, as its part over slots and its part over classes.

    Equations 1 and 2 of arXiv 2604.03841, with P_m the softmax over queries at a location and P_c
    the softmax over classes of a query::

        F_c[p, c] = sum_m P_m[m, p] P_c[m, c],    y[p] = concat(P_m[:, p], F_c[p]),    y / |y|

    Args:
        mask_logits: At any resolution; brought to ``grid`` bilinearly.
        class_logits: The last class is "no object".
        grid: Rows and columns of locations; ``n`` is their product times ``b``.
        score: A key of ``SCORES``.

    Returns:
        Two parts in [0, 1], image after image and row after row; together of length 1, for
        ``uniform`` of length 0.
    """
    resized = functional.interpolate(mask_logits, size=grid, mode="bilinear", align_corners=False)
    slots = resized.flatten(2).softmax(dim=1)
    classes = torch.einsum("bmp,bmc->bpc", slots, class_logits.softmax(dim=-1))
    return SCORES[score](slots.transpose(1, 2).flatten(0, 1), classes.flatten(0, 1))


def negative_weights(
    anchors: Locations,
    pool: Locations,
    *,
    exponent: float,
    scope: str,
    cross_image_slots: str,
) -> Float[Tensor, "n q"]:
    """How likely each location of the pool is as a negative, up to a factor for each anchor.

    Args:
        anchors: Where negatives are needed.
        pool: Whence they come; the very same object as ``anchors`` if it is the batch, and then
            nobody is a negative of its own.
        exponent: > 0, of the score ``d``.
        scope: A key of ``SCOPES``.
        cross_image_slots: A key of ``SLOTS``.

    Returns:
        Weights in [0, 1]; 0 is never drawn.
    """
    same_image = anchors.images[:, None] == pool.images[None, :]
    slots = SLOTS[cross_image_slots](anchors.slot_scores @ pool.slot_scores.T, same_image)
    # In place from here on: the table is the largest thing of a step.
    weights = torch.addmm(slots, anchors.class_scores, pool.class_scores.T, beta=-1, alpha=-1)
    weights.add_(1).nan_to_num_(0)  # a diverged model draws nothing, rather than raising here
    torch.threshold_(weights, ROUNDING, 0)
    if exponent != 1:
        weights.pow_(exponent)
    eligible = SCOPES[scope](same_image)
    if eligible is not None:
        weights.mul_(eligible)
    if pool is anchors:
        weights.fill_diagonal_(0)
    return weights


def draw_negatives(
    weights: Float[Tensor, "n q"],
    num_negatives: int,
    *,
    replacement: bool,
    generator: torch.Generator,
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
    """
    cumulative = weights.double().cumsum_(dim=1)
    total = cumulative[:, -1:]
    indices = _inverse(cumulative, num_negatives, generator)
    possible = total[:, 0] > 0
    repeated = torch.zeros_like(possible)
    if not replacement:
        eligible = weights.gt(0).sum(dim=1, keepdim=True)
        order = _race(weights, min(num_negatives, weights.shape[1]), generator)
        indices[:, : order.shape[1]] = torch.where(
            torch.arange(order.shape[1], device=order.device) < eligible,
            order,
            indices[:, : order.shape[1]],
        )
        repeated = possible & (eligible[:, 0] < num_negatives)
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
    uniform = torch.rand(weights.shape, generator=generator, device=generator.device)
    times = uniform.to(weights.device).neg_().log1p_().neg_().div_(weights)
    times.masked_fill_(weights == 0, torch.inf)  # 0 / 0 must not win
    return times.topk(num_negatives, dim=1, largest=False, sorted=True).indices
