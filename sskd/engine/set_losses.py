"""Which set loss stands behind L_sup and L_semi: what a model learns from decides."""

from collections.abc import Callable

import torch
from torch import Tensor

from sskd.config import Config, GroundedSamConfig, SetLossConfig
from sskd.engine.stages import Role
from sskd.losses.box_loss import box_set_loss
from sskd.losses.prompted_masks import prompted_mask_loss
from sskd.losses.set_loss import set_loss
from sskd.types import Batch, Predictions

__all__ = ["SetLoss", "build_set_loss"]

SetLoss = Callable[[Predictions, Batch, torch.Generator], tuple[Tensor, Tensor]]
"""The losses of a batch's labeled and pseudo-labeled images, each 0 where there are none."""


def build_set_loss(config: Config, role: Role) -> SetLoss:
    """The set loss of a cell's teacher or student: on masks, or on boxes and what they prompt."""
    model = config.teacher if role == "teacher" else config.student
    if isinstance(model, GroundedSamConfig):
        return _of_boxes(model)
    return _of_masks(config.set_loss)


def _of_masks(config: SetLossConfig) -> SetLoss:
    settings = config.model_dump()

    def loss(
        predictions: Predictions, batch: Batch, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        sup, semi = set_loss(
            predictions,
            batch.targets,
            num_labeled=batch.num_labeled,
            generator=generator,
            **settings,
        )
        return sup.total, semi.total

    return loss


def _of_boxes(config: GroundedSamConfig) -> SetLoss:
    weights = config.model_dump(include={"class_weight", "box_weight", "giou_weight", "class_cost"})
    mask_weights = config.model_dump(include={"mask_weight", "dice_weight"})

    def loss(
        predictions: Predictions,
        batch: Batch,
        generator: torch.Generator,  # noqa: ARG001 - all boxes are compared, none is drawn
    ) -> tuple[Tensor, Tensor]:
        found, labeled = predictions.detection, batch.num_labeled
        assert found is not None
        sup, semi = box_set_loss(found, batch.targets, num_labeled=labeled, **weights)
        if found.prompts is None:
            return sup.total, semi.total
        sup_masks, semi_masks = prompted_mask_loss(
            predictions.mask_logits,
            found.prompts,
            batch.targets,
            num_labeled=labeled,
            **mask_weights,
        )
        return sup.total + sup_masks, semi.total + semi_masks

    return loss
