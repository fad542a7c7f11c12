"""A residual convolutional encoder small enough to train on a CPU in minutes.

Axes: b images, h w pixels.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from sskd.config import EncoderConfig
from sskd.models.backbone import Encoder, require_random_weights

__all__ = ["TinyConv"]

_GROWTH = (1, 2, 4, 4)
_WIDE = 16
"""On processors with AVX-512, oneDNN of torch 2.15.0 writes out of bounds in the backward pass of a
strided 1x1 convolution of fewer channels, channels last."""


class TinyConv(Encoder):
    """Basic residual blocks with BatchNorm, ``depth`` a stage, at strides 4, 8, 16, 32.

    The stages have 1, 2, 4 and 4 times ``width`` channels. The last one sees a few locations of a
    small image: more channels there would be most of the parameters and little of the use.
    """

    patch = None

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        require_random_weights(config)
        self.channels = tuple(config.width * factor for factor in _GROWTH)
        self.stem = _convolution(3, config.width, stride=2)
        self.stages = nn.ModuleList()
        inputs = config.width
        for outputs in self.channels:
            later = (_Block(outputs, outputs, stride=1) for _ in range(config.depth - 1))
            self.stages.append(nn.Sequential(_Block(inputs, outputs, stride=2), *later))
            inputs = outputs

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Maps at strides 4, 8, 16, 32."""
        features = self.stem(images)
        maps = []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        return maps


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.first = _convolution(inputs, outputs, stride=stride)
        self.second = nn.Sequential(
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                _Pointwise(inputs, outputs, stride=stride), nn.BatchNorm2d(outputs)
            )
        self.activation = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        added = self.second(self.first(features)) + self.shortcut(features)
        activated: Tensor = self.activation(added)
        return activated


class _Pointwise(nn.Conv2d):
    """A 1x1 convolution of every ``stride``-th location."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        if self.in_channels >= _WIDE:
            return super().forward(features)
        height, width = self.stride
        return functional.conv2d(features[..., ::height, ::width], self.weight)


def _convolution(inputs: int, outputs: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
