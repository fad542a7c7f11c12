from dataclasses import dataclass, replace

import pytest

from sskd.studies.cells import PlannedCell, cells
from sskd.studies.schedule import Schedule, time_to_wait


@dataclass(frozen=True)
class Stage:
    name: str
    key: str


def stage(name: str, digit: str) -> Stage:
    return Stage(name, digit * 64)


STAGES = {
    "a0": [stage("teacher", "1"), stage("student", "a")],
    "b0": [stage("teacher", "1"), stage("student", "b")],
    "labels0": [stage("student", "c")],
    "a1": [stage("teacher", "2"), stage("student", "d")],
    "pre-a0": [stage("foundation", "0"), stage("teacher", "3"), stage("student", "e")],
    "pre-b0": [stage("foundation", "0"), stage("teacher", "3"), stage("student", "f")],
    "pre-a1": [stage("foundation", "0"), stage("teacher", "4"), stage("student", "9")],
}


@pytest.fixture
def waiting(negatives, tiny) -> dict[str, PlannedCell]:
    cell = cells(negatives, tiny, {}, [0])[0]
    return {name: replace(cell, fingerprint=name) for name in STAGES}


def choose(home, waiting, names: str, active: str) -> str:
    schedule = Schedule(home, STAGES)
    return schedule.choose([waiting[name] for name in names.split()], active.split()).fingerprint


@pytest.mark.parametrize(
    ("left", "active", "chosen"),
    [
        ("a0 b0 labels0 a1", "", "a0"),
        ("b0 labels0 a1", "a0", "labels0"),  # b0 would wait for the teacher that a0 computes
        ("b0 a1", "a0", "a1"),
        ("b0", "a0", "b0"),  # nothing better to do
        ("b0 a1", "a0 a1", "b0"),
        ("pre-b0 pre-a1", "pre-a0", "pre-a1"),  # after the wait, a teacher of its own
    ],
)
def test_a_cell_is_begun_that_need_not_wait_for_another(tmp_path, waiting, left, active, chosen):
    assert choose(tmp_path, waiting, left, active) == chosen


def test_a_stage_in_the_store_is_nobodys_any_more(tmp_path, waiting):
    (tmp_path / "store" / f"teacher-{'1' * 16}").mkdir(parents=True)
    assert choose(tmp_path, waiting, "b0 labels0 a1", "a0") == "b0"


def hours(text: str) -> dict[str, float]:
    """``a3 b1``: the stage a takes 3 hours, then b one."""
    return {word[0]: 3600.0 * int(word[1:]) for word in text.split()}


@pytest.mark.parametrize(
    ("cells", "workers", "expected"),
    [
        ([], 2, 0),
        (["a1 b2"], 2, 3),  # a cell's stages come one after the other
        (["a2", "b1", "c1"], 2, 2),
        (["t2 a1", "t2 b1"], 1, 4),  # the teacher once
        (["t2 a1", "t2 b1"], 2, 3),  # the second student waits for it
        (["t2 a1", "t2 b1", "u2 c1", "u2 d1"], 2, 4),  # each worker takes a teacher
        (["t2 a1", "t2 b1", "u2 c1", "u2 d1"], 9, 3),
    ],
)
def test_the_time_to_wait_is_that_of_workers_who_choose_so(cells, workers, expected):
    assert time_to_wait(map(hours, cells), workers) == 3600 * expected
