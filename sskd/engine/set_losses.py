"""Which set loss stands behind L_sup and L_semi: what a model predicts decides."""

from collections.abc import Callable

import torch
from torch import Tensor

from sskd.config import Config
from sskd.engine.stages import Role
from sskd.losses.set_loss import set_loss
from sskd.types import Batch, Predictions

__all__ = ["SetLoss", "build_set_loss"]

SetLoss = Callable[[Predictions, Batch, torch.Generator], tuple[Tensor, Tensor]]
"""The losses of a batch's labeled and pseudo-labeled images, each 0 where there are none."""


def build_set_loss(config: Config, role: Role) -> SetLoss:  # noqa: ARG001 - one kind so far
    """The set loss of a cell's teacher or student."""
    return _of_masks(config)


def _of_masks(config: Config) -> SetLoss:
    settings = config.set_loss.model_dump()

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
