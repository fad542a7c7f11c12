"""Heads: from the four maps of an encoder to what the decoder reads.

Axes: b images, c channels of the head, hm wm locations at stride 4.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import log2
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import DPTConfig
from transformers.models.dpt.modeling_dpt import DPTFeatureFusionLayer, DPTReassembleLayer

from sskd.config import HeadConfig
from sskd.models.backbone import STRIDES, Encoder

__all__ = ["HEADS", "DPTHead", "FPNHead", "Head", "HeadOutput", "build_head"]


class HeadOutput(NamedTuple):
    """What the decoder reads."""

    levels: tuple[Float[Tensor, "b c _ _"], ...]
    """Three maps, coarse first."""
    mask_features: Float[Tensor, "b c hm wm"]


class Head(nn.Module, ABC):
    """Makes three maps for the queries to read and one for the masks to be drawn on."""

    def __init__(self, encoder: Encoder, width: int) -> None:
        super().__init__()
        self.width = width
        self.reassemble = _Reassemble(encoder)

    def forward(
        self, maps: Sequence[Float[Tensor, "b _ _ _"]], size: tuple[int, int]
    ) -> HeadOutput:
        """The maps for the decoder.

        Args:
            maps: The encoder's four.
            size: Rows and columns of the mask features: the image's size over 4, rounded up.
        """
        levels, mask_features = self.fuse(self.reassemble(maps))
        if mask_features.shape[-2:] != size:  # patches that do not divide the image
            mask_features = functional.interpolate(
                mask_features, size, mode="bilinear", align_corners=False
            )
        return HeadOutput(tuple(levels), mask_features)

    @abstractmethod
    def fuse(self, pyramid: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Levels, coarse first, and mask features, of a pyramid at strides 4, 8, 16, 32."""


class FPNHead(Head):
    """A feature pyramid (Lin et al., CVPR 2017) with BatchNorm; levels at strides 32, 16, 8."""

    def __init__(self, encoder: Encoder, width: int) -> None:
        super().__init__(encoder, width)
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))
            for channels in self.reassemble.channels
        )
        self.smooth = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            )
            for _ in self.reassemble.channels[:-1]
        )
        self.mask_projection = nn.Conv2d(width, width, 1)

    def fuse(self, pyramid: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Top down, each level smoothed before it goes on to the finer one."""
        *finer, features = (
            lateral(level) for lateral, level in zip(self.lateral, pyramid, strict=True)
        )
        levels = [features]
        for lateral, smooth in zip(reversed(finer), self.smooth, strict=True):
            coarse = functional.interpolate(features, lateral.shape[-2:], mode="nearest")
            features = smooth(lateral + coarse)
            levels.append(features)
        return levels[:-1], self.mask_projection(features)


class DPTHead(Head):
    """The fusion of dense prediction transformers (Ranftl et al., ICCV 2021), with BatchNorm.

    The queries read paths 4, 3 and 2, at strides 16, 8 and 4. Path 1 carries the masks; it keeps
    stride 4, for DPT's last upsampling is linear and would only be repeated on every mask.
    """

    def __init__(self, encoder: Encoder, width: int) -> None:
        super().__init__(encoder, width)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels, width, 3, padding=1, bias=False)
            for channels in self.reassemble.channels
        )
        settings = DPTConfig(fusion_hidden_size=width, use_batch_norm_in_fusion_residual=True)
        self.fusion = nn.ModuleList(DPTFeatureFusionLayer(settings) for _ in STRIDES)
        self.fusion[0].residual_layer1 = nn.Identity()  # the coarsest path has nothing to add to

    def fuse(self, pyramid: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Paths 4, 3, 2 at twice the resolution of their maps, and path 1 at its own."""
        finest, *coarser = (
            convolution(level)
            for convolution, level in zip(self.convolutions, pyramid, strict=True)
        )
        fusion: list[Any] = list(self.fusion)
        first, *middle, last = fusion
        paths = [first(coarser.pop())]
        for layer in middle:
            paths.append(layer(paths[-1], coarser.pop()))
        if finest.shape != paths[-1].shape:
            finest = functional.interpolate(
                finest, paths[-1].shape[-2:], mode="bilinear", align_corners=False
            )
        fused = last.residual_layer2(paths[-1] + last.residual_layer1(finest))
        return paths, last.projection(fused)


class _Reassemble(nn.Module):
    """A pyramid as it is; the depths of a patch grid made one, as DPT does it."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.channels = encoder.channels
        self.layers = nn.ModuleList()
        if encoder.patch is not None:
            hidden = encoder.channels[0]
            # DPT's 96, 192, 384, 768 for the 384 channels of a small transformer.
            self.channels = (hidden // 4, hidden // 2, hidden, 2 * hidden)
            settings = DPTConfig(hidden_size=hidden)
            for stride, channels in zip(STRIDES, self.channels, strict=True):
                factor: Any = 2.0 ** round(log2(encoder.patch / stride))
                if factor >= 1:
                    factor = int(factor)
                self.layers.append(DPTReassembleLayer(settings, channels, factor))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        if not self.layers:
            return list(maps)
        return [layer(depth) for layer, depth in zip(self.layers, maps, strict=True)]


HEADS: dict[str, type[Head]] = {"dpt": DPTHead, "fpn": FPNHead}


def build_head(config: HeadConfig, encoder: Encoder) -> Head:
    """The head that a configuration names; draws from the global generator."""
    return HEADS[config.name](encoder, config.width)
