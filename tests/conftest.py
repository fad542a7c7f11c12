"""Tiny foundation models of the real classes, saved as real checkpoints are."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertTokenizer,
    Dinov2Config,
    Dinov2Model,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    Sam2HieraDetConfig,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VisionConfig,
    SwinConfig,
)

WORDS = (
    *("person", "rider", "car", "truck", "bus", "train", "motor", "##cycle", "bi", "traffic"),
    *("light", "automobile", "street"),
)
"""What the tiny tokenizer knows, besides BERT's marks at BERT's places."""


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny products are slower on several threads, and wait where other work has the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def foundation_folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of a detector with its tokenizer, and of a SAM 2 as it is published: for video."""
    detector = tmp_path_factory.mktemp("detector")
    segmenter = tmp_path_factory.mktemp("segmenter")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _save_detector(detector)
        _save_segmenter(segmenter)
    return detector, segmenter


@pytest.fixture(scope="session")
def dinov2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an encoder for the paper's student: four layers, patches of 8 pixels."""
    folder = tmp_path_factory.mktemp("dinov2")
    config = Dinov2Config(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        mlp_ratio=2,
        patch_size=8,
        image_size=64,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Dinov2Model(config).save_pretrained(folder)
    return folder


@pytest.fixture
def short_text(foundation_folders: tuple[Path, Path], tmp_path: Path) -> Path:
    """The same detector, but it reads 11 tokens only."""
    folder = tmp_path / "short"
    shutil.copytree(foundation_folders[0], folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_text_len": 11}))
    return folder


@pytest.fixture
def grounded(foundation_folders: tuple[Path, Path]) -> Callable[..., dict[str, Any]]:
    """The settings of a tiny grounded teacher; keywords change single values."""
    detector, segmenter = foundation_folders

    def settings(**changes: Any) -> dict[str, Any]:
        return {
            "kind": "grounded-sam",
            "detector": str(detector),
            "segmenter": str(segmenter),
            "weights": "pretrained",
            "prompts": {},
            "token_pooling": "mean",
            "detector_size": [64, 96],
            "box_threshold": 0.0,
            "nms_iou": 0.7,
            "max_detections": 5,
            "freeze_text": True,
            "freeze_backbone": False,
            "freeze_segmenter": True,
            "class_weight": 1.0,
            "box_weight": 5.0,
            "giou_weight": 2.0,
            "class_cost": 2.0,
            "mask_weight": 5.0,
            "dice_weight": 5.0,
            "projection": {"dim": 8, "hidden": 16, "layers": 3, "stride": 16},
        } | changes

    return settings


def _save_detector(folder: Path) -> None:
    vocabulary = ["[PAD]", *(f"[unused{i}]" for i in range(1, 1030)), *WORDS]
    marks = {100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
    for place, mark in marks.items():
        vocabulary[place] = mark
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    config = MMGroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=32,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            drop_path_rate=0.0,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=64,
        ),
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=12,
        max_text_len=40,
        dropout=0.0,
        fusion_droppath=0.0,
        decoder_bbox_embed_share=False,
        decoder_cls_embed_share=False,
    )
    model = MMGroundingDinoForObjectDetection(config)
    with torch.no_grad():  # as drawn, every layer's corrections are 0
        for head in model.bbox_embed:
            head.layers[-1].weight.normal_(std=0.1)
    model.save_pretrained(folder)


def _save_segmenter(folder: Path) -> None:
    vision = Sam2VisionConfig(
        backbone_config=Sam2HieraDetConfig(
            hidden_size=8,
            image_size=[128, 128],
            blocks_per_stage=[1, 1, 2, 1],
            embed_dim_per_stage=[8, 16, 32, 64],
            num_attention_heads_per_stage=[1, 1, 2, 2],
            global_attention_blocks=[3],
            window_size_per_stage=[8, 4, 4, 4],
        ),
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
        fpn_hidden_size=16,
    )
    decoder = {"hidden_size": 16, "mlp_dim": 16, "iou_head_hidden_dim": 16}
    config = Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": 16, "image_size": 128},
        mask_decoder_config={**decoder, "num_attention_heads": 2},
        memory_attention_hidden_size=16,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=16,
        memory_encoder_hidden_size=16,
        mask_downsampler_embed_dim=16,
        memory_fuser_embed_dim=16,
        memory_fuser_intermediate_dim=16,
    )
    Sam2VideoModel(config).save_pretrained(folder)
