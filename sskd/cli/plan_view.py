"""A plan as tables: which cells and stages exist, which are shared, what is left, what it costs."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from sskd.cli.console import duration, print_table, say
from sskd.cli.prepare import PreparedStudy, choose_workers
from sskd.engine.run import CellPlan, PlannedStage
from sskd.studies.cells import PlannedCell
from sskd.studies.costs import HOUR, Costs, Spent
from sskd.studies.schedule import time_to_wait

__all__ = ["print_cells", "print_plan", "print_trials"]


def print_plan(studies: Sequence[PreparedStudy], home: Path, *, workers: int | None = None) -> None:
    """Print a plan of one ablation cell by cell, of several ablation by ablation.

    Args:
        studies: Of one launch.
        home: Whose finished stages say what a stage costs.
        workers: That the user asked for, if any.
    """
    cells = [cell for study in studies for cell in study.cells]
    plans = [plan for study in studies for plan in study.plans]
    costs = _open_costs(cells, plans, home)
    if len(studies) == 1:
        _print_cells(cells, plans)
    else:
        _print_ablations(studies, costs)
    _print_stages(plans)
    _print_left(plans, costs)
    _print_wait(studies, plans, costs, workers)
    _print_sharing(studies, costs)
    _print_sources(plans, costs)


def print_cells(cells: Sequence[PlannedCell], plans: Sequence[CellPlan], home: Path) -> None:
    """Print cells of no ablation, their stages, what is left and about how long it takes.

    Args:
        cells: Of one launch.
        plans: Of the cells, in their order.
        home: Whose finished stages say what a stage costs.
    """
    costs = _open_costs(cells, plans, home)
    _print_cells(cells, plans)
    _print_stages(plans)
    _print_left(plans, costs)
    _print_sources(plans, costs)


def print_trials(
    base: tuple[PlannedCell, CellPlan],
    cells: Sequence[PlannedCell],
    plans: Sequence[CellPlan],
    home: Path,
    *,
    trials: int,
    ended: int,
) -> None:
    """Print the cell at the base of a search, then what the trials that are left cost.

    Args:
        base: With its plan.
        cells: Of the trials that are left, with settings as they may be.
        plans: Of these cells, in their order.
        home: Whose finished stages say what a stage costs.
        trials: How many were asked for.
        ended: How many of them have ended.
    """
    _print_cells([base[0]], [base[1]])
    _print_stages([base[1]])
    costs = _open_costs(cells, plans, home)
    say("each further trial is such a cell with other settings; what it shares is not repeated")
    say(f"trials: {trials}, ended: {ended}; {_stages_left(plans, costs)}")
    _print_sources(plans, costs)


def _open_costs(cells: Sequence[PlannedCell], plans: Sequence[CellPlan], home: Path) -> Costs:
    """What the stages of planned cells cost."""
    planned = zip(cells, plans, strict=True)
    return Costs(home, [(cell.config, plan.stages) for cell, plan in planned])


def _amount(spent: Spent) -> str:
    """Time as measured, and GPU-hours as stated; a dash where neither is known."""
    parts = [duration(spent.measured)] if spent.measured else []
    if spent.stated:
        parts.append(f"{spent.stated / HOUR:,.1f} GPU-hours")
    return " and ".join(parts) or "-"


def _print_cells(cells: Sequence[PlannedCell], plans: Sequence[CellPlan]) -> None:
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


def _print_ablations(studies: Sequence[PreparedStudy], costs: Costs) -> None:
    rows = []
    for study in studies:
        stages = _stages(study.plans)
        done = sum(plan.done for plan in study.plans)
        left = len({stage.key for stage in stages if not stage.done})
        shown = _amount(costs.total(stages))
        rows.append((study.ablation.name, str(len(study.cells)), str(done), str(left), shown))
    print_table(("ablation", "cells", "done", "stages left", "by itself"), rows)
    say("")


def _print_stages(plans: Sequence[CellPlan]) -> None:
    distinct = _distinct(plans)
    stages = {stage.key: stage for plan in distinct for stage in plan.stages}
    users = Counter(stage.key for plan in distinct for stage in plan.stages)
    rows = []
    for name in dict.fromkeys(stage.name for stage in stages.values()):
        keys = [key for key, stage in stages.items() if stage.name == name]
        exist = sum(stages[key].done for key in keys)
        shared = sum(users[key] > 1 for key in keys)
        rows.append((name, *map(str, (len(keys), exist, len(keys) - exist, shared))))
    print_table(("stage", "needed", "exist", "left", "shared by cells"), rows)
    say("")


def _print_left(plans: Sequence[CellPlan], costs: Costs) -> None:
    distinct = _distinct(plans)
    of = f", distinct: {len(distinct)}" if len(distinct) < len(plans) else ""
    done = sum(plan.done for plan in distinct)
    say(f"cells: {len(plans)}{of}, done: {done}; {_stages_left(plans, costs)}")


def _print_wait(
    studies: Sequence[PreparedStudy], plans: Sequence[CellPlan], costs: Costs, asked: int | None
) -> None:
    """How long a launch takes with its workers; hours of somebody else's GPU say nothing of it."""
    left = _left(plans)
    spent = costs.total(left)
    if spent.stated or not spent.measured:
        return
    workers = choose_workers(studies, asked)
    if workers == 1:
        return
    lacking = [
        {stage.key: costs.total([stage]).total for stage in plan.stages if not stage.done}
        for plan in _distinct(plans)
        if not plan.done
    ]
    wait = duration(time_to_wait(lacking, workers))
    say(f"to wait with {workers} workers: {_about(left, costs)} {wait}")


