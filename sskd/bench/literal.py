"""The contrastive term as its equations are written: what the product's is held against.

A table of all pairs, ``multinomial``, gathered negatives, and whatever autograd makes of it.

Axes: n anchors, q locations of the pool, k negatives of each, d embedding dimensions.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sskd.losses.dense_draw import negative_weights
from sskd.losses.negatives import Locations
from sskd.losses.proposals import Law

__all__ = ["literal_contrast", "literal_draw", "literal_losses"]


def literal_draw(
    anchors: Locations, pool: Locations, law: Law, *, generator: torch.Generator
) -> Int[Tensor, "n k"]:
    """Negatives of every anchor, from its row of weights; each row needs one that is not 0."""
    own = torch.arange(len(anchors.images), device=anchors.images.device)
    weights = negative_weights(
        anchors,
        pool,
        own=own if pool is anchors else None,
        exponent=law.exponent,
        scope=law.scope,
        cross_image_slots=law.cross_image_slots,
    )
    return torch.multinomial(
        weights, law.num_negatives, replacement=law.replacement, generator=generator
    )


def literal_losses(
    anchors: Float[Tensor, "n d"],
    positives: Float[Tensor, "n d"],
    negatives: Float[Tensor, "n k d"],
    *,
    loss: str,
    temperature: float,
    margin: float,
) -> Float[Tensor, " n"]:
    """InfoNCE or the margin hinge of unit embeddings, with autograd's gradient."""
    close = torch.einsum("nd,nd->n", anchors, positives)
    far = torch.einsum("nd,nkd->nk", anchors, negatives)
    if loss == "margin-hinge":
        return (margin - close[:, None] + far).relu().mean(dim=1)
    candidates = torch.cat([close[:, None], far], dim=1) / temperature
    return candidates.logsumexp(dim=1) - candidates[:, 0]


def literal_contrast(
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
) -> Float[Tensor, ""]:
    """Mean loss of the anchors that count; the arguments of ``sampled_contrast``."""
    indices = literal_draw(anchors, pool, law, generator=generator)
    losses = literal_losses(
        anchors.embeddings,
        positives,
        pool.embeddings[indices],
        loss=loss,
        temperature=temperature,
        margin=margin,
    )
    return losses[counts].mean()
