"""Activations that are computed again in the backward pass, rather than kept until then."""

from torch import nn
from transformers import PreTrainedModel

__all__ = ["recompute_activations"]


def recompute_activations(model: nn.Module) -> None:
    """Keep only the inputs of each transformer layer; the numbers stay the same.

    Of the parts that ``transformers`` can do it for. What holds running statistics is left alone:
    computed twice, it would count a batch twice.

    Raises:
        ValueError: If the model has no such part.
    """
    parts = [
        module
        for module in model.modules()
        if isinstance(module, PreTrainedModel) and module.supports_gradient_checkpointing
    ]
    if not parts:
        raise ValueError(
            "runtime.gradient_checkpointing: the model has no transformer layers of which the "
            "activations could be computed again; set it to false"
        )
    for part in parts:
        # The second name is that of earlier versions.
        name = "activation_checkpointing_enable"
        enable = getattr(part, name, None) or part.gradient_checkpointing_enable
        enable({"use_reentrant": False})
