"""The paper's teacher: a detector that reads class names, and SAM 2 for the mask in each box.

Axes: b images, h w pixels, m boxes, c foreground classes, s sentences, t tokens of the longest one,
n locations of all levels, f channels, d embedding dimensions, hp wp locations of the embeddings.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import box_convert

from sskd.config import GroundedSamConfig
from sskd.models.backbone import map_size
from sskd.models.contract import InstanceModel
from sskd.models.detections import choose, class_scores
from sskd.models.foundation import load_foundation
from sskd.models.student import projection
from sskd.models.text_detector import box_layers, encoded_image, read_sentences
from sskd.models.text_prompt import phrases, stand_in, tokenize
from sskd.types import BoxLayer, BoxPredictions, Predictions

__all__ = ["GroundedSam"]

_BOXES_AT_ONCE = 32
"""Boxes an image whose masks are drawn together."""

_NOWHERE = -50.0
"""Mask logits of a place that no box fills."""


class GroundedSam(InstanceModel):
    """Boxes from mm-Grounding-DINO, prompted by the class names; masks from SAM 2; in series.

    Score and class are the detector's. It learns from boxes; SAM 2, unless it is frozen, from the
    masks that it draws in the surest of them. Boxes do not learn from masks.

    How the contrastive term attaches is in no source, so the choice is ours: embeddings are
    projected from the last encoder feature, at the projection's stride; masks are SAM 2's of the
    surest boxes without duplicates, however low they score; class logits are those of the pooled
    scores with 0 for "no object", so that one class alone has the detector's score as its
    probability.

    Where the class names are too many for one text, each sentence gives boxes that score 0 for the
    classes of the others. All sentences are read in training too, whatever classes the targets
    have: what an image does not show has to score low, as in one sentence, and classes that were
    left out of a step would not be held to that.
    """

    input_multiple = 1
    scores_masks = False
    detector: Any
    segmenter: Any
    input_ids: Int[Tensor, "s t"]
    tokens: Bool[Tensor, "s t"]
    class_tokens: Bool[Tensor, "c t"]
    sentence_of: Int[Tensor, " c"]

    def __init__(self, config: GroundedSamConfig, *, classes: Sequence[str]) -> None:
        """Loads the weights; draws those of the projection from the global generator."""
        super().__init__()
        self.settings = config
        words = phrases(classes, config.prompts)
        self.detector, self.segmenter, tokenizer = load_foundation(config)
        most = int(self.detector.config.max_text_len)
        if tokenizer is None:
            prompt = stand_in(len(words), most=most)
        else:
            prompt = tokenize(words, tokenizer, most=most)
        for name, tensor in prompt._asdict().items():
            self.register_buffer(name, tensor, persistent=False)
        self.lengths = tuple(prompt.tokens.sum(1).tolist())
        self.projection = projection(config.projection, self.detector.config.d_model)
        strides = [2 ** (stage + 1) for stage in self.detector.config.backbone_config.out_indices]
        while len(strides) < self.detector.config.num_feature_levels:
            strides.append(2 * strides[-1])
        self.strides = tuple(strides)
        for part in self._frozen():
            part.requires_grad_(requires_grad=False)
        self.train()

    def train(self, mode: bool = True) -> "GroundedSam":
        """As ever, but frozen parts stay as they are at test time."""
        super().train(mode)
        for part in self._frozen():
            part.eval()
        return self

    def forward(self, images: Float[Tensor, "b 3 h w"], *, embeddings: bool = True) -> Predictions:
        """Boxes of every layer while it learns; masks for prediction and the contrastive term.

        Args:
            images: Normalised with ImageNet's mean and standard deviation, of any size.
            embeddings: Whether to project pixels, and in training with a frozen SAM 2 to draw masks
                at all.

        Returns:
            Masks on SAM 2's own square grid, over the whole image, with gradient where it learns;
            in training with a frozen SAM 2 and without ``embeddings`` there is none.
        """
        learning = self.training and not self.settings.freeze_segmenter
        prompts = None
        outputs = self.detect(images)
        layers = self._layers(outputs)
        boxes = layers[-1].boxes.detach().flatten(1, 2)
        scores = self._scores(layers[-1]).detach()
        if embeddings or learning or not self.training:
            chosen = choose(
                boxes,
                scores,
                threshold=0.0 if self.training else self.settings.box_threshold,
                nms_iou=self.settings.nms_iou,
                most=self.settings.max_detections,
            )
            mask_logits = self.draw(images, chosen.boxes)
            empty = chosen.scores.amax(-1) == 0
            mask_logits = mask_logits.masked_fill(empty[..., None, None], _NOWHERE)
            scores = chosen.scores
            if learning:
                prompts = chosen.boxes.masked_fill(empty[..., None], 0.0)
        else:
            mask_logits, scores = boxes.new_zeros(len(boxes), 0, 1, 1), scores[:, :0]
        return Predictions(
            mask_logits=mask_logits,
            class_logits=functional.pad(scores.logit(), (0, 1)),
            pixel_embeddings=self._project(outputs, images) if embeddings else None,
            auxiliary=(),
            detection=self._detection(layers, prompts) if self.training else None,
        )

    def embed(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d hp wp"]:
        """Pixel embeddings only, without masks; not normalised."""
        return self._project(self.detect(images), images)

    def probabilities(
        self, class_logits: Float[Tensor, "*b m c_plus_1"]
    ) -> Float[Tensor, "*b m c"]:
        """The detector's scores: a sigmoid each, so that classes do not compete."""
        return class_logits[..., :-1].sigmoid()

    def encoders(self) -> tuple[nn.Module, ...]:
        """The detector's image and text encoders, and SAM 2's where it learns."""
        own = (self.detector.model.backbone, self.detector.model.text_backbone)
        return own if self.settings.freeze_segmenter else (*own, self.segmenter.vision_encoder)

    def reloaded(self) -> tuple[str, ...]:
        """What is frozen; random weights are not loaded, so they are kept."""
        return tuple(self._frozen_names()) if self.settings.weights == "pretrained" else ()

    def detect(self, images: Float[Tensor, "b 3 h w"]) -> tuple[Any, ...]:
        """What the detector's transformer gives for each sentence, before its heads."""
        own = [ids[:length] for ids, length in zip(self.input_ids, self.lengths, strict=True)]
        return read_sentences(self.detector, _resize(images, self._detector_input(images)), own)

    def draw(
        self, images: Float[Tensor, "b 3 h w"], boxes: Float[Tensor, "b m 4"]
    ) -> Float[Tensor, "b m hm wm"]:
        """Mask logits of what fills each box; an image is encoded once for all its boxes.

        Args:
            images: As ``forward`` takes them.
            boxes: Centre and size, in units of the image's sides.
        """
        side = int(self.segmenter.config.prompt_encoder_config.image_size)
        corners = box_convert(boxes, "cxcywh", "xyxy").clamp(0, 1) * side
        image: dict[str, Any] = {"pixel_values": _resize(images, (side, side))}
        masks = []
        for part in corners.split(_BOXES_AT_ONCE, dim=1):
            found = self.segmenter(**image, input_boxes=part, multimask_output=False)
            # Not its get_image_embeddings, through which no gradient flows.
            image = {"image_embeddings": found.image_embeddings}
            masks.append(found.pred_masks[:, :, 0])
        return torch.cat(masks, dim=1)

    def _layers(self, outputs: Sequence[Any]) -> tuple[BoxLayer, ...]:
        """The last decoder layer; while it learns the proposals and all layers."""
        return box_layers(self.detector, outputs, self.tokens, every=self.training)

    def _detection(self, layers: tuple[BoxLayer, ...], prompts: Tensor | None) -> BoxPredictions:
        return BoxPredictions(layers, self.tokens, self.class_tokens, self.sentence_of, prompts)

    def _scores(self, layer: BoxLayer) -> Float[Tensor, "b m c"]:
        """One score a class and box; 0 for a class that the box's sentence does not name."""
        queries = layer.boxes.shape[2]
        scores = class_scores(
            layer.token_logits.flatten(1, 2),
            self.class_tokens,
            pooling=self.settings.token_pooling,
        )
        sentences = torch.arange(len(self.tokens), device=scores.device)
        named = self.sentence_of == sentences[:, None]  # (s, c)
        return scores.masked_fill(~named.repeat_interleave(queries, dim=0), 0.0)

    def _project(self, outputs: Sequence[Any], images: Tensor) -> Float[Tensor, "b d hp wp"]:
        height, width = images.shape[-2:]
        stride = self.settings.projection.stride
        level = min(range(len(self.strides)), key=lambda k: abs(self.strides[k] - stride))
        features = self._level(encoded_image(outputs), images, level)
        size = map_size(height, width, stride)
        features = functional.interpolate(features, size, mode="bilinear", align_corners=False)
        embeddings: Tensor = self.projection(features)
        return embeddings

    def _level(self, memory: Float[Tensor, "b n f"], images: Tensor, level: int) -> Tensor:
        """One level of the encoder's output as a map."""
        height, width = self._detector_input(images)
        sizes = [map_size(height, width, stride) for stride in self.strides]
        counts = [rows * columns for rows, columns in sizes]
        first = sum(counts[:level])
        part = memory[:, first : first + counts[level]].transpose(1, 2)
        return part.reshape(*part.shape[:2], *sizes[level])

    def _detector_input(self, images: Tensor) -> tuple[int, int]:
        """Height and width of the images as the detector sees them."""
        height, width = images.shape[-2:]
        short, long = self.settings.detector_size
        scale = min(short / min(height, width), long / max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def _frozen(self) -> list[nn.Module]:
        return [self.get_submodule(name) for name in self._frozen_names()]

    def _frozen_names(self) -> list[str]:
        names = ["segmenter"] if self.settings.freeze_segmenter else []
        names += ["detector.model.text_backbone"] if self.settings.freeze_text else []
        names += ["detector.model.backbone"] if self.settings.freeze_backbone else []
        return names


def _resize(images: Float[Tensor, "b 3 h w"], size: tuple[int, int]) -> Tensor:
    if images.shape[-2:] == size:
        return images
    return functional.interpolate(
        images, size, mode="bilinear", align_corners=False, antialias=True
    )
