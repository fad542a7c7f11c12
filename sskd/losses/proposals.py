"""Draws negatives by rejection from proposals that many anchors share: exact, linear in the pool.

Two unit score vectors differ by ``d = 1 - <y, y'>``, which is half their squared distance. So
around the pool's mean, an anchor's distance and the pool's radius bound its ``d`` from above, and
``(d / bound) ** exponent`` is a probability: accept a uniform proposal with it, and what is
accepted follows the law exactly. A group of anchors is shown the same proposals, hence all is
matrix products; what each anchor keeps, its first ``k`` acceptances, are independent draws. Only
different anchors' draws depend on each other: see ``GROUP`` and ``_accepted``.

An anchor with too few acceptances is drawn anew, never cut short; after some rounds it is drawn
from its row of weights. A round's outcome is thrown away whole: how many proposals an anchor
accepts says nothing about which.

Axes: g groups, t anchors of each, r candidates that they share; n anchors, q locations of the
pool, v entries of a score vector, k negatives of each anchor.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sskd.losses.dense_draw import draw_negatives, negative_weights
from sskd.losses.negatives import ROUNDING, SCOPES, SLOTS, Locations

__all__ = ["GROUP", "Law", "Tile", "Watch", "propose"]

GROUP = 128
"""Anchors that share proposals. More is faster, and a noisier gradient: ``sskd bench contrastive``
measures both."""

ROUNDS = 3
"""Of proposals, before what is left is drawn from rows of weights."""

MOST = 8
"""Times the pool's size: with more proposals than that, rows of weights are cheaper."""

SPARE = 3.0
"""Standard deviations of an anchor's acceptances, on top of what it needs on average."""

PATIENCE = 0.005
"""Share of the anchors, the hardest, that the number of proposals does not care for."""

TABLE = 2**19
"""Entries of a tile's tables at most: they stay in the processor's cache."""

WATCHED = 512
"""Anchors of a step, if there are so many, of which the diagnostics are taken."""

ROWS = 2**21
"""Entries of the tables of weights of anchors that are drawn from them, at most."""


class Law(NamedTuple):
    """How negatives are drawn."""

    num_negatives: int
    exponent: float
    scope: str
    replacement: bool
    cross_image_slots: str


class Watch(NamedTuple):
    """What the diagnostics need to know of the draw, for w anchors of each group."""

    step: int
    """It is every so-manieth."""
    scores: Float[Tensor, "g w r"]
    """``d`` of every pair, to its rounding."""
    log_total: Float[Tensor, "g w"]
    """Logarithm of the sum of the anchor's weights over its pool, estimated."""


class Tile(NamedTuple):
    """Groups of anchors, candidates that a group shares, and which are negatives of which."""

    anchors: Int[Tensor, "g t"]
    candidates: Int[Tensor, "g r"]
    """Into the pool."""
    kept: Float[Tensor, "g t r"]
    """1 for the negatives of the anchor, ``k`` of them if it is complete, else 0. Not booleans:
    arithmetic with those is several times slower."""
    complete: Bool[Tensor, "g t"]
    """Whether the anchor has its negatives; if not, it comes again, unless it cannot have any."""
    repeated: Bool[Tensor, "g t"]
    """Whether it got a negative twice although drawn without replacement."""
    first_try: bool
    """Whether no earlier tile held these anchors."""
    watch: Watch | None
    """Of some anchors that stand for all, and in every further try of all."""


