"""Scores against loops over the equations, and every sampler's distribution."""

import itertools
import math
from typing import get_args

import pytest
import torch
from scipy.stats import chi2

from sskd.config import ContrastConfig, NegativesConfig
from sskd.losses.dense_draw import draw_negatives, negative_weights
from sskd.losses.negatives import SCOPES, SCORES, SLOTS, Locations, score_vectors
from sskd.losses.sampled_contrast import LOSSES

EXPONENTS = (1.0, 2.0, 0.5)
IMAGES, GRID, QUERIES, CLASSES = 3, (2, 2), 4, 2


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def literals(model, field):
    return set(get_args(model.model_fields[field].annotation))


def test_tables_have_the_names_of_the_config():
    assert set(SCORES) == literals(NegativesConfig, "score")
    assert set(SCOPES) == literals(NegativesConfig, "scope")
    assert set(SLOTS) == literals(NegativesConfig, "cross_image_slots")
    assert set(LOSSES) == literals(ContrastConfig, "loss")


def make_logits(seed=0, size=GRID):
    generator = seeded(seed)
    masks = 2 * torch.randn(IMAGES, QUERIES, *size, generator=generator)
    return masks, 2 * torch.randn(IMAGES, QUERIES, CLASSES + 1, generator=generator)


def make_locations(score, seed=0):
    slots, classes = score_vectors(*make_logits(seed), grid=GRID, score=score)
    per_image = GRID[0] * GRID[1]
    images = torch.arange(IMAGES).repeat_interleave(per_image)
    count = len(images)
    return Locations(torch.zeros(count, 2), slots, classes, images, torch.full((count,), -2))


def softmax(values):
    exponentials = [math.exp(v) for v in values]
    return [e / sum(exponentials) for e in exponentials]


def loop_vectors(score):
    """y~ of each location from equations 1 and 2, as (image, slots, classes) in float64."""
    masks, classes = (x.double().tolist() for x in make_logits())
    rows = []
    for b in range(IMAGES):
        for i, j in itertools.product(range(GRID[0]), range(GRID[1])):
            p_m = softmax([masks[b][m][i][j] for m in range(QUERIES)])
            p_c = [softmax(classes[b][m]) for m in range(QUERIES)]
            f_c = [sum(p_m[m] * p_c[m][c] for m in range(QUERIES)) for c in range(CLASSES + 1)]
            kept = {"mask": p_m, "class": f_c, "fusion": p_m + f_c, "uniform": []}[score]
            length = math.sqrt(sum(v * v for v in kept)) or 1.0
            rows.append(
                (
                    b,
                    [v / length if score in ("mask", "fusion") else 0.0 for v in p_m],
                    [v / length if score in ("class", "fusion") else 0.0 for v in f_c],
                )
            )
    return rows


def loop_weights(score, exponent, scope, slots):
    rows = loop_vectors(score)
    table = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for i, (b, mask, kind) in enumerate(rows):
        for j, (other, other_mask, other_kind) in enumerate(rows):
            eligible = {
                "batch": i != j,
                "other-images": b != other,
                "same-image": b == other and i != j,
                "memory-bank": True,
            }[scope]
            same = b == other and scope != "memory-bank"
            product = sum(x * y for x, y in zip(kind, other_kind, strict=True))
            if same or slots == "literal":
                product += sum(x * y for x, y in zip(mask, other_mask, strict=True))
            distance = max(0.0, 1 - product)
            if eligible and distance > 1e-6:
                table[i, j] = distance**exponent
    return table


def weigh(here, pool=None, own="self", **changes):
    settings = {"exponent": 1.0, "scope": "batch", "cross_image_slots": "literal"} | changes
    own = torch.arange(len(here.images)) if isinstance(own, str) else own
    return negative_weights(here, pool or here, own=own, **settings)


def library_weights(score, exponent, scope, slots):
    anchors = make_locations(score)
    pool, own = anchors, torch.arange(len(anchors.images))
    if scope == "memory-bank":
        pool, own = anchors._replace(images=torch.full_like(anchors.images, -1)), None
    return weigh(anchors, pool, own=own, exponent=exponent, scope=scope, cross_image_slots=slots)


def chi_square(drawn, weights):
    """p-value of draws (n, r) against the law of each row of weights (n, q)."""
    expected = weights / weights.sum(1, keepdim=True) * drawn.shape[1]
    counts = torch.zeros_like(expected).scatter_add_(
        1, drawn, torch.ones(drawn.shape, dtype=expected.dtype)
    )
    possible = expected > 0
    assert counts[~possible].eq(0).all(), "drew what has no weight"
    statistic = ((counts - expected) ** 2 / expected)[possible].sum().item()
    return chi2.sf(statistic, (possible.sum() - len(weights)).item())


