"""Every anchor against its positive and its drawn negatives: the losses, their gradient, in one.

The gradient of a mean of losses is known as soon as the losses are, up to one factor. So the
forward pass computes both, tile by tile, and keeps of all pairs only the gradient of the
embeddings: no table of all pairs, no gathered negatives, nothing computed twice.

Axes: n anchors, q locations of the pool, d embedding dimensions; g groups, t anchors of each, r
candidates that they share, of which k are an anchor's negatives.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from sskd.losses.diagnostics import same_instance
from sskd.losses.negatives import ROUNDING, Locations
from sskd.losses.proposals import GROUP, Law, Tile, propose
from sskd.losses.scratch import Scratch

__all__ = ["LOSSES", "AnchorRows", "Slopes", "info_nce", "margin_hinge", "sampled_contrast"]


LARGEST_LOGIT = 60.0
"""Up to here exponentials of either sign, and sums of them, are far from what float32 can hold."""


class Slopes(NamedTuple):
    """Losses of a tile's anchors and their derivatives."""

    losses: Float[Tensor, "g t"]
    positive: Float[Tensor, "g t"]
    """By the logit of the positive."""
    negatives: Float[Tensor, "g t r"]
    """By the logits of the candidates, up to ``factor``; 0 for those that are not kept."""
    factor: Float[Tensor, "g t"]


def info_nce(
    positive: Float[Tensor, "g t"],
    logits: Float[Tensor, "g t r"],
    kept: Float[Tensor, "g t r"],
    *,
    scale: float,
    num_negatives: int,  # noqa: ARG001 - of the other loss
    margin: float,  # noqa: ARG001 - of the other loss
) -> Slopes:
    r"""Cross-entropy of picking the positive among itself and the negatives.

    ``L_pxl`` of arXiv 2604.03841, Sec. 3.2, for each anchor::

        -log( exp(s+) / (exp(s+) + sum_r exp(s-_r)) ),   s = cos / tau

    Args:
        positive: Logit ``s+`` of the anchor and its positive.
        logits: ``s-`` of the anchor and its candidates; overwritten.
        kept: 1 for the candidates that are negatives, else 0.
        scale: ``1 / tau`` > 0, the largest logit.
        num_negatives: Not read.
        margin: Not read.

    Returns:
        Losses in nats, >= 0; ``log(1 + k)`` where all are equally close.
    """
    own = positive
    if scale > LARGEST_LOGIT:
        logits.masked_fill_(kept == 0, -torch.inf)
        largest = torch.maximum(logits.amax(dim=-1), own)
        logits.sub_(largest[..., None])
        own = own - largest
    weights = logits.exp_().mul_(kept)
    weight = own.exp()
    total = weights.sum(dim=-1).add_(weight)
    factor = total.reciprocal()
    return Slopes(total.log_().sub_(own), weight.mul_(factor).sub_(1), weights, factor)


def margin_hinge(
    positive: Float[Tensor, "g t"],
    logits: Float[Tensor, "g t r"],
    kept: Float[Tensor, "g t r"],
    *,
    scale: float,  # noqa: ARG001 - of the other loss
    num_negatives: int,
    margin: float,
) -> Slopes:
    """How far each negative is from being ``margin`` less similar than the positive.

    Table 10 of arXiv 2604.03841, for each anchor::

        (1/K) sum_r max(0, margin - cos(z, z+) + cos(z, z-_r))

    Args:
        positive: Cosine of the anchor and its positive.
        logits: Cosines of the anchor and its candidates; overwritten.
        kept: 1 for the candidates that are negatives, else 0.
        scale: 1.
        num_negatives: ``K``.
        margin: >= 0, in units of cosine similarity.

    Returns:
        Losses in [0, 2 + margin].
    """
    short = logits.add_((margin - positive)[..., None]).relu_().mul_(kept)
    losses = short.sum(dim=-1) / num_negatives
    active = short.gt_(0)
    factor = torch.full_like(losses, 1 / num_negatives)
    return Slopes(losses, -active.sum(dim=-1) * factor, active, factor)


