"""What was last launched is known later, by content."""

import pytest

from sskd.studies.cells import cells
from sskd.studies.launches import Launched, Looks, keep_launch, read_launches

EXPERIMENT = "ablate/negatives@tiny-toycity"


@pytest.fixture
def study(home):
    """A home with the study's folder, as its lock makes it."""
    (home / "studies" / "ablate-negatives@tiny-toycity").mkdir(parents=True)
    return home


def firsts(planned, settings=""):
    return {cell.variant: cell.variant + settings for cell in planned}


@pytest.mark.parametrize(
    ("cap", "at"),
    [
        (4, (3, 4)),
        (5, (3, 5)),
        (8, (3, 5, 7, 8)),
        (10, (3, 5, 7, 10)),
        (30, (3, 5, 7, 10, 14, 20, 28, 30)),
    ],
)
def test_looks_are_few_and_end_at_the_cap(cap, at):
    looks = Looks.up_to(cap, until=0.5)
    assert (looks.at, looks.cap, looks.count) == (at, cap, len(at))
    assert [looks.after(n) for n in at] == [*at[1:], cap]


def test_each_variant_has_the_seeds_of_its_last_launch(study, negatives, tiny):
    assert read_launches(study, EXPERIMENT) == {}
    five = cells(negatives, tiny, {}, range(5))
    keep_launch(study, EXPERIMENT, firsts(five), five, None)
    looks = Looks.up_to(10, until=0.5)
    some = [cell for cell in five if cell.seed < 3 or cell.variant in ("mask", "fusion")]
    keep_launch(study, EXPERIMENT, firsts(some, "-other"), some, looks)
    known = read_launches(study, EXPERIMENT)
    assert known["uniform"] == known["mask"] == Launched(seeds=5)
    assert known["uniform-other"] == Launched(seeds=3, looks=looks)
    assert known["mask-other"] == Launched(seeds=5, looks=looks)
    keep_launch(study, EXPERIMENT, firsts(five), cells(negatives, tiny, {}, [0]), None)
    assert read_launches(study, EXPERIMENT)["mask"].seeds == 1


def test_numbers_of_seeds_that_could_be_looked_at_before_are_kept(study, negatives, tiny):
    def launch(seeds, looks=None):
        planned = cells(negatives, tiny, {}, range(seeds))
        keep_launch(study, EXPERIMENT, firsts(planned), planned, looks)
        return read_launches(study, EXPERIMENT)["mask"].earlier

    assert [launch(3), launch(3), launch(5), launch(3)] == [(), (), (3,), (5,)]
    looks = Looks.up_to(10, until=0.5)
    assert launch(5, looks) == ()  # verdicts are corrected for 3, 5, 7 and 10
    assert launch(7, looks) == ()
    assert launch(12) == (3, 5, 7)  # ten were never reached


@pytest.mark.parametrize("text", ["", "[]", '{"mask": {"seeds": 0}}', '{"mask": {}}'])
def test_a_broken_record_is_not_taken_for_a_fixed_number(study, text):
    path = study / "studies" / "ablate-negatives@tiny-toycity" / "launched.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"launched\.json: not a record of launches; delete it"):
        read_launches(study, EXPERIMENT)
