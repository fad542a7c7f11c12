"""Draws negatives by rejection from proposals that many anchors share: exact, linear in the pool.

With a ``bound`` of an anchor's ``d`` (see ``pools``), ``(d / bound) ** exponent`` is a probability:
accept a uniform proposal with it, and what is accepted follows the law exactly. A group of anchors
is shown the same proposals, hence all is matrix products; what each anchor keeps, its first ``k``
acceptances, are independent draws. Only different anchors' draws depend on each other: see
``GROUP`` and ``acceptance``.

An anchor with too few acceptances is drawn anew, never cut short; after some rounds it is drawn
from its row of weights. A round's outcome is thrown away whole: how many proposals an anchor
accepts says nothing about which. Without replacement it does, for repeats are struck out: there an
anchor keeps what it has, and its row of weights gives the rest.

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
from torch.nn import functional

from sskd.losses.acceptance import (
    EXTRA,
    accept,
    draw_sides,
    first_of_each,
    keep_first,
    score_table,
    weighted_sides,
)
from sskd.losses.dense_draw import draw_negatives, negative_weights
from sskd.losses.negatives import Locations
from sskd.losses.pools import Pools, make_pools
from sskd.losses.scratch import Scratch

__all__ = ["GROUP", "Law", "Tile", "Watch", "propose"]

GROUP = 128
"""Anchors that share proposals. More is faster, and a noisier gradient: ``sskd bench contrastive``
measures both."""

ROUNDS = 3
"""Of proposals, before what is left is drawn from rows of weights."""

FEW = 2**15
"""Entries of rows of weights: where what is left takes no more, no further round is worth it."""

MOST = 8
"""Times the pool's size: with more proposals than that, rows of weights are cheaper."""

SPARE = 3.0
"""Standard deviations of an anchor's acceptances, on top of what it needs on average."""

PATIENCE = 0.02
"""Share of the anchors, the hardest, that the number of proposals does not care for."""

REACH = 2.0
"""Times the median anchor's need: who needs more proposals than that waits for a further round."""

TABLE = 2**20
"""Entries of a tile's tables at most: they stay in the processor's cache."""

WATCHED = 128
"""Anchors of a step, if there are so many, of which the diagnostics are taken."""

