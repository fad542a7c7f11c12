"""Closed forms of the learning rate."""

import pytest

from sskd.config import ScheduleConfig
from sskd.engine.schedule import learning_rate_factor


def schedule(**changes: object) -> ScheduleConfig:
    fields = {"name": "constant", "power": 0.9, "milestones": (), "gamma": 0.1, "warmup": 0.0}
    return ScheduleConfig.model_validate(fields | changes)


def test_poly() -> None:
    poly = schedule(name="poly")
    assert learning_rate_factor(poly, 0, 100) == 1.0
    assert learning_rate_factor(poly, 50, 100) == pytest.approx(0.5**0.9)


def test_multi_step() -> None:
    steps = schedule(name="multi-step", milestones=(0.9, 0.95))
    factors = [learning_rate_factor(steps, step, 100) for step in (89, 90, 95)]
    assert factors == pytest.approx([1.0, 0.1, 0.01])


def test_warm_up_is_linear_and_ends() -> None:
    warm = schedule(warmup=0.1)
    factors = [learning_rate_factor(warm, step, 100) for step in (0, 4, 9, 10)]
    assert factors == pytest.approx([0.1, 0.5, 1.0, 1.0])
