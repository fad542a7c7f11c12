"""The two foundation models behind the paper's teacher: where their weights come from.

Published architectures are kept here too, so that a model can be built without its weights on a
machine that no hub answers. They are those of the scripts in ``transformers`` that converted the
published weights (``convert_mm_grounding_dino_to_hf.py`` and ``convert_sam2_to_hf.py``); members of
a family that are not listed are read from their ``config.json``.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import nn
from transformers import (
    AutoConfig,
    BertTokenizer,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2Model,
    Sam2VisionConfig,
    SwinConfig,
)

from sskd.config import GroundedSamConfig
from sskd.models.hub import WrongWeightsError, load_pretrained, must_have_weights, reading
from sskd.models.sources import pinned

__all__ = ["DETECTORS", "SEGMENTERS", "Foundation", "check_foundation", "load_foundation"]

_OWN_HEADS: dict[str, Any] = {"decoder_bbox_embed_share": False, "decoder_cls_embed_share": False}
"""Every decoder layer of mm-Grounding-DINO has a box head of its own. The published config.json
files do not say so, and tied to the first head the later layers' boxes are garbage."""

_SAM2_KINDS = ("sam2_video", "sam2")
"""What is published is the video model; the image model is a part of it."""


class Foundation(NamedTuple):
    """Detector and segmenter."""

    detector: nn.Module
    segmenter: nn.Module
    tokenizer: BertTokenizer | None
    """``None`` beside random weights."""


def _detector(
    width: int,
    depths: tuple[int, ...],
    heads: tuple[int, ...],
    window: int,
    size: int,
    stages: tuple[int, ...],
) -> Any:
    swin: Any = SwinConfig  # some of its settings are no fields
    return MMGroundingDinoConfig(
        backbone_config=swin(
            image_size=size,
            embed_dim=width,
            depths=list(depths),
            num_heads=list(heads),
            window_size=window,
            out_features=[f"stage{stage}" for stage in stages],
        ),
        num_feature_levels=len(stages) + 1,
        **_OWN_HEADS,
    )


def _swin_tiny() -> Any:
    return _detector(96, (2, 2, 6, 2), (3, 6, 12, 24), 7, 224, (2, 3, 4))


def _swin_base() -> Any:
    return _detector(128, (2, 2, 18, 2), (4, 8, 16, 32), 12, 384, (2, 3, 4))


def _swin_large() -> Any:
    return _detector(192, (2, 2, 18, 2), (6, 12, 24, 48), 12, 384, (1, 2, 3, 4))


_MM = "openmmlab-community/mm_grounding_dino"

DETECTORS = {
    f"{_MM}_tiny_o365v1_goldg": _swin_tiny,
    f"{_MM}_tiny_o365v1_goldg_grit": _swin_tiny,
    f"{_MM}_tiny_o365v1_goldg_v3det": _swin_tiny,
    f"{_MM}_tiny_o365v1_goldg_grit_v3det": _swin_tiny,
    f"{_MM}_base_o365v1_goldg_v3det": _swin_base,
    f"{_MM}_base_all": _swin_base,
    f"{_MM}_large_o365v2_oiv6_goldg": _swin_large,
    f"{_MM}_large_all": _swin_large,
}
"""Published mm-Grounding-DINOs and their architectures."""


def _segmenter(width: int, heads: int, **backbone: Any) -> Any:
    widths = [width * 2**stage for stage in range(4)]
    return Sam2Config(
        vision_config=Sam2VisionConfig(
            backbone_config=Sam2HieraDetConfig(
                hidden_size=width,
                embed_dim_per_stage=widths,
                num_attention_heads_per_stage=[heads * 2**stage for stage in range(4)],
                **backbone,
            ),
            backbone_channel_list=widths[::-1],
        )
    )


