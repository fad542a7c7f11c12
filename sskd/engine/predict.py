"""Instances of an image, as Mask2Former's instance inference defines them.

Axes: b images, m queries, c foreground classes, n detections of an image, h w pixels of an image,
hm wm locations of the mask logits.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from pycocotools import mask as coco_mask
from torch import Tensor, nn
from torch.nn import functional

from sskd.config import Precision
from sskd.data.coco import CocoData
from sskd.data.views import to_model_input
from sskd.engine.windows import Rle, corners, is_cut, merge, paste
from sskd.models.contract import InstanceModel
from sskd.types import Predictions

__all__ = [
    "Detections",
    "InferenceRules",
    "encode_masks",
    "evaluation_mode",
    "in_precision",
    "predict_batch",
    "predict_data",
]

_DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_CHUNK_PIXELS = 2**24
"""Most pixels of full-size mask logits at once: 64 MB in float32."""


@dataclass(frozen=True)
class Detections:
    """The instances predicted in one image, the surest first."""

    rles: tuple[Rle, ...]
    """Masks at the image's own size; never empty ones."""
    scores: Float[np.ndarray, " n"]
    """Class probability, times the mean mask probability inside the mask where the model says so;
    in (0, 1]."""
    classes: Int[np.ndarray, " n"]
    """Contiguous class indices."""
    areas: Int[np.ndarray, " n"]
    """In pixels of the image."""
    queries: Int[np.ndarray, " n"]
    """Which query each came from, of which window; one query may give several classes."""

    def __len__(self) -> int:
        return len(self.rles)


@dataclass(frozen=True, kw_only=True)
class InferenceRules:
    """What becomes a detection."""

    short_side: int
    """The model sees the image resized to this short side, in pixels."""
    window: int | None = None
    """The model sees squares of that side, in its input's pixels, one by one; ``None``: all."""
    precision: Precision = "no"
    """Of the forward pass."""
    batch: int = 16
    """Most images, or windows of one, of a forward pass."""
    max_dets: int
    """Most detections an image."""
    mask_threshold: float
    """A pixel belongs to a mask whose probability there exceeds this."""
    score_threshold: float = 0.0
    """Detections scoring this or less are left out, early and cheaply."""
    one_class: bool = False
    """Whether a query may give its most probable class only."""


def predict_batch(
    model: InstanceModel,
    images: Sequence[UInt8[np.ndarray, "h w 3"]],
    rules: InferenceRules,
    *,
    device: torch.device | str,
) -> list[Detections]:
    """Instances of images of one size, in one forward pass, unless by windows.

    Mask2Former's instance inference: of all pairs (query, class) the ``max_dets`` with the highest
    class probability; the score is that probability, times the mean mask probability inside the
    binary mask if the model scores masks; empty masks are dropped. Full-size masks exist for one
    image at a time, a chunk of queries at a time.

    Args:
        model: Gives ``Predictions`` for normalised images; is in evaluation mode meanwhile.
        images: RGB, all of one size.
        rules: What becomes a detection.
        device: Where the model is.

    Returns:
        The detections of each image, by falling score.
    """
    assert images, "no image"
    size = _size(images[0].shape[:2])
    assert all(image.shape[:2] == size for image in images), "images of several sizes in a batch"
    if rules.window is not None:
        return [_predict_windows(model, image, rules, device) for image in images]
    # Not inference_mode: what a model caches meanwhile must stay good for training.
    with torch.no_grad(), evaluation_mode(model):
        inputs = torch.stack([_resize(to_model_input(image), rules.short_side) for image in images])
        seen = _size(inputs.shape[-2:])
        inputs = _pad(inputs, model.input_multiple)
        padded = _size(inputs.shape[-2:])
        inputs = inputs.to(device)
        with in_precision(rules.precision, inputs.device):
            predictions: Predictions = model(inputs, embeddings=False)
        return [
            _detect(
                mask_logits.float(),
                model.probabilities(class_logits.float()),
                rules,
                _Frame(padded, seen, size),
                scores_masks=model.scores_masks,
            )
            for mask_logits, class_logits in zip(
                predictions.mask_logits, predictions.class_logits, strict=True
            )
        ]


