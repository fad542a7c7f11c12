"""What a plan says of costs, in a home where one tiny student was trained: one second a step."""

import json

import pytest

from sskd.config import build_config, load_scale

STEPS = load_scale("tiny")["stages"]["transfer"]["steps"]
MINUTES = STEPS // 60


@pytest.fixture
def measured(with_toycity):
    home = with_toycity / "runs"
    config = build_config(load_scale("tiny"), {}).model_dump(mode="json")
    spec = {"config": config, "stages": [{"name": "transfer", "key": "1" * 64}]}
    result = {"stage": "transfer", "key": "1" * 64, "seconds": 20.0, "steps": 20}
    for folder, name, content in (
        ("cells/one", "spec.json", spec),
        (f"store/transfer-{'1' * 16}", "result.json", result),
    ):
        (home / folder).mkdir(parents=True)
        (home / folder / name).write_text(json.dumps(content))
    return home


def last(done, count: int) -> list[str]:
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()[-count:]


def test_hours_of_one_worker_and_the_time_to_wait(sskd, measured):
    command = ("plan", "negatives", "--seeds", "1", "--label-fraction", "0.3", "--workers")
    left, wait, once, alone, known, unknown = last(sskd(*command, "2"), 6)
    total, half = f"{4 * MINUTES} min 0 s", f"{2 * MINUTES} min 0 s"
    assert left == f"cells: 4, done: 0; stages left: 16, more than {total} of one worker"
    assert wait == f"to wait with 2 workers: more than {half}"
    assert once == f"each stage once: {total}"
    assert alone == f"every cell by itself: {total}, 1.0 times as much"
    assert known == "measured here at this scale: transfer"
    assert unknown.startswith("not counted, for no cost is known: pretraining, ")
    assert "to wait" not in sskd(*command, "1").stdout
    dry = sskd("ablate", *command[1:], "2", "--oversubscribe", "--dry-run")
    assert last(dry, 6) == [left, wait, once, alone, known, unknown]


def test_the_papers_hours_are_not_tinys(sskd, measured):
    left, once, alone, known, unknown = last(
        sskd("plan", "negatives", "--scale", "paper", "--seeds", "1"), 5
    )
    hours = f"{0.583 + 2.917 + 4 * 16.63:.1f} GPU-hours"
    assert left == f"cells: 4, done: 0; stages left: 16, more than {hours}"
    assert once == f"each stage once: {hours}"
    assert alone.endswith(" GPU-hours, 1.1 times as much")
    assert known == "as the scale's source states: supervised, self_training, transfer"
    assert "transfer" not in unknown.replace("evaluate_transfer", "")


def test_several_ablations_end_in_the_same_lines(sskd, measured):
    lines = last(sskd("plan", "negatives", "losses", "--scale", "paper", "--seeds", "1"), 6)
    assert [line.partition(":")[0] for line in lines] == [
        "cells",
        "each stage once",
        "table by table, stages shared within a table",
        "table by table, every cell by itself",
        "as the scale's source states",
        "not counted, for no cost is known",
    ]


def test_nothing_is_said_of_costs_where_none_is_known(sskd, with_toycity):
    done = sskd("plan", "negatives", "--seeds", "1", "--label-fraction", "0.3")
    assert last(done, 1) == ["cells: 4, done: 0; stages left: 16"]


def test_a_search_is_priced_by_all_its_trials(sskd, measured):
    command = ("sweep", "contrast", "--label-fraction", "0.5", "--dry-run", "--trials")
    for trials in (1, 3):
        line = next(
            line
            for line in sskd(*command, str(trials)).stdout.splitlines()
            if line.startswith("trials: ")
        )
        stages, price = 8 + 2 * trials, f"{trials * MINUTES} min 0 s"
        says = f"stages left: {stages}, more than {price} of one worker"
        assert line == f"trials: {trials}, ended: 0; {says}"
