"""What masks drawn in boxes add to the set loss: pairs made by hand, and no pairs."""

import pytest
import torch
from torch import Tensor

from sskd.losses.prompted_masks import prompted_mask_loss
from sskd.types import Targets

WEIGHTS = {"mask_weight": 5.0, "dice_weight": 2.0}


def masks(*corners: tuple[int, int, int, int]) -> Tensor:
    """Of 8 by 16 pixels: two by two of them are a location of the grid of 4 by 8."""
    found = torch.zeros(len(corners), 8, 16, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(found, corners, strict=True):
        mask[top:bottom, left:right] = True
    return found


def boxes(*corners: tuple[int, int, int, int]) -> Tensor:
    left, top, right, bottom = torch.tensor(corners).float().unbind(1)
    sides = [(left + right) / 32, (top + bottom) / 16, (right - left) / 16, (bottom - top) / 8]
    return torch.stack(sides, dim=1)


TWO = Targets(masks((0, 0, 8, 4), (7, 4, 16, 8)), torch.tensor([1, 0]))
NONE = Targets(masks(), torch.zeros(0, dtype=torch.int64))


def by_definition(logits: Tensor, wanted: Tensor) -> Tensor:
    p = logits.sigmoid()
    cross_entropy = -(wanted * p.log() + (1 - wanted) * (1 - p).log()).mean()
    dice = 1 - (2 * (p * wanted).sum() + 1) / (p.sum() + wanted.sum() + 1)
    return 5 * cross_entropy + 2 * dice


def test_a_box_that_overlaps_an_instance_wants_its_mask_and_no_other_does() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 4, 8, generator=generator).requires_grad_()
    prompts = torch.stack(
        [
            # The second instance; the first, by 24 of 32 pixels; half of a quarter; nothing.
            boxes((7, 4, 16, 8), (0, 0, 6, 4), (0, 0, 2, 4), (3, 0, 3, 0)),
            boxes((0, 0, 8, 4), (0, 0, 16, 8), (0, 0, 1, 1), (7, 4, 16, 8)),
            # The first one, whose box goes on beyond the image.
            boxes((-9, -5, 8, 4), (0, 4, 8, 8), (0, 0, 16, 8), (8, 0, 16, 4)),
        ]
    )
    sup, semi = prompted_mask_loss(logits, prompts, (TWO, NONE, TWO), num_labeled=2, **WEIGHTS)
    first, second = torch.zeros(2, 4, 8)
    first[:2, :4] = 1
    second[2:, 4:] = 1
    second[2:, 3] = 0.5  # a column of two pixels, of which one is the instance's
    expected = (by_definition(logits[0, 0], second) + by_definition(logits[0, 1], first)) / 2
    torch.testing.assert_close(sup, expected)
    torch.testing.assert_close(semi, by_definition(logits[2, 0], first))
    (sup + semi).backward()
    assert logits.grad is not None
    reached = logits.grad.flatten(2).abs().sum(2) > 0
    assert reached.nonzero().tolist() == [[0, 0], [0, 1], [2, 0]]


@pytest.mark.parametrize("num_labeled", [0, 1, 2])
@pytest.mark.parametrize("target", [TWO, NONE])
def test_without_pairs_it_is_zero_with_a_gradient(num_labeled: int, target: Targets) -> None:
    logits = torch.randn(2, 1, 4, 8).requires_grad_()
    prompts = boxes((0, 0, 2, 2)).expand(2, -1, -1)
    for loss in prompted_mask_loss(
        logits, prompts, (target, target), num_labeled=num_labeled, **WEIGHTS
    ):
        assert float(loss.detach()) == 0
        (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
        assert (gradient == 0).all()


def test_the_mean_of_what_two_processes_have_is_the_loss_of_the_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits = torch.randn(2, 3, 4, 8, generator=torch.Generator().manual_seed(0))
    found = boxes((7, 4, 16, 8), (0, 0, 8, 4), (0, 0, 7, 4))
    prompts = torch.stack([found, found * torch.tensor([[0.0], [1.0], [0.0]])])
    whole, _ = prompted_mask_loss(logits, prompts, (TWO, TWO), num_labeled=2, **WEIGHTS)
    # Three pairs of one process and one of the other.
    monkeypatch.setattr("sskd.processes.number", lambda: 2)
    monkeypatch.setattr("sskd.processes.mean_numbers", lambda *_: [2.0, 0.0])
    parts = [
        prompted_mask_loss(logits[k, None], prompts[k, None], (TWO,), num_labeled=1, **WEIGHTS)[0]
        for k in (0, 1)
    ]
    torch.testing.assert_close((parts[0] + parts[1]) / 2, whole)


def test_bfloat16_changes_nothing_inside() -> None:
    logits = torch.randn(1, 1, 4, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    prompts = boxes((0, 0, 8, 4))[None]
    expected, _ = prompted_mask_loss(logits.float(), prompts, (TWO,), num_labeled=1, **WEIGHTS)
    with torch.autocast("cpu", torch.bfloat16):
        under, _ = prompted_mask_loss(logits, prompts, (TWO,), num_labeled=1, **WEIGHTS)
    assert under.dtype == torch.float32
    assert torch.equal(under, expected)
