"""What mm-Grounding-DINO of ``transformers`` gives for each sentence, and its heads on top of it.

Axes: b images, s sentences, q queries of the detector, t tokens of the longest sentence, n
locations of all levels, f channels, h w pixels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from sskd.types import BoxLayer

__all__ = ["box_layers", "encoded_image", "read_sentences"]


def read_sentences(
    detector: Any, images: Float[Tensor, "b 3 h w"], sentences: Sequence[Int[Tensor, " _"]]
) -> tuple[Any, ...]:
    """What the transformer gives for each sentence, before the heads.

    The image backbone reads the images once: it knows no text. The transformer behind it mixes
    image and text from its first layer on, so it runs once a sentence.

    Args:
        detector: ``MMGroundingDinoForObjectDetection``.
        images: As large as the detector is to see them.
        sentences: Token ids.
    """
    outputs = []
    several = len(sentences) > 1
    with _asked_once(detector.model.backbone) if several else nullcontext():
        for sentence in sentences:
            input_ids = sentence.expand(len(images), -1)
            outputs.append(
                detector.model(
                    pixel_values=images,
                    input_ids=input_ids,
                    attention_mask=torch.ones_like(input_ids),
                    return_dict=True,
                )
            )
    return tuple(outputs)


def encoded_image(outputs: Sequence[Any]) -> Float[Tensor, "b n f"]:
    """The last encoder feature; of several sentences the mean, so that every class has its say."""
    return torch.stack([o.encoder_last_hidden_state_vision for o in outputs]).mean(0)


def box_layers(
    detector: Any, outputs: Sequence[Any], tokens: Bool[Tensor, "s t"], *, every: bool
) -> tuple[BoxLayer, ...]:
    """Boxes and scores of tokens, sentence by sentence.

    Args:
        detector: ``MMGroundingDinoForObjectDetection``.
        outputs: What it gave for each sentence.
        tokens: Which places hold a token of the sentence.
        every: The proposals and all decoder layers, for a loss; else the last layer alone.
    """
    depth = len(detector.bbox_embed)
    proposals = [[_proposals(detector, output) for output in outputs]] if every else []
    decoded = (
        [_decoded(detector, output, layer) for output in outputs]
        for layer in range(0 if every else depth - 1, depth)
    )
    return tuple(_side_by_side(heads, tokens) for heads in (*proposals, *decoded))


_Heads = tuple[Float[Tensor, "b q 4"], Float[Tensor, "b q _"]]
"""Boxes, and scores of the tokens of one sentence, filled up to any length."""


def _decoded(detector: Any, output: Any, layer: int) -> _Heads:
    """The heads of one decoder layer: boxes are corrections of those of the layer before."""
    before = output.init_reference_points
    if layer:
        before = output.intermediate_reference_points[:, layer - 1]
    hidden = output.intermediate_hidden_states[:, layer]
    text = output.encoder_last_hidden_state_text
    mask = torch.ones(text.shape[:2], dtype=torch.bool, device=text.device)
    logits = detector.class_embed[layer](hidden, text, mask)
    corrections = detector.bbox_embed[layer](hidden)
    return (corrections + torch.special.logit(before, eps=1e-5)).sigmoid(), logits


def _proposals(detector: Any, output: Any) -> _Heads:
    """What the encoder proposes to the decoder, with its gradient.

    ``transformers`` offers its own loss these boxes detached and the scores of the query
    embeddings instead of the proposals': neither of the encoder's heads would learn.
    """
    place = output.enc_outputs_class.amax(-1).topk(detector.config.num_queries).indices
    place = place[..., None]
    logits = output.enc_outputs_class
    coordinates = output.enc_outputs_coord_logits.gather(1, place.expand(-1, -1, 4))
    return coordinates.sigmoid(), logits.gather(1, place.expand(-1, -1, logits.shape[-1]))


def _side_by_side(heads: Sequence[_Heads], tokens: Bool[Tensor, "s t"]) -> BoxLayer:
    """The detector fills up to the longest text that it reads, we to the longest that there is."""
    longest = tokens.shape[1]
    logits = [functional.pad(own, (0, longest - own.shape[-1])) for _, own in heads]
    token_logits = torch.stack(logits, dim=1).float()
    return BoxLayer(
        torch.stack([boxes for boxes, _ in heads], dim=1).float(),
        token_logits.masked_fill(~tokens[:, None], -torch.inf),
    )


@contextmanager
def _asked_once(backbone: Any) -> Iterator[None]:
    """Inside, a module computes its first answer only and gives it again to every later call.

    The detector has no argument for features that are there already.
    """
    compute = backbone.forward
    answers: list[Any] = []

    def remember(*inputs: Any) -> Any:
        if not answers:
            answers.append(compute(*inputs))
        return tuple(list(part) for part in answers[0])  # the detector appends to its lists

    backbone.forward = remember
    try:
        yield
    finally:
        del backbone.forward
