"""The set loss against transformers' own, given the same points, and its properties."""

import math

import pytest
import torch
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerLoss,
    pair_wise_dice_loss,
    pair_wise_sigmoid_cross_entropy_loss,
)

from sskd.losses.matching import pairwise_mask_costs
from sskd.losses.set_loss import set_loss
from sskd.types import LayerOutput, Predictions, Targets

CLASSES = 4
WEIGHTS = {"class_weight": 2.0, "mask_weight": 5.0, "dice_weight": 5.0}
SETTINGS = {
    **WEIGHTS,
    "no_object_weight": 0.1,
    "points": 60,
    "oversample_ratio": 3.0,
    "importance_ratio": 0.75,
    "deep_supervision": True,
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make_predictions(images=4, queries=6, layers=3, size=8, seed=0):
    generator = seeded(seed)
    outputs = [
        LayerOutput(
            (3 * torch.randn(images, queries, size, size, generator=generator)).requires_grad_(),
            torch.randn(images, queries, CLASSES + 1, generator=generator).requires_grad_(),
        )
        for _ in range(layers)
    ]
    *auxiliary, last = outputs
    return Predictions(last.mask_logits, last.class_logits, None, tuple(auxiliary))


def make_targets(counts, size=32, seed=1):
    generator = seeded(seed)
    targets = []
    for count in counts:
        coarse = torch.randn(count, 8, 8, generator=generator) > 0.3
        masks = coarse.repeat_interleave(size // 8, 1).repeat_interleave(size // 8, 2)
        targets.append(Targets(masks, torch.randint(0, CLASSES, (count,), generator=generator)))
    return tuple(targets)


@pytest.fixture
def fixed_points(monkeypatch):
    """Whoever asks for ``k`` random points gets the first ``k`` of one list."""
    points = torch.rand(500, 2, generator=seeded(9))

    def rand(*shape, generator=None, device=None):
        shape = torch.Size(shape[0] if isinstance(shape[0], tuple) else shape)
        assert shape[-1] == 2
        return points[: shape[-2]].expand(shape).clone()

    monkeypatch.setattr(torch, "rand", rand)


def reference(predictions, targets):
    """transformers' three parts, each summed over the layers."""
    config = Mask2FormerConfig(
        num_labels=CLASSES,
        train_num_points=SETTINGS["points"],
        oversample_ratio=SETTINGS["oversample_ratio"],
        importance_sample_ratio=SETTINGS["importance_ratio"],
        no_object_weight=SETTINGS["no_object_weight"],
        **WEIGHTS,
    )
    losses = Mask2FormerLoss(config, {})(
        predictions.mask_logits,
        predictions.class_logits,
        [target.masks.float() for target in targets],
        [target.classes for target in targets],
        [
            {"masks_queries_logits": layer.mask_logits, "class_queries_logits": layer.class_logits}
            for layer in predictions.auxiliary
        ],
    )
    return [
        sum(value for name, value in losses.items() if name.startswith(part))
        for part in ("loss_cross_entropy", "loss_mask", "loss_dice")
    ]


def part_of(predictions, images):
    return Predictions(
        predictions.mask_logits[images],
        predictions.class_logits[images],
        None,
        tuple(
            LayerOutput(layer.mask_logits[images], layer.class_logits[images])
            for layer in predictions.auxiliary
        ),
    )


@pytest.mark.parametrize(
    "counts", [(3, 1, 4, 2), (3, 0, 2, 5), (9, 2, 7, 1)], ids=["some", "an-empty-image", "too-many"]
)
@pytest.mark.parametrize("num_labeled", [1, 2])
def test_each_group_equals_transformers(fixed_points, counts, num_labeled):
    predictions, targets = make_predictions(), make_targets(counts)
    both = set_loss(predictions, targets, num_labeled=num_labeled, generator=seeded(), **SETTINGS)
    groups = (slice(0, num_labeled), slice(num_labeled, None))
    for terms, group in zip(both, groups, strict=True):
        expected = reference(part_of(predictions, group), targets[group])
        for name, value in zip(("classification", "mask", "dice"), expected, strict=True):
            torch.testing.assert_close(getattr(terms, name), value, rtol=1e-5, atol=1e-5)
        total = sum(
            weight * value for weight, value in zip(WEIGHTS.values(), expected, strict=True)
        )
        torch.testing.assert_close(terms.total, total, rtol=1e-5, atol=1e-5)


def test_gradient_equals_transformers(fixed_points):
    predictions, targets = make_predictions(), make_targets((3, 1, 4, 2))
    leaves = [predictions.mask_logits, predictions.class_logits]
    leaves += [tensor for layer in predictions.auxiliary for tensor in layer]
    sup, _ = set_loss(predictions, targets, num_labeled=4, generator=seeded(), **SETTINGS)
    ours = torch.autograd.grad(sup.total, leaves)
    parts = reference(predictions, targets)
    total = sum(weight * part for weight, part in zip(WEIGHTS.values(), parts, strict=True))
    for mine, theirs in zip(ours, torch.autograd.grad(total, leaves), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_groups_do_not_touch_each_other():
    predictions, targets = make_predictions(), make_targets((3, 1, 4, 2))
    sup, _ = set_loss(predictions, targets, num_labeled=2, generator=seeded(), **SETTINGS)
    alone, empty = set_loss(
        part_of(predictions, slice(0, 2)),
        targets[:2],
        num_labeled=2,
        generator=seeded(),
        **SETTINGS,
    )
    torch.testing.assert_close(torch.stack(sup), torch.stack(alone))
    assert torch.stack(empty).eq(0).all()
    gradient = torch.autograd.grad(sup.total, predictions.mask_logits)[0]
    assert gradient[:2].abs().sum() > 0
    assert gradient[2:].eq(0).all()


def test_no_instances_leaves_the_class_no_object():
    predictions = make_predictions(layers=1)
    flat = predictions._replace(class_logits=torch.zeros(4, 6, CLASSES + 1, requires_grad=True))
    sup, semi = set_loss(
        flat, make_targets((0, 0, 0, 0)), num_labeled=1, generator=seeded(), **SETTINGS
    )
    for terms in (sup, semi):
        assert terms.classification.item() == pytest.approx(math.log(1 + CLASSES))
        assert terms.mask.item() == terms.dice.item() == 0
    (sup.total + semi.total).backward()
    assert flat.class_logits.grad.abs().sum() > 0
    assert flat.mask_logits.grad.eq(0).all()


def test_perfect_prediction_is_near_zero_and_its_negation_is_not():
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, :32], masks[1, 32:] = True, True
    targets = (Targets(masks, torch.tensor([0, 3])),)
    logits = torch.full((1, 3, 64, 64), -30.0)
    logits[0, 2][masks[0]], logits[0, 0][masks[1]] = 30.0, 30.0
    classes = torch.full((1, 3, CLASSES + 1), -20.0)
    classes[0, [2, 0, 1], [0, 3, CLASSES]] = 20.0
    settings = SETTINGS | {"importance_ratio": 0.0, "points": 2000}  # none sought at the border
    right, _ = set_loss(
        Predictions(logits, classes, None, ()),
        targets,
        num_labeled=1,
        generator=seeded(),
        **settings,
    )
    wrong, _ = set_loss(
        Predictions(-logits, classes, None, ()),
        targets,
        num_labeled=1,
        generator=seeded(),
        **settings,
    )
    assert right.classification < 1e-6
    assert right.total < 1.5
    assert wrong.total > 50


def test_only_matched_queries_shape_masks_and_all_learn_a_class():
    predictions, targets = make_predictions(layers=1), make_targets((2, 1, 0, 3))
    sup, semi = set_loss(predictions, targets, num_labeled=2, generator=seeded(), **SETTINGS)
    (sup.total + semi.total).backward()
    touched = predictions.mask_logits.grad.flatten(2).abs().sum(-1) > 0
    assert touched.sum(1).tolist() == [2, 1, 0, 3]
    assert (predictions.class_logits.grad.abs().sum(-1) > 0).all()


def test_order_of_instances_is_of_no_consequence():
    predictions, targets = make_predictions(), make_targets((4, 3, 5, 2))
    turned = tuple(Targets(t.masks.flip(0), t.classes.flip(0)) for t in targets)
    first = set_loss(predictions, targets, num_labeled=2, generator=seeded(), **SETTINGS)
    second = set_loss(predictions, turned, num_labeled=2, generator=seeded(), **SETTINGS)
    for left, right in zip(first, second, strict=True):
        torch.testing.assert_close(torch.stack(left), torch.stack(right))


def test_deep_supervision_adds_the_earlier_layers():
    predictions, targets = make_predictions(), make_targets((3, 1, 4, 2))
    shallow = set_loss(
        predictions,
        targets,
        num_labeled=4,
        generator=seeded(),
        **SETTINGS | {"deep_supervision": False},
    )[0]
    last = set_loss(
        predictions._replace(auxiliary=()), targets, num_labeled=4, generator=seeded(), **SETTINGS
    )[0]
    deep = set_loss(predictions, targets, num_labeled=4, generator=seeded(), **SETTINGS)[0]
    assert torch.equal(shallow.total, last.total)
    assert deep.total > shallow.total


def test_float32_under_autocast():
    predictions, targets = make_predictions(), make_targets((3, 1, 4, 2))
    plain = set_loss(predictions, targets, num_labeled=2, generator=seeded(), **SETTINGS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = set_loss(predictions, targets, num_labeled=2, generator=seeded(), **SETTINGS)
    for left, right in zip(plain, cast, strict=True):
        assert right.total.dtype == torch.float32
        assert torch.equal(torch.stack(left), torch.stack(right))


def test_diverged_predictions_give_a_loss_that_is_not_finite():
    predictions, targets = make_predictions(), make_targets((3, 1, 4, 2))
    broken = predictions._replace(mask_logits=torch.full_like(predictions.mask_logits, math.nan))
    sup, _ = set_loss(broken, targets, num_labeled=4, generator=seeded(), **SETTINGS)
    assert not sup.total.isfinite()


def test_draws_from_its_generator_only():
    predictions, targets = make_predictions(), make_targets((3, 1, 4, 2))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = set_loss(predictions, targets, num_labeled=2, generator=seeded(3), **SETTINGS)
    assert torch.equal(before, torch.get_rng_state())
    again = set_loss(predictions, targets, num_labeled=2, generator=seeded(3), **SETTINGS)
    other = set_loss(predictions, targets, num_labeled=2, generator=seeded(4), **SETTINGS)
    assert torch.equal(first[0].total, again[0].total)
    assert not torch.equal(first[0].total, other[0].total)


def test_mask_costs_are_those_of_transformers():
    generator = seeded()
    logits = 20 * torch.randn(2, 5, 40, generator=generator)
    masks = torch.rand(2, 3, 40, generator=generator)
    cross_entropy, dice = pairwise_mask_costs(logits, masks)
    for image in range(2):
        torch.testing.assert_close(
            cross_entropy[image], pair_wise_sigmoid_cross_entropy_loss(logits[image], masks[image])
        )
        torch.testing.assert_close(dice[image], pair_wise_dice_loss(logits[image], masks[image]))