LOSSES: dict[str, Callable[..., Slopes]] = {"info-nce": info_nce, "margin-hinge": margin_hinge}
"""The loss of each anchor from its logits, with its slopes."""


class AnchorRows(NamedTuple):
    """The term over all anchors, and what its diagnostics need of each; only ``loss`` learns."""

    loss: Float[Tensor, ""]
    """Mean over the anchors that count and have a negative; 0 if there is none."""
    possible: Bool[Tensor, " n"]
    """Whether the anchor has any negative."""
    repeated: Bool[Tensor, " n"]
    """Whether it got a negative twice although drawn without replacement."""
    again: Bool[Tensor, " n"]
    """Whether the first proposals did not serve it."""
    watched: Bool[Tensor, " n"]
    """Whether the rest is known: of a fair sample of the anchors, spread over all images."""
    positive_cosine: Float[Tensor, " n"]
    negative_cosine: Float[Tensor, " n"]
    """Mean over the anchor's negatives."""
    same: Float[Tensor, " n"]
    """Negatives of the anchor's own instance; of an anchor of no instance, of none either."""
    judged: Float[Tensor, " n"]
    """Negatives of which that is known."""
    surprise: Float[Tensor, " n"]
    """Minus the log-probability of the drawn negatives, mean, in nats: the entropy's estimate."""


def sampled_contrast(
    anchors: Locations,
    positives: Float[Tensor, "n d"],
    counts: Bool[Tensor, " n"],
    pool: Locations,
    law: Law,
    *,
    loss: str,
    temperature: float,
    margin: float,
    generator: torch.Generator,
    group: int = GROUP,
) -> AnchorRows:
    """Draw negatives for every anchor and compare it with them and with its positive.

    Args:
        anchors: Unit embeddings that carry gradient; in float64 all is computed in float64.
        positives: Unit embeddings, in the anchors' order; without gradient.
        counts: Which anchors the mean is over.
        pool: Whence negatives come; the same object as ``anchors`` if it is the batch, and then
            nobody is a negative of its own.
        law: How they are drawn.
        loss: A key of ``LOSSES``.
        temperature: Read by ``info-nce``.
        margin: Read by ``margin-hinge``.
        generator: Source of the draw.
        group: Anchors that share proposals, at most; see ``propose``.
    """
    n = len(anchors.images)
    rows = AnchorRows(
        loss=anchors.embeddings.new_zeros(()),
        possible=counts.new_zeros(n),
        repeated=counts.new_zeros(n),
        again=counts.new_zeros(n),
        watched=counts.new_zeros(n),
        positive_cosine=positives.new_zeros(n),
        negative_cosine=positives.new_zeros(n),
        same=positives.new_zeros(n),
        judged=positives.new_zeros(n),
        surprise=positives.new_zeros(n),
    )
    own = torch.arange(n, device=counts.device) if pool is anchors else None
    scale = 1 / temperature if loss == "info-nce" else 1.0
    scratch = Scratch(anchors.embeddings)
    tiles = propose(anchors, pool, law, own=own, generator=generator, group=group, scratch=scratch)

    def slopes(positive: Tensor, logits: Tensor, kept: Tensor) -> Slopes:
        return LOSSES[loss](
            positive, logits, kept, scale=scale, num_negatives=law.num_negatives, margin=margin
        )

    def observe(tile: Tile, positive: Tensor, logits: Tensor) -> None:
        _observe(rows, tile, positive, logits, scale, anchors, pool, law)

    total: Tensor = _Contrast.apply(
        anchors.embeddings,
        None if pool is anchors else pool.embeddings,
        positives,
        counts,
        tiles,
        scratch,
        scale,
        slopes,
        observe,
    )
    number = (counts & rows.possible).sum().clamp(min=1)
    return rows._replace(loss=total / number)


