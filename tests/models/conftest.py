"""Small models of every kind."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from sskd.config import (
    DecoderConfig,
    EncoderConfig,
    HeadConfig,
    ModelConfig,
    ProjectionConfig,
)
from sskd.models.student import InstanceSegmenter, build

CLASSES = 3


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def configure() -> Callable[..., ModelConfig]:
    """A model's configuration; keywords change single values."""

    def _configure(
        encoder: str = "tiny-conv",
        head: str = "fpn",
        *,
        weights: str = "none",
        layers: int = 3,
        dropout: float = 0.0,
        width: int = 16,
        depth: int = 1,
        stride: int = 8,
        dim: int = 8,
        decoder_width: int = 16,
    ) -> ModelConfig:
        name: Any = encoder
        head_name: Any = head
        projection_stride: Any = stride
        return ModelConfig(
            encoder=EncoderConfig(name=name, weights=weights, width=width, depth=depth),
            head=HeadConfig(name=head_name, width=24),
            decoder=DecoderConfig(
                queries=7,
                layers=layers,
                heads=2,
                width=decoder_width,
                feedforward=32,
                dropout=dropout,
            ),
            projection=ProjectionConfig(dim=dim, hidden=16, layers=3, stride=projection_stride),
        )

    return _configure


@pytest.fixture
def build_model() -> Callable[..., InstanceSegmenter]:
    """A model with weights of a seed."""

    def _build(config: ModelConfig, seed: int = 0) -> InstanceSegmenter:
        generator = torch.Generator().manual_seed(seed)
        return build(config, num_classes=CLASSES, generator=generator)

    return _build
