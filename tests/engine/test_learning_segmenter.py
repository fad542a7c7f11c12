"""The grounded teacher in the engine where SAM 2 is not frozen: it learns from masks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from grounded_cell import CLASSES, batch, config, stages_of
from torchvision.ops import box_convert

from sskd.config import Config
from sskd.engine.step import build_step
from sskd.models.build import build_model
from sskd.models.parameters import parameter_groups
from sskd.types import Batch, Targets

Settings = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("key", ["mask_weight", "dice_weight"])
def test_weights_of_masks_count_where_sam2_learns(grounded: Settings, key: str) -> None:
    def keys(**changes: Any) -> list[str]:
        return [s.key for s in stages_of(config(grounded(**changes))).values()]

    assert keys(**{key: 1.0}) == keys()
    assert keys(freeze_segmenter=False, **{key: 1.0}) != keys(freeze_segmenter=False)
    old = grounded()  # of a cell from before there was the key
    del old[key]
    assert [s.key for s in stages_of(config(old)).values()] == keys()


def with_instances_in_boxes(settings: Config) -> Batch:
    """The batch, with an instance in the surest box of each image."""
    model = build_model(
        settings.teacher, classes=CLASSES, generator=torch.Generator().manual_seed(0)
    )
    views = batch()
    with torch.no_grad():
        boxes = model(views.weak).detection.prompts[:, 0]
    corners = box_convert(boxes, "cxcywh", "xyxy").clamp(0, 1) * torch.tensor([96, 64, 96, 64])
    masks = torch.zeros(2, 1, 64, 96, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, corners.round().int(), strict=True):
        mask[:, top:bottom, left:right] = True
    return views._replace(targets=tuple(Targets(mask, torch.tensor([0])) for mask in masks))


@pytest.mark.parametrize("contrast", [0.0, 0.2])
@pytest.mark.parametrize("name", ["supervised", "self_training"])
def test_a_step_changes_a_sam2_that_is_not_frozen_and_leaves_the_boxes_gradient_as_it_is(
    grounded: Settings, name: str, contrast: float
) -> None:
    views = with_instances_in_boxes(config(grounded(freeze_segmenter=False)))
    losses, gradients = [], []
    for freeze in (True, False):
        settings = config(grounded(freeze_segmenter=freeze), teacher_contrast__weight=contrast)
        model = build_model(
            settings.teacher, classes=CLASSES, generator=torch.Generator().manual_seed(0)
        ).train()
        before = {n: p.detach().clone() for n, p in model.segmenter.named_parameters()}
        step = build_step(stages_of(settings)[name], settings, bank=None)
        optimizer = torch.optim.AdamW(parameter_groups(model, 1e-3, 0.1, 0.01))
        terms = step(model, views, torch.Generator().manual_seed(0))
        assert (terms.contrast is None) is (contrast == 0)
        terms.total.backward()
        optimizer.step()
        now = model.segmenter.named_parameters()
        changed = {n.split(".")[0] for n, p in now if not torch.equal(p, before[n])}
        parts = {"vision_encoder", "mask_decoder", "prompt_encoder", "no_memory_embedding"}
        assert changed == (set() if freeze else parts)
        losses.append(terms)
        of_boxes = [*model.detector.named_parameters(), *model.projection.named_parameters()]
        gradients.append({n: p.grad for n, p in of_boxes if p.grad is not None})
    torch.testing.assert_close(gradients[0], gradients[1])
    boxes, both = losses
    # A mask of random weights is 1/2 everywhere: 5 ln 2, and 5/3 at least for the dice.
    assert float((both.sup - boxes.sup).detach()) > 5
    if name == "self_training":
        assert float((both.semi - boxes.semi).detach()) > 5
    if contrast:
        assert boxes.contrast is not None
        assert both.contrast is not None
        torch.testing.assert_close(both.contrast.loss, boxes.contrast.loss)


def test_a_sam2_that_is_not_frozen_learns_the_masks_of_the_instances(grounded: Settings) -> None:
    settings = config(grounded(freeze_segmenter=False), teacher_contrast__weight=0.0)
    views = with_instances_in_boxes(settings)
    model = build_model(
        settings.teacher, classes=CLASSES, generator=torch.Generator().manual_seed(0)
    ).train()
    step = build_step(stages_of(settings)["supervised"], settings, bank=None)
    optimizer = torch.optim.AdamW(model.segmenter.parameters(), 3e-2)  # the boxes stay
    losses = []
    for _ in range(12):
        terms = step(model, views, torch.Generator().manual_seed(0))
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
        losses.append(float(terms.total.detach()))
    assert losses[-1] < losses[0] - 2
