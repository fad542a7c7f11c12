"""A plan as tables: which cells and stages exist, which are shared, what is left, what it costs."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sskd.cli.console import duration, print_table, say
from sskd.cli.prepare import PreparedStudy
from sskd.engine.run import CellPlan, PlannedStage
from sskd.engine.store import Store
from sskd.studies.cells import PlannedCell
from sskd.studies.costs import Costs

__all__ = ["print_cells", "print_plan"]


def print_plan(studies: Sequence[PreparedStudy], home: Path) -> None:
    """Print a plan of one ablation cell by cell, of several ablation by ablation.

    Args:
        studies: Of one launch.
        home: Whose finished stages say what a stage costs.
    """
    cells = [cell for study in studies for cell in study.cells]
    plans = [plan for study in studies for plan in study.plans]
    if len(studies) == 1:
        print_cells(cells, plans, home)
        return
    costs = Costs(Store(home / "store"), cells[0].config.scale)
    rows = []
    for study in studies:
        stages = [stage for plan in study.plans for stage in plan.stages]
        done = sum(plan.done for plan in study.plans)
        left = len({stage.key for stage in stages if not stage.done})
        alone = costs.total(stages)
        shown = duration(alone) if alone else "-"
        rows.append((study.ablation.name, str(len(study.cells)), str(done), str(left), shown))
    print_table(("ablation", "cells", "done", "stages left", "by itself"), rows)
    say("")
    _print_stages(plans)
    say("")
    distinct = {plan.fingerprint: plan for plan in plans}
    done = sum(plan.done for plan in distinct.values())
    say(f"cells: {len(plans)}, distinct: {len(distinct)}, done: {done}")
    _print_costs(studies, costs)


def print_cells(cells: Sequence[PlannedCell], plans: Sequence[CellPlan], home: Path) -> None:
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
    _print_stages(plans)
    say("")
    left = _left(plans)
    costs = Costs(Store(home / "store"), cells[0].config.scale)
    done = sum(plan.done for plan in plans)
    say(f"cells: {len(cells)}, done: {done}; stages left: {len(left)}{_about(left, costs)}")


def _print_stages(plans: Sequence[CellPlan]) -> None:
    distinct = {plan.fingerprint: plan for plan in plans}.values()
    stages = {stage.key: stage for plan in distinct for stage in plan.stages}
    users = Counter(stage.key for plan in distinct for stage in plan.stages)
    rows = []
    for name in dict.fromkeys(stage.name for stage in stages.values()):
        keys = [key for key, stage in stages.items() if stage.name == name]
        exist = sum(stages[key].done for key in keys)
        shared = sum(users[key] > 1 for key in keys)
        rows.append((name, *map(str, (len(keys), exist, len(keys) - exist, shared))))
    print_table(("stage", "needed", "exist", "left", "shared by cells"), rows)


def _print_costs(studies: Sequence[PreparedStudy], costs: Costs) -> None:
    """What is left, what everything costs at once, and what it would without one store."""
    plans = [plan for study in studies for plan in study.plans]
    left = _left(plans)
    say(f"stages left: {len(left)}{_about(left, costs)}")
    everything = [stage for plan in plans for stage in plan.stages]
    once = costs.total(everything)
    if not once:
        return
    by_table = sum(costs.total([s for p in study.plans for s in p.stages]) for study in studies)
    by_cell = sum(costs.total(plan.stages) for plan in plans)
    say(f"each stage once: {duration(once)}")
    say(f"table by table, stages shared within a table: {_times(by_table, once)}")
    say(f"table by table, every cell by itself: {_times(by_cell, once)}")
    unknown = costs.unknown(everything)
    if unknown:
        say(f"not counted, for no cost is known: {', '.join(sorted(unknown))}")
    if not costs.measured:
        say("by the costs that the scale's source states; nothing was measured here")


def _times(seconds: float, once: float) -> str:
    return f"{duration(seconds)}, {seconds / once:.1f} times as much"


def _left(plans: Sequence[CellPlan]) -> list[PlannedStage]:
    left = {s.key: s for plan in plans for s in plan.stages if not s.done}
    return list(left.values())


def _about(left: Sequence[PlannedStage], costs: Costs) -> str:
    """What stages cost so far, whatever their settings."""
    seconds = costs.total(left)
    if not seconds:
        return ""
    bound = "more than" if costs.unknown(left) else "about"
    return f", {bound} {duration(seconds)}"
