"""The seam of the contrastive term: anchors, positives and a pool in, one row an anchor out.

This is the literal form: a table of weights and mostly one of cosines, both (n, q). Whatever else
draws from the same law and gives the same rows can stand in its place.

Axes: n anchors, q locations of the pool, k negatives of each anchor, d embedding dimensions.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sskd.losses.diagnostics import same_instance
from sskd.losses.negatives import Locations, draw_negatives, negative_weights

__all__ = ["LOSSES", "AnchorRows", "info_nce", "margin_hinge", "sampled_contrast"]


class AnchorRows(NamedTuple):
    """What the term and its diagnostics need of each anchor; only the losses carry gradient."""

    losses: Float[Tensor, " n"]
    positive_cosine: Float[Tensor, " n"]
    negative_cosine: Float[Tensor, " n"]
    """Mean over the anchor's negatives."""
    same: Int[Tensor, " n"]
    """Negatives of the anchor's own instance; of an anchor of no instance, of none either."""
    judged: Int[Tensor, " n"]
    """Negatives of which that is known."""
    surprise: Float[Tensor, " n"]
    """Minus the log-probability of the drawn negatives, mean, in nats: the entropy's estimate."""
    possible: Bool[Tensor, " n"]
    """Whether the anchor has any negative; else its row means nothing."""
    repeated: Bool[Tensor, " n"]
    """Whether it got a negative twice although drawn without replacement."""


def info_nce(
    positive: Float[Tensor, " n"],
    negatives: Float[Tensor, "n k"],
    *,
    temperature: float,
    margin: float,  # noqa: ARG001 - of the other loss
) -> Float[Tensor, " n"]:
    r"""Cross-entropy of picking the positive among itself and the negatives.

    ``L_pxl`` of arXiv 2604.03841, Sec. 3.2, for each anchor::

        -log( exp(s+) / (exp(s+) + sum_r exp(s-_r)) ),   s = cos / tau

    Args:
        positive: Cosine of the anchor and its positive.
        negatives: Cosines of the anchor and its negatives.
        temperature: ``tau`` > 0, in units of cosine similarity.
        margin: Not read.

    Returns:
        In nats, >= 0; ``log(1 + k)`` where all candidates are equally close.
    """
    candidates = torch.cat([positive[:, None], negatives], dim=1) / temperature  # (n, 1 + k)
    return candidates.logsumexp(dim=1) - candidates[:, 0]


def margin_hinge(
    positive: Float[Tensor, " n"],
    negatives: Float[Tensor, "n k"],
    *,
    temperature: float,  # noqa: ARG001 - of the other loss
    margin: float,
) -> Float[Tensor, " n"]:
    """How far each negative is from being ``margin`` less similar than the positive.

    Table 10 of arXiv 2604.03841, for each anchor::

        (1/K) sum_r max(0, margin - cos(z, z+) + cos(z, z-_r))

    Args:
        positive: Cosine of the anchor and its positive.
        negatives: Cosines of the anchor and its negatives.
        temperature: Not read.
        margin: >= 0, in units of cosine similarity.

    Returns:
        In [0, 2 + margin].
    """
    return (margin - positive[:, None] + negatives).relu().mean(dim=1)


LOSSES: dict[str, Callable[..., Tensor]] = {"info-nce": info_nce, "margin-hinge": margin_hinge}
"""The loss of each anchor from its cosines."""


def sampled_contrast(
    anchors: Locations,
    positives: Float[Tensor, "n d"],
    pool: Locations,
    *,
    loss: str,
    temperature: float,
    margin: float,
    num_negatives: int,
    exponent: float,
    scope: str,
    replacement: bool,
    cross_image_slots: str,
    generator: torch.Generator,
) -> AnchorRows:
    """Draw negatives for every anchor and compare it with them and with its positive.

    Args:
        anchors: Unit embeddings that carry gradient.
        positives: Unit embeddings, in the anchors' order.
        pool: Whence negatives come; the same object as ``anchors``, or a memory bank's.
        loss: A key of ``LOSSES``.
        temperature: Read by ``info-nce``.
        margin: Read by ``margin-hinge``.
        num_negatives: ``k`` > 0.
        exponent: > 0, of the score.
        scope: A key of ``negatives.SCOPES``.
        replacement: Whether a negative may come twice for an anchor.
        cross_image_slots: A key of ``negatives.SLOTS``.
        generator: Source of the draw.
    """
    with torch.no_grad():
        weights = negative_weights(
            anchors, pool, exponent=exponent, scope=scope, cross_image_slots=cross_image_slots
        )
        indices, possible, repeated = draw_negatives(
            weights, num_negatives, replacement=replacement, generator=generator
        )
        # Without replacement only the first draw follows the weights themselves.
        follows = indices if replacement else indices[:, :1]
        log_weights = weights.gather(1, follows).log().mean(dim=1)
        surprise = weights.sum(dim=1).log() - log_weights
        same, judged = same_instance(
            anchors.instances, anchors.images, pool.instances[indices], pool.images[indices]
        )
    positive = torch.einsum("nd,nd->n", anchors.embeddings, positives)
    negatives = _cosines(anchors.embeddings, pool.embeddings, indices)
    return AnchorRows(
        losses=LOSSES[loss](positive, negatives, temperature=temperature, margin=margin),
        positive_cosine=positive.detach(),
        negative_cosine=negatives.detach().mean(dim=1),
        same=same.sum(dim=1),
        judged=judged.sum(dim=1),
        surprise=surprise,
        possible=possible,
        repeated=repeated,
    )


def _cosines(
    anchors: Float[Tensor, "n d"], pool: Float[Tensor, "q d"], indices: Int[Tensor, "n k"]
) -> Float[Tensor, "n k"]:
    """Of each anchor with its negatives, by whichever way is quicker on a CPU.

    A table of all cosines wins, several times over, unless the pool is much larger than what is
    drawn from it and learns nothing, as a memory bank.
    """
    if not pool.requires_grad and len(pool) > 50 * indices.shape[1]:
        return torch.einsum("nd,nkd->nk", anchors, pool[indices])
    return (anchors @ pool.T).gather(1, indices)
