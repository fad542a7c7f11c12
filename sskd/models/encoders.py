"""The encoders that a configuration can name.

Axes: b images, h w pixels.
"""

from collections.abc import Callable
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
from sskd.models.sam2_hiera import Sam2Hiera
from sskd.models.tiny_conv import TinyConv

__all__ = [
    "DINOV2",
    "ENCODERS",
    "ResNet",
    "VisionTransformer",
    "build_encoder",
    "dinov2",
    "tiny_vit",
]

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

    def has_size_of(self, architecture: Any) -> bool:
        """Whether the transformer is as wide and deep as a ``transformers`` configuration says."""
        ours = self.backbone.config
        return bool(
            ours.hidden_size == architecture.hidden_size
            and ours.num_hidden_layers == architecture.num_hidden_layers
        )


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


def _dinov2(width: int, depth: int) -> Any:
    return Dinov2Config(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=width // 64,
        patch_size=14,
        image_size=518,
    )


DINOV2: dict[str, Any] = {
    "dinov2-small": _dinov2(384, 12),
    "dinov2-base": _dinov2(768, 12),
    "dinov2-large": _dinov2(1024, 24),
}


def dinov2(config: EncoderConfig) -> Encoder:
    """A published DINOv2 of patches of 14 pixels.

    Raises:
        ValueError: If the weights cannot be had, or are those of another size that has a name.
    """
    encoder = VisionTransformer(config, DINOV2[config.name])
    for name, architecture in DINOV2.items():
        # A changed name beside unchanged weights would quietly train what was there before.
        if config.weights != "none" and name != config.name and encoder.has_size_of(architecture):
            raise ValueError(
                f"encoder.weights {config.weights!r}: these are {name!r}, not {config.name!r}; "
                "set encoder.name and encoder.weights together"
            )
    return encoder


ENCODERS: dict[str, Callable[[EncoderConfig], Encoder]] = {
    "tiny-conv": TinyConv,
    "tiny-vit": tiny_vit,
    "efficientnet-lite0": EfficientNetLite,
    "efficientnet-lite2": EfficientNetLite,
    "resnet50": ResNet,
    "sam2-hiera-small": Sam2Hiera,
    **dict.fromkeys(DINOV2, dinov2),
}


def build_encoder(config: EncoderConfig) -> Encoder:
    """The encoder that a configuration names, with its weights; draws from the global generator.

    Raises:
        ValueError: If its weights or the package that holds it cannot be had.
    """
    return ENCODERS[config.name](config)