def propose(
    anchors: Locations,
    pool: Locations,
    law: Law,
    *,
    own: Int[Tensor, " n"] | None,
    generator: torch.Generator,
    group: int = GROUP,
) -> Iterator[Tile]:
    """Draw every anchor's negatives.

    Waits for the device a few times for each block of anchors with a pool of their own, and for
    each further round; never in a tile.

    Args:
        anchors: Where negatives are needed.
        pool: Whence they come.
        law: How.
        own: Where each anchor itself is in the pool, if it is there: nobody is a negative of its
            own.
        generator: Source of all draws, on any device.
        group: Anchors that share proposals, at most.

    Yields:
        Each anchor once with its negatives, if it has any. An anchor that came without is in a
        later tile again, or has none.
    """
    for block in _blocks(anchors, pool, law, own):
        left = torch.nonzero(block.rate > 0)[:, 0]
        watched = math.ceil(WATCHED * len(left) / len(anchors.images))  # still to do
        tried = False
        for _ in range(ROUNDS):
            if not len(left):
                break
            number = _proposals(block.rate[left], law.num_negatives)
            if number > MOST * len(block.members):
                break
            groups, rest = _groups(left, min(group, max(1, TABLE // number)))
            drawn = _integers(len(block.members), (len(groups), number), generator, left)
            complete = []
            size = max(1, TABLE // (number * groups.shape[1]))
            for some, theirs in zip(
                torch.split(groups, size), torch.split(drawn, size), strict=True
            ):
                watch = math.ceil(watched / len(some)) if not tried else some.shape[1]
                tile = _accepted(block, some, theirs, law, generator, watch)
                watched -= some.numel()
                complete.append(tile.complete)
                yield tile._replace(first_try=not tried)
            left, tried = torch.cat([groups[~torch.cat(complete)], rest]), True
        yield from _from_rows(anchors, pool, block, left, law, generator, first_try=not tried)


@dataclass(frozen=True)
class _Block:
    """Anchors that draw from the same part of the pool with the same vectors."""

    anchors: Int[Tensor, " a"]
    members: Int[Tensor, " p"]
    """The part of the pool."""
    vectors: Float[Tensor, "a v"]
    member_vectors: Float[Tensor, "p v"]
    bound: Float[Tensor, " a"]
    """Of ``d``, from above."""
    rate: Float[Tensor, " a"]
    """Probability that a proposal is accepted, from below; 0 for an anchor without negatives."""
    own: Int[Tensor, " a"] | None
    """Where the anchors are in the pool, if they are."""


def _blocks(
    anchors: Locations, pool: Locations, law: Law, own: Int[Tensor, " n"] | None
) -> Iterator[_Block]:
    scope = SCOPES[law.scope]
    vectors = torch.cat([anchors.slot_scores, anchors.class_scores], dim=1)
    pool_vectors = vectors
    if pool is not anchors:
        pool_vectors = torch.cat([pool.slot_scores, pool.class_scores], dim=1)
    slots = anchors.slot_scores.shape[1]
    # Slots of other images count for nothing: then what a pool's vector is depends on the image.
    disjoint = not SLOTS[law.cross_image_slots] and slots > 0
    device = pool.images.device
    everyone = torch.arange(len(pool.images), device=device)
    whole = scope.own_image and scope.other_images
    if whole and not disjoint:
        all_anchors = torch.arange(len(vectors), device=device)
        yield _block(all_anchors, everyone, vectors, pool_vectors, law.exponent, own)
        return
    for image in torch.unique(anchors.images).tolist():
        same = pool.images == image
        members = everyone
        if not whole:
            members = torch.nonzero(same if scope.own_image else ~same)[:, 0]
        if not len(members):
            continue
        theirs = pool_vectors[members]
        if disjoint:
            theirs[:, :slots] *= same[members, None]
        some = torch.nonzero(anchors.images == image)[:, 0]
        places = None if own is None else own[some]
        yield _block(some, members, vectors[some], theirs, law.exponent, places)


def _block(
    anchors: Tensor,
    members: Tensor,
    vectors: Tensor,
    member_vectors: Tensor,
    exponent: float,
    own: Tensor | None,
) -> _Block:
    """Bound and rate of every anchor, from the mean and the radius of its pool.

    For vectors of any length ``1 - <y, y'> = |y - y'|^2 / 2 + 1 - |y|^2 / 2 - |y'|^2 / 2``, and
    ``|y - y'|`` is at most the anchor's distance from the mean plus the pool's radius.
    """
    centre = member_vectors.mean(dim=0)
    square, apart = _from(centre, member_vectors)
    shortest, radius = square.amin(), apart.amax()
    if vectors is not member_vectors:
        square, apart = _from(centre, vectors)
    slack = (1 - (square + shortest) / 2).clamp(min=0)
    bound = ((apart + radius).square() / 2 + slack).clamp(max=1)
    mean = (1 - vectors @ centre).clamp(min=0)
    if own is not None and not vectors.shape[1]:
        mean = mean * (1 - 1 / len(members))  # oneself, whose d is 0 where there are vectors
    rate = (mean / bound).clamp(max=1)
    if exponent > 1:
        rate = rate.pow(exponent)  # a mean of powers is at least the power of the mean
    # Not finite: a diverged model draws nothing.
    hopeless = (mean < ROUNDING / len(members)) | ~rate.isfinite()
    rate = torch.where(hopeless, 0, rate)
    return _Block(anchors, members, vectors, member_vectors, bound, rate, own)


def _from(centre: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Squared lengths of vectors, and their distances from a centre, rather too long than short."""
    square = torch.einsum("nv,nv->n", vectors, vectors)
    apart = square - 2 * (vectors @ centre) + centre.square().sum()
    return square, (apart + 2 * ROUNDING).clamp(min=0).sqrt()


def _proposals(rates: Float[Tensor, " a"], num_negatives: int) -> int:
    """How many proposals serve nearly all of the anchors."""
    hardest = 1 + int(PATIENCE * (len(rates) - 1))
    rate = max(1e-4, rates.kthvalue(hardest).values.item())
    spread = SPARE * math.sqrt(num_negatives * (1 - rate))
    return math.ceil((num_negatives + spread) / rate) + 1


def _groups(left: Int[Tensor, " l"], size: int) -> tuple[Int[Tensor, "g t"], Int[Tensor, " rest"]]:
    """Anchors far from each other share proposals: every so-manieth one; and a rest."""
    count = math.ceil(len(left) / size)
    size = len(left) // count
    return left[: count * size].view(size, count).T, left[count * size :]


def _accepted(
    block: _Block,
    rows: Int[Tensor, "g t"],
    proposals: Int[Tensor, "g r"],
    law: Law,
    generator: torch.Generator,
    watch: int,
) -> Tile:
    """Who accepts which of the proposals.

    A random number for each pair would cost more than the scores. One for each anchor and one for
    each proposal, added modulo 1, are for a single anchor just as good: independent and uniform.
    Those of two anchors are independent in every pair of entries.
    """
    vectors, theirs = block.vectors[rows], block.member_vectors[proposals]
    bound = block.bound[rows][..., None]
    uniform = _uniform(bound.shape, generator, bound)
    uniform = uniform + _uniform((len(rows), 1, proposals.shape[1]), generator, bound)
    uniform.frac_()
    if law.exponent != 1:
        uniform.pow_(1 / law.exponent)
    # No lower than rounding: what float32 leaves of 1 - 1 must never be accepted.
    uniform.mul_(bound).clamp_(min=ROUNDING)
    accepted = uniform.baddbmm_(vectors, theirs.mT).lt_(1)  # that is, uniform < d; 1 or 0
    candidates = block.members[proposals]
    if block.own is not None and not vectors.shape[-1]:  # with a score, one's own is 0
        accepted.mul_(block.own[rows][..., None] != candidates[:, None])
    seen = None
    if watch > 0:
        # All over the group, as groups are all over the images.
        step = max(1, rows.shape[1] // watch)
        count = accepted[:, ::step].sum(dim=-1).clamp(min=1)
        log_total = (count * (len(block.members) / proposals.shape[1])).log()
        log_total += law.exponent * bound[:, ::step, 0].log()
        scores = 1 - vectors[:, ::step] @ theirs.mT
        seen = Watch(step, scores, log_total)
    if not law.replacement:
        accepted = _first_of_each(accepted, candidates)
    complete = _keep_first(accepted, law.num_negatives)
    return Tile(
        anchors=block.anchors[rows],
        candidates=candidates,
        kept=accepted,
        complete=complete,
        repeated=torch.zeros_like(complete),
        first_try=True,
        watch=seen,
    )


def _integers(
    limit: int, shape: tuple[int, ...], generator: torch.Generator, like: Tensor
) -> Tensor:
    drawn = torch.randint(limit, shape, generator=generator, device=generator.device)
    return drawn.to(like.device)


def _uniform(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    drawn = torch.rand(shape, generator=generator, device=generator.device, dtype=like.dtype)
    return drawn.to(like.device)


def _first_of_each(
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


def _keep_first(accepted: Float[Tensor, "g t r"], number: int) -> Bool[Tensor, "g t"]:
    """Strike out what is more than so many in a row; whether there are so many."""
    surely = number - 1  # of the first columns there cannot be too many
    before = accepted[..., :surely].sum(dim=-1, keepdim=True)
    order = accepted[..., surely:].cumsum(dim=-1).add_(before)
    complete = order[..., -1] >= number
    accepted[..., surely:].mul_(order.le_(number))
    return complete


def _from_rows(
    anchors: Locations,
    pool: Locations,
    block: _Block,
    left: Int[Tensor, " l"],
    law: Law,
    generator: torch.Generator,
    *,
    first_try: bool,
) -> Iterator[Tile]:
    """Those that proposals did not serve, each with candidates of its own: its negatives."""
    for rows in torch.split(left, max(1, ROWS // len(pool.images))):
        these = block.anchors[rows]
        weights = negative_weights(
            Locations(*(values[these] for values in anchors)),
            pool,
            own=None if block.own is None else block.own[rows],
            exponent=law.exponent,
            scope=law.scope,
            cross_image_slots=law.cross_image_slots,
        )
        draw = draw_negatives(
            weights, law.num_negatives, replacement=law.replacement, generator=generator
        )
        scores = weights.gather(1, draw.indices).pow(1 / law.exponent)
        yield Tile(
            anchors=these[:, None],
            candidates=draw.indices,
            kept=torch.ones_like(scores)[:, None],
            complete=draw.possible[:, None],
            repeated=draw.repeated[:, None],
            first_try=first_try,
            watch=Watch(1, scores[:, None], weights.sum(dim=1).log()[:, None]),
        )
