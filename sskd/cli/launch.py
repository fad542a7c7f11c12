"""Commands that compute, or say what would be computed: ``ablate``, ``plan``, ``train``.

Each imports what finds mistakes, and only then what computes, which takes seconds.
"""

from pathlib import Path
from typing import Annotated

import typer

from sskd.cli.console import percent, print_table, say
from sskd.cli.errors import SOME_FAILED
from sskd.cli.options import (
    Data,
    DryRun,
    Home,
    LabelFraction,
    LaunchOptions,
    Out,
    Oversubscribe,
    Scale,
    Seeds,
    Settings,
    Workers,
)

__all__ = ["ablate", "plan", "train"]

Name = Annotated[str, typer.Argument(metavar="NAME", help="An ablation (see `sskd list`).")]


def ablate(
    name: Name,
    scale: Scale = "tiny",
    data: Data = None,
    seeds: Seeds = 3,
    label_fraction: LabelFraction = None,
    settings: Settings = None,
    workers: Workers = None,
    oversubscribe: Oversubscribe = False,
    dry_run: DryRun = False,
    out: Out = None,
    home: Home = Path("runs"),
) -> None:
    """Compute what an ablation still needs, then write its report.

    What exists is not computed again: after an interruption give the same command.

    Exits with 3 if some cells failed.
    """
    from sskd.cli.resolve import check_folder, resolve_study

    options = LaunchOptions(
        home=home,
        scale=scale,
        data=data,
        label_fraction=label_fraction,
        settings=tuple(settings or ()),
        seeds=seeds,
        workers=workers,
        oversubscribe=oversubscribe,
    )
    ablation, planned = resolve_study(name, options)
    say(f"{name}: {len(planned)} cells, {len(planned) // seeds} variants x {seeds} seeds")

    from sskd.cli.plan_view import print_plan
    from sskd.cli.prepare import default_workers, prepare, report_folder
    from sskd.cli.running import run_study
    from sskd.reporting.report import write_report

    study = prepare(ablation, planned, home)
    if dry_run:
        print_plan(study.cells, study.plans, home)
        return
    folder = out or report_folder(study)
    check_folder(folder, "--out")
    outcome = run_study(study, home=home, workers=workers or default_workers(study))
    path = write_report(
        study.ablation,
        study.cells,
        home=home,
        out=folder,
        command=options.command(name),
        failures=outcome.failures,
    )
    print_table(("variant", *(f"seed {seed}" for seed in range(seeds))), outcome.rows)
    say(f"report: {path}")
    if outcome.failures:
        raise typer.Exit(SOME_FAILED)


def plan(
    name: Name,
    scale: Scale = "tiny",
    data: Data = None,
    seeds: Seeds = 3,
    label_fraction: LabelFraction = None,
    settings: Settings = None,
    home: Home = Path("runs"),
) -> None:
    """Show what of an ablation exists, is shared, is left."""
    from sskd.cli.resolve import resolve_study

    options = LaunchOptions(
        home=home,
        scale=scale,
        data=data,
        label_fraction=label_fraction,
        settings=tuple(settings or ()),
        seeds=seeds,
    )
    ablation, planned = resolve_study(name, options)
    say(f"{name}: {len(planned)} cells, {len(planned) // seeds} variants x {seeds} seeds")

    from sskd.cli.plan_view import print_plan
    from sskd.cli.prepare import prepare

    study = prepare(ablation, planned, home)
    print_plan(study.cells, study.plans, home)


def train(
    scale: Scale = "tiny",
    data: Data = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, metavar="N", help="Of data order and weights.")
    ] = 0,
    label_fraction: LabelFraction = None,
    settings: Settings = None,
    dry_run: DryRun = False,
    home: Home = Path("runs"),
) -> None:
    """Run one cell, without an ablation around it.

    The cell is the scale's base with your changes; it is tracked in MLflow's experiment sskd/train.
    """
    from sskd.cli.resolve import resolve_single

    options = LaunchOptions(
        home=home,
        scale=scale,
        data=data,
        label_fraction=label_fraction,
        settings=tuple(settings or ()),
    )
    planned = resolve_single(options, seed)

    from sskd.cli.plan_view import print_plan
    from sskd.cli.prepare import prepare_single
    from sskd.cli.progress import StudyState, open_display
    from sskd.cli.running import run_single

    cell, cell_plan = prepare_single(planned, home)
    if dry_run:
        print_plan([cell], [cell_plan], home)
        return
    left = [stage.name for stage in cell_plan.stages if not stage.done]
    with open_display(StudyState(1, left)) as display:
        result = run_single(cell, home=home, display=display)
    print_table(
        ("stage", "AP (%)", "AP50 (%)"),
        [
            (stage, percent(metrics["mask_ap"]), percent(metrics["mask_ap50"]))
            for stage, metrics in result["evaluations"].items()
        ],
    )
    say(f"cell: {cell_plan.folder}")
