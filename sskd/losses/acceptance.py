"""Who accepts which of the proposals that a group is shown, and keeps the first of them.

Anchor i accepts proposal j if ``u_ij bound_i + rounding < d_ij = 1 - <y_i, y_j>``, where ``u_ij``
is uniform in [0, 1]. So a millionth is taken off each score: what float32 leaves of 1 - 1 must
never be accepted. A random number for each pair would cost more than the scores. But the
inner product of two unit vectors of space is uniform in [-1, 1] if one of them has a uniform
direction (Archimedes). One direction for each anchor and one for each proposal are therefore, for
a single anchor, as good as independent numbers, and those of two anchors are independent in every
pair of entries; and the test is one matrix product with four more columns.

Axes: g groups, t anchors of each, r candidates that they share; n anchors, q locations of the
pool, v entries of a score vector, k negatives of each anchor.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sskd.losses.negatives import ROUNDING, Locations

__all__ = [
    "EXTRA",
    "accept",
    "draw_sides",
    "first_of_each",
    "keep_first",
    "score_table",
    "weighted_sides",
]

EXTRA = 4
"""Columns beside the score vector: a direction, and what does not depend on the other side."""


def score_table(locations: Locations) -> Float[Tensor, "n v_plus_4"]:
    """Score vectors, with room for the side of the test of whoever the row is taken for."""
    n = len(locations.images)
    extra = locations.class_scores.new_empty(n, EXTRA)
    return torch.cat([locations.slot_scores, locations.class_scores, extra], dim=1)


def weighted_sides(
    bound: Float[Tensor, "g t"], *, exponent: float, generator: torch.Generator
) -> Float[Tensor, "g t 4"]:
    """Directions of anchors, as their side of the test has them.

    Args:
        bound: Of the anchors' ``d``.
        exponent: Of ``d``.
        generator: Source of the directions.
    """
    sides = draw_sides(bound.shape, generator, bound)
    if exponent == 1:
        sides.mul_(bound[..., None] / 2)[..., -1].add_(ROUNDING - 1)
    else:
        sides[..., -1] = bound
    return sides


def accept(
    own: Float[Tensor, "g t v_plus_4"],
    theirs: Float[Tensor, "g r v_plus_4"],
    *,
    exponent: float,
) -> Float[Tensor, "g t r"]:
    """1 where the anchor accepts the proposal, else 0.

    Args:
        own: Rows of ``score_table`` that end in ``weighted_sides``.
        theirs: Rows of ``score_table`` that end in ``draw_sides``.
        exponent: Of ``d``.
    """
    if exponent == 1:
        return (own @ theirs.mT).lt_(0)
    uniform = own[..., -EXTRA:-1] @ theirs[..., -EXTRA:-1].mT
    uniform.add_(1).div_(2).clamp_(0, 1).pow_(1 / exponent).mul_(own[..., -1:]).add_(ROUNDING)
    return uniform.baddbmm_(own[..., :-EXTRA], theirs[..., :-EXTRA].mT).lt_(1)


def first_of_each(
    accepted: Float[Tensor, "g t r"], candidates: Int[Tensor, "g r"]
) -> Float[Tensor, "g t r"]:
    """Of several acceptances of the same location, the first: successive draws leave it out."""
    ordered, order = candidates.sort(dim=-1, stable=True)
    order = order[:, None].expand_as(accepted)
    accepted = accepted.gather(2, order)
    earlier = accepted.cumsum(dim=-1) - accepted
    place = torch.arange(candidates.shape[1], device=candidates.device)
    begins = torch.ones_like(ordered, dtype=torch.bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    start = torch.where(begins, place, 0).cummax(dim=-1).values  # of each one's run of equals
    first = accepted * (earlier == earlier.gather(2, start[:, None].expand_as(earlier)))
    return torch.empty_like(first).scatter_(2, order, first)


def keep_first(accepted: Float[Tensor, "g t r"], number: int) -> Bool[Tensor, "g t"]:
    """Strike out what is more than so many in a row; whether there are so many."""
    surely = number - 1  # of the first columns there cannot be too many
    before = accepted[..., :surely].sum(dim=-1, keepdim=True)
    order = accepted[..., surely:].cumsum(dim=-1)
    room = number - before
    complete = order[..., -1:] >= room
    accepted[..., surely:].mul_(order.le_(room))
    return complete[..., 0]


def draw_sides(
    shape: tuple[int, ...], generator: torch.Generator, like: Tensor
) -> Float[Tensor, "*shape 4"]:
    """Directions, uniform on the unit sphere, and 1 behind them."""
    drawn = torch.rand(2, *shape, generator=generator, device=generator.device, dtype=like.dtype)
    height, turn = drawn.to(like.device)
    height = height.mul(2).sub_(1)
    turn = turn.mul(2 * math.pi)
    flat = (1 - height.square()).sqrt_()
    sides = like.new_ones(*shape, EXTRA)
    sides[..., 0] = flat * turn.cos()
    sides[..., 1] = flat * turn.sin()
    sides[..., 2] = height
    return sides
