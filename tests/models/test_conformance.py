"""What every encoder with every head must do."""

from collections.abc import Callable
from math import ceil
from typing import get_args

import pytest
import torch

from sskd.config import EncoderConfig, HeadConfig, ModelConfig
from sskd.models.encoders import DINOV2, ENCODERS
from sskd.models.heads import HEADS
from sskd.models.student import InstanceSegmenter
from sskd.types import Predictions

Configure = Callable[..., ModelConfig]
Build = Callable[..., InstanceSegmenter]


def test_tables_hold_what_the_configuration_can_name() -> None:
    assert set(ENCODERS) == set(get_args(EncoderConfig.model_fields["name"].annotation))
    assert set(HEADS) == set(get_args(HeadConfig.model_fields["name"].annotation))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_predictions_have_the_promised_shapes(
    encoder: str, head: str, configure: Configure, build_model: Build
) -> None:
    if encoder.startswith("efficientnet"):
        pytest.importorskip("efficientnet_lite_pytorch")
    height, width = 75, 53  # no multiple of a stride or of a patch
    # The larger of one family differ in size alone: shapes without the seconds and gigabytes.
    device = "meta" if encoder in list(DINOV2)[1:] else "cpu"
    with torch.device(device), torch.no_grad():
        model = build_model(configure(encoder, head)).eval()
        predictions = model(torch.randn(2, 3, height, width))
    _check_shapes(predictions, height, width, stride=8)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", ["tiny-conv", "tiny-vit"])
@pytest.mark.parametrize("stride", [4, 16, 32])
@pytest.mark.parametrize("size", [(64, 96), (33, 40), (97, 65)])
def test_any_size_and_projection_stride(
    encoder: str,
    head: str,
    stride: int,
    size: tuple[int, int],
    configure: Configure,
    build_model: Build,
) -> None:
    model = build_model(configure(encoder, head, stride=stride)).eval()
    with torch.no_grad():
        _check_shapes(model(torch.randn(1, 3, *size)), *size, stride=stride)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", ["tiny-conv", "tiny-vit"])
def test_every_parameter_learns(
    encoder: str, head: str, configure: Configure, build_model: Build
) -> None:
    model = build_model(configure(encoder, head, dropout=0.1))
    predictions = model(torch.randn(2, 3, 64, 64))
    layers = (*predictions.auxiliary, predictions)
    total = predictions.pixel_embeddings.square().sum()
    for layer in layers:
        total = total + layer.mask_logits.square().mean() + layer.class_logits.square().mean()
    total.backward()
    # DINOv2's token for masked image modelling is part of the weights, not of this network.
    idle = [n for n, p in model.named_parameters() if p.grad is None and "mask_token" not in n]
    assert idle == []


@pytest.mark.parametrize("encoder", ["tiny-conv", "tiny-vit"])
def test_projection_does_not_touch_the_masks(
    encoder: str, configure: Configure, build_model: Build
) -> None:
    model = build_model(configure(encoder)).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        full, bare = model(images), model(images, embeddings=False)
        assert bare.pixel_embeddings is None
        assert torch.equal(full.mask_logits, bare.mask_logits)
        assert torch.equal(full.class_logits, bare.class_logits)
        torch.testing.assert_close(model.embed(images), full.pixel_embeddings)


def test_embedding_a_view_runs_neither_head_nor_decoder(
    configure: Configure, build_model: Build
) -> None:
    model = build_model(configure())
    del model.head, model.decoder
    assert model.embed(torch.randn(2, 3, 64, 64)).shape == (2, 8, 8, 8)


def test_mixed_precision_gives_finite_predictions(configure: Configure, build_model: Build) -> None:
    model = build_model(configure(dropout=0.1))
    with torch.autocast("cpu", torch.bfloat16):
        predictions = model(torch.randn(2, 3, 64, 64))
    assert predictions.mask_logits.isfinite().all()
    assert predictions.class_logits.isfinite().all()
    predictions.mask_logits.float().square().mean().backward()


def test_a_model_may_train_after_it_has_predicted_in_inference_mode(
    configure: Configure, build_model: Build
) -> None:
    model = build_model(configure())
    with torch.inference_mode():
        model(torch.randn(1, 3, 96, 160))
    model(torch.randn(1, 3, 96, 160)).mask_logits.mean().backward()


def _check_shapes(predictions: Predictions, height: int, width: int, *, stride: int) -> None:
    batch = len(predictions.mask_logits)
    masks = (batch, 7, ceil(height / 4), ceil(width / 4))
    assert len(predictions.auxiliary) == 3
    for layer in (predictions, *predictions.auxiliary):
        assert layer.mask_logits.shape == masks
        assert layer.class_logits.shape == (batch, 7, 4)
        assert layer.mask_logits.is_meta or layer.mask_logits.isfinite().all()
        assert layer.class_logits.is_meta or layer.class_logits.isfinite().all()
    embeddings = predictions.pixel_embeddings
    assert embeddings is not None
    assert embeddings.shape == (batch, 8, ceil(height / stride), ceil(width / stride))
    assert embeddings.is_meta or embeddings.isfinite().all()
