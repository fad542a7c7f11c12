"""The instance segmenter that is student, and larger, teacher.

Axes: b images, h w pixels, d embedding dimensions, hp wp locations of the embeddings.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from sskd.config import ModelConfig, ProjectionConfig
from sskd.models.backbone import STRIDES, map_size
from sskd.models.contract import InstanceModel
from sskd.models.decoder import MaskedAttentionDecoder
from sskd.models.encoders import build_encoder
from sskd.models.heads import build_head
from sskd.types import Predictions

__all__ = ["InstanceSegmenter", "build", "projection"]


class InstanceSegmenter(InstanceModel):
    """Encoder, head, masked-attention decoder; and a projection of pixels while it learns.

    Masks come at stride 4, ``ceil(h / 4)`` by ``ceil(w / 4)``. Embeddings come at the
    projection's stride: of the pyramid's map there, or of a transformer's last patch grid,
    interpolated to that stride before the projection.
    """

    input_multiple = STRIDES[-1]
    scores_masks = True

    def __init__(self, config: ModelConfig, *, num_classes: int) -> None:
        """Draws the weights from the global generator; see ``build``."""
        super().__init__()
        self.encoder = build_encoder(config.encoder)
        self.head = build_head(config.head, self.encoder)
        self.decoder = MaskedAttentionDecoder(
            config.decoder,
            level_width=config.head.width,
            mask_width=config.head.width,
            num_classes=num_classes,
        )
        # Last, so that its size does not change the initial weights of the others.
        pyramid = self.encoder.patch is None
        self.stride = config.projection.stride
        self.projected = STRIDES.index(self.stride) if pyramid else -1
        self.projection = projection(config.projection, self.encoder.channels[self.projected])

    def forward(self, images: Float[Tensor, "b 3 h w"], *, embeddings: bool = True) -> Predictions:
        """Masks, classes and pixel embeddings.

        Args:
            images: Normalised with ImageNet's mean and standard deviation, of any size.
            embeddings: Whether to project pixels; prediction does not need it.
        """
        height, width = images.shape[-2:]
        maps = self._encode(images)
        levels, mask_features = self.head(maps, map_size(height, width, STRIDES[0]))
        *auxiliary, last = self.decoder(levels, mask_features)
        return Predictions(
            mask_logits=last.mask_logits,
            class_logits=last.class_logits,
            pixel_embeddings=self._project(maps, height, width) if embeddings else None,
            auxiliary=tuple(auxiliary),
        )

    def embed(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d hp wp"]:
        """Pixel embeddings only, without the cost of head and decoder; not normalised."""
        return self._project(self._encode(images), *images.shape[-2:])

    def probabilities(
        self, class_logits: Float[Tensor, "*b m c_plus_1"]
    ) -> Float[Tensor, "*b m c"]:
        """Softmax over the classes and "no object"."""
        return class_logits.softmax(-1)[..., :-1]

    def encoders(self) -> tuple[nn.Module, ...]:
        """The encoder."""
        return (self.encoder,)

    def _encode(self, images: Tensor) -> list[Tensor]:
        # Convolutions on a CPU are a quarter faster with the channels innermost.
        maps: list[Tensor] = self.encoder(images.contiguous(memory_format=torch.channels_last))
        return maps

    def _project(self, maps: list[Tensor], height: int, width: int) -> Tensor:
        features = maps[self.projected]
        size = map_size(height, width, self.stride)
        if features.shape[-2:] != size:
            features = functional.interpolate(features, size, mode="bilinear", align_corners=False)
        embeddings: Tensor = self.projection(features)
        return embeddings


def build(
    config: ModelConfig, *, num_classes: int, generator: torch.Generator
) -> InstanceSegmenter:
    """An instance segmenter on the CPU, in training mode.

    Args:
        config: Its parts and their sizes.
        num_classes: Foreground classes.
        generator: Decides all weights that are not loaded; advanced by one draw. The global
            generator is left as it was.

    Raises:
        ValueError: If the encoder's weights or the package that holds it cannot be had.
    """
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = InstanceSegmenter(config, num_classes=num_classes)
    return model.train()


def projection(config: ProjectionConfig, channels: int) -> nn.Sequential:
    """The MLP that gives pixel embeddings: ``layers`` linear maps a location, ReLU between."""
    widths = [channels, *[config.hidden] * (config.layers - 1), config.dim]
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])