def predict_data(
    model: InstanceModel,
    data: CocoData,
    rules: InferenceRules,
    *,
    device: torch.device | str,
    limit: int | None = None,
) -> Iterator[tuple[int, Detections]]:
    """Instances of a data set's images, read as they are needed; see ``predict_batch``.

    Args:
        model: Gives ``Predictions`` for normalised images.
        data: Whose images; no annotation is looked at.
        rules: What becomes a detection.
        device: Where the model is.
        limit: How many of its images, from the lowest id on; all if ``None``.

    Yields:
        Image id and detections, in the order of ``data.images``.
    """
    for _, group in groupby(data.images[:limit], key=lambda image: (image.height, image.width)):
        records = list(group)
        for start in range(0, len(records), rules.batch):
            part = records[start : start + rules.batch]
            images = [data.read_image(record.id) for record in part]
            found = predict_batch(model, images, rules, device=device)
            for record, detections in zip(part, found, strict=True):
                yield record.id, detections


def _predict_windows(
    model: InstanceModel,
    image: UInt8[np.ndarray, "h w 3"],
    rules: InferenceRules,
    device: torch.device | str,
) -> Detections:
    """Instances of one image from its windows; see ``sskd.engine.windows``."""
    assert rules.window is not None
    size = _size(image.shape[:2])
    scale = rules.short_side / min(size)
    height, width = (min(side, max(1, round(rules.window / scale))) for side in size)
    places = [(y, x) for y in corners(size[0], height) for x in corners(size[1], width)]
    part = replace(rules, short_side=max(1, round(min(height, width) * scale)), window=None)
    found: list[Detections] = []
    for start in range(0, len(places), rules.batch):
        crops = [image[y : y + height, x : x + width] for y, x in places[start:][: rules.batch]]
        found += predict_batch(model, crops, part, device=device)
    cut = [
        is_cut(rle, corner, size) for d, corner in zip(found, places, strict=True) for rle in d.rles
    ]
    rles = [
        paste(rle, corner, size) for d, corner in zip(found, places, strict=True) for rle in d.rles
    ]
    windows = np.repeat(np.arange(len(found)), [len(d) for d in found])
    scores, classes, areas, queries = (
        np.concatenate([getattr(d, name) for d in found])
        for name in ("scores", "classes", "areas", "queries")
    )
    queries = queries + windows * (1 + max(queries, default=0))
    kept = merge(rles, scores.tolist(), classes.tolist(), windows.tolist(), cut)[: rules.max_dets]
    return Detections(
        rles=tuple(rles[k] for k in kept),
        scores=scores[kept],
        classes=classes[kept],
        areas=areas[kept],
        queries=queries[kept],
    )


def in_precision(precision: Precision, device: torch.device) -> torch.autocast:
    """The context of a forward pass that predicts in a precision."""
    return torch.autocast(device.type, _DTYPES[precision], enabled=precision != "no")


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; afterwards every module in the mode it was in."""
    # Module by module: a frozen part may be in evaluation mode while the rest trains.
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def encode_masks(masks: Bool[Tensor, "n h w"]) -> list[Rle]:
    """COCO's compressed run-length encodings of masks."""
    if len(masks) == 0:
        return []
    # The encoder wants (h, w, n) in Fortran order, which is a contiguous (n, w, h).
    columns = masks.transpose(1, 2).contiguous().cpu().numpy().view(np.uint8)
    encoded = coco_mask.encode(columns.transpose(2, 1, 0))
    return [{"size": list(rle["size"]), "counts": rle["counts"].decode()} for rle in encoded]


