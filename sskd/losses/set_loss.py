"""The Mask2Former set loss behind L_sup and L_semi, both from one forward pass.

Equal to ``Mask2FormerLoss`` of transformers on each of the two groups of images, given the same
points; on small maps several times quicker, because it samples all images and layers at once.

Axes: l layers, b images, m queries, c foreground classes, n instances of all images, r matched
pairs of a layer, p points, h w pixels of a view.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from torch.profiler import record_function

from sskd import processes
from sskd.losses.matching import Matches, match_layers
from sskd.losses.points import draw_points, place_points, point_losses, sample_at
from sskd.types import LayerOutput, Predictions, Targets

__all__ = ["SetLossTerms", "set_loss"]


class SetLossTerms(NamedTuple):
    """A set loss and its parts, float32, each summed over the decoder layers."""

    total: Float[Tensor, ""]
    """The parts times their weights."""
    classification: Float[Tensor, ""]
    mask: Float[Tensor, ""]
    dice: Float[Tensor, ""]


def set_loss(
    predictions: Predictions,
    targets: Sequence[Targets],
    *,
    num_labeled: int,
    class_weight: float,
    mask_weight: float,
    dice_weight: float,
    no_object_weight: float,
    points: int,
    oversample_ratio: float,
    importance_ratio: float,
    deep_supervision: bool,
    generator: torch.Generator,
) -> tuple[SetLossTerms, SetLossTerms]:
    """Match queries to instances; then classify every query and shape every matched mask.

    L_sup and L_semi of arXiv 2604.03841, Sec. 3.1, which are the loss of Mask2Former
    (arXiv 2112.01527)::

        L = sum over layers of  w_class CE + w_mask BCE + w_dice dice

    CE is the weighted mean over all queries of a group's images; BCE and dice are sums over its
    matched pairs, at sampled points, divided by the number of its instances. The two groups share
    the computation and no normaliser. Where processes share a batch, the normalisers are its, such
    that the mean of the processes' losses is the batch's. Float32 inside, also under autocast.

    Args:
        predictions: Of labeled images first, then of pseudo-labeled ones.
        targets: One an image, in that order, masks all of one size; no instances is fine.
        num_labeled: How many of the images, from the first, form the labeled group.
        class_weight: Of CE, in the loss and in the matching, as are the next two.
        mask_weight: Of BCE.
        dice_weight: Of dice.
        no_object_weight: Of a query without an instance, within CE.
        points: At which masks are compared, in the matching and again in the loss.
        oversample_ratio: Candidates a point of the loss, >= 1.
        importance_ratio: Share of those points, in [0, 1], that are the least certain candidates;
            the others are uniform.
        deep_supervision: Whether ``predictions.auxiliary`` counts, each as the last layer does.
        generator: Source of all points, on any device.

    Returns:
        The terms of the labeled and of the pseudo-labeled group, >= 0; zero for an empty group.
    """
    device = predictions.mask_logits.device
    layers = [*predictions.auxiliary] if deep_supervision else []
    layers.append(LayerOutput(predictions.mask_logits, predictions.class_logits))
    counts = [len(target.classes) for target in targets]
    num_masks = processes.mean_numbers(
        [float(sum(counts[:num_labeled])), float(sum(counts[num_labeled:]))], device
    )
    with torch.autocast(device.type, enabled=False):
        layers = [LayerOutput(masks.float(), classes.float()) for masks, classes in layers]
        masks = torch.cat([target.masks for target in targets]).float()
        classes = torch.cat([target.classes for target in targets])
        with record_function("sskd matching"):
            matches = match_layers(
                layers,
                masks,
                classes,
                counts,
                num_labeled=num_labeled,
                class_weight=class_weight,
                mask_weight=mask_weight,
                dice_weight=dice_weight,
                points=points,
                generator=generator,
            )
        draw = draw_points(
            points, oversample_ratio, importance_ratio, generator=generator, device=device
        )
        logits = torch.stack(
            [
                layer.mask_logits.flatten(0, 1).index_select(0, queries)
                for layer, queries in zip(layers, matches.queries, strict=True)
            ]
        )
        place = place_points(logits.flatten(0, 1), draw)
        values = sample_at(logits.flatten(0, 1)[:, None], place)[:, 0]
        wanted = _sample_instances(masks, matches, place)
        pair_losses = torch.stack(point_losses(values.view_as(wanted), wanted))  # (part, l, r)
        parts = torch.cat(
            [
                _classification(
                    torch.stack([layer.class_logits for layer in layers]),
                    classes,
                    matches,
                    (slice(0, num_labeled), slice(num_labeled, None)),
                    no_object_weight,
                ),
                _by_group(pair_losses.sum(1), matches.num_labeled, num_masks),
            ]
        ).T  # (group, part)
        totals = parts @ parts.new_tensor([class_weight, mask_weight, dice_weight])
    sup, semi = (SetLossTerms(total, *part) for total, part in zip(totals, parts, strict=True))
    return sup, semi


@torch.no_grad()
def _sample_instances(
    masks: Float[Tensor, "n h w"], matches: Matches, place: Float[Tensor, "_ p 2"]
) -> Float[Tensor, "l r p"]:
    """The instances' masks at the points of their pairs, those of one layer after another's."""
    layers, pairs = matches.instances.shape
    if pairs < len(masks):  # more instances than queries: not all are matched
        some = masks.index_select(0, matches.instances.flatten())
        return sample_at(some[:, None], place)[:, 0].view(layers, pairs, place.shape[1])
    # Each instance is in every layer once: no mask needs to be copied.
    of_instance = place.view(layers, pairs, *place.shape[1:]).transpose(0, 1).flatten(1, 2)
    sampled = sample_at(masks[:, None], of_instance)
    return sampled.view(pairs, layers, place.shape[1]).transpose(0, 1)


def _by_group(
    losses: Float[Tensor, "2 r"], num_labeled_pairs: int, num_masks: Sequence[float]
) -> Float[Tensor, "2 2"]:
    """Sums of the labeled and the other pairs, normalised; (part, group)."""
    labeled, other = torch.split(
        losses, [num_labeled_pairs, losses.shape[1] - num_labeled_pairs], dim=1
    )
    least = 1 / processes.number()  # one mask in all of the batch
    return torch.stack(
        [labeled.sum(1) / max(num_masks[0], least), other.sum(1) / max(num_masks[1], least)], dim=1
    )


def _classification(
    logits: Float[Tensor, "l b m c_plus_1"],
    classes: Int[Tensor, " n"],
    matches: Matches,
    groups: tuple[slice, slice],
    no_object_weight: float,
) -> Float[Tensor, "1 2"]:
    """The weighted mean cross-entropy of each group, over the layers; 0 without images."""
    weights = logits.new_ones(logits.shape[-1])
    weights[-1] = no_object_weight
    wanted = torch.full(logits.shape[:3], logits.shape[-1] - 1, device=logits.device)
    wanted.flatten(1).scatter_(1, matches.queries, classes[matches.instances])
    losses = functional.cross_entropy(logits.movedim(-1, 1), wanted, weights, reduction="none")
    used = weights[wanted]  # (l, b, m)
    # Nothing is matched and "no object" weighs nothing: 0 / tiny is 0.
    tiny = torch.finfo(used.dtype).tiny
    means = [
        losses[:, group].sum((1, 2)) / processes.mean(used[:, group].sum((1, 2))).clamp(min=tiny)
        for group in groups
    ]
    return torch.stack(means, dim=1).sum(0, keepdim=True)
