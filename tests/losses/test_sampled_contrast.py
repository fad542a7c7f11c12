"""Losses and gradient in one pass, against the literal term on the same negatives."""

import math

import pytest
import torch
from drawn import negatives_of

from sskd.bench.literal import literal_contrast, literal_losses
from sskd.losses.negatives import SCOPES, Locations, score_vectors
from sskd.losses.proposals import Law, propose
from sskd.losses.sampled_contrast import LOSSES, sampled_contrast

IMAGES, GRID, QUERIES, CLASSES, D = 2, (3, 4), 4, 2, 3
N = IMAGES * GRID[0] * GRID[1]
LAW = Law(6, 1.0, "batch", replacement=True, cross_image_slots="literal")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def unit(*shape, seed):
    drawn = torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(drawn, dim=-1)


def make(embeddings, images=0, score="fusion"):
    generator = seeded(3)
    masks = 2 * torch.randn(IMAGES, QUERIES, *GRID, generator=generator)
    classes = torch.randn(IMAGES, QUERIES, CLASSES + 1, generator=generator)
    slots, kinds = score_vectors(masks, classes, grid=GRID, score=score)
    where = torch.arange(IMAGES).repeat_interleave(N // IMAGES)
    dtype = embeddings.dtype
    return Locations(embeddings, slots.to(dtype), kinds.to(dtype), where + images, where)


def settings(loss, temperature=0.2):
    return {"loss": loss, "temperature": temperature, "margin": 0.4}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("temperature", [0.5, 0.01])  # without and with a shift of the logits
@pytest.mark.parametrize("bank", [False, True])
def test_gradient_passes_gradcheck_and_equals_the_literal_one(loss, temperature, bank):
    """In float64, of both the anchors and a pool of others that learns."""
    positives, counts = unit(N, D, seed=1), torch.rand(N, generator=seeded(2)) > 0.2
    z, others = unit(N, D, seed=4).requires_grad_(), unit(N, D, seed=5).requires_grad_()

    def ours(z, others):
        anchors = make(z)
        pool = make(others, images=10) if bank else anchors
        return sampled_contrast(
            anchors, positives, counts, pool, LAW, **settings(loss, temperature),
            generator=seeded(7),
        ).loss  # fmt: skip

    inputs = (z, others) if bank else (z,)
    if loss == "info-nce" or temperature == 0.5:
        assert torch.autograd.gradcheck(
            lambda *x: ours(x[0], x[-1]), inputs, atol=1e-6, eps=1e-7, rtol=1e-4
        )
    anchors = make(z.detach())
    pool = make(others.detach(), images=10) if bank else anchors
    own = None if bank else torch.arange(N)
    indices = negatives_of(propose(anchors, pool, LAW, own=own, generator=seeded(7)), N, LAW)
    far = (others if bank else z)[indices]
    literal = literal_losses(z, positives, far, **settings(loss, temperature))[counts].mean()
    value = ours(z, others)
    torch.testing.assert_close(value, literal)
    for mine, theirs in zip(
        torch.autograd.grad(value, inputs), torch.autograd.grad(literal, inputs), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-9)


def test_candidates_that_are_no_negatives_do_not_drown_a_cold_loss():
    """exp((-0.5 - 0.95) / 0.01) is 0 in float32, but 0.95 is not among the negatives."""
    out = LOSSES["info-nce"](
        torch.tensor([[-50.0]]), torch.tensor([[[95.0, -60.0]]]), torch.tensor([[[0.0, 1.0]]]),
        num_negatives=1, scale=100.0, margin=0.0,
    )  # fmt: skip
    assert out.losses.item() == pytest.approx(math.log1p(math.exp(-10)), rel=5e-3)
    assert (out.negatives * out.factor).sum().item() == pytest.approx(
        1 / (1 + math.exp(10)), rel=1e-3
    )


@pytest.mark.parametrize(
    ("loss", "score", "exponent", "scope"),
    [
        ("margin-hinge", "fusion", 1.0, "batch"),
        ("info-nce", "fusion", 1.0, "batch"),
        ("info-nce", "uniform", 1.0, "other-images"),
        ("info-nce", "mask", 1.0, "same-image"),
        ("info-nce", "class", 0.5, "memory-bank"),
        ("info-nce", "fusion", 2.0, "other-images"),
        ("info-nce", "mask", 2.0, "memory-bank"),
        ("info-nce", "class", 0.5, "same-image"),
    ],
)
def test_expected_loss_and_gradient_equal_the_literal_ones(loss, score, exponent, scope):
    positives, counts = unit(N, D, seed=1), torch.ones(N, dtype=torch.bool)
    z = unit(N, D, seed=4).requires_grad_()
    anchors = make(z, score=score)
    bank = make(unit(N, D, seed=5), images=10, score=score)
    pool = bank if scope == "memory-bank" else anchors
    law = LAW._replace(exponent=exponent, scope=scope)

    def sample(term, seed):
        value = term(
            anchors, positives, counts, pool, law, **settings(loss), generator=seeded(seed)
        )  # fmt: skip
        value = getattr(value, "loss", value)
        return torch.cat([value.detach()[None], torch.autograd.grad(value, z)[0].flatten()])

    mine = torch.stack([sample(sampled_contrast, seed) for seed in range(120)])
    theirs = torch.stack([sample(literal_contrast, seed + 1000) for seed in range(120)])
    error = ((mine.var(0) + theirs.var(0)) / 120).sqrt()
    deviation = (mine.mean(0) - theirs.mean(0)) / error
    assert abs(deviation[0]) < 3
    assert deviation.square().mean().sqrt() < 1.3  # of all entries of the gradient


def test_counts_anchors_that_the_first_proposals_did_not_serve():
    """All but two locations are alike: most anchors come to rows of weights."""
    anchors = make(unit(N, D, seed=4).float())
    for values in anchors[1:3]:
        values[:] = 0
    anchors.slot_scores[:, 0] = 1
    anchors.slot_scores[:2, 0], anchors.slot_scores[:2, 1] = 0.6, 0.8
    rows = sampled_contrast(
        anchors, unit(N, D, seed=1).float(), torch.ones(N, dtype=torch.bool), anchors,
        LAW._replace(num_negatives=300), **settings("info-nce"), generator=seeded(),
    )  # fmt: skip
    assert rows.possible.all()
    assert rows.again[2:].all()


@pytest.mark.gpu
@pytest.mark.parametrize("scope", SCOPES)
def test_a_gpu_has_the_gradient_of_the_processor(scope):
    """From numbers that are drawn on the processor."""

    def gradient(device):
        z = unit(N, D, seed=4).float().to(device).requires_grad_()
        anchors, bank = (
            Locations(*(x.to(device) for x in make(e, images)))
            for e, images in ((z.cpu(), 0), (unit(N, D, seed=5).float(), 10))
        )
        anchors = anchors._replace(embeddings=z)
        out = sampled_contrast(
            anchors, unit(N, D, seed=1).float().to(device),
            torch.ones(N, dtype=torch.bool, device=device),
            bank if scope == "memory-bank" else anchors, LAW._replace(scope=scope),
            **settings("info-nce"), generator=seeded(),
        )  # fmt: skip
        return torch.autograd.grad(out.loss, z)[0].cpu()

    torch.testing.assert_close(gradient("cuda"), gradient("cpu"), rtol=1e-3, atol=1e-5)


def test_a_frozen_pool_gets_no_gradient():
    z, others = unit(N, D, seed=4).requires_grad_(), unit(N, D, seed=5)
    rows = sampled_contrast(
        make(z), unit(N, D, seed=1), torch.ones(N, dtype=torch.bool), make(others, images=10), LAW,
        **settings("info-nce"), generator=seeded(),
    )  # fmt: skip
    rows.loss.backward()
    assert z.grad is not None
    assert others.grad is None


def test_diagnostics_of_a_sample_stand_for_all(monkeypatch):
    z = unit(N, D, seed=4).float()
    anchors, positives = make(z), unit(N, D, seed=1).float()
    anchors = anchors._replace(instances=torch.arange(N) % 3)
    counts = torch.ones(N, dtype=torch.bool)
    law = LAW._replace(num_negatives=15)

    def rows():
        return sampled_contrast(
            anchors, positives, counts, anchors, law, **settings("info-nce"), generator=seeded()
        )  # fmt: skip

    everyone = rows()
    assert everyone.watched.all()
    monkeypatch.setattr("sskd.losses.proposals.WATCHED", 8)
    few = rows()
    assert 8 <= few.watched.sum() < N
    spread = anchors.images[few.watched].unique()
    assert len(spread) == IMAGES
    for name in ("positive_cosine", "negative_cosine", "same", "judged", "surprise"):
        seen = getattr(few, name)[few.watched]
        torch.testing.assert_close(seen, getattr(everyone, name)[few.watched])
    assert torch.equal(few.loss, everyone.loss)
