import json
from dataclasses import dataclass

import pytest

from sskd.config import Config, build_config, load_scale
from sskd.studies.costs import Costs, Spent


@dataclass(frozen=True)
class Stage:
    name: str
    key: str
    role: str
    steps: int | None


TEACHER = Stage("self_training", "a" * 64, "teacher", 100)
STUDENT = Stage("transfer", "b" * 64, "student", 100)
EVALUATION = Stage("evaluate_transfer", "c" * 64, "student", None)


def config(scale: str = "tiny", **changes) -> Config:
    return build_config(load_scale(scale), {k.replace("__", "."): v for k, v in changes.items()})


def run(home, config: Config, *stages: tuple[str, str, float, int | None]) -> None:
    """A cell and its stages: name, digit of the key, seconds, steps."""
    cell = home / "cells" / "".join(digit for _, digit, _, _ in stages)
    cell.mkdir(parents=True)
    named = [{"name": name, "key": digit * 64} for name, digit, _, _ in stages]
    spec = {"config": config.model_dump(mode="json"), "stages": named}
    (cell / "spec.json").write_text(json.dumps(spec))
    for name, digit, seconds, steps in stages:
        folder = home / "store" / f"{name}-{digit * 16}"
        folder.mkdir(parents=True)
        result = {"stage": name, "key": digit * 64, "seconds": seconds}
        result |= {} if steps is None else {"steps": steps}
        (folder / "result.json").write_text(json.dumps(result))


@pytest.fixture
def home(tmp_path):
    """Two cells of the tiny scale: 0.5 and 1.5 seconds a step of the student, 2 of the teacher."""
    run(tmp_path, config(), ("transfer", "1", 10, 20), ("self_training", "2", 20, 10))
    run(tmp_path, config(seed=1), ("transfer", "3", 15, 10), ("evaluate_transfer", "4", 7, None))
    return tmp_path


def test_a_step_takes_the_mean_of_what_was_measured(home):
    costs = Costs(home, [(config(), [TEACHER, STUDENT, EVALUATION])])
    assert costs.of(STUDENT) == Spent(measured=100)
    assert costs.of(TEACHER) == Spent(measured=200)
    assert costs.of(EVALUATION) == Spent(measured=7)
    assert costs.total([STUDENT, STUDENT, EVALUATION]) == Spent(measured=107)  # a key once


def test_times_of_another_scale_are_not_taken_for_the_papers(home):
    paper = config("paper")
    stages = [Stage("transfer", "b" * 64, "student", 90_000), TEACHER, EVALUATION]
    costs = Costs(home, [(paper, stages)])
    hours = 16.63 + 2.917 * TEACHER.steps / 5_000
    assert costs.total(stages).measured == 0
    assert costs.total(stages).stated == pytest.approx(3600 * hours)
    assert costs.names(stages, "stated") == ["transfer", "self_training"]
    assert costs.names(stages, "unknown") == ["evaluate_transfer"]


@pytest.mark.parametrize(
    "other",
    [
        {"data__name": "mine"},
        {"student__encoder__width": 48},
        {"numerics__threads": 2},
    ],
)
def test_times_of_another_model_or_data_set_are_not_taken(home, other):
    assert Costs(home, [(config(**other), [STUDENT])]).of(STUDENT) is None


def test_another_student_leaves_the_teachers_time(home):
    costs = Costs(home, [(config(student__encoder__width=48), [TEACHER, STUDENT])])
    assert costs.names([TEACHER, STUDENT], "measured") == ["self_training"]
    assert costs.of(STUDENT) is None


def test_what_is_measured_and_what_is_stated_are_told_apart(home):
    paper = config("paper")
    run(home, paper, ("self_training", "5", 30, 10))
    stages = [TEACHER, STUDENT]
    costs = Costs(home, [(paper, stages)])
    assert costs.total(stages) == Spent(300, pytest.approx(3600 * 16.63 * 100 / 90_000))
    assert costs.names(stages, "measured") == ["self_training"]
    assert costs.names(stages, "stated") == ["transfer"]


def test_a_broken_cell_and_a_stage_of_no_cell_cost_nothing_but_themselves(home):
    (home / "cells" / "broken").mkdir()
    (home / "cells" / "broken" / "spec.json").write_text("{")
    folder = home / "store" / f"pretraining-{'9' * 16}"
    folder.mkdir()
    lonely = {"stage": "pretraining", "key": "9" * 64, "seconds": 5, "steps": 5}
    (folder / "result.json").write_text(json.dumps(lonely))
    pretraining = Stage("pretraining", "d" * 64, "teacher", 10)
    costs = Costs(home, [(config(), [pretraining, STUDENT])])
    assert costs.of(pretraining) is None
    assert costs.of(STUDENT) == Spent(measured=100)
