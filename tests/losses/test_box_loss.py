"""The set loss on boxes: against a loop over its equation, a perfect prediction, and nothing."""

from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou

from sskd.losses.box_loss import box_set_loss, boxes_of
from sskd.types import BoxLayer, BoxPredictions, Targets

WEIGHTS = {"class_weight": 1.5, "box_weight": 5.0, "giou_weight": 2.0, "class_cost": 2.0}
TOKENS = torch.tensor([[0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0]]).bool()


def masks(*corners: tuple[int, int, int, int], size: int = 20) -> Tensor:
    found = torch.zeros(len(corners), size, size, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(found, corners, strict=True):
        mask[top:bottom, left:right] = True
    return found


TARGETS = (
    Targets(masks((2, 4, 10, 20), (10, 0, 20, 6)), torch.tensor([1, 0])),
    Targets(masks(), torch.zeros(0, dtype=torch.int64)),
    Targets(masks((0, 0, 5, 5)), torch.tensor([0])),
)


def predicted(layers: int = 2, seed: int = 0) -> BoxPredictions:
    generator = torch.Generator().manual_seed(seed)

    def layer() -> BoxLayer:
        centre = 0.2 + 0.6 * torch.rand(3, 1, 4, 2, generator=generator)
        size = 0.05 + 0.3 * torch.rand(3, 1, 4, 2, generator=generator)
        logits = torch.randn(3, 1, 4, 6, generator=generator)
        return BoxLayer(torch.cat([centre, size], dim=-1), logits)

    return in_one_sentence(*(layer() for _ in range(layers)))


def in_one_sentence(*layers: BoxLayer) -> BoxPredictions:
    return BoxPredictions(
        layers, torch.ones(1, 6, dtype=torch.bool), TOKENS, torch.zeros(2, dtype=torch.int64)
    )


def focal(logits: Tensor, wanted: Tensor) -> Tensor:
    p = logits.sigmoid()
    return torch.where(wanted, 0.25 * (1 - p) ** 2 * -p.log(), 0.75 * p**2 * -(1 - p).log())


def by_definition(layer: BoxLayer, image: int, target: Targets) -> Tensor:
    """The three sums of the matching that is cheapest of all, tried one by one."""
    boxes, logits = layer.boxes[image, 0], layer.token_logits[image, 0]
    wanted = boxes_of(target.masks)
    best, cheapest = (), torch.inf
    for chosen in permutations(range(len(boxes)), len(wanted)):
        cost = 0.0
        for query, instance in zip(chosen, range(len(wanted)), strict=True):
            own = TOKENS[target.classes[instance]]
            yes, no = (focal(logits[query], torch.full((6,), value)) for value in (True, False))
            cost += WEIGHTS["class_cost"] * float((yes - no)[own].mean())
            cost += 5 * float((boxes[query] - wanted[instance]).abs().sum())
            cost -= 2 * float(overlap(boxes[query], wanted[instance]))
        if cost < cheapest:
            best, cheapest = chosen, cost
    label = torch.zeros_like(logits, dtype=torch.bool)
    box = giou = torch.zeros(())
    for query, instance in zip(best, range(len(wanted)), strict=True):
        label[query] = TOKENS[target.classes[instance]]
        box = box + (boxes[query] - wanted[instance]).abs().sum()
        giou = giou + 1 - overlap(boxes[query], wanted[instance])
    return torch.stack([focal(logits, label).sum(), box, giou])


def overlap(one: Tensor, two: Tensor) -> Tensor:
    corners = [box_convert(box[None], "cxcywh", "xyxy") for box in (one, two)]
    return generalized_box_iou(*corners)[0, 0]


def test_it_is_the_sum_over_layers_and_matched_pairs() -> None:
    found = predicted()
    sup, semi = box_set_loss(found, TARGETS, num_labeled=2, **WEIGHTS)
    for terms, images, count in ((sup, (0, 1), 2), (semi, (2,), 1)):
        parts = sum(
            (by_definition(layer, i, TARGETS[i]) for layer in found.layers for i in images),
            torch.zeros(3),
        )
        expected = parts / count
        torch.testing.assert_close(torch.stack(terms[1:]), expected)
        torch.testing.assert_close(terms.total, expected @ torch.tensor([1.5, 5.0, 2.0]))


def test_boxes_of_a_sentence_are_compared_with_instances_of_its_classes_alone() -> None:
    """Two sentences cost what each costs alone, over all instances, however they are filled up."""
    one, two = predicted(seed=1), predicted(seed=2)
    only = [torch.tensor([True, True, True, False, False, False]), torch.ones(6, dtype=torch.bool)]
    layers = [
        BoxLayer(
            torch.cat([a.boxes, b.boxes], dim=1),
            torch.cat([a.token_logits.masked_fill(~only[0], -torch.inf), b.token_logits], dim=1),
        )
        for a, b in zip(one.layers, two.layers, strict=True)
    ]
    # The class of the second sentence stands where the first one has none of its own.
    classes = torch.stack([TOKENS[0], TOKENS[1]])
    both = BoxPredictions(tuple(layers), torch.stack(only), classes, torch.tensor([0, 1]))
    sup, _ = box_set_loss(both, TARGETS, num_labeled=3, **WEIGHTS)
    expected = torch.zeros(3)
    for wanted, found in enumerate((one, two)):
        for image, target in enumerate(TARGETS):
            own = target.classes == wanted
            part = Targets(target.masks[own], target.classes[own])
            for layer in found.layers:
                short = layer.token_logits.masked_fill(~only[wanted], -50.0)  # costs nothing
                expected += by_definition(BoxLayer(layer.boxes, short), image, part)
    torch.testing.assert_close(torch.stack(sup[1:]), expected / 3)


def test_a_perfect_prediction_costs_nothing() -> None:
    target = TARGETS[0]
    logits = torch.full((1, 2, 6), -20.0)
    for query, index in enumerate(target.classes):
        logits[0, query, TOKENS[index]] = 20
    layer = BoxLayer(boxes_of(target.masks)[None, None], logits[:, None])
    sup, semi = box_set_loss(in_one_sentence(layer), [target], num_labeled=1, **WEIGHTS)
    assert float(sup.total) == pytest.approx(0, abs=1e-5)
    assert float(semi.total) == 0


def test_images_without_instances_teach_what_is_nothing() -> None:
    found = in_one_sentence(
        *(BoxLayer(layer.boxes[1:2], layer.token_logits[1:2]) for layer in predicted().layers)
    )
    sup, _ = box_set_loss(found, TARGETS[1:2], num_labeled=1, **WEIGHTS)
    nothing = torch.zeros(1, 4, 6, dtype=torch.bool)
    expected = sum(focal(layer.token_logits[:, 0], nothing).sum() for layer in found.layers)
    torch.testing.assert_close(sup.classification, torch.as_tensor(expected))
    assert float(sup.box) == float(sup.giou) == 0


def test_the_loss_of_a_diverged_detector_is_not_a_number_and_no_exception() -> None:
    found = predicted()
    found.layers[0].boxes[0, 0, 0, 0] = torch.nan
    sup, semi = box_set_loss(found, TARGETS, num_labeled=2, **WEIGHTS)
    assert sup.total.isnan()
    assert semi.total.isfinite()


def test_bfloat16_changes_nothing_inside() -> None:
    found = predicted()
    expected, _ = box_set_loss(found, TARGETS, num_labeled=3, **WEIGHTS)
    with torch.autocast("cpu", torch.bfloat16):
        under, _ = box_set_loss(found, TARGETS, num_labeled=3, **WEIGHTS)
    assert under.total.dtype == torch.float32
    assert torch.equal(under.total, expected.total)


def test_boxes_run_from_border_to_border() -> None:
    found = boxes_of(masks((2, 4, 10, 20), (0, 0, 20, 1), (7, 7, 8, 8)))
    expected: Any = [[6, 12, 8, 16], [10, 0.5, 20, 1], [7.5, 7.5, 1, 1]]
    torch.testing.assert_close(found, torch.tensor(expected) / 20)
    assert boxes_of(masks()).shape == (0, 4)
