"""From a configuration to a model, whatever its kind."""

from collections.abc import Sequence

import torch

from sskd.config import GroundedSamConfig, ModelConfig
from sskd.models.contract import InstanceModel
from sskd.models.efficientnet_lite import check_packages
from sskd.models.foundation import check_foundation
from sskd.models.grounded_sam import GroundedSam
from sskd.models.hub import check_backbone
from sskd.models.student import build

__all__ = ["build_model", "check_weights"]


def build_model(
    config: ModelConfig | GroundedSamConfig,
    *,
    classes: Sequence[str],
    generator: torch.Generator,
) -> InstanceModel:
    """A model on the CPU, in training mode.

    Args:
        config: Its parts.
        classes: Names of the foreground classes, in the order of their indices.
        generator: Decides all weights that are not loaded; advanced by one draw. The global
            generator is left as it was.

    Raises:
        ValueError: If weights cannot be had, or the class names make no text; one line.
    """
    if isinstance(config, ModelConfig):
        return build(config, num_classes=len(classes), generator=generator)
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return GroundedSam(config, classes=classes)


def check_weights(config: ModelConfig | GroundedSamConfig) -> None:
    """Make sure that a model's checkpoints are in reach, before anything is computed.

    Asking a hub brings small files into the local cache, and with them the version.

    Raises:
        ValueError: If one is not; one line says which and where it can be had.
    """
    if isinstance(config, GroundedSamConfig):
        check_foundation(config)
    else:
        check_packages(config.encoder)
        check_backbone(config.encoder)
