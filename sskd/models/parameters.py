"""The parameters of a model, counted, and grouped as an optimizer takes them."""

from typing import Any

from torch import nn

from sskd.models.contract import InstanceModel

__all__ = ["num_parameters", "parameter_groups"]

_NOT_DECAYED = (
    *("cls_token", "mask_token", "position_embeddings"),  # DINOv2
    *("pos_embed", "pos_embed_window", "no_memory_embedding"),  # SAM 2
    *("relative_position_bias_table", "level_embed"),  # Swin, Grounding DINO
)


def parameter_groups(
    model: InstanceModel, learning_rate: float, encoder_factor: float, weight_decay: float
) -> list[dict[str, Any]]:
    """The model's parameters as an optimizer takes them: four groups, the empty ones left out.

    Weight decay pulls on the weights of convolutions and linear maps only: not on biases, norms,
    queries, level and position codes. Frozen parameters are in no group.

    Args:
        model: What is trained.
        learning_rate: Of everything but the encoder.
        encoder_factor: Times ``learning_rate`` is the encoder's.
        weight_decay: Of the parameters that decay.

    Returns:
        Dicts with ``name``, ``params``, ``lr`` and ``weight_decay``.
    """
    encoders = {id(p) for part in model.encoders() for p in part.parameters()}
    seen: set[int] = set()  # two modules may share a parameter
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen or not parameter.requires_grad:
                continue
            seen.add(id(parameter))
            decays = (
                parameter.dim() > 1
                and not isinstance(module, nn.Embedding)
                and name not in _NOT_DECAYED
            )
            groups.setdefault((id(parameter) in encoders, decays), []).append(parameter)
    return [
        {
            "name": f"{'encoder' if encoder else 'rest'}{'' if decays else ', not decayed'}",
            "params": parameters,
            "lr": learning_rate * (encoder_factor if encoder else 1.0),
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (encoder, decays), parameters in groups.items()
    ]


def num_parameters(module: nn.Module) -> int:
    """Numbers that training may change."""
    return sum(parameter.numel() for parameter in module.parameters())
