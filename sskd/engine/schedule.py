"""The learning rate as a function of the step: no state, so that a resumed run cannot drift."""

from sskd.config import ScheduleConfig

__all__ = ["learning_rate_factor"]


def learning_rate_factor(schedule: ScheduleConfig, step: int, steps: int) -> float:
    """What the base learning rate is multiplied by at a step.

    Args:
        schedule: Which curve, and its warm-up.
        step: The step about to be taken, 0 <= step < steps.
        steps: Length of the stage.

    Returns:
        ``(1 - t) ** power`` for poly, ``gamma ** (milestones passed)`` for multi-step, 1 for
        constant, with t = step / steps; all times ``(step + 1) / warm-up steps`` while warming up.
    """
    share = step / steps
    factor = 1.0
    if schedule.name == "poly":
        factor = (1.0 - share) ** schedule.power
    elif schedule.name == "multi-step":
        factor = schedule.gamma ** sum(share >= milestone for milestone in schedule.milestones)
    warmup = round(schedule.warmup * steps)
    return factor * min(1.0, (step + 1) / warmup) if warmup else factor