class _Frame(NamedTuple):
    """Heights and widths on an image's way through the model, in pixels."""

    padded: tuple[int, int]
    """The model's input."""
    seen: tuple[int, int]
    """The input without its padding."""
    size: tuple[int, int]
    """The image itself."""


def _resize(image: Float[Tensor, "3 h w"], short_side: int) -> Float[Tensor, "3 h2 w2"]:
    height, width = image.shape[-2:]
    scale = short_side / min(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    if size == (height, width):
        return image
    resized = functional.interpolate(
        image[None], size=size, mode="bilinear", align_corners=False, antialias=True
    )
    return resized[0]


def _pad(images: Float[Tensor, "b 3 h w"], multiple: int) -> Float[Tensor, "b 3 h2 w2"]:
    """Zeros, the mean colour, below and to the right."""
    bottom, right = -images.shape[-2] % multiple, -images.shape[-1] % multiple
    return functional.pad(images, (0, right, 0, bottom)) if bottom or right else images


def _detect(
    mask_logits: Float[Tensor, "m hm wm"],
    probabilities: Float[Tensor, "m c"],
    rules: InferenceRules,
    frame: _Frame,
    *,
    scores_masks: bool,
) -> Detections:
    if rules.one_class:
        best = probabilities.argmax(-1, keepdim=True)
        only = torch.zeros_like(probabilities)
        probabilities = only.scatter(1, best, probabilities.gather(1, best))
    num_classes = probabilities.shape[1]
    top, index = probabilities.flatten().topk(min(rules.max_dets, probabilities.numel()))
    # A mask's mean probability is at most 1: what fails here cannot pass below.
    keep = top > rules.score_threshold
    top, index = top[keep], index[keep]
    queries, classes = index // num_classes, index % num_classes
    # A query that is listed for several classes has one mask.
    used, place = torch.unique(queries, return_inverse=True)
    certainty, areas, rles = _masks(mask_logits[used], rules.mask_threshold, frame)
    scores = top * certainty[place] if scores_masks else top
    areas = areas[place]
    order = scores.argsort(descending=True, stable=True)
    order = order[((scores > rules.score_threshold) & (areas > 0))[order]]
    return Detections(
        rles=tuple(rles[i] for i in place[order].tolist()),
        scores=scores[order].cpu().numpy(),
        classes=classes[order].cpu().numpy(),
        areas=areas[order].cpu().numpy(),
        queries=queries[order].cpu().numpy(),
    )


def _masks(
    logits: Float[Tensor, "m hm wm"], mask_threshold: float, frame: _Frame
) -> tuple[Float[Tensor, " m"], Int[Tensor, " m"], list[Rle]]:
    """Mean probability inside, area and encoding of each query's full-size mask."""
    threshold = torch.tensor(mask_threshold, dtype=torch.float64).logit().item()
    certainties = [logits.new_zeros(0)]
    areas = [logits.new_zeros(0, dtype=torch.long)]
    rles: list[Rle] = []
    chunk = max(1, _CHUNK_PIXELS // max(math.prod(frame.padded), math.prod(frame.size)))
    for start in range(0, len(logits), chunk):
        full = _upsample(logits[start : start + chunk], frame.padded)
        full = full[:, : frame.seen[0], : frame.seen[1]]
        full = _upsample(full, frame.size)  # (m, h, w)
        masks = full > threshold
        area = masks.sum((1, 2))
        certainties.append((full.sigmoid() * masks).sum((1, 2)) / area.clamp(min=1))
        areas.append(area)
        rles += encode_masks(masks)
    return torch.cat(certainties), torch.cat(areas), rles


def _upsample(logits: Float[Tensor, "m h w"], size: tuple[int, int]) -> Float[Tensor, "m h2 w2"]:
    if _size(logits.shape[-2:]) == size:
        return logits
    return functional.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]


def _size(shape: Sequence[int]) -> tuple[int, int]:
    height, width = shape
    return height, width
