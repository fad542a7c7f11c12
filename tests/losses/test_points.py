"""Where masks are compared."""

import torch

from sskd.losses.points import draw_points, place_points, point_losses, sample_at


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(points=40, oversample=3.0, importance=0.75, seed=0):
    return draw_points(
        points, oversample, importance, generator=seeded(seed), device=torch.device("cpu")
    )


def test_least_certain_candidates_and_uniform_points():
    column = torch.linspace(-4, 6, 32)
    logits = torch.stack([column.expand(32, 32), column.flip(0).expand(32, 32)])
    drawn = draw()
    placed = place_points(logits, drawn)
    assert placed.shape == (2, 40, 2)
    for row in range(2):
        certainty = sample_at(logits[row][None, None], drawn.candidates[None])[0, 0].abs()
        wanted = {tuple(p.tolist()) for p in drawn.candidates[certainty.argsort()[:30]]}
        assert {tuple(p.tolist()) for p in placed[row, :30]} == wanted
        assert torch.equal(placed[row, 30:], drawn.uniform)


def test_extreme_shares():
    logits = torch.randn(3, 8, 8, generator=seeded())
    assert place_points(logits, draw(importance=0.0)).shape == (3, 40, 2)
    assert place_points(logits, draw(oversample=1.0, importance=1.0)).shape == (3, 40, 2)
    assert place_points(logits[:0], draw()).shape == (0, 40, 2)


def test_samples_are_bilinear_between_pixel_centres():
    maps = torch.tensor([[0.0, 1.0], [2.0, 3.0]])[None, None]
    points = torch.tensor([[[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.5, 0.5]]])
    assert torch.allclose(sample_at(maps, points), torch.tensor([[[0.0, 1.0, 2.0, 1.5]]]))


def test_losses_of_large_logits_are_finite():
    values = torch.full((1, 40), 1e4, requires_grad=True)
    cross_entropy, dice = point_losses(values, torch.zeros(1, 40))
    assert cross_entropy.item() == 1e4
    assert 0.9 < dice.item() <= 1
    (cross_entropy + dice).sum().backward()
    assert values.grad.isfinite().all()
