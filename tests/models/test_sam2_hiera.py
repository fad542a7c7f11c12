"""SAM 2's backbone, out of every checkpoint that holds one, on images of every size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2HieraDetModel,
    Sam2Model,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VisionConfig,
    Sam2VisionModel,
)

from sskd.config import ModelConfig
from sskd.models.parameters import num_parameters, parameter_groups
from sskd.models.student import InstanceSegmenter

Configure = Callable[..., ModelConfig]
Build = Callable[..., InstanceSegmenter]

WIDTHS = [8, 16, 32, 64]
BACKBONE: dict[str, Any] = {
    "hidden_size": 8,
    "blocks_per_stage": [1, 1, 3, 1],
    "embed_dim_per_stage": WIDTHS,
    "num_attention_heads_per_stage": [1, 1, 2, 2],
    "global_attention_blocks": [3],
}


def checkpoint(kind: str, folder: Path) -> Any:
    """A tiny random model of that kind, saved; gives its backbone."""
    torch.manual_seed(0)
    vision = Sam2VisionConfig(
        backbone_config=Sam2HieraDetConfig(**BACKBONE),
        backbone_channel_list=WIDTHS[::-1],
        fpn_hidden_size=16,
    )
    small: dict[str, Any] = {
        "vision_config": vision,
        "prompt_encoder_config": {"hidden_size": 16},
        "mask_decoder_config": {"hidden_size": 16, "mlp_dim": 16, "iou_head_hidden_dim": 16},
    }
    model: Any
    if kind == "video":
        memory = {
            "memory_attention_hidden_size": 16,
            "memory_attention_num_layers": 1,
            "memory_attention_feed_forward_hidden_size": 16,
            "memory_encoder_hidden_size": 16,
            "mask_downsampler_embed_dim": 16,
            "memory_fuser_embed_dim": 16,
            "memory_fuser_intermediate_dim": 16,
        }
        model = Sam2VideoModel(Sam2VideoConfig(**small, **memory))
        backbone = model.vision_encoder.backbone
    elif kind == "image":
        model = Sam2Model(Sam2Config(**small))
        backbone = model.vision_encoder.backbone
    elif kind == "vision":
        model = Sam2VisionModel(vision)
        backbone = model.backbone
    else:
        model = backbone = Sam2HieraDetModel(Sam2HieraDetConfig(**BACKBONE))
    with torch.no_grad():  # as drawn they are all 0
        backbone.pos_embed.normal_()
        backbone.pos_embed_window.normal_()
    model.save_pretrained(folder)
    return backbone.eval()


@pytest.mark.parametrize("kind", ["video", "image", "vision", "backbone"])
def test_the_backbone_of_any_sam2_checkpoint_is_the_encoder(
    kind: str, tmp_path: Path, configure: Configure, build_model: Build
) -> None:
    backbone = checkpoint(kind, tmp_path)
    encoder = build_model(configure("sam2-hiera-small", weights=str(tmp_path))).eval().encoder
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        theirs = backbone(images).intermediate_hidden_states
        ours = encoder(images)
    assert encoder.channels == tuple(WIDTHS)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other.permute(0, 3, 1, 2))


def test_an_image_of_another_size_is_padded_and_its_maps_cut(
    tmp_path: Path, configure: Configure, build_model: Build
) -> None:
    checkpoint("image", tmp_path)
    encoder = build_model(configure("sam2-hiera-small", weights=str(tmp_path))).eval().encoder
    images = torch.randn(1, 3, 75, 53)
    padded = torch.zeros(1, 3, 96, 64)
    padded[..., :75, :53] = images
    with torch.no_grad():
        cut, whole = encoder(images), encoder(padded)
    sizes = [tuple(features.shape[-2:]) for features in cut]
    assert sizes == [(19, 14), (10, 7), (5, 4), (3, 2)]
    for features, larger in zip(cut, whole, strict=True):
        rows, columns = features.shape[-2:]
        assert torch.equal(features, larger[..., :rows, :columns])


def test_random_weights_are_hiera_small(configure: Configure) -> None:
    with torch.device("meta"):
        model = InstanceSegmenter(configure("sam2-hiera-small"), num_classes=3)
    blocks = model.encoder.backbone.blocks
    assert [block.dim_out for block in blocks] == [96] + [192] * 2 + [384] * 11 + [768] * 2
    assert [i for i, block in enumerate(blocks) if block.window_size == 0] == [7, 10, 13]
    assert round(num_parameters(model.encoder) / 1e6) == 34  # the paper prints 35


def test_position_codes_do_not_decay(configure: Configure) -> None:
    with torch.device("meta"):
        model = InstanceSegmenter(configure("sam2-hiera-small"), num_classes=3)
    kept = {
        id(parameter)
        for group in parameter_groups(model, 1e-3, 0.1, 0.05)
        if not group["weight_decay"]
        for parameter in group["params"]
    }
    backbone = model.encoder.backbone
    assert {id(backbone.pos_embed), id(backbone.pos_embed_window)} <= kept
    assert id(backbone.blocks[0].attn.qkv.weight) not in kept


def test_a_checkpoint_without_the_backbone_is_one_line(
    tmp_path: Path, configure: Configure, build_model: Build
) -> None:
    checkpoint("image", tmp_path)
    model = Sam2Model.from_pretrained(tmp_path)
    state = {k: v for k, v in model.state_dict().items() if "backbone.blocks.2" not in k}
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ValueError, match="lacks some of the weights") as caught:
        build_model(configure("sam2-hiera-small", weights=str(tmp_path)))
    assert "\n" not in str(caught.value)
