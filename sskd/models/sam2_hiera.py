"""The image encoder of SAM 2: the Hiera backbone (Ryali et al., ICML 2023), without SAM's neck.

Axes: b images, h w pixels.
"""

from math import lcm

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from transformers import Sam2HieraDetConfig, Sam2HieraDetModel

from sskd.config import EncoderConfig
from sskd.models.backbone import STRIDES, Encoder, map_size
from sskd.models.hub import load_backbone

__all__ = ["Sam2Hiera"]

_IN_IMAGE_MODEL = ("vision_config.backbone_config", "vision_encoder.backbone.")
_WHOLES = {
    "sam2_video": _IN_IMAGE_MODEL,  # what is published
    "sam2": _IN_IMAGE_MODEL,
    "sam2_vision_model": ("backbone_config", "backbone."),
}


class Sam2Hiera(Encoder):
    """The four stages of SAM2.1-Hiera-S; ``none`` draws their weights.

    Published weights are those of a whole SAM 2: only its backbone is loaded. The position codes
    repeat a tile, so the image is padded at its right and lower border to whole tiles (32 pixels)
    and the maps are cut back.
    """

    patch = None

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        # Where SAM2.1-Hiera-S departs from transformers' defaults, which are Hiera-T's.
        small = Sam2HieraDetConfig(
            blocks_per_stage=[1, 2, 11, 2], global_attention_blocks=[7, 10, 13]
        )
        self.backbone = load_backbone(config, Sam2HieraDetModel, small, wholes=_WHOLES)
        settings = self.backbone.config
        self.channels = tuple(settings.embed_dim_per_stage)
        self.tile = lcm(STRIDES[-1], STRIDES[0] * settings.window_size_per_stage[0])

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Maps at strides 4, 8, 16, 32."""
        height, width = images.shape[-2:]
        images = functional.pad(images, (0, -width % self.tile, 0, -height % self.tile))
        maps = []
        stages = self.backbone(images).intermediate_hidden_states  # (b, rows, columns, channels)
        for stride, features in zip(STRIDES, stages, strict=True):
            rows, columns = map_size(height, width, stride)
            maps.append(features[:, :rows, :columns].permute(0, 3, 1, 2))
        return maps