SEGMENTERS = {
    "facebook/sam2.1-hiera-tiny": lambda: _segmenter(96, 1),
    "facebook/sam2.1-hiera-small": lambda: _segmenter(
        96, 1, blocks_per_stage=[1, 2, 11, 2], global_attention_blocks=[7, 10, 13]
    ),
    "facebook/sam2.1-hiera-base-plus": lambda: _segmenter(
        112,
        2,
        blocks_per_stage=[2, 3, 16, 3],
        global_attention_blocks=[12, 16, 20],
        window_positional_embedding_background_size=[14, 14],
    ),
    "facebook/sam2.1-hiera-large": lambda: _segmenter(
        144,
        2,
        blocks_per_stage=[2, 6, 36, 4],
        global_attention_blocks=[23, 33, 43],
        window_size_per_stage=[8, 4, 16, 8],
    ),
}
"""Published SAM 2.1s and their architectures."""


def load_foundation(config: GroundedSamConfig) -> Foundation:
    """Detector, segmenter and tokenizer, in float32 on the default device.

    Raises:
        ValueError: If a checkpoint cannot be had here or is of another kind; one line.
    """
    if config.weights == "none":
        detector = DETECTORS.get(config.detector)
        segmenter = SEGMENTERS.get(config.segmenter)
        with _detector_of(config):
            one = detector() if detector else AutoConfig.from_pretrained(config.detector)
            model: nn.Module = MMGroundingDinoForObjectDetection(_must_be(one, "mm-grounding-dino"))
        with _segmenter_of(config):
            two = segmenter() if segmenter else Sam2Config.from_pretrained(config.segmenter)
            return Foundation(model, Sam2Model(two), None)
    with _detector_of(config):
        model = _load_detector(config.detector)
        tokenizer = _tokenizer(config.detector)
    with _segmenter_of(config):
        return Foundation(model, load_pretrained(config.segmenter, Sam2Model, _sam2), tokenizer)


def check_foundation(config: GroundedSamConfig) -> None:
    """Make sure that both checkpoints are in reach and of their kind, without reading weights.

    A hub is asked for small files only.

    Raises:
        ValueError: If one is not; one line.
    """
    if config.weights == "none":
        return
    with _detector_of(config):
        version = pinned(config.detector)
        _must_be(AutoConfig.from_pretrained(config.detector, **version), "mm-grounding-dino")
        _tokenizer(config.detector)
        must_have_weights(config.detector)
    with _segmenter_of(config):
        _sam2(AutoConfig.from_pretrained(config.segmenter, **pinned(config.segmenter)))
        must_have_weights(config.segmenter)


@contextmanager
def _detector_of(config: GroundedSamConfig) -> Iterator[None]:
    needs = "the detector is 'mm-grounding-dino' with all its weights and its tokenizer"
    holds = "config.json, model.safetensors and the tokenizer's files"
    with reading("teacher.detector", config.detector, needs=needs, holds=holds):
        yield


@contextmanager
def _segmenter_of(config: GroundedSamConfig) -> Iterator[None]:
    needs = "the segmenter is 'sam2_video' or 'sam2' with all its weights"
    with reading("teacher.segmenter", config.segmenter, needs=needs):
        yield


def _load_detector(source: str) -> nn.Module:
    def own_heads(found: Any) -> Mapping[str, Any]:
        _must_be(found, "mm-grounding-dino")
        return _OWN_HEADS

    def as_it_says(found: Any) -> Mapping[str, Any]:
        _must_be(found, "mm-grounding-dino")
        return {}

    try:
        return load_pretrained(source, MMGroundingDinoForObjectDetection, own_heads)
    except WrongWeightsError:  # its own layers may share a head
        return load_pretrained(source, MMGroundingDinoForObjectDetection, as_it_says)


def _sam2(found: Any) -> Mapping[str, Any]:
    _must_be(found, *_SAM2_KINDS)
    # Read as the image model's: what it has no place for is the video's memory.
    return {"config": Sam2Config.from_dict(found.to_dict() | {"model_type": "sam2"})}


def _tokenizer(source: str) -> BertTokenizer:
    """The detector's own; where there are no files of one, ``transformers`` makes an empty one."""
    tokenizer: BertTokenizer = BertTokenizer.from_pretrained(source, **pinned(source))
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise OSError("no tokenizer")
    return tokenizer


def _must_be(found: Any, *kinds: str) -> Any:
    if found.model_type not in kinds:
        raise WrongWeightsError(f"holds {found.model_type!r} weights")
    return found
