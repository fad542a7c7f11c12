"""Debiased, instance-aware negatives: who may be drawn, and with what probability.

Every location has a score vector in two parts, over query slots and over classes; two locations
differ by ``d = max(0, 1 - <y, y'>)``, in [0, 1], and ``d ** exponent`` is the weight with which
one is drawn as a negative of the other. ``proposals`` draws by this law.

Axes: b images, m queries, c foreground classes, n locations, h w locations of the mask logits.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

__all__ = ["ROUNDING", "SCOPES", "SCORES", "SLOTS", "Locations", "Scope", "score_vectors"]

ROUNDING = 1e-6
"""A score below this is 0: what float32 leaves of 1 - 1 must not become a negative."""


class Locations(NamedTuple):
    """Places in feature maps, of this step's weak views or of a memory bank."""

    embeddings: Float[Tensor, "n d"]
    """Of unit length."""
    slot_scores: Float[Tensor, "n _"]
    """The part of the score vector over query slots, which mean nothing across images."""
    class_scores: Float[Tensor, "n _"]
    images: Int[Tensor, " n"]
    """Which image of the step; -1 for an image of an earlier one."""
    instances: Int[Tensor, " n"]
    """-1 none, -2 unknown, else the instance's number, unique in the step."""


Parts = tuple[Tensor, Tensor]


def _uniform(slots: Tensor, classes: Tensor) -> Parts:
    return slots[:, :0], classes[:, :0]


def _mask(slots: Tensor, classes: Tensor) -> Parts:
    return functional.normalize(slots, dim=-1), classes[:, :0]


def _class(slots: Tensor, classes: Tensor) -> Parts:
    return slots[:, :0], functional.normalize(classes, dim=-1)


def _fusion(slots: Tensor, classes: Tensor) -> Parts:
    length = torch.cat([slots, classes], dim=-1).norm(dim=-1, keepdim=True)
    return slots / length, classes / length


SCORES: dict[str, Callable[[Tensor, Tensor], Parts]] = {
    "uniform": _uniform,
    "mask": _mask,
    "class": _class,
    "fusion": _fusion,
}
"""The score vector from P_m and F_c, as its two parts: what is left out has no entries."""


class Scope(NamedTuple):
    """Whose locations may be negatives of an anchor."""

    own_image: bool
    other_images: bool


SCOPES = {
    "batch": Scope(own_image=True, other_images=True),
    "other-images": Scope(own_image=False, other_images=True),
    "same-image": Scope(own_image=True, other_images=False),
    "memory-bank": Scope(own_image=True, other_images=True),
}
"""A memory bank holds locations of earlier steps, whose images are all other ones."""

SLOTS = {"literal": True, "disjoint": False}
"""Whether slots of the same number count as the same one across images."""


def score_vectors(
    mask_logits: Float[Tensor, "b m h w"],
    class_logits: Float[Tensor, "b m c_plus_1"],
    *,
    grid: tuple[int, int],
    score: str,
) -> tuple[Float[Tensor, "n _"], Float[Tensor, "n _"]]:
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
        Two parts in [0, 1], image after image and row after row; together of length 1. A part
        that the score leaves out has no columns.
    """
    resized = functional.interpolate(mask_logits, size=grid, mode="bilinear", align_corners=False)
    slots = resized.flatten(2).softmax(dim=1)
    classes = torch.einsum("bmp,bmc->bpc", slots, class_logits.softmax(dim=-1))
    return SCORES[score](slots.transpose(1, 2).flatten(0, 1), classes.flatten(0, 1))
