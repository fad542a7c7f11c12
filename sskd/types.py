"""The values that pass between the layers.

Axes: b images, h w pixels of a view, n instances of an image, m queries, c foreground classes,
s sentences, t tokens of the longest one, q boxes of a layer for a sentence, d embedding dimensions,
hm wm locations of the mask logits, hp wp locations of the embeddings.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = [
    "Batch",
    "BoxLayer",
    "BoxPredictions",
    "LayerOutput",
    "Log",
    "Predictions",
    "Progress",
    "Targets",
]


class LayerOutput(NamedTuple):
    """What one decoder layer predicts."""

    mask_logits: Float[Tensor, "b m hm wm"]
    class_logits: Float[Tensor, "b m c_plus_1"]
    """The last class is "no object"."""


class BoxLayer(NamedTuple):
    """What one layer of a detector that reads text predicts."""

    boxes: Float[Tensor, "b s q 4"]
    """Centre and size, (x, y, width, height), in units of the image's sides."""
    token_logits: Float[Tensor, "b s q t"]
    """Whether the box shows what a token of its sentence names; ``-inf`` beyond its end."""


class BoxPredictions(NamedTuple):
    """What a detector's set loss compares with the instances."""

    layers: tuple[BoxLayer, ...]
    """The encoder's proposals, then the decoder layers, first to last."""
    tokens: Bool[Tensor, "s t"]
    """Which places hold a token of the sentence."""
    class_tokens: Bool[Tensor, "c t"]
    """Which places in its own sentence name a class."""
    sentence_of: Int[Tensor, " c"]
    """Which sentence names a class."""
    prompts: Float[Tensor, "b m 4"] | None = None
    """The boxes that the predictions' masks were drawn in, without gradient, where these masks
    learn: centre and size, as above; those of no detection without extent."""


class Predictions(NamedTuple):
    """What every model of the project gives for a batch of images."""

    mask_logits: Float[Tensor, "b m hm wm"]
    class_logits: Float[Tensor, "b m c_plus_1"]
    pixel_embeddings: Float[Tensor, "b d hp wp"] | None
    """Not normalised; ``None`` when the model was asked not to compute them."""
    auxiliary: tuple[LayerOutput, ...]
    """The earlier decoder layers, first to last, for deep supervision."""
    detection: BoxPredictions | None = None
    """Of a model that learns from boxes, while it learns."""


class Targets(NamedTuple):
    """The instances of one view."""

    masks: Bool[Tensor, "n h w"]
    classes: Int[Tensor, " n"]
    """Contiguous class indices, 0 <= class < c, in the order of the sorted category ids."""


class Batch(NamedTuple):
    """Weak and strong views of labeled images first, then of pseudo-labeled ones."""

    weak: Float[Tensor, "b 3 h w"]
    """Normalised with ImageNet's mean and standard deviation, as is ``strong``."""
    strong: Float[Tensor, "b 3 h w"]
    weak_to_strong: Float[Tensor, "b 3 3"]
    """Homogeneous map of pixel coordinates (x, y, 1) in the weak view to the strong view."""
    targets: tuple[Targets, ...]
    """Ground truth of the labeled images, pseudo-labels of the others; in the weak view."""
    num_labeled: int
    image_ids: tuple[int, ...]

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device.

        What the loader has pinned is copied while the processor goes on, and must not be written
        to any more; everything else, and every copy to the processor, is waited for.
        """

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=device.type == "cuda" and tensor.is_pinned())

        return self._replace(
            weak=move(self.weak),
            strong=move(self.strong),
            weak_to_strong=move(self.weak_to_strong),
            targets=tuple(Targets(move(t.masks), move(t.classes)) for t in self.targets),
        )


Log = Callable[[int, Mapping[str, float]], None]
"""Called with the optimizer step and named values; knows no tracker."""


@runtime_checkable
class Progress(Protocol):
    """Called while something long goes on."""

    def __call__(self, what: str, done: int, total: int, **facts: float) -> None:
        """``done`` of ``total`` units of ``what``, and what is worth showing beside it."""