WATCHED_A_GROUP = 32
"""At least, if so many are watched: to watch more groups would cost more than it says."""

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

    of: tuple[slice, slice]
    """Which groups of the tile, and which anchors of them."""
    scores: Float[Tensor, "g w r"]
    """``d`` of every pair, to its rounding."""
    log_total: Float[Tensor, "g w"]
    """Logarithm of the sum of the anchor's weights over its pool, estimated."""
    fair: Bool[Tensor, "g w"]
    """Whether the anchor is of a sample that stands for all."""


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
    first_proposals: bool
    """Whether it is of the first round, not of a further one or of rows of weights."""
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
    scratch: Scratch | None = None,
) -> Iterator[Tile]:
    """Draw every anchor's negatives.

    Waits for the device a few times, and for each further round, never for a tile.

    Args:
        anchors: Where negatives are needed.
        pool: Whence they come.
        law: How.
        own: Where each anchor itself is in the pool, if it is there: nobody is a negative of its
            own.
        generator: Source of all draws, on any device.
        group: Anchors that share proposals, at most.
        scratch: Memory that is free again whenever a tile is yielded.

    Yields:
        Each anchor once with its negatives, if it has any. An anchor that came without is in a
        later tile again, or has none.
    """
    table = score_table(pool)
    own_table = table if pool is anchors else score_table(anchors)
    scores = table[:, :-EXTRA]
    pools = make_pools(
        anchors,
        pool,
        scores if pool is anchors else own_table[:, :-EXTRA],
        scores,
        own=own,
        exponent=law.exponent,
        scope=law.scope,
        cross_image_slots=law.cross_image_slots,
    )
    needs = _needs(pools, law.num_negatives)
    rows, left = (torch.nonzero(which)[:, 0] for which in (needs.isinf(), needs.isfinite()))
    every = max(1, (len(rows) + len(left)) // WATCHED)
    fair = torch.zeros_like(needs, dtype=torch.bool)
    scratch = scratch or Scratch(table)
    draw = _Draw(anchors, pool, own, law, pools, generator, own_table, table, fair, scratch)
    fair[rows[::every]] = True
    tried = False
    short = []
    for _ in range(ROUNDS):
        if not len(left) or (tried and len(left) * len(pool.images) <= FEW):
            break
        several = len(pools.size) > 1
        if several:
            left = left[pools.of[left].argsort(stable=True)]
        number = _number(needs[left])
        later = needs[left] > REACH * number
        limit = min(group, max(1, TABLE // number))
        now = left[~later]
        groups, of, rest = _groups(now, pools.of[now], limit, several=several)
        rest = torch.cat([rest, left[later]])
        step, watched = 1, len(groups)
        if not tried:
            step, watched = _watch(groups, every)
            fair[groups[:watched, ::step]] = True
            fair[rest[::every]] = True
        elif not fair[now].any():
            watched = 0
        own_sides = weighted_sides(pools.bound[groups], exponent=law.exponent, generator=generator)
        candidates = draw.candidates(of, number)
        sides = draw_sides(candidates.shape, generator, draw.table)
        complete, kept = [], []
        size = max(1, TABLE // (number * groups.shape[1]))
        for first in range(0, len(groups), size):
            some = slice(first, first + size)
            seen = slice(max(0, watched - first)), slice(None, None, step)
            tile = draw.tile(
                groups[some], of[some], candidates[some], own_sides[some], sides[some], seen
            )
            complete.append(tile.complete)
            if not law.replacement:
                kept.append(tile.kept.bool())
            yield tile._replace(first_proposals=not tried)
        missed = ~torch.cat(complete)
        if law.replacement:
            rest = torch.cat([groups[missed], rest])
        else:
            already = _accepted(missed, torch.cat(kept), candidates, law.num_negatives)
            short.append((groups[missed], already))
        left, tried = rest, True
    yield from draw.from_rows(torch.cat([rows, left]))
    if short:
        anchors_left, already = (torch.cat(parts) for parts in zip(*short, strict=True))
        yield from draw.from_rows(anchors_left, already=already)


@dataclass(frozen=True)
class _Draw:
    """What the tiles of all rounds have in common."""

    anchors: Locations
    pool: Locations
    own: Int[Tensor, " n"] | None
    law: Law
    pools: Pools
    generator: torch.Generator
    own_table: Float[Tensor, "n v_plus_4"]
    table: Float[Tensor, "q v_plus_4"]
    fair: Bool[Tensor, " n"]
    """A sample of the anchors that stands for all."""
    scratch: Scratch

    def candidates(self, of: Int[Tensor, " g"], number: int) -> Int[Tensor, "g r"]:
        """Uniform proposals from the pool of each group."""
        # In float64, as whole numbers would need one limit for all pools.
        shape = (len(of), number)
        drawn = torch.rand(
            shape, generator=self.generator, device=self.generator.device, dtype=torch.float64
        )
        start, size = self.pools.start[of], self.pools.size[of]
        place = (drawn.to(of.device) * size[:, None]).long() + start[:, None]
        return self.pools.order[place]

    def tile(
        self,
        rows: Int[Tensor, "g t"],
        of: Int[Tensor, " g"],
        candidates: Int[Tensor, "g r"],
        own_sides: Float[Tensor, "g t 4"],
        sides: Float[Tensor, "g r 4"],
        seen: tuple[slice, slice],
    ) -> Tile:
        """Who keeps which candidates, where some anchors of some groups are watched."""
        law = self.law
        own = self.scratch.take("own", self.own_table, rows)
        theirs = self.scratch.take("theirs", self.table, candidates)
        own[..., -EXTRA:], theirs[..., -EXTRA:] = own_sides, sides
        if self.pools.slots_of is not None:
            elsewhere = self.pool.images[candidates] != self.pools.slots_of[of][:, None]
            theirs[..., : self.anchors.slot_scores.shape[1]].masked_fill_(elsewhere[..., None], 0)
        accepted = accept(own, theirs, exponent=law.exponent)
        if self.own is not None and own.shape[-1] == EXTRA:  # with a score, one's own is 0
            accepted.mul_(self.own[rows][..., None] != candidates[:, None])
        watch = None
        if seen[0].stop > 0:
            share = accepted[seen].mean(dim=-1).clamp(min=1 / candidates.shape[1])
            log_total = (share * self.pools.size[of[seen[0]]][:, None]).log()
            log_total += law.exponent * self.pools.bound[rows[seen]].log()
            scores = 1 - own[seen][..., :-EXTRA] @ theirs[seen[0], :, :-EXTRA].mT
            watch = Watch(seen, scores, log_total, self.fair[rows[seen]])
        if not law.replacement:
            accepted = first_of_each(accepted, candidates)
        complete = keep_first(accepted, law.num_negatives)
        return Tile(
            anchors=rows,
            candidates=candidates,
            kept=accepted,
            complete=complete,
            repeated=torch.zeros_like(complete),
            first_proposals=True,
            watch=watch,
        )

    def from_rows(
        self, left: Int[Tensor, " l"], *, already: Int[Tensor, "l k"] | None = None
    ) -> Iterator[Tile]:
        """Those that proposals did not serve, each with candidates of its own: its negatives."""
        law = self.law
        if not len(left):
            return
        size = max(1, ROWS // len(self.pool.images))
        for first in range(0, len(left), size):
            rows = left[first : first + size]
            weights = negative_weights(
                Locations(*(values[rows] for values in self.anchors)),
                self.pool,
                own=None if self.own is None else self.own[rows],
                exponent=law.exponent,
                scope=law.scope,
                cross_image_slots=law.cross_image_slots,
            )
            draw = draw_negatives(
                weights,
                law.num_negatives,
                replacement=law.replacement,
                generator=self.generator,
                already=None if already is None else already[first : first + size],
            )
            scores = weights.gather(1, draw.indices).pow(1 / law.exponent)
            log_total = weights.sum(dim=1).log()
            yield Tile(
                anchors=rows[:, None],
                candidates=draw.indices,
                kept=torch.ones_like(scores)[:, None],
                complete=draw.possible[:, None],
                repeated=draw.repeated[:, None],
                first_proposals=False,
                watch=Watch(
                    (slice(None), slice(None)),
                    scores[:, None],
                    log_total[:, None],
                    self.fair[rows][:, None],
                ),
            )


def _accepted(
    which: Bool[Tensor, "g t"],
    kept: Bool[Tensor, "g t r"],
    candidates: Int[Tensor, "g r"],
    number: int,
) -> Int[Tensor, "l k"]:
    """What some anchors have, first come first, then -1."""
    candidates = candidates[:, None].expand_as(kept)[which]
    kept = kept[which]
    first = kept.sort(dim=1, descending=True, stable=True).indices[:, :number]
    already = candidates.gather(1, first).masked_fill(~kept.gather(1, first), -1)
    return functional.pad(already, (0, number - first.shape[1]), value=-1)


def _needs(pools: Pools, num_negatives: int) -> Float[Tensor, " n"]:
    """Proposals that serve an anchor; inf if its row is cheaper, nan if it has no negatives."""
    spread = SPARE * (num_negatives * (1 - pools.rate)).sqrt()
    needs = (num_negatives + spread) / pools.rate + 1
    return needs.masked_fill(needs > MOST * pools.size[pools.of], torch.inf)


def _number(needs: Float[Tensor, " l"]) -> int:
    """How many proposals serve nearly all of the anchors that do not need far more than most."""
    hardest = needs.kthvalue(int((1 - PATIENCE) * (len(needs) - 1)) + 1).values
    median = needs.kthvalue(len(needs) // 2 + 1).values
    return math.ceil(torch.minimum(hardest, REACH * median).item())


def _groups(
    left: Int[Tensor, " l"], of: Int[Tensor, " l"], limit: int, *, several: bool
) -> tuple[Int[Tensor, "g t"], Int[Tensor, " g"], Int[Tensor, " rest"]]:
    """Anchors of one pool that are far from each other share proposals: every so-manieth one.

    Returns:
        The groups, all of one size; the pool of each; and anchors that are left over.
    """
    pools, counts = [0], [len(left)]
    if several:
        pools, counts = (x.tolist() for x in torch.unique_consecutive(of, return_counts=True))
    # A pool of which little is left waits, rather than make all groups small.
    size = min(n // math.ceil(n / limit) for n in counts if 2 * n >= max(counts))
    groups, whose, rest = [], [], []
    for pool, some in zip(pools, torch.split(left, counts), strict=True):
        number = len(some) // size
        groups.append(some[: number * size].view(size, number).T)
        rest.append(some[number * size :])
        whose += [pool] * number
    return torch.cat(groups), torch.tensor(whose, device=left.device), torch.cat(rest)


def _watch(groups: Int[Tensor, "g t"], every: int) -> tuple[int, int]:
    """Every so-manieth anchor of so many groups make a sample; of few groups, to be quick."""
    wanted = math.ceil(groups.numel() / every)
    each = min(wanted, max(WATCHED_A_GROUP, math.ceil(wanted / len(groups))))
    step = max(1, groups.shape[1] // each)
    return step, math.ceil(wanted * step / groups.shape[1])