@pytest.mark.parametrize("slots", SLOTS)
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("score", SCORES)
class TestEverySampler:
    def test_weights_equal_the_loop(self, score, exponent, scope, slots):
        weights = library_weights(score, exponent, scope, slots)
        expected = loop_weights(score, exponent, scope, slots)
        assert weights.dtype == torch.float32
        assert weights.min() >= 0
        assert weights.max() <= 1
        # The square root of a small difference magnifies its rounding.
        torch.testing.assert_close(weights.double(), expected, rtol=2e-4, atol=1e-6)

    @pytest.mark.parametrize("replacement", [True, False])
    def test_first_draw_has_the_distribution(self, score, exponent, scope, slots, replacement):
        weights = library_weights(score, exponent, scope, slots)
        copies = 3000
        draw = draw_negatives(
            weights.repeat_interleave(copies, 0),
            2,
            replacement=replacement,
            generator=seeded(5),
        )
        assert draw.possible.all()
        first = draw.indices[:, 0].view(len(weights), copies)
        assert chi_square(first, loop_weights(score, exponent, scope, slots)) > 1e-3

    def test_conformance(self, score, exponent, scope, slots):
        weights = library_weights(score, exponent, scope, slots)
        for replacement in (True, False):
            one, same, other = (
                draw_negatives(weights, 3, replacement=replacement, generator=seeded(seed))
                for seed in (1, 1, 2)
            )
            assert one.indices.dtype == torch.int64
            assert one.indices.shape == (len(weights), 3)
            assert one.indices.min() >= 0
            assert one.indices.max() < weights.shape[1]
            assert torch.equal(one.indices, same.indices)
            assert not torch.equal(one.indices, other.indices)
            if scope != "memory-bank":
                assert (one.indices != torch.arange(len(weights))[:, None]).all()
            if not replacement:
                assert all(len(set(row.tolist())) == 3 for row in one.indices)


def test_all_draws_with_replacement_have_the_distribution():
    weights = library_weights("fusion", 1.0, "batch", "literal")
    drawn = draw_negatives(weights, 5000, replacement=True, generator=seeded()).indices
    assert chi_square(drawn, weights.double()) > 1e-3


def test_pairs_without_replacement_are_successive_draws():
    weights = torch.tensor([0.1, 0.0, 0.4, 0.2, 0.3])
    copies = 40_000
    draw = draw_negatives(
        weights.expand(copies, -1), 2, replacement=False, generator=seeded()
    ).indices
    law = torch.zeros(5, 5, dtype=torch.float64)
    for i, j in itertools.permutations(range(5), 2):
        law[i, j] = weights[i] * weights[j] / (1 - weights[i])
    assert chi_square((draw[:, 0] * 5 + draw[:, 1])[None], law.reshape(1, -1)) > 1e-3


def test_too_few_distinct_negatives_come_once_and_then_again():
    weights = torch.tensor([[0.0, 0.5, 0.5, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    draw = draw_negatives(weights, 3, replacement=False, generator=seeded())
    assert draw.repeated.tolist() == [True, False, False]
    assert draw.possible.tolist() == [True, True, False]
    assert set(draw.indices[0, :2].tolist()) == {1, 2}
    assert draw.indices[0, 2].item() in (1, 2)


@pytest.mark.parametrize("replacement", [True, False])
def test_more_negatives_than_the_pool_holds(replacement):
    weights = torch.tensor([[0.0, 1.0, 3.0]]).expand(2000, -1)
    draw = draw_negatives(weights, 20, replacement=replacement, generator=seeded())
    assert draw.indices.shape == (2000, 20)
    assert draw.repeated.all() != replacement
    rest = draw.indices if replacement else draw.indices[:, 2:]
    assert chi_square(rest.reshape(1, -1), weights[:1].double()) > 1e-3


def test_draw_reads_no_global_generator():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for replacement in (True, False):
        draw_negatives(torch.rand(4, 4, generator=seeded()), 2, replacement=replacement,
                       generator=seeded())  # fmt: skip
    assert torch.equal(before, torch.get_rng_state())


def sure_locations(queries, classes, images):
    """Locations whose query is certain, of queries whose class is certain."""
    slots = torch.eye(4)[queries]
    kinds = torch.eye(3)[classes]
    slots, kinds = SCORES["fusion"](slots, kinds)
    count = len(queries)
    return Locations(
        torch.zeros(count, 2), slots, kinds, torch.tensor(images), torch.zeros(count).long()
    )


def test_scores_of_certain_locations():
    """Same query 0, same class and other query a half, other class and query 1."""
    here = sure_locations([0, 0, 1, 2, 0], [1, 1, 1, 2, 1], [0, 0, 0, 0, 1])
    literal = weigh(here)
    torch.testing.assert_close(literal[0], torch.tensor([0.0, 0.0, 0.5, 1.0, 0.0]))
    disjoint = weigh(here, cross_image_slots="disjoint")
    torch.testing.assert_close(disjoint[0], torch.tensor([0.0, 0.0, 0.5, 1.0, 0.5]))


def test_rounding_of_equal_locations_is_no_negative():
    alike = [tensor.expand(IMAGES, *tensor.shape[1:]) for tensor in (x[:1] for x in make_logits())]
    flat = (alike[0][..., :1, :1].expand(-1, -1, *GRID), alike[1])
    slots, classes = score_vectors(*flat, grid=GRID, score="fusion")
    count = len(slots)
    here = Locations(
        torch.zeros(count, 2), slots, classes, torch.zeros(count).long(), torch.zeros(count).long()
    )
    weights = weigh(here, exponent=0.5)
    assert weights.eq(0).all()


def test_scores_that_are_not_numbers_draw_nothing():
    here = make_locations("fusion")
    here.slot_scores[0] = math.nan
    weights = weigh(here)
    draw = draw_negatives(weights, 5, replacement=True, generator=seeded())
    assert draw.possible.tolist() == [False] + [True] * (len(weights) - 1)
    assert (draw.indices[1:] != 0).all()


def test_mask_logits_are_brought_to_the_grid():
    masks, classes = make_logits(size=(4, 4))
    halved = masks.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))  # bilinear at half the size
    for whole, part in zip(
        score_vectors(masks, classes, grid=GRID, score="fusion"),
        score_vectors(halved, classes, grid=GRID, score="fusion"),
        strict=True,
    ):
        torch.testing.assert_close(whole, part)
