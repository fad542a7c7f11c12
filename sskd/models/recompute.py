"""Activations that are computed again in the backward pass, rather than kept until then."""

from torch import nn
from transformers import PreTrainedModel

__all__ = ["can_recompute", "recompute_activations"]


def can_recompute(model: nn.Module) -> bool:
    """Whether the model has transformer layers that learn and can be computed again.

    These are those of DINOv2 and ``tiny-vit``, and of the grounded teacher's Swin and BERT where
    they are not frozen. ``transformers`` has no such layers in a ResNet, SAM 2's Hiera and the
    detector's own encoder and decoder; EfficientNet-Lite, ``tiny-conv``, heads and the student's
    decoder are not its.
    """
    return bool(_parts(model))


def recompute_activations(model: nn.Module) -> None:
    """Keep only the inputs of such layers; the numbers stay the same, and so does all else.

    What holds running statistics is left alone: computed twice, it would count a batch twice.
    """
    for part in _parts(model):
        # The second name is that of earlier versions.
        name = "activation_checkpointing_enable"
        enable = getattr(part, name, None) or part.gradient_checkpointing_enable
        enable({"use_reentrant": False})


def _parts(model: nn.Module) -> list[PreTrainedModel]:
    return [
        module
        for module in model.modules()
        if isinstance(module, PreTrainedModel)
        and module.supports_gradient_checkpointing
        and any(parameter.requires_grad for parameter in module.parameters())
    ]
