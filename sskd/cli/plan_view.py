"""A plan as tables: which cells and stages exist, which are shared, what is left."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from sskd.cli.console import duration, print_table, say
from sskd.engine.run import CellPlan
from sskd.engine.store import Store
from sskd.studies.cells import PlannedCell

__all__ = ["print_plan"]


def print_plan(cells: Sequence[PlannedCell], plans: Sequence[CellPlan], home: Path) -> None:
    """Print the cells, then the stages of each name, then what is left and about how long.

    Args:
        cells: Of one launch.
        plans: Of the cells, in their order.
        home: Whose finished stages say what a stage costs.
    """
    print_table(
        ("cell", "fingerprint", "state", "stages left"),
        [
            (
                cell.name,
                plan.fingerprint[:16],
                "done" if plan.done else "left",
                f"{sum(not stage.done for stage in plan.stages)} of {len(plan.stages)}",
            )
            for cell, plan in zip(cells, plans, strict=True)
        ],
    )
    say("")
    stages = {stage.key: stage for plan in plans for stage in plan.stages}
    users = Counter(stage.key for plan in plans for stage in plan.stages)
    rows = []
    for name in dict.fromkeys(stage.name for stage in stages.values()):
        keys = [key for key, stage in stages.items() if stage.name == name]
        exist = sum(stages[key].done for key in keys)
        shared = sum(users[key] > 1 for key in keys)
        rows.append((name, *map(str, (len(keys), exist, len(keys) - exist, shared))))
    print_table(("stage", "needed", "exist", "left", "shared by cells"), rows)
    say("")
    done = sum(plan.done for plan in plans)
    left = [stage.name for stage in stages.values() if not stage.done]
    cost = _cost(left, home)
    say(f"cells: {len(cells)}, done: {done}; stages left: {len(left)}{cost}")


def _cost(left: Sequence[str], home: Path) -> str:
    """What stages of these names cost so far, whatever their settings."""
    costs: dict[str, list[float]] = {}
    for stage in Store(home / "store").entries():
        costs.setdefault(stage.name, []).append(float(stage.result["seconds"]))
    known = [fmean(costs[name]) for name in left if name in costs]
    if not known:
        return ""
    bound = "about" if len(known) == len(left) else "more than"
    return f", {bound} {duration(sum(known))} by what such stages cost here so far"
