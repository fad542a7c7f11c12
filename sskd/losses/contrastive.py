"""L_pxl: pull each pixel to its twin in the strong view, push it from other instances' pixels.

Axes: b images, n locations of an image (row after row), m queries, c foreground classes,
d embedding dimensions, h w locations of the mask logits, hp wp locations of the embeddings.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from sskd.config import nearest
from sskd.losses.diagnostics import share
from sskd.losses.memory_bank import MemoryBank
from sskd.losses.negatives import SCOPES, SCORES, SLOTS, Locations, score_vectors
from sskd.losses.proposals import Law
from sskd.losses.sampled_contrast import LOSSES, sampled_contrast

__all__ = ["ContrastTerms", "contrastive_term", "match_positives"]

SNAP = 1e-3
"""Of a cell: a place so near a cell's centre is that centre, since maps come in float32."""


class ContrastTerms(NamedTuple):
    """L_pxl and what it did; all but the loss without gradient, nan where nothing is known."""

    loss: Float[Tensor, ""]
    """Mean over the anchors that count, float32; 0 if none does."""
    margin: Float[Tensor, ""]
    """Mean cosine to the positive minus mean cosine to the negatives, in [-2, 2]."""
    false_negative_rate: Float[Tensor, ""]
    """Of the negatives of anchors on an instance, the share on that very instance."""
    background_rate: Float[Tensor, ""]
    """Of the negatives of anchors on no instance, the share on no instance either."""
    sampling_entropy: Float[Tensor, ""]
    """Of the distribution that an anchor's negatives are drawn from, mean, estimated, in nats."""
    valid_anchors: Int[Tensor, ""]
    """Anchors that count: they have a positive and at least one possible negative."""
    starved_anchors: Int[Tensor, ""]
    """Anchors with a positive that are left out because every score is zero."""
    repeated_anchors: Int[Tensor, ""]
    """Anchors that count and have too few distinct negatives to draw without replacement: each
    of these once, the rest with replacement."""
    redrawn_anchors: Int[Tensor, ""]
    """Anchors that the first proposals did not serve: drawn from further ones, or from their rows
    of weights."""
    bank_age: Float[Tensor, ""]
    """Steps since the memory bank's entries were stored, mean; nan without a bank in use."""


def contrastive_term(
    anchors: Float[Tensor, "b n d"],
    positives: Float[Tensor, "b n d"],
    positive_valid: Bool[Tensor, "b n"],
    mask_logits: Float[Tensor, "b m h w"],
    class_logits: Float[Tensor, "b m c_plus_1"],
    *,
    grid: tuple[int, int],
    loss: str,
    temperature: float,
    margin: float,
    num_negatives: int,
    score: str,
    exponent: float,
    scope: str,
    replacement: bool,
    cross_image_slots: str,
    instance_ids: Int[Tensor, "b n"] | None,
    bank: MemoryBank | None,
    generator: torch.Generator,
) -> ContrastTerms:
    """The instance-aware pixel-wise contrastive term, L_pxl of arXiv 2604.03841, Sec. 3.2.

    Gradient flows into anchors, also where they serve as negatives; not into positives (the
    strong branch teaches only), nor into the logits that choose the negatives, nor into the bank.
    Float32 inside, also under autocast.

    A memory bank serves from the second step on: while it is empty, negatives come from the
    batch. Each step's locations join it after the draw.

    Args:
        anchors: Embeddings of the weak view, any scale.
        positives: Embeddings of the strong view at the same places of the image.
        positive_valid: Whether the strong view shows that place.
        mask_logits: Of the weak view.
        class_logits: Of the weak view; the last class is "no object".
        grid: Rows and columns of locations; their product is ``n``.
        loss: ``info-nce`` or ``margin-hinge``.
        temperature: > 0; read by ``info-nce``.
        margin: >= 0; read by ``margin-hinge``.
        num_negatives: An anchor, > 0.
        score: Which parts of the score vector count: a key of ``negatives.SCORES``.
        exponent: > 0, of the score.
        scope: The pool: a key of ``negatives.SCOPES``.
        replacement: Whether an anchor may get a negative twice.
        cross_image_slots: A key of ``negatives.SLOTS``.
        instance_ids: -1 none, -2 unknown, else unique in the batch; for the diagnostics only.
        bank: Required by, and read by, scope ``memory-bank`` only.
        generator: Source of the draw, on any device.

    Raises:
        ValueError: If a name is unknown, or the scope needs a bank and there is none.
    """
    for name, value, known in (
        ("loss", loss, LOSSES),
        ("score", score, SCORES),
        ("scope", scope, SCOPES),
        ("cross_image_slots", cross_image_slots, SLOTS),
    ):
        _known(name, value, known)
    if scope != "memory-bank":
        bank = None
    elif bank is None:
        raise ValueError("scope 'memory-bank' needs a memory bank")
    b, n, _ = anchors.shape
    assert n == grid[0] * grid[1], "one embedding a location of the grid"
    device = anchors.device
    with torch.autocast(device.type, enabled=False):
        with torch.no_grad():
            slots, classes = score_vectors(
                mask_logits.float(), class_logits.float(), grid=grid, score=score
            )
        here = Locations(
            embeddings=_unit(anchors),
            slot_scores=slots,
            class_scores=classes,
            images=torch.arange(b, device=device).repeat_interleave(n),
            instances=(
                torch.full((b * n,), -2, device=device)
                if instance_ids is None
                else instance_ids.flatten()
            ),
        )
        valid = positive_valid.flatten()
        in_use = bank if bank is not None and len(bank) else None
        age = here.embeddings.new_tensor(torch.nan)
        if in_use is not None:
            age = 1 + in_use.ages().float().mean()
        rows = sampled_contrast(
            here,
            _unit(positives.detach()),
            valid,
            here if in_use is None else in_use.locations(),
            Law(num_negatives, exponent, scope, replacement, cross_image_slots),
            loss=loss,
            temperature=temperature,
            margin=margin,
            generator=generator,
        )
        if bank is not None:
            bank.push(here, generator=generator)
        counts = valid & rows.possible
        watched = counts & rows.watched
        on_instance = watched & (here.instances >= 0)
        on_nothing = watched & (here.instances == -1)
        cosines = rows.positive_cosine - rows.negative_cosine
        return ContrastTerms(
            loss=rows.loss,
            margin=share(torch.where(watched, cosines, 0), watched),
            false_negative_rate=share(rows.same * on_instance, rows.judged * on_instance),
            background_rate=share(rows.same * on_nothing, rows.judged * on_nothing),
            sampling_entropy=share(torch.where(watched, rows.surprise, 0), watched),
            valid_anchors=counts.sum(),
            starved_anchors=(valid & ~rows.possible).sum(),
            repeated_anchors=(counts & rows.repeated).sum(),
            redrawn_anchors=rows.again.sum(),
            bank_age=age,
        )


