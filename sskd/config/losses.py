"""The terms of the objective, and which negatives are drawn."""

from typing import Annotated, Literal

from pydantic import Field

from sskd.config.group import Frozen, Positive, Probability, Rate, Weight

__all__ = [
    "ContrastConfig",
    "NegativesConfig",
    "SetLossConfig",
]


class NegativesConfig(Frozen):
    """Which pixels are drawn as negatives."""

    score: Literal["uniform", "mask", "class", "fusion"]
    exponent: Rate
    scope: Literal["batch", "other-images", "same-image", "memory-bank"]
    replacement: bool
    cross_image_slots: Literal["literal", "disjoint"]
    bank_size: Positive
    """Embeddings kept; read if scope is ``memory-bank``."""


class ContrastConfig(Frozen):
    """The instance-aware pixel-wise contrastive term, L_pxl."""

    weight: Weight
    loss: Literal["info-nce", "margin-hinge"]
    temperature: Rate
    margin: Weight
    """Read by ``margin-hinge``."""
    num_negatives: Positive
    negatives: NegativesConfig


class SetLossConfig(Frozen):
    """The Mask2Former set loss behind L_sup and L_semi."""

    class_weight: Weight
    mask_weight: Weight
    dice_weight: Weight
    no_object_weight: Weight
    points: Positive
    oversample_ratio: Annotated[float, Field(ge=1)]
    importance_ratio: Probability
    deep_supervision: bool
