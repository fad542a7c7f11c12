"""Negatives drawn from shared proposals: the law, against its table; and the hard cases."""

import itertools

import pytest
import torch
from drawn import negatives_of
from scipy.stats import chi2
from torch.utils._python_dispatch import TorchDispatchMode

from sskd.losses import proposals
from sskd.losses.dense_draw import negative_weights
from sskd.losses.negatives import SCOPES, SCORES, SLOTS, Locations, score_vectors
from sskd.losses.proposals import Law, propose

IMAGES, GRID, QUERIES, CLASSES = 3, (8, 10), 6, 3
N = IMAGES * GRID[0] * GRID[1]
SOME = torch.tensor([3, 100, 239])
"""One anchor of each image."""


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def proposals_only(monkeypatch):
    """Or so many draws from so small a pool would come from rows of weights."""
    monkeypatch.setattr("sskd.losses.proposals.MOST", 10**6)


def make_locations(score="fusion", spread=2.0, seed=0):
    generator = seeded(seed)
    masks = spread * torch.randn(IMAGES, QUERIES, 4, 5, generator=generator)
    classes = spread * torch.randn(IMAGES, QUERIES, CLASSES + 1, generator=generator)
    slots, kinds = score_vectors(masks, classes, grid=GRID, score=score)
    images = torch.arange(IMAGES).repeat_interleave(N // IMAGES)
    return Locations(torch.zeros(N, 2), slots, kinds, images, images)


def pick(locations, rows):
    return Locations(*(values[rows] for values in locations))


def law(**changes):
    settings = {
        "num_negatives": 20,
        "exponent": 1.0,
        "scope": "batch",
        "replacement": True,
        "cross_image_slots": "literal",
    }
    return Law(**settings | changes)


def weights_of(anchors, pool, own, law):
    return negative_weights(
        anchors, pool, own=own, exponent=law.exponent, scope=law.scope,
        cross_image_slots=law.cross_image_slots,
    ).double()  # fmt: skip


def chi_square(drawn, weights):
    """p-value of independent draws (n, r) against the law of each row of weights (n, q)."""
    expected = weights / weights.sum(1, keepdim=True) * drawn.shape[1]
    counts = torch.zeros_like(expected).scatter_add_(
        1, drawn, torch.ones(drawn.shape, dtype=expected.dtype)
    )
    assert counts[weights == 0].eq(0).all(), "drew what has no weight"
    # Cells that expect little are taken together: the approximation needs some five in each.
    expected, order = expected.sort(dim=1)
    counts = counts.gather(1, order)
    statistic, freedom = 0.0, 0
    for row, seen in zip(expected, counts, strict=True):
        small = int((row.cumsum(0) < 10).sum()) + 1
        e = torch.cat([row[:small].sum()[None], row[small:]])
        c = torch.cat([seen[:small].sum()[None], seen[small:]])
        statistic += ((c - e) ** 2 / e).sum().item()
        freedom += len(e) - 1
    return chi2.sf(statistic, freedom)


@pytest.mark.usefixtures("proposals_only")
@pytest.mark.parametrize("slots", SLOTS)
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("exponent", [1.0, 2.0, 0.5])
@pytest.mark.parametrize("score", SCORES)
def test_draws_have_the_distribution(score, exponent, scope, slots):
    """Of three anchors, 40,000 each, whom no proposal is shared with."""
    pool = make_locations(score)
    how = law(num_negatives=40_000, exponent=exponent, scope=scope, cross_image_slots=slots)
    own = SOME
    if scope == "memory-bank":
        pool, own = pool._replace(images=torch.full_like(pool.images, -1)), None
    anchors = pick(make_locations(score), SOME)
    drawn = negatives_of(
        propose(anchors, pool, how, own=own, generator=seeded(4), group=1), len(SOME), how
    )
    assert chi_square(drawn, weights_of(anchors, pool, own, how)) > 0.01


@pytest.mark.usefixtures("proposals_only")
@pytest.mark.parametrize("score", SCORES)
def test_sharing_proposals_changes_nobodys_distribution(score):
    pool = make_locations(score)
    how = law(num_negatives=20_000)
    anchors = pick(pool, SOME)
    tiles = list(propose(anchors, pool, how, own=SOME, generator=seeded(5), group=3))
    assert tiles[0].anchors.shape == (1, 3)
    drawn = negatives_of(tiles, 3, how)
    weights = weights_of(anchors, pool, SOME, how)
    for row in range(3):  # each on its own: together they are not independent
        assert chi_square(drawn[row : row + 1], weights[row : row + 1]) > 0.01


@pytest.mark.usefixtures("proposals_only")
@pytest.mark.parametrize("spare", [3.0, 0.0, -1.0])
def test_pairs_without_replacement_are_successive_draws(spare, monkeypatch):
    """Of a pool of five, ordered pairs of 30,000 anchors that are alike.

    With less to spare more anchors are short of two different ones, and those that are have met
    likely ones twice: to draw them anew would favour the others.
    """
    monkeypatch.setattr(proposals, "SPARE", spare)
    y = torch.tensor([[1.0, 0], [0.6, 0.8], [0, 1], [0.8, 0.6], [0.28, 0.96]])
    pool = Locations(
        torch.zeros(5, 2), y, torch.zeros(5, 0), torch.full((5,), -1), torch.full((5,), -2)
    )
    anchors = Locations(*(values[:1].expand(30_000, *values.shape[1:]) for values in pool))
    how = law(num_negatives=2, replacement=False, scope="memory-bank")
    drawn = negatives_of(
        propose(anchors, pool, how, own=None, generator=seeded(), group=1), 30_000, how
    )
    assert (drawn >= 0).all()
    weights = weights_of(anchors, pool, None, how)[0]
    p = weights / weights.sum()
    expected = torch.zeros(5, 5, dtype=torch.float64)
    for i, j in itertools.permutations(range(5), 2):
        expected[i, j] = p[i] * p[j] / (1 - p[i])
    assert chi_square((drawn[:, 0] * 5 + drawn[:, 1])[None], expected.reshape(1, -1)) > 0.01


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("replacement", [True, False])
def test_conformance(scope, replacement):
    pool = make_locations()
    how = law(scope=scope, replacement=replacement)
    one, same, other = (
        negatives_of(
            propose(pool, pool, how, own=torch.arange(N), generator=seeded(seed)), N, how
        )
        for seed in (1, 1, 2)
    )  # fmt: skip
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.min() >= 0
    assert (one != torch.arange(N)[:, None]).all()
    images = pool.images[one] == pool.images[:, None]
    assert images.all() if scope == "same-image" else not images.all()
    assert not (images.any() and scope == "other-images")
    if not replacement:
        assert all(len(set(row.tolist())) == 20 for row in one)


@pytest.mark.parametrize("scope", ["same-image", "other-images"])
def test_images_of_different_sizes_are_drawn_together(scope):
    """In one tile stand groups of several images; what does not fill a group comes later."""
    rows = torch.cat([torch.arange(80), torch.arange(80, 130), torch.arange(160, 233)])
    pool = pick(make_locations(), rows[torch.randperm(len(rows), generator=seeded(3))])
    how = law(scope=scope)
    tiles = list(
        propose(pool, pool, how, own=torch.arange(len(rows)), generator=seeded(), group=40)
    )  # fmt: skip
    assert len(pool.images[tiles[0].anchors].unique()) == IMAGES
    for tile in tiles:
        for anchors in tile.anchors:
            assert len(pool.images[anchors].unique()) == 1
    drawn = negatives_of(tiles, len(rows), how)
    assert (drawn >= 0).all()
    same = pool.images[drawn] == pool.images[:, None]
    assert same.all() if scope == "same-image" else not same.any()


def test_draws_read_no_global_generator():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    pool = make_locations()
    list(propose(pool, pool, law(), own=torch.arange(N), generator=seeded()))
    assert torch.equal(before, torch.get_rng_state())


class TestHardCases:
    def rounds(self, pool, how, **options):
        tiles = list(
            propose(pool, pool, how, own=torch.arange(N), generator=seeded(), **options)
        )  # fmt: skip
        return tiles, negatives_of(tiles, N, how)

    def test_an_anchor_that_is_hardly_accepted_gets_its_negatives_from_its_row(self):
        """All but two locations are alike: nearly no proposal differs from them."""
        pool = make_locations()
        pool.slot_scores[:], pool.class_scores[:] = 0, 0
        pool.slot_scores[:, 0] = 1
        pool.slot_scores[:2, 0], pool.slot_scores[:2, 1] = 0.6, 0.8
        how = law(num_negatives=3000)
        tiles, drawn = self.rounds(pool, how)
        assert any(tile.kept.shape[1] == 1 for tile in tiles)  # from rows
        assert drawn[2:].min() >= 0
        assert drawn[2:].max() <= 1
        assert (drawn[2:] == 0).double().mean().item() == pytest.approx(0.5, abs=0.01)

    def test_too_few_acceptances_are_drawn_again_and_never_cut_short(self, monkeypatch):
        monkeypatch.setattr("sskd.losses.proposals.SPARE", -1.0)
        pool = make_locations()
        tiles, drawn = self.rounds(pool, law())
        short = sum(int((~tile.complete).sum()) for tile in tiles if tile.first_proposals)
        assert short > N / 4
        assert (drawn >= 0).all()

    def test_an_anchor_whose_scores_are_all_zero_has_no_negatives(self):
        pool = make_locations()
        for values in pool[1:3]:
            values[:] = values[0].clone()
        _, drawn = self.rounds(pool, law(exponent=0.5))
        assert (drawn == -1).all()

    @pytest.mark.parametrize("scope", SCOPES)
    def test_scores_alike_to_rounding_are_told_without_a_table(self, scope):
        """As where masks and classes are constant: no proposals, no rows of weights."""
        pool = make_locations()
        for values in pool[1:3]:
            noise = torch.randn(values.shape, generator=seeded())
            values[:] = values[0].clone() * (1 + 1e-7 * noise)
        tiles, drawn = self.rounds(pool, law(scope=scope))
        assert tiles == []
        assert (drawn == -1).all()

    def test_one_image_that_is_all_alike_costs_the_others_nothing(self):
        pool = make_locations()
        first = pool.images == 0
        for values in pool[1:3]:
            values[first] = values[0].clone()
        tiles, drawn = self.rounds(pool, law(scope="same-image"))
        assert (drawn[first] == -1).all()
        assert (drawn[~first] >= 0).all()
        others = pick(pool, torch.nonzero(~first)[:, 0])
        alone = list(
            propose(
                others, others, law(scope="same-image"), own=torch.arange(160), generator=seeded()
            )
        )
        assert tiles[0].candidates.shape[1] <= alone[0].candidates.shape[1] + 1

    def test_a_pool_of_one_is_everybodys_negative_but_its_own(self):
        pool = pick(make_locations("uniform"), torch.tensor([7]))
        anchors = make_locations("uniform")
        tiles = propose(anchors, pool, law(scope="memory-bank"), own=None, generator=seeded())
        assert (negatives_of(tiles, N, law()) == 0).all()
        alone = propose(pool, pool, law(), own=torch.tensor([0]), generator=seeded())
        assert (negatives_of(alone, 1, law()) == -1).all()

    def test_no_pool_no_negatives(self):
        one = pick(make_locations(), torch.arange(N // IMAGES))
        tiles = propose(one, one, law(scope="other-images"), own=None, generator=seeded())
        assert list(tiles) == []

    @pytest.mark.parametrize("replacement", [True, False])
    def test_more_negatives_than_the_pool_holds(self, replacement):
        pool = pick(make_locations(), torch.tensor([0, 50, 90]))
        how = law(num_negatives=50, replacement=replacement)
        tiles = list(propose(pool, pool, how, own=torch.arange(3), generator=seeded()))
        drawn = negatives_of(tiles, 3, how)
        assert all(set(row.tolist()) == {0, 1, 2} - {i} for i, row in enumerate(drawn))
        repeated = [bool(tile.repeated.any()) for tile in tiles if tile.complete.any()]
        assert all(repeated) != replacement

    def test_scores_that_are_not_numbers_draw_nothing(self):
        pool = make_locations()
        pool.slot_scores[0] = float("nan")
        _, drawn = self.rounds(pool, law())
        assert (drawn == -1).all()

    def test_vectors_that_hardly_differ_are_still_accepted(self):
        """As before training: the bound shrinks with the pool, or all would come from rows."""
        pool = make_locations(spread=0.02)
        tiles, drawn = self.rounds(pool, law())
        assert (drawn >= 0).all()
        assert sum(len(tile.anchors) for tile in tiles if not tile.first_proposals) < N / 10


def test_tables_stay_small():
    """No table of a tile holds more than it may, however many locations there are."""
    from sskd.losses.proposals import TABLE

    generator = seeded()
    n = 6000
    slots = torch.nn.functional.normalize(torch.rand(n, 5, generator=generator), dim=1)
    many = Locations(
        torch.zeros(n, 2), slots, torch.zeros(n, 0), torch.zeros(n).long(), torch.zeros(n).long()
    )
    tiles = list(
        propose(many, many, law(num_negatives=256), own=torch.arange(n), generator=generator)
    )  # fmt: skip
    assert max(tile.kept.numel() for tile in tiles) <= TABLE
    assert sum(int(tile.complete.sum()) for tile in tiles) == n


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for a device."""

    def __init__(self):
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        booleans = func is torch.ops.aten.index.Tensor and any(
            x is not None and x.dtype == torch.bool for x in args[1]
        )
        waiting = torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default
        self.number += func in waiting or booleans
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("replacement", [True, False])
def test_waits_for_a_round_and_not_for_a_tile(replacement, monkeypatch):
    pool, how, seen = make_locations(), law(replacement=replacement), []
    for table in (2**20, 2**9):
        monkeypatch.setattr(proposals, "TABLE", table)
        with Waits() as waits:
            tiles = list(
                propose(pool, pool, how, own=torch.arange(N), generator=seeded(6), group=4)
            )
        seen.append((len(tiles), waits.number))
    (few, waits), (many, waits_of_many) = seen
    assert many > few + 20
    assert waits_of_many == waits > 0
