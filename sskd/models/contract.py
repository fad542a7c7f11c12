"""What every model of the project is: images go in, instances and pixel embeddings come out.

Axes: b images, h w pixels, m queries, c foreground classes, d embedding dimensions, hp wp locations
of the embeddings.
"""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from sskd.types import Predictions

__all__ = ["InstanceModel"]


class InstanceModel(nn.Module, ABC):
    """Predicts instances; training, prediction and evaluation know models by this alone."""

    input_multiple: int
    """Images are padded to sides that are multiples of this, in pixels; 1: as they are."""
    scores_masks: bool
    """Whether a detection's score is the class probability times the mean mask probability inside
    its mask, or the class probability alone."""

    @abstractmethod
    def forward(self, images: Float[Tensor, "b 3 h w"], *, embeddings: bool = True) -> Predictions:
        """Masks, classes and pixel embeddings.

        Args:
            images: Normalised with ImageNet's mean and standard deviation, of any size.
            embeddings: Whether to project pixels; prediction does not need it.
        """

    @abstractmethod
    def embed(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d hp wp"]:
        """Pixel embeddings only, as cheaply as the model can; not normalised."""

    @abstractmethod
    def probabilities(
        self, class_logits: Float[Tensor, "*b m c_plus_1"]
    ) -> Float[Tensor, "*b m c"]:
        """Of each foreground class, in [0, 1]; a pair of query and class at 0 is no detection."""

    @abstractmethod
    def encoders(self) -> tuple[nn.Module, ...]:
        """The pretrained parts, which learn at a rate of their own."""

    def reloaded(self) -> tuple[str, ...]:
        """Names of the parts that come from a published checkpoint each time, and never learn.

        What is stored of a trained model leaves them out.
        """
        return ()