class _Contrast(torch.autograd.Function):
    """Sum of the losses of the anchors that count; differentiable once, by both embeddings."""

    @staticmethod
    def forward(
        ctx: Any,
        anchors: Tensor,
        pool: Tensor | None,  # the anchors, if there is none
        positives: Tensor,
        counts: Tensor,
        tiles: Iterator[Tile],
        scratch: Scratch,
        scale: float,
        slopes: Callable[[Tensor, Tensor, Tensor], Slopes],
        observe: Callable[[Tile, Tensor, Tensor], None],
    ) -> Tensor:
        learns, pool_learns = ctx.needs_input_grad[:2]
        gradient = torch.zeros_like(anchors) if learns else None
        pool_gradient = torch.zeros_like(pool) if pool is not None and pool_learns else None
        teaches = gradient if pool is None else pool_gradient
        total = anchors.new_zeros(())
        closeness = torch.linalg.vecdot(anchors, positives).mul_(scale)
        pull = torch.zeros_like(closeness)
        weighs = counts.to(anchors.dtype)
        for tile in tiles:
            own = scratch.take("own", anchors, tile.anchors)
            theirs = scratch.take("theirs", anchors if pool is None else pool, tile.candidates)
            positive = closeness.take(tile.anchors)
            logits = scratch.product("logits", own, theirs.mT, scale=scale)
            observe(tile, positive, logits)
            out = slopes(positive, logits, tile.kept)
            counted = weighs.take(tile.anchors) * tile.complete
            total += torch.dot(out.losses.flatten(), counted.flatten())
            factor = (out.factor * counted)[..., None]
            if gradient is not None:
                part = scratch.product("own slopes", out.negatives, theirs).mul_(factor)
                gradient.index_add_(0, tile.anchors.flatten(), part.flatten(0, 1))
                pull.index_add_(0, tile.anchors.flatten(), (out.positive * counted).flatten())
            if teaches is not None:
                # In the place of what was read for the last time.
                torch.bmm(out.negatives.mT, own.mul_(factor), out=theirs)
                teaches.index_add_(0, tile.candidates.flatten(), theirs.flatten(0, 1))
        if gradient is not None:
            gradient.addcmul_(pull[:, None], positives)
        ctx.gradients, ctx.scale = (gradient, pool_gradient), scale
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        slope = slope * ctx.scale  # the losses' slopes are by the logits
        gradients = [None if part is None else part * slope for part in ctx.gradients]
        return (*gradients, None, None, None, None, None, None, None)


def _observe(
    rows: AnchorRows,
    tile: Tile,
    positive: Float[Tensor, "g t"],
    logits: Float[Tensor, "g t r"],
    scale: float,
    anchors: Locations,
    pool: Locations,
    law: Law,
) -> None:
    """Write what a tile says into ``rows``."""
    rows.possible[tile.anchors] = tile.complete
    if not law.replacement:
        rows.repeated[tile.anchors] = tile.repeated
    rows.again[tile.anchors] = ~tile.complete if tile.first_proposals else True
    if tile.watch is None:
        return
    seen, scores, log_total, fair = tile.watch
    own, kept, candidates = tile.anchors[seen], tile.kept[seen], tile.candidates[seen[0]]
    rows.watched[own] = fair
    rows.positive_cosine[own] = positive[seen] / scale
    rows.negative_cosine[own] = (kept * logits[seen]).sum(dim=-1) / (scale * law.num_negatives)
    same, judged = same_instance(
        anchors.instances[own],
        anchors.images[own],
        pool.instances[candidates],
        pool.images[candidates],
    )
    rows.same[own] = same.to(kept).mul_(kept).sum(dim=-1)
    rows.judged[own] = judged.to(kept).mul_(kept).sum(dim=-1)
    # Without replacement only the first draw follows the weights themselves.
    follows = kept if law.replacement else kept * (kept.cumsum(dim=-1) == 1)
    drawn = scores.clamp(min=ROUNDING).log_().mul_(follows).sum(dim=-1) * law.exponent
    rows.surprise[own] = log_total - drawn / follows.sum(dim=-1).clamp(min=1)
