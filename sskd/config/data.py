"""Which images, how they become views, what becomes a label, how AP is measured."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from sskd.config.group import Frozen, NonNegative, Positive, Precision, Probability, Rate, Weight

__all__ = [
    "PERCENT",
    "DataConfig",
    "EvaluationConfig",
    "PseudoLabelConfig",
    "ViewsConfig",
]

PERCENT = "{percent}"
"""In the name of a list of labeled images: where the label fraction stands."""


class DataConfig(Frozen):
    """Which data set, and how much of it is labeled."""

    name: str
    label_fraction: Annotated[float, Field(gt=0, le=1)]
    """Where there is a ``labeled_list`` it only fills the place in its name."""
    split_seed: NonNegative
    labeled_list: Annotated[str, Field(min_length=1)] | None = None
    """A text file with one labeled image a line, ``{percent}`` in its name standing for the
    ``label_fraction``; ``null``: a seeded split. Its content counts, not its name. The default is
    for cells from before there was a key."""
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the labeled images that no stage trains on: AP is measured on them, in the place of
    val. For searches; 0 measures on val. The default is for cells from before there was a key."""

    @property
    def labeled_file(self) -> Path | None:
        """The list of this label fraction: 0.05 is 5 percent, 0.025 is 2.5."""
        if self.labeled_list is None:
            return None
        return Path(self.labeled_list.replace(PERCENT, f"{100 * self.label_fraction:g}"))


class ViewsConfig(Frozen):
    """How a training image becomes a weak and a strong view."""

    geometry: Literal["shared", "mapped"]
    crop: tuple[Positive, Positive]
    """Height and width of a view, in pixels."""
    scale: tuple[Rate, Rate]
    """The image's short side is resized to the crop's short side times a factor in this range."""
    flip: Probability
    jitter: tuple[Weight, Weight, Weight, Weight]
    """Brightness, contrast, saturation, hue."""
    jitter_probability: Probability
    grayscale: Probability
    blur_kernel: Positive
    blur_sigma: tuple[Rate, Rate]
    blur_probability: Probability
    strong_scale: tuple[Rate, Rate]
    """Share of the weak view's sides that the strong crop keeps; read if geometry is ``mapped``."""

    @model_validator(mode="after")
    def _check(self) -> "ViewsConfig":
        for name in ("scale", "blur_sigma", "strong_scale"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: the first number must not exceed the second")
        if self.blur_kernel % 2 == 0:
            raise ValueError("blur_kernel must be odd")
        if self.strong_scale[1] > 1:
            raise ValueError("strong_scale must not exceed 1")
        if self.jitter[3] > 0.5:
            raise ValueError("jitter: the hue factor must not exceed 0.5")
        return self


class PseudoLabelConfig(Frozen):
    """What of the teacher's predictions becomes a hard label."""

    score_threshold: Probability
    mask_threshold: Probability
    min_area: NonNegative
    """In pixels of the original image."""
    max_per_image: Positive
    min_mean: Weight
    """Fewer kept labels an image than this, on average, is a collapse: the run stops."""
    max_mean: Rate
    """More than this, on average, is a flood: the run stops."""
    file: Annotated[str, Field(min_length=1)] | None = None
    """A COCO result list of somebody else's teacher: the student learns from it in the place of
    ours. Its content counts, not its name; ``null``: ours. The default is for cells from before
    there was a key."""


class EvaluationConfig(Frozen):
    """How mask AP is measured."""

    short_side: Positive
    """The image's short side at the model's input; masks are scored at the original size."""
    window: Positive | None
    """Side of the squares, at the model's input, that are predicted one by one; ``null``: the
    image as a whole. For pseudo-labels too."""
    max_dets: Positive
    mask_threshold: Probability
    precision: Precision = "no"
    """Of forward passes: ``bf16`` or ``fp16`` by autocast, ``no`` in float32; scores and masks are
    made from the logits in float32. For pseudo-labels too. The default, here and below, is for
    cells from before there was a key."""
    cityscapes: bool = False
    """Whether the benchmark's own AP is measured beside COCO's, by cityscapesscripts (extra
    ``cityscapes``); for a data set of ``sskd data add-cityscapes``."""
