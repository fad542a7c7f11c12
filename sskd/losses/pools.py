"""Which part of the pool an anchor draws from, and how readily it accepts what it is shown.

Two unit score vectors differ by ``d = 1 - <y, y'>``, which is half their squared distance. So
around the pool's mean, an anchor's distance and the pool's radius bound its ``d`` from above, and
the mean of its ``d`` is known. Distances are between vectors less the mean of all: where these are
nearly alike, as before training, rounding is as small as the differences.

Axes: n anchors, q locations of the pool, v entries of a part of the score vector, p pools: one for
all anchors, or one for the anchors of each image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sskd.losses.negatives import ROUNDING, SCOPES, SLOTS, Locations

__all__ = ["Pools", "make_pools"]


@dataclass(frozen=True)
class Pools:
    """Each is a run of locations, image after image and round in a circle."""

    of: Int[Tensor, " n"]
    """Which pool is the anchor's."""
    order: Int[Tensor, " twice_q"]
    """The locations, image after image, and once more for who goes round the end."""
    start: Int[Tensor, " p"]
    """Where in ``order`` a pool begins."""
    size: Int[Tensor, " p"]
    """How far it goes, over the end to the beginning: "all but one image" is a run, too."""
    slots_of: Int[Tensor, " p"] | None
    """The only image whose slots count for the anchors of this pool; ``None``: they all do."""
    bound: Float[Tensor, " n"]
    """Of ``d``, from above."""
    rate: Float[Tensor, " n"]
    """Share of the proposals that the anchor accepts, from below; nan if it has no negatives."""


def make_pools(
    anchors: Locations,
    pool: Locations,
    own_scores: Float[Tensor, "n v"],
    scores: Float[Tensor, "q v"],
    *,
    own: Int[Tensor, " n"] | None,
    exponent: float,
    scope: str,
    cross_image_slots: str,
) -> Pools:
    """The pools of all anchors.

    Args:
        anchors: Where negatives are needed.
        pool: Whence they come.
        own_scores: Score vectors of the anchors, those over slots first.
        scores: Those of the pool; the same object if the pool is the anchors.
        own: As the arguments that follow, that of ``dense_draw.negative_weights``.
        exponent: As there.
        scope: As there.
        cross_image_slots: As there.
    """
    whose = SCOPES[scope]
    slots, entries = anchors.slot_scores.shape[1], scores.shape[1]
    disjoint = whose.other_images and slots > 0 and not SLOTS[cross_image_slots]
    q = len(pool.images)
    everyone = torch.ones(q, 1, dtype=torch.bool, device=pool.images.device)
    if whose.own_image and whose.other_images and not disjoint:
        of = torch.zeros_like(anchors.images)
        order = torch.arange(q, device=of.device)
        start, size = of.new_zeros(1), of.new_full((1,), q)
        images, member, seen = None, everyone, everyone
    else:
        images, of = torch.unique(anchors.images, return_inverse=True)
        ordered, order = pool.images.sort(stable=True)
        start, end = (torch.searchsorted(ordered, images, right=right) for right in (False, True))
        same = pool.images[:, None] == images
        size, member, seen = end - start, same, same | everyone
        if whose.other_images:
            start, size, member = end, q - size, ~same
            if whose.own_image:
                size, member = torch.full_like(size, q), same | everyone
            if disjoint:
                seen = same
    parts: list[tuple[slice, Tensor | None]] = [(slice(None), None)]
    if disjoint:
        parts = [(slice(0, slots), seen), (slice(slots, None), None)]
    bound, mean = _bounds(own_scores, scores, of, member, parts)
    number = size[of]
    # No score above its rounding: no negatives. So with what is not a number: a diverged model.
    possible = torch.minimum(bound, mean * number) > ROUNDING
    if own is not None and whose.own_image and not entries:
        mean = mean * (1 - 1 / number)  # oneself, whose d is 0 where there are vectors
        possible &= number > 1
    rate = ((mean - ROUNDING) / bound).clamp(0, 1)
    if exponent > 1:
        rate = rate.pow(exponent)  # a mean of powers is at least the power of the mean
    rate = torch.where(possible, rate, torch.nan)
    return Pools(of, order.repeat(2), start, size, images if disjoint else None, bound, rate)


def _bounds(
    anchors: Float[Tensor, "n v"],
    pool: Float[Tensor, "q v"],
    of: Int[Tensor, " n"],
    member: Bool[Tensor, "q p"],
    parts: Sequence[tuple[slice, Bool[Tensor, "q p"] | None]],
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Of every anchor's ``d``, the largest that is possible, and the mean.

    For vectors of any length ``1 - <y, y'> = |y - y'|^2 / 2 + 1 - |y|^2 / 2 - |y'|^2 / 2``, and
    ``|y - y'|`` is at most the anchor's distance from the mean plus the pool's radius.

    Args:
        anchors: Score vectors where negatives are needed.
        pool: Of the places whence they come.
        of: Which pool is the anchor's.
        member: Whether the location is in the pool.
        parts: Of the vectors, and where a part counts, if it does not everywhere.
    """
    weights = member.to(pool)
    total = weights.sum(dim=0)
    zero = torch.zeros_like(weights)
    apart, lacking = zero, zero + 1  # |y - mean|^2 and 1 - |y|^2, of the pool's locations
    here = zero.new_zeros(len(of), weights.shape[1])  # the same, of the anchors
    missing = here[:, :1] + 1
    for part, visible in parts:
        theirs, own = pool[:, part], anchors[:, part]
        common = 0.0 if visible is not None else theirs.mean(dim=0)
        counted = 1.0 if visible is None else visible.to(theirs)
        shifted = theirs - common
        centres = (weights * counted).T @ shifted / total[:, None]
        squares, lengths = _squares(theirs, shifted, centres)
        offsets = centres.square().sum(dim=1)
        apart = apart + counted * squares + offsets
        lacking = lacking - counted * lengths
        if pool is not anchors:
            squares, lengths = _squares(own, own - common, centres)
        here, missing = here + squares + offsets, missing - lengths
    here, missing = here.clamp(min=0).gather(1, of[:, None])[:, 0], missing[:, 0]
    apart = apart.clamp(min=0) * weights
    lacking = lacking * weights
    bound = (here.sqrt() + apart.amax(dim=0).sqrt()[of]).square()
    mean = here + (apart.sum(dim=0) / total)[of]
    slack = torch.threshold(missing + lacking.amax(dim=0)[of], 2 * ROUNDING, 0)
    least = torch.threshold(missing + (lacking.sum(dim=0) / total)[of], 2 * ROUNDING, 0)
    return ((bound + slack) / 2).clamp(max=1), (mean + least) / 2


def _squares(
    vectors: Float[Tensor, "n v"], shifted: Float[Tensor, "n v"], centres: Float[Tensor, "p v"]
) -> tuple[Float[Tensor, "n p"], Float[Tensor, "n 1"]]:
    """``|x - c|^2 - |c|^2`` of vectors less a common part, rather too large; and ``|y|^2``."""
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True).square()
    squares = torch.linalg.vector_norm(shifted, dim=1, keepdim=True).square()
    return torch.addmm(squares * (1 + 2 * ROUNDING), shifted, centres.T, alpha=-2), lengths
