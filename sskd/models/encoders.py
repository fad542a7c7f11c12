"""The encoders that a configuration can name.

Axes: b images, h w pixels.
"""

from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from transformers import Dinov2Backbone, Dinov2Config, ResNetBackbone, ResNetConfig

from sskd.config import EncoderConfig
from sskd.models.backbone import STRIDES, Encoder, map_size, require_random_weights
from sskd.models.efficientnet_lite import EfficientNetLite
from sskd.models.hub import load_backbone
from sskd.models.tiny_conv import TinyConv

__all__ = ["ENCODERS", "ResNet", "VisionTransformer", "build_encoder", "tiny_vit"]

_TINY_PATCH = 8


class ResNet(Encoder):
    """The four stages of a ResNet of ``transformers``; ``none`` is a random ResNet-50."""

    patch = None

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.backbone = load_backbone(config, ResNetBackbone, ResNetConfig())
        self.backbone.out_features = [f"stage{stage}" for stage in range(1, 5)]
        self.channels = tuple(self.backbone.channels)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Maps at strides 4, 8, 16, 32."""
        return list(self.backbone(images).feature_maps)


class VisionTransformer(Encoder):
    """A DINOv2 transformer tapped after each quarter of its layers: 2, 5, 8, 11 of twelve.

    An image whose sides are not multiples of the patch is resized to the next ones, so that the
    grid covers exactly the image.
    """

    def __init__(self, config: EncoderConfig, architecture: Any) -> None:
        super().__init__()
        self.backbone = load_backbone(config, Dinov2Backbone, architecture)
        settings = self.backbone.config
        depth = settings.num_hidden_layers
        self.taps = [f"stage{ceil(depth * quarter / 4)}" for quarter in range(1, 5)]
        # A transformer of fewer than four layers is tapped twice at some of them.
        self.backbone.out_features = list(dict.fromkeys(self.taps))
        self.patch: int = settings.patch_size
        self.channels = (settings.hidden_size,) * len(STRIDES)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Four depths of the patch grid."""
        height, width = images.shape[-2:]
        rows, columns = map_size(height, width, self.patch)
        size = (rows * self.patch, columns * self.patch)
        if (height, width) != size:
            images = functional.interpolate(images, size, mode="bilinear", align_corners=False)
        maps = dict(
            zip(self.backbone.out_features, self.backbone(images).feature_maps, strict=True)
        )
        return [maps[tap] for tap in self.taps]


def tiny_vit(config: EncoderConfig) -> Encoder:
    """A small random transformer of ``depth`` layers on patches of 8 pixels.

    Its tokens have 4 times ``width`` channels: ``width`` is that of the stride-4 map which a head
    makes of them.
    """
    require_random_weights(config)
    hidden = 4 * config.width
    heads = max(1, hidden // 32)
    while hidden % heads:
        heads -= 1
    architecture = Dinov2Config(
        hidden_size=hidden,
        num_hidden_layers=config.depth,
        num_attention_heads=heads,
        patch_size=_TINY_PATCH,
        image_size=12 * _TINY_PATCH,  # of the position codes, which other sizes interpolate
        mlp_ratio=2,
    )
    return VisionTransformer(config, architecture)


ENCODERS: dict[str, Callable[[EncoderConfig], Encoder]] = {
    "tiny-conv": TinyConv,
    "tiny-vit": tiny_vit,
    "efficientnet-lite0": EfficientNetLite,
    "efficientnet-lite2": EfficientNetLite,
    "resnet50": ResNet,
    "dinov2-small": partial(
        VisionTransformer,
        architecture=Dinov2Config(
            hidden_size=384, num_attention_heads=6, patch_size=14, image_size=518
        ),
    ),
}


def build_encoder(config: EncoderConfig) -> Encoder:
    """The encoder that a configuration names, with its weights; draws from the global generator.

    Raises:
        ValueError: If its weights or the package that holds it cannot be had.
    """
    return ENCODERS[config.name](config)
