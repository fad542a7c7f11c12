"""What a model is by its architecture alone: parameters, operations, activations.

All on the meta device: no weights are drawn or loaded, no memory is used, no number depends on the
machine.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from sskd.config import Config, GroundedSamConfig, ModelConfig
from sskd.models.build import build_model
from sskd.models.parameters import num_parameters
from sskd.models.student import InstanceSegmenter

__all__ = ["CLASSES", "Architecture", "class_names", "describe", "input_size", "without_weights"]

CLASSES = 8
"""The things of Cityscapes, and of toycity. They matter to one linear map of the decoder only."""


@dataclass(frozen=True)
class Architecture:
    """A model as it predicts: without the projection of pixels, which only training needs."""

    parameters: int
    encoder_parameters: int
    head_parameters: int | None
    """Of what stands between encoder and decoder; none in a model without."""
    flops: int
    """Of one image's forward pass; a multiply-add counts as two."""
    activation_bytes: int
    """What training keeps of one image's forward pass for the backward pass, projection included,
    in float32 and with fused attention, before any loss."""


def describe(
    config: ModelConfig | GroundedSamConfig, *, size: tuple[int, int], classes: int = CLASSES
) -> Architecture:
    """Parameters, operations and activations of a model.

    Args:
        config: Its parts and their sizes; where its weights come from is not looked at.
        size: Height and width of the image, in pixels.
        classes: Foreground classes.

    Raises:
        ValueError: If the package that holds its encoder is missing.
    """
    with torch.device("meta"):
        model = build_model(
            without_weights(config), classes=class_names(classes), generator=torch.Generator()
        ).to("meta")
    images = torch.empty(1, 3, *size, device="meta")
    with FlopCounterMode(display=False) as counter:
        activations = saved_bytes(model, images)
    projection = counter.get_flop_counts()[f"{type(model).__name__}.projection"]
    return Architecture(
        parameters=num_parameters(model) - num_parameters(model.get_submodule("projection")),
        encoder_parameters=sum(num_parameters(part) for part in model.encoders()),
        head_parameters=num_parameters(model.head)
        if isinstance(model, InstanceSegmenter)
        else None,
        flops=counter.get_total_flops() - sum(projection.values()),
        activation_bytes=activations,
    )


def class_names(count: int) -> list[str]:
    """Of so many classes, for a model that has to read them."""
    return [f"class {number}" for number in range(count)]


def input_size(config: Config) -> tuple[int, int]:
    """Height and width that a model sees at test time, of an image shaped like the crop."""
    short = config.evaluation.short_side
    if config.evaluation.window is not None:
        return config.evaluation.window, config.evaluation.window
    height, width = config.views.crop
    return round(height * short / min(height, width)), round(width * short / min(height, width))


_Model = TypeVar("_Model", bound=ModelConfig | GroundedSamConfig)


def without_weights(config: _Model) -> _Model:
    """The same model with random weights: they change no cost, and may not be at hand.

    Boxes of random scores all get a mask: as many as the model ever draws.
    """
    if isinstance(config, GroundedSamConfig):
        return config.model_copy(update={"weights": "none", "box_threshold": 0.0})
    return config.model_copy(
        update={"encoder": config.encoder.model_copy(update={"weights": "none"})}
    )


def saved_bytes(model: nn.Module, images: Tensor) -> int:
    """Bytes that autograd keeps after a forward pass, each storage once, parameters left out."""
    own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor), _OnMeta():
        # What is kept lives as long as the predictions: no storage's address is used twice.
        predictions = model(images)
    del predictions
    return sum(kept.values())


class _OnMeta(TorchFunctionMode):
    """What the meta device cannot know, or would do as nobody does.

    It would choose plain attention, whose tables of all pairs nobody keeps; and where a library
    makes sure that its sizes agree, there is no value to look at: they do.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        options = kwargs or {}
        if func in (Tensor.item, Tensor.__bool__) and args[0].is_meta:
            return True
        if func is functional.scaled_dot_product_attention and args[0].is_meta:
            mask = options.get("attn_mask")
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                *args[:3], attn_mask=None if mask is None else mask.detach().to(args[0].dtype)
            )[0]
        return func(*args, **options)
