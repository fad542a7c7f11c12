"""Where a location of the weak view lies in the strong view."""

import pytest
import torch

from sskd.losses.contrastive import match_positives

SIZE, GRID = (32, 48), (4, 6)  # cells of 8 pixels
IDENTITY = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]


def embeddings(seed=0):
    return torch.randn(2, 5, *GRID, generator=torch.Generator().manual_seed(seed))


def match(values, matrix):
    matrices = torch.tensor(matrix).expand(2, 3, 3)
    found, valid = match_positives(values, matrices, SIZE, GRID)
    return found.transpose(1, 2).unflatten(2, GRID), valid.unflatten(1, GRID)


def test_identity_is_exact():
    values = embeddings()
    found, valid = match(values, IDENTITY)
    assert torch.equal(found, values)
    assert valid.all()


def test_flip_is_exact():
    values = embeddings()
    found, valid = match(values, [[-1.0, 0, SIZE[1] - 1], [0, 1, 0], [0, 0, 1]])
    assert torch.equal(found, values.flip(3))
    assert valid.all()


def test_crop_by_whole_cells_is_exact():
    values = embeddings()
    found, valid = match(values, [[1.0, 0, -16], [0, 1, -8], [0, 0, 1]])
    assert torch.equal(found[:, :, 1:, 2:], values[:, :, :-1, :-2])
    assert valid[:, 1:, 2:].all()
    assert valid.sum() == 2 * 3 * 4


def test_enlarged_crop_of_a_ramp_is_exact():
    """The strong view is the weak view's middle at twice the size; the feature is the place."""
    ys, xs = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    values = torch.stack([xs, ys]).expand(2, 2, *GRID)
    # Pixel (x + 0.5) goes to 2 (x + 0.5) - size / 2, in edges of pixels.
    shift_x, shift_y = 0.5 - SIZE[1] / 2, 0.5 - SIZE[0] / 2
    found, valid = match(values, [[2.0, 0, shift_x], [0, 2, shift_y], [0, 0, 1]])
    expected = torch.stack([2 * (xs + 0.5) - 3 - 0.5, 2 * (ys + 0.5) - 2 - 0.5])
    inside = (expected >= 0).all(0) & (expected[0] <= 5) & (expected[1] <= 3)
    assert torch.equal(valid, inside.expand(2, *GRID))
    assert 0 < inside.sum() < inside.numel()
    torch.testing.assert_close(found[:, :, inside], expected.expand(2, -1, *GRID)[:, :, inside])


def test_shift_by_half_a_cell_is_the_mean_of_two():
    values = embeddings()
    found, valid = match(values, [[1.0, 0, -4], [0, 1, 0], [0, 0, 1]])
    torch.testing.assert_close(found[..., 1:], (values[..., 1:] + values[..., :-1]) / 2)
    assert valid[..., 1:].all()
    assert not valid[..., 0].any()


def test_nothing_in_common():
    found, valid = match(embeddings(), [[1.0, 0, 1000], [0, 1, 0], [0, 0, 1]])
    assert not valid.any()
    assert found.isfinite().all()


def test_projective_scale_is_divided_out():
    values = embeddings()
    found, valid = match(values, [[3.0, 0, 0], [0, 3, 0], [0, 0, 3]])
    assert torch.equal(found, values)
    assert valid.all()


def test_other_grid_than_the_strong_view_has():
    values = torch.arange(6.0).expand(2, 1, 4, 6)
    matrices = torch.eye(3).expand(2, 3, 3)
    found, valid = match_positives(values, matrices, SIZE, (2, 3))
    assert torch.equal(found[0, :3, 0], torch.tensor([0.5, 2.5, 4.5]))
    assert valid.all()


@pytest.mark.parametrize("cast", [False, True])
def test_no_gradient_and_the_dtype_that_came(cast):
    values = embeddings().bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=cast):
        found, _ = match(values, IDENTITY)
    assert not found.requires_grad
    assert torch.equal(found, values)
