"""Points on which masks are compared, and the losses of matched pairs there (PointRend).

Axes: b m any, r pairs, p points, q candidate points, u uniform points, h w any map.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

__all__ = ["PointDraw", "draw_points", "place_points", "point_losses", "sample_at"]


class PointDraw(NamedTuple):
    """What is random about a step's points; the masks choose among the candidates."""

    candidates: Float[Tensor, "q 2"]
    uniform: Float[Tensor, "u 2"]
    """Taken as they are."""
    num_uncertain: int
    """How many of the candidates each mask takes."""


def sample_at(
    maps: Float[Tensor, "b m h w"], points: Float[Tensor, "b p 2"]
) -> Float[Tensor, "b m p"]:
    """Bilinear values of maps at points, zero outside.

    Args:
        maps: Any values; pixel centres lie at half-integers of the map's size.
        points: (x, y) in [0, 1] of width and height; one set for the ``m`` maps of a row.
    """
    return functional.grid_sample(maps, 2 * points[:, None] - 1, align_corners=False)[:, :, 0]


def draw_points(
    points: int,
    oversample_ratio: float,
    importance_ratio: float,
    *,
    generator: torch.Generator,
    device: torch.device,
) -> PointDraw:
    """Uniform candidates and uniform points, for all pairs of a step.

    Mask2Former draws them anew for every pair and layer. Shared, they cost one draw and one
    sampling grid a step; each pair's own points have the same distribution.

    Args:
        points: A pair gets in all.
        oversample_ratio: Candidates a point, >= 1.
        importance_ratio: Share of the points, in [0, 1], that come from the candidates.
        generator: Source of the points, on any device.
        device: Where they are needed.
    """
    num_candidates = int(points * oversample_ratio)
    num_uncertain = int(points * importance_ratio)
    source = generator.device
    candidates = torch.rand(num_candidates, 2, generator=generator, device=source)
    uniform = torch.rand(points - num_uncertain, 2, generator=generator, device=source)
    return PointDraw(candidates.to(device), uniform.to(device), num_uncertain)


@torch.no_grad()
def place_points(logits: Float[Tensor, "r h w"], draw: PointDraw) -> Float[Tensor, "r p 2"]:
    """For each mask its least certain candidates and the uniform points (arXiv 1912.08193).

    Args:
        logits: One mask a pair; 0 is the least certain.
        draw: The candidates and the uniform points.

    Returns:
        (x, y) in [0, 1] of width and height, in no order.
    """
    certainty = sample_at(logits[None], draw.candidates[None])[0].abs()
    chosen = _smallest(certainty, draw.num_uncertain)
    uniform = draw.uniform.expand(len(logits), -1, -1)
    return torch.cat([functional.embedding(chosen, draw.candidates), uniform], dim=1)


def point_losses(
    values: Float[Tensor, "*pairs p"], wanted: Float[Tensor, "*pairs p"]
) -> tuple[Float[Tensor, "*pairs"], Float[Tensor, "*pairs"]]:
    """Cross-entropy and dice of each pair at its points.

    Args:
        values: Mask logits there.
        wanted: The instance's mask there, in [0, 1].

    Returns:
        The mean binary cross-entropy in nats, >= 0, and the dice loss
        ``1 - (2 <s, y> + 1) / (|s| + |y| + 1)``, in [0, 1].
    """
    cross_entropy = functional.softplus(values) - values * wanted
    scores = values.sigmoid()
    overlap = 2 * (scores * wanted).sum(-1)
    return cross_entropy.mean(-1), 1 - (overlap + 1) / (scores.sum(-1) + wanted.sum(-1) + 1)


def _smallest(values: Float[Tensor, "r q"], count: int) -> Int[Tensor, "r p"]:
    """Indices of each row's smallest values, in no order."""
    if values.device.type != "cpu" or not 0 < count < values.shape[1]:
        return values.topk(count, dim=1, largest=False, sorted=False).indices
    # Four times quicker than topk, which would be a fifth of the whole loss.
    return torch.from_numpy(np.argpartition(values.numpy(), count, axis=1)[:, :count].copy())
