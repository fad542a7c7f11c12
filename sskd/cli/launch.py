"""Commands that compute, or say what would be computed: ``ablate``, ``plan``, ``train``.

Each imports what finds mistakes, and only then what computes, which takes seconds.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sskd.cli.console import percent, print_table, say
from sskd.cli.options import (
    SEEDS,
    Data,
    DryRun,
    Home,
    LabelFraction,
    LaunchOptions,
    Out,
    Oversubscribe,
    PseudoLabels,
    Scale,
    Seeds,
    Settings,
    Workers,
    with_labels,
)

if TYPE_CHECKING:
    from sskd.studies.cells import PlannedCell
    from sskd.studies.declaration import Ablation

__all__ = ["ablate", "plan", "train"]

AUTO = "auto"
UNTIL = 0.5
MAX_SEEDS = 10

Names = Annotated[
    list[str],
    typer.Argument(metavar="NAME...", help="Ablations (see `sskd list`), or `all` of them."),
]


def ablate(
    names: Names,
    scale: Scale = "tiny",
    data: Data = None,
    seeds: Annotated[
        str,
        typer.Option(
            "--seeds",
            metavar="N|auto",
            help="Run seeds 0 to N-1 of every variant, or add seeds to what is undecided: after "
            "3, 5, 7, 10, ... of them the launch looks, and verdicts are corrected for the looks.",
        ),
    ] = str(SEEDS),
    until: Annotated[
        float | None,
        typer.Option(
            "--until",
            min=0.01,
            metavar="POINTS",
            help="With auto: an interval of ± so many points of the first metric (hundredths of "
            "what runs from 0 to 1, such as a margin) is narrow enough.  [default: 0.5]",
            show_default=False,
        ),
    ] = None,
    max_seeds: Annotated[
        int | None,
        typer.Option(
            "--max-seeds",
            min=4,
            metavar="N",
            help="With auto: of a variant at most.  [default: 10]",
            show_default=False,
        ),
    ] = None,
    label_fraction: LabelFraction = None,
    settings: Settings = None,
    pseudo_labels: PseudoLabels = None,
    workers: Workers = None,
    oversubscribe: Oversubscribe = False,
    dry_run: DryRun = False,
    out: Out = None,
    home: Home = Path("runs"),
) -> None:
    """Compute what ablations still need, then write their reports.

    What exists is not computed again: after an interruption give the same command. What several
    ablations share is computed once.

    Exits with 3 if some cells failed.
    """
    from sskd.cli.resolve import ALL, resolve_studies

    auto = seeds == AUTO
    if not auto and (until is not None or max_seeds is not None):
        raise ValueError(f"--until and --max-seeds go with --seeds {AUTO}")
    options = LaunchOptions(
        home=home,
        scale=scale,
        data=data,
        label_fraction=label_fraction,
        settings=with_labels(settings, pseudo_labels),
        seeds=(max_seeds or MAX_SEEDS) if auto else _number(seeds),
        until=(until or UNTIL) if auto else None,
        workers=workers,
        oversubscribe=oversubscribe,
    )
    resolved = resolve_studies(names, options)
    _announce(resolved, options.seeds, at_most=auto)

    from sskd.cli.conduct import conduct
    from sskd.studies.launches import Looks

    commands = [options.command(ablation.name) for ablation, _ in resolved]
    conduct(
        resolved,
        options,
        commands,
        out=out,
        dry_run=dry_run,
        index=ALL in names,
        looks=Looks.up_to(options.seeds, until=options.until) if options.until else None,
    )


def plan(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...]",
            help="Ablations (see `sskd list`), or sweep-NAME. Default: all ablations.",
        ),
    ] = None,
    scale: Scale = "tiny",
    data: Data = None,
    seeds: Seeds = SEEDS,
    label_fraction: LabelFraction = None,
    settings: Settings = None,
    workers: Workers = None,
    home: Home = Path("runs"),
) -> None:
    """Show what exists, is shared, is left, and its cost."""
    from sskd.cli.resolve import ALL, resolve_studies

    options = LaunchOptions(
        home=home,
        scale=scale,
        data=data,
        label_fraction=label_fraction,
        settings=tuple(settings or ()),
        seeds=seeds,
    )
    resolved = resolve_studies(names or [ALL], options, sweeps=True)
    _announce(resolved, seeds)

    from sskd.cli.plan_view import print_plan
    from sskd.cli.prepare import data_is_here, prepare

    here = data_is_here(resolved[0][1], home)
    if not here:
        name = resolved[0][1][0].config.data.name
        say(f"data set {name!r} is not in {home / 'data'}: planned as if nothing existed")
    print_plan(
        [prepare(ablation, cells, home, assume=not here) for ablation, cells in resolved],
        home,
        workers=workers,
    )


def train(
    scale: Scale = "tiny",
    data: Data = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, metavar="N", help="Of data order and weights.")
    ] = 0,
    label_fraction: LabelFraction = None,
    settings: Settings = None,
    pseudo_labels: PseudoLabels = None,
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
        settings=with_labels(settings, pseudo_labels),
    )
    planned = resolve_single(options, seed)

    from sskd.cli.plan_view import print_cells
    from sskd.cli.prepare import prepare_single
    from sskd.cli.progress import StudyState, open_display
    from sskd.cli.running import run_single

    cell, cell_plan = prepare_single(planned, home)
    if dry_run:
        print_cells([cell], [cell_plan], home)
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


def _announce(
    resolved: "list[tuple[Ablation, list[PlannedCell]]]", seeds: int, *, at_most: bool = False
) -> None:
    bound = "at most " if at_most else ""
    for ablation, planned in resolved:
        number = len(planned)
        variants = number // seeds
        say(f"{ablation.name}: {bound}{number} cells, {variants} variants x {bound}{seeds} seeds")


def _number(seeds: str) -> int:
    if not seeds.isdecimal() or int(seeds) < 1:
        raise ValueError(f"--seeds {seeds}: expected a number above 0, or {AUTO}")
    return int(seeds)
