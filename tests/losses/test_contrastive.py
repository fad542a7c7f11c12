"""L_pxl against loops over its equations, closed forms, and what it must leave alone."""

import math

import pytest
import torch
from drawn import negatives_of

from sskd.losses.contrastive import contrastive_term
from sskd.losses.dense_draw import negative_weights
from sskd.losses.memory_bank import MemoryBank
from sskd.losses.negatives import Locations, score_vectors
from sskd.losses.proposals import Law, propose

B, GRID, D, QUERIES, CLASSES = 3, (2, 3), 5, 4, 2
N = GRID[0] * GRID[1]
SETTINGS = {
    "grid": GRID,
    "loss": "info-nce",
    "temperature": 0.2,
    "margin": 0.2,
    "num_negatives": 7,
    "score": "fusion",
    "exponent": 1.0,
    "scope": "batch",
    "replacement": True,
    "cross_image_slots": "literal",
    "instance_ids": None,
    "bank": None,
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make_inputs(seed=0):
    generator = seeded(seed)
    return {
        "anchors": torch.randn(B, N, D, generator=generator).requires_grad_(),
        "positives": torch.randn(B, N, D, generator=generator).requires_grad_(),
        "positive_valid": torch.rand(B, N, generator=generator) > 0.2,
        "mask_logits": torch.randn(B, QUERIES, 4, 6, generator=generator).requires_grad_(),
        "class_logits": torch.randn(B, QUERIES, CLASSES + 1, generator=generator).requires_grad_(),
    }


def term(inputs, seed=1, **changes):
    return contrastive_term(**inputs, **SETTINGS | changes, generator=seeded(seed))


def drawn_indices(inputs, seed=1, **changes):
    """The negatives that ``term`` draws with the same seed; their law is tested elsewhere."""
    settings = SETTINGS | changes
    slots, classes = score_vectors(
        inputs["mask_logits"].detach(), inputs["class_logits"].detach(), grid=GRID,
        score=settings["score"],
    )  # fmt: skip
    images = torch.arange(B).repeat_interleave(N)
    here = Locations(torch.zeros(B * N, D), slots, classes, images, images)
    own = torch.arange(B * N)
    names = ("exponent", "scope", "cross_image_slots")
    weights = negative_weights(here, here, own=own, **{name: settings[name] for name in names})
    law = Law(**{name: settings[name] for name in Law._fields})
    indices = negatives_of(propose(here, here, law, own=own, generator=seeded(seed)), B * N, law)
    return indices, weights


def cosine(a, b):
    return (a * b).sum() / (a * a).sum().sqrt() / (b * b).sum().sqrt()


def loop(inputs, anchors, indices, loss="info-nce", temperature=0.2, margin=0.2, **_):
    """Equation 4 of the term, or the hinge, location by location in float64."""
    z = anchors.reshape(-1, D)
    positives = inputs["positives"].detach().double().reshape(B * N, D)
    valid = inputs["positive_valid"].flatten()
    losses, gaps = [], []
    for p in range(B * N):
        if not valid[p]:
            continue
        close = cosine(z[p], positives[p])
        far = [cosine(z[p], z[q]) for q in indices[p].tolist()]
        if loss == "info-nce":
            top = (close / temperature).exp()
            losses.append(-(top / (top + sum((x / temperature).exp() for x in far))).log())
        else:
            hinges = [torch.clamp(margin - close + x, min=0) for x in far]
            losses.append(sum(hinges) / len(hinges))
        gaps.append((close - sum(far) / len(far)).detach())
    return sum(losses) / len(losses), sum(gaps) / len(gaps)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temperature": 0.05, "scope": "other-images", "cross_image_slots": "disjoint"},
        {"loss": "margin-hinge"},
        {"loss": "margin-hinge", "margin": 1.5, "scope": "same-image", "score": "class"},
        {"replacement": False, "num_negatives": 4, "score": "mask", "exponent": 2.0},
    ],
    ids=["info-nce", "cold-other-images", "hinge", "wide-hinge-same-image", "no-replacement"],
)
def test_value_and_gradient_equal_the_loop(changes):
    inputs = make_inputs()
    terms = term(inputs, **changes)
    (gradient,) = torch.autograd.grad(terms.loss, inputs["anchors"])
    exact = inputs["anchors"].detach().double().requires_grad_()
    indices, _ = drawn_indices(inputs, **changes)
    value, gap = loop(inputs, exact, indices, **changes)
    torch.testing.assert_close(terms.loss.double(), value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(terms.margin.double(), gap, rtol=1e-5, atol=1e-6)
    (expected,) = torch.autograd.grad(value, exact)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("num_negatives", [1, 7, 100])
def test_equal_embeddings_cost_log_of_the_candidates(num_negatives):
    inputs = make_inputs()
    inputs["anchors"] = torch.ones(B, N, D)
    inputs["positives"] = 3 * torch.ones(B, N, D)
    terms = term(inputs, num_negatives=num_negatives)
    assert terms.loss.item() == pytest.approx(math.log(1 + num_negatives), rel=1e-6)
    assert terms.margin.item() == pytest.approx(0, abs=1e-6)
    hinge = term(inputs, num_negatives=num_negatives, loss="margin-hinge", margin=0.35)
    assert hinge.loss.item() == pytest.approx(0.35, rel=1e-5)


def test_scale_of_embeddings_is_of_no_consequence():
    inputs = make_inputs()
    scaled = inputs | {"anchors": 7 * inputs["anchors"], "positives": inputs["positives"] / 9}
    torch.testing.assert_close(term(inputs).loss, term(scaled).loss)


def test_gradient_flows_into_anchors_only():
    inputs = make_inputs()
    term(inputs).loss.backward()
    assert inputs["anchors"].grad.abs().sum() > 0
    for name in ("positives", "mask_logits", "class_logits"):
        assert inputs[name].grad is None


def test_negatives_learn_too():
    """A location that is no anchor, for lack of a positive, moves where it is a negative."""
    inputs = make_inputs()
    inputs["positive_valid"] = torch.zeros(B, N, dtype=torch.bool)
    inputs["positive_valid"][0, 0] = True
    indices, _ = drawn_indices(inputs)
    term(inputs).loss.backward()
    moved = (inputs["anchors"].grad.abs().sum(-1) > 0).flatten().nonzero().flatten().tolist()
    assert set(moved) == {0, *indices[0].tolist()}


def test_float32_under_autocast():
    inputs = make_inputs()
    plain = term(inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = term(inputs)
    assert cast.loss.dtype == torch.float32
    assert torch.equal(plain.loss, cast.loss)
    halves = {k: v.bfloat16() if v.is_floating_point() else v for k, v in inputs.items()}
    assert term(halves).loss.dtype == torch.float32


def test_one_instance_that_fills_the_pool_starves_every_anchor():
    inputs = make_inputs()
    inputs["mask_logits"] = torch.full((B, QUERIES, 4, 6), -50.0)
    inputs["mask_logits"][:, 1] = 50
    inputs["class_logits"] = torch.zeros(B, QUERIES, CLASSES + 1)
    inputs["class_logits"][..., 0] = 50
    terms = term(inputs)
    assert terms.loss.item() == 0
    assert terms.valid_anchors.item() == 0
    assert terms.starved_anchors.item() == inputs["positive_valid"].sum().item()
    assert terms.margin.isnan()
    terms.loss.backward()
    assert inputs["anchors"].grad.eq(0).all()


def test_one_image_has_no_other_images():
    inputs = {name: value[:1].detach() for name, value in make_inputs().items()}
    terms = term(inputs, scope="other-images")
    assert terms.loss.item() == 0
    assert terms.starved_anchors.item() == inputs["positive_valid"].sum().item()


def test_starved_anchors_leave_the_mean():
    """One location differs from all the others, which differ from it alone."""
    inputs = make_inputs()
    inputs["positive_valid"] = torch.ones(B, N, dtype=torch.bool)
    inputs["positive_valid"][0, 1:3] = False
    inputs["mask_logits"] = torch.full((B, QUERIES, *GRID), -50.0)
    inputs["mask_logits"][:, 1] = 50
    inputs["class_logits"] = torch.zeros(B, QUERIES, CLASSES + 1)
    inputs["mask_logits"][0, :, 0, 0] = torch.tensor([50.0, -50, -50, -50])
    terms = term(inputs, scope="same-image", score="mask")
    assert terms.valid_anchors.item() == N - 2  # of the first image, with a positive
    assert terms.starved_anchors.item() == (B - 1) * N


def test_anchors_without_positives_are_no_loss():
    inputs = make_inputs()
    inputs["positive_valid"] = torch.zeros(B, N, dtype=torch.bool)
    terms = term(inputs)
    assert terms.loss.item() == terms.valid_anchors.item() == terms.starved_anchors.item() == 0
    terms.loss.backward()
    assert inputs["anchors"].grad.eq(0).all()


def test_too_few_distinct_negatives_are_counted():
    inputs = make_inputs()
    terms = term(inputs, scope="same-image", replacement=False, num_negatives=N)
    assert terms.repeated_anchors.item() == terms.valid_anchors.item() > 0
    assert terms.loss.isfinite()
    enough = term(inputs, scope="same-image", replacement=False, num_negatives=N - 1)
    assert enough.repeated_anchors.item() == 0
    assert term(inputs, num_negatives=1000).repeated_anchors.item() == 0


def test_same_generator_same_draw():
    inputs = make_inputs()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert torch.equal(term(inputs, seed=3).loss, term(inputs, seed=3).loss)
    assert not torch.equal(term(inputs, seed=3).loss, term(inputs, seed=4).loss)
    assert torch.equal(before, torch.get_rng_state())


def test_rates_count_pairs_by_instance():
    inputs = make_inputs()
    ids = torch.tensor([[0, 0, -1, -1, 1, 1], [2, 2, 2, -1, -1, -1], [-2] * 6])
    terms = term(inputs, instance_ids=ids, num_negatives=50)
    indices, _ = drawn_indices(inputs, num_negatives=50)
    counts = {"instance": [0, 0], "background": [0, 0]}
    flat, valid = ids.flatten().tolist(), inputs["positive_valid"].flatten()
    for p, own in enumerate(flat):
        if not valid[p] or own == -2:
            continue
        for q in indices[p].tolist():
            if own == -1 and flat[q] == -2:
                continue  # whether that is background is unknown
            kind = counts["instance" if own >= 0 else "background"]
            kind[0] += flat[q] == own
            kind[1] += 1
    assert 0 < counts["instance"][0] < counts["instance"][1]
    for rate, (same, all_pairs) in zip(
        (terms.false_negative_rate, terms.background_rate), counts.values(), strict=True
    ):
        assert rate.item() == pytest.approx(same / all_pairs)


def test_rates_are_nan_where_nothing_is_known():
    terms = term(make_inputs())
    assert terms.false_negative_rate.isnan()
    assert terms.background_rate.isnan()


@pytest.mark.parametrize("replacement", [True, False])
def test_entropy_estimates_that_of_the_weights(replacement):
    inputs = make_inputs()
    _, weights = drawn_indices(inputs)
    p = (weights / weights.sum(1, keepdim=True))[inputs["positive_valid"].flatten()]
    exact = torch.special.entr(p).sum(1).mean().item()
    draws = [
        term(inputs, seed=s, num_negatives=20, replacement=replacement).sampling_entropy.item()
        for s in range(150)
    ]
    assert sum(draws) / len(draws) == pytest.approx(exact, abs=0.03)


def test_bank_serves_from_the_second_step():
    bank = MemoryBank(size=100, dim=D)
    settings = {"scope": "memory-bank", "bank": bank}
    inputs = make_inputs()
    first = term(inputs, **settings)
    assert torch.equal(first.loss, term(inputs).loss)  # from the batch while the bank is empty
    assert len(bank) == B * N
    stored = bank.locations().embeddings.clone()
    assert not stored.requires_grad
    later = make_inputs(seed=8)
    later["positive_valid"] = torch.zeros(B, N, dtype=torch.bool)
    later["positive_valid"][0, 0] = True
    second = term(later, instance_ids=torch.zeros(B, N, dtype=torch.int64), **settings)
    second.loss.backward()
    moved = (later["anchors"].grad.abs().sum(-1) > 0).flatten().nonzero().flatten().tolist()
    assert moved == [0]  # nobody in the batch was a negative
    assert second.false_negative_rate.isnan()
    assert first.bank_age.isnan()
    assert second.bank_age == 1
    assert term(make_inputs(), **settings).bank_age == 1.5
    assert torch.equal(bank.locations().embeddings[: B * N], stored)


@pytest.mark.parametrize("num_negatives", [1, 7], ids=["few-of-many", "many"])
def test_value_and_gradient_with_a_bank_equal_the_loop(num_negatives):
    bank = MemoryBank(size=60, dim=D)
    settings = {"scope": "memory-bank", "bank": bank, "num_negatives": num_negatives}
    for seed in range(4):
        term(make_inputs(seed), **settings)
    inputs = make_inputs(9)
    pool = Locations(*(values.clone() for values in bank.locations()))
    slots, classes = score_vectors(
        inputs["mask_logits"].detach(), inputs["class_logits"].detach(), grid=GRID, score="fusion"
    )
    images = torch.arange(B).repeat_interleave(N)
    here = Locations(torch.zeros(B * N, D), slots, classes, images, images)
    law = Law(num_negatives, 1.0, "memory-bank", replacement=True, cross_image_slots="literal")
    tiles = propose(here, pool, law, own=None, generator=seeded(1))
    indices = negatives_of(tiles, B * N, law)
    terms = term(inputs, **settings)
    (gradient,) = torch.autograd.grad(terms.loss, inputs["anchors"])
    exact = inputs["anchors"].detach().double().requires_grad_()
    table = torch.cat([exact.reshape(B * N, D), pool.embeddings.double()])
    value, _ = loop(inputs, table, indices + B * N)
    torch.testing.assert_close(terms.loss.double(), value, rtol=1e-5, atol=1e-6)
    (expected,) = torch.autograd.grad(value, exact)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-4, atol=1e-6)


def test_bank_is_left_alone_by_other_scopes():
    bank = MemoryBank(size=100, dim=D)
    term(make_inputs(), bank=bank)
    assert len(bank) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": "fussion"}, "unknown score 'fussion'; did you mean 'fusion'?"),
        ({"scope": "bank"}, "unknown scope 'bank'; did you mean 'memory-bank'?"),
        ({"loss": "hinge"}, "unknown loss 'hinge'; did you mean 'margin-hinge'?"),
        ({"cross_image_slots": "x"}, "unknown cross_image_slots 'x'; known: disjoint, literal"),
        ({"scope": "memory-bank"}, "scope 'memory-bank' needs a memory bank"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(ValueError) as caught:
        term(make_inputs(), **changes)
    assert str(caught.value).startswith(message.split(";")[0])
    assert "\n" not in str(caught.value)
    if "known:" in message:
        assert str(caught.value) == message
