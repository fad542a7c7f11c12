"""A training step put together from the libraries' own parts: what the product's is held against.

The same model, views, terms and weights, but transformers' own forward pass of the decoder, its
``Mask2FormerLoss`` on the labeled and on the pseudo-labeled images, and the contrastive term as its
equations are written.

Axes: b images, n locations of an image.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

from sskd.bench.literal import literal_contrast
from sskd.config import Config, ContrastConfig
from sskd.engine.fit import Step
from sskd.engine.stages import Stage
from sskd.losses.contrastive import match_positives
from sskd.losses.negatives import Locations, score_vectors
from sskd.losses.objective import LossTerms
from sskd.losses.proposals import Law
from sskd.types import Batch, LayerOutput, Predictions

__all__ = ["LibraryDecoder", "build_assembled_step"]


class LibraryDecoder(nn.Module):
    """Our decoder's parameters in transformers' forward pass."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder: Any = decoder

    def forward(self, levels: Sequence[Tensor], mask_features: Tensor) -> list[LayerOutput]:
        """What our decoder gives; a test of the decoder holds the two equal."""
        output = self.decoder.transformer(list(levels), mask_features)
        return [
            LayerOutput(masks, self.decoder.class_head(hidden.transpose(0, 1)))
            for masks, hidden in zip(
                output.masks_queries_logits, output.intermediate_hidden_states, strict=True
            )
        ]


def build_assembled_step(stage: Stage, config: Config, *, num_classes: int) -> Step:
    """The step of a training stage, for a model whose decoder is a ``LibraryDecoder``.

    Args:
        stage: Of a student; its negatives come from the batch.
        config: Of the cell.
        num_classes: Foreground classes.
    """
    assert stage.training is not None
    semi_weight, contrast = stage.training.semi_weight, stage.contrast
    loss = config.set_loss
    weights = {
        "loss_cross_entropy": loss.class_weight,
        "loss_mask": loss.mask_weight,
        "loss_dice": loss.dice_weight,
    }
    settings = Mask2FormerConfig(
        class_weight=loss.class_weight,
        mask_weight=loss.mask_weight,
        dice_weight=loss.dice_weight,
        no_object_weight=loss.no_object_weight,
        train_num_points=loss.points,
        oversample_ratio=loss.oversample_ratio,
        importance_sample_ratio=loss.importance_ratio,
    )
    settings.num_labels = num_classes
    criterion = Mask2FormerLoss(settings, {})

    def set_loss(predictions: Predictions, batch: Batch, images: slice) -> Tensor:
        losses = criterion(
            predictions.mask_logits[images],
            predictions.class_logits[images],
            [target.masks.float() for target in batch.targets[images]],
            [target.classes for target in batch.targets[images]],
            [
                {
                    "masks_queries_logits": layer.mask_logits[images],
                    "class_queries_logits": layer.class_logits[images],
                }
                for layer in predictions.auxiliary
            ],
        )
        total: Tensor = sum(
            weight * value
            for part, weight in weights.items()
            for name, value in losses.items()
            if name.startswith(part)
        )
        return total

    def step(model: nn.Module, batch: Batch, generator: torch.Generator) -> LossTerms:
        predictions: Predictions = model(batch.weak, embeddings=contrast is not None)
        sup = set_loss(predictions, batch, slice(0, batch.num_labeled))
        semi = set_loss(predictions, batch, slice(batch.num_labeled, None))
        total = sup + semi_weight * semi
        if contrast is not None:
            pxl = _contrast(model, batch, predictions, contrast, generator)
            total = total + contrast.weight * pxl
        return LossTerms(total, sup, semi, None)

    return step


def _contrast(
    model: Any,
    batch: Batch,
    predictions: Predictions,
    contrast: ContrastConfig,
    generator: torch.Generator,
) -> Tensor:
    weak = predictions.pixel_embeddings
    assert weak is not None
    images, _, *grid = weak.shape
    size = (grid[0], grid[1])
    with torch.no_grad():
        strong = model.embed(batch.strong)
        slots, classes = score_vectors(
            predictions.mask_logits,
            predictions.class_logits,
            grid=size,
            score=contrast.negatives.score,
        )
    height, width = batch.weak.shape[2:]
    positives, valid = match_positives(strong, batch.weak_to_strong, (height, width), size)
    place = torch.arange(images, device=weak.device).repeat_interleave(size[0] * size[1])
    here = Locations(
        embeddings=nn.functional.normalize(weak.flatten(2).transpose(1, 2).flatten(0, 1), dim=-1),
        slot_scores=slots,
        class_scores=classes,
        images=place,
        instances=torch.full_like(place, -2),
    )
    negatives = contrast.negatives
    return literal_contrast(
        here,
        nn.functional.normalize(positives.flatten(0, 1), dim=-1),
        valid.flatten(),
        here,
        Law(
            contrast.num_negatives,
            negatives.exponent,
            "batch",
            replacement=negatives.replacement,
            cross_image_slots=negatives.cross_image_slots,
        ),
        loss=contrast.loss,
        temperature=contrast.temperature,
        margin=contrast.margin,
        generator=generator,
    )
