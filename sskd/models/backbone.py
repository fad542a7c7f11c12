"""What every encoder is: an image goes in, four feature maps come out.

Axes: b images, h w pixels, hs ws locations of a map.
"""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from sskd.config import EncoderConfig

__all__ = ["STRIDES", "Encoder", "map_size", "require_random_weights"]

STRIDES = (4, 8, 16, 32)
"""Input pixels a location, of the four levels of a feature pyramid."""


class Encoder(nn.Module, ABC):
    """Turns normalised images into four maps: fine to coarse, or early to late.

    A pyramid encoder gives one map a stride of ``STRIDES``, of ``ceil(h / stride)`` by
    ``ceil(w / stride)`` locations. A plain transformer gives four depths of its one patch grid.
    """

    channels: tuple[int, ...]
    """Channels of each of the four maps."""
    patch: int | None
    """Pixels a side of a transformer's patch; ``None`` for a pyramid."""

    @abstractmethod
    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Four maps, each over the whole image, whatever its size."""


def map_size(height: int, width: int, stride: int) -> tuple[int, int]:
    """Locations of a map at a stride; an incomplete one at the border counts."""
    return -(-height // stride), -(-width // stride)


def require_random_weights(config: EncoderConfig) -> None:
    """Reject a source of weights for an encoder that nobody has published weights of.

    Raises:
        ValueError: If ``weights`` is not ``none``.
    """
    if config.weights != "none":
        raise ValueError(
            f"encoder.weights {config.weights!r}: {config.name!r} has no pretrained weights; "
            "use 'none'"
        )