def _print_sharing(studies: Sequence[PreparedStudy], costs: Costs) -> None:
    """What everything costs at once, and what it would without one store."""
    plans = [plan for study in studies for plan in study.plans]
    once = costs.total(_stages(plans))
    if not once.total:
        return
    say(f"each stage once: {_amount(once)}")
    if len(studies) > 1:
        by_table = _sum(costs.total(_stages(study.plans)) for study in studies)
        say(f"table by table, stages shared within a table: {_times(by_table, once)}")
    by_cell = _sum(costs.total(plan.stages) for plan in plans)
    say(f"{'table by table, ' * (len(studies) > 1)}every cell by itself: {_times(by_cell, once)}")


def _print_sources(plans: Sequence[CellPlan], costs: Costs) -> None:
    """Where the costs are from, of all stages that were planned."""
    stages = _stages(plans)
    if not costs.total(stages).total:
        return
    for kind, says in (
        ("measured here at this scale", costs.names(stages, "measured")),
        ("as the scale's source states", costs.names(stages, "stated")),
        ("not counted, for no cost is known", costs.names(stages, "unknown")),
    ):
        if says:
            say(f"{kind}: {', '.join(says)}")


def _times(spent: Spent, once: Spent) -> str:
    return f"{_amount(spent)}, {spent.total / once.total:.1f} times as much"


def _sum(parts: Iterable[Spent]) -> Spent:
    return Spent(*map(sum, zip(*parts, strict=True)))


def _stages(plans: Sequence[CellPlan]) -> list[PlannedStage]:
    return [stage for plan in plans for stage in plan.stages]


def _distinct(plans: Sequence[CellPlan]) -> list[CellPlan]:
    return list({plan.fingerprint: plan for plan in plans}.values())


def _left(plans: Sequence[CellPlan]) -> list[PlannedStage]:
    return list({stage.key: stage for stage in _stages(plans) if not stage.done}.values())


def _stages_left(plans: Sequence[CellPlan], costs: Costs) -> str:
    left = _left(plans)
    spent = costs.total(left)
    about = f", {_about(left, costs)} {_amount(spent)}" if spent.total else ""
    alone = " of one worker" if spent.measured and not spent.stated else ""
    return f"stages left: {len(left)}{about}{alone}"


def _about(left: Sequence[PlannedStage], costs: Costs) -> str:
    return "more than" if costs.names(left, "unknown") else "about"
