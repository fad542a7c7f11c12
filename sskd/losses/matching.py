"""Which query answers for which instance: Mask2Former's bipartite matching.

The costs are those of ``Mask2FormerHungarianMatcher`` of transformers. There every image of every
layer draws its own points; here one draw serves them all, so that one kernel samples all masks.
Each image still sees uniform points, new ones at every step.

Axes: l layers, b images, m queries, t instances (padded), r matched pairs of a layer, p points,
n instances of all images, h w any map.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from sskd import processes
from sskd.losses.points import sample_at
from sskd.types import LayerOutput

__all__ = ["Matches", "match_layers", "pairwise_mask_costs"]


class Matches(NamedTuple):
    """The matched pairs of each decoder layer, in the order of the instances."""

    queries: Int[Tensor, "l r"]
    """Among the queries of all images, one image after the other."""
    instances: Int[Tensor, "l r"]
    """Among the instances of all images, in the same way; ``0 .. n - 1`` where all are matched."""
    num_labeled: int
    """The first so many pairs of a layer are of labeled images."""


def pairwise_mask_costs(
    logits: Float[Tensor, "b m p"], masks: Float[Tensor, "b t p"]
) -> tuple[Float[Tensor, "b m t"], Float[Tensor, "b m t"]]:
    """Cross-entropy and dice between every query and every instance of an image.

    Binary cross-entropy is ``softplus(x) - x y``, so all pairs take one product.

    Args:
        logits: Mask logits at the points.
        masks: Instance masks at the same points, in [0, 1].

    Returns:
        Mean cross-entropy over the points in nats, >= 0; and the dice loss
        ``1 - (2 <s, y> + 1) / (|s| + |y| + 1)``, in [0, 1].
    """
    overlap = torch.einsum("bmp,btp->bmt", logits, masks)
    no_overlap = functional.softplus(logits).sum(-1, keepdim=True)
    cross_entropy = (no_overlap - overlap) / logits.shape[-1]
    scores = logits.sigmoid()
    intersection = 2 * torch.einsum("bmp,btp->bmt", scores, masks)
    size = scores.sum(-1)[:, :, None] + masks.sum(-1)[:, None, :]
    return cross_entropy, 1 - (intersection + 1) / (size + 1)


@torch.no_grad()
def match_layers(
    layers: Sequence[LayerOutput],
    masks: Float[Tensor, "n h w"],
    classes: Int[Tensor, " n"],
    counts: Sequence[int],
    *,
    num_labeled: int,
    class_weight: float,
    mask_weight: float,
    dice_weight: float,
    points: int,
    generator: torch.Generator,
) -> Matches:
    """The cheapest one-to-one assignment of queries to instances, in each layer and image.

    A cost that is not finite counts as the largest number, so that a diverged model gives a
    non-finite loss rather than an exception here.

    Args:
        layers: Decoder layers' predictions, float32.
        masks: The instances of all images, one image after the other.
        classes: Theirs.
        counts: Instances of each image. Where they outnumber the queries, as many as there are
            queries are matched, those that are cheapest together.
        num_labeled: The first so many images are the labeled ones.
        class_weight: Of ``-probability`` of the instance's class.
        mask_weight: Of the mean cross-entropy over the points.
        dice_weight: Of the dice loss over the points.
        points: Drawn uniformly, for all images and layers.
        generator: Source of the points, on any device.

    Returns:
        The matched pairs.
    """
    none = torch.empty(len(layers), 0, dtype=torch.int64, device=masks.device)
    if not any(processes.mean_numbers([float(sum(counts))], masks.device)):
        return Matches(none, none, 0)
    # Also without an instance here: the generators of all processes go on alike.
    place = torch.rand(1, points, 2, generator=generator, device=generator.device).to(masks.device)
    if not sum(counts):
        return Matches(none, none, 0)
    sampled = sample_at(masks[None], place)[0]
    padded_masks = pad_sequence([*torch.split(sampled, list(counts))], batch_first=True)
    padded_classes = pad_sequence([*torch.split(classes, list(counts))], batch_first=True)
    costs = []
    for layer in layers:
        logits = sample_at(layer.mask_logits, place.expand(len(counts), -1, -1))
        cross_entropy, dice = pairwise_mask_costs(logits, padded_masks)
        wanted = padded_classes[:, None].expand(-1, logits.shape[1], -1)
        probability = layer.class_logits.softmax(-1).gather(2, wanted)
        costs.append(mask_weight * cross_entropy - class_weight * probability + dice_weight * dice)
    largest = torch.finfo(torch.float32).max
    # (layers, b, m, t), one copy to the host for all of them
    table = torch.stack(costs).nan_to_num(largest, largest, largest).cpu().numpy()
    return _assign(table, counts, num_labeled, masks.device)


def _assign(
    costs: NDArray[np.float32], counts: Sequence[int], num_labeled: int, device: torch.device
) -> Matches:
    """The pairs from their costs (l, b, m, t)."""
    layers, images, queries = costs.shape[:3]
    starts = np.cumsum([0, *counts])
    pairs = [min(count, queries) for count in counts]
    found = np.empty((2, layers, sum(pairs)), np.int64)
    for layer in range(layers):
        first = 0
        for image in range(images):
            # Transposed, the pairs come in the order of the instances.
            instance, query = linear_sum_assignment(costs[layer, image, :, : counts[image]].T)
            place = slice(first, first + pairs[image])
            found[:, layer, place] = query + image * queries, instance + starts[image]
            first += pairs[image]
    both = torch.from_numpy(found).to(device)
    return Matches(both[0], both[1], sum(pairs[:num_labeled]))