@torch.no_grad()
def match_positives(
    strong_embeddings: Float[Tensor, "b d hp wp"],
    weak_to_strong: Float[Tensor, "b 3 3"],
    image_size: tuple[int, int],
    grid: tuple[int, int],
) -> tuple[Float[Tensor, "b n d"], Bool[Tensor, "b n"]]:
    """The strong view's embeddings at the places of the weak view's locations.

    A location is the centre of its cell. Its place in the strong view is looked up bilinearly;
    where it falls on a cell's centre, as under identity and flips, the value is that cell's own.

    Args:
        strong_embeddings: Of the strong view.
        weak_to_strong: Homogeneous map of pixel coordinates (x, y, 1), where pixel centres are
            whole numbers, as in Kornia and OpenCV.
        image_size: Height and width of both views, in pixels.
        grid: Rows and columns of the weak view's locations.

    Returns:
        Embeddings without gradient, row after row; and whether all four cells that a value comes
        from lie in the strong view, so that nothing is made up beyond its border.
    """
    b, d, hp, wp = strong_embeddings.shape
    height, width = image_size
    device = strong_embeddings.device
    y = (torch.arange(grid[0], device=device) + 0.5).double() * (height / grid[0]) - 0.5
    x = (torch.arange(grid[1], device=device) + 0.5).double() * (width / grid[1]) - 0.5
    ys, xs = torch.meshgrid(y, x, indexing="ij")
    centres = torch.stack([xs, ys, torch.ones_like(xs)]).flatten(1)  # (3, n)
    mapped = torch.einsum("bij,jn->bin", weak_to_strong.double(), centres)
    pixels = mapped[:, :2] / mapped[:, 2:]
    place = (pixels + 0.5) * pixels.new_tensor([[wp / width], [hp / height]]) - 0.5
    whole = place.round()
    place = torch.where((place - whole).abs() < SNAP, whole, place)  # (b, 2, n), in cells
    last = place.new_tensor([[wp - 1], [hp - 1]])
    valid = ((place >= 0) & (place <= last)).all(dim=1)
    low = torch.minimum(place.floor().clamp(min=0), last)
    high = (place - low).clamp(0, 1).to(strong_embeddings.dtype)  # (b, 2, n), share of the next
    flat = strong_embeddings.flatten(2)
    value = torch.zeros(b, d, centres.shape[1], device=flat.device, dtype=flat.dtype)
    for right in (0, 1):
        for below in (0, 1):
            corner = torch.minimum(low + place.new_tensor([[right], [below]]), last).long()
            index = corner[:, 1] * wp + corner[:, 0]  # (b, n)
            weight_x = high[:, 0] if right else 1 - high[:, 0]
            weight_y = high[:, 1] if below else 1 - high[:, 1]
            taken = flat.gather(2, index[:, None].expand(-1, d, -1))
            value += taken * (weight_x * weight_y)[:, None]
    return value.transpose(1, 2), valid


def _unit(embeddings: Float[Tensor, "b n d"]) -> Float[Tensor, "bn d"]:
    return functional.normalize(embeddings.float().flatten(0, 1), dim=-1, eps=1e-6)


def _known(name: str, value: str, known: Mapping[str, object]) -> None:
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}{nearest(value, known)}")
