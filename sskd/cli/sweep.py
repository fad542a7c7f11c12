"""The command ``sweep``: one setting over several values, or a declared search space.

A search goes on in ``sskd.cli.search``.
"""

from pathlib import Path
from typing import Annotated

import typer

from sskd.cli.console import say
from sskd.cli.options import (
    SEEDS,
    Data,
    DryRun,
    Home,
    LabelFraction,
    LaunchOptions,
    Out,
    Oversubscribe,
    Scale,
    Settings,
    Workers,
)

__all__ = ["sweep"]

TRIALS = 5


def sweep(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A declared sweep (see `sskd list`).")
    ] = None,
    param: Annotated[
        str | None,
        typer.Option(
            "--param", metavar="KEY", help="The setting to vary: tau, lambda, any dotted key."
        ),
    ] = None,
    values: Annotated[
        str | None,
        typer.Option("--values", metavar="A,B,...", help="With --param. Default: declared ones."),
    ] = None,
    range_: Annotated[
        str | None,
        typer.Option(
            "--range", metavar="LO:HI[:log]", help="With --param: --trials values between two ends."
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials", min=1, metavar="N", help="Values of a range (5), or trials of a search."
        ),
    ] = None,
    scale: Scale = "tiny",
    data: Data = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            min=1,
            metavar="N",
            help=f"Run seeds 0 to N-1 of every value.  [default: {SEEDS}]",
            show_default=False,
        ),
    ] = None,
    label_fraction: LabelFraction = None,
    settings: Settings = None,
    workers: Workers = None,
    oversubscribe: Oversubscribe = False,
    dry_run: DryRun = False,
    out: Out = None,
    home: Home = Path("runs"),
) -> None:
    """Vary one setting, or search for good ones.

    With --param, or the NAME of declared values, it is an ablation with a variant a value. The NAME
    of a search space begins a search on held-out images of the labeled ones; given again with more
    --trials, it goes on. What exists is not computed again.

    Exits with 3 if some cells failed.
    """
    options = LaunchOptions(
        home=home,
        scale=scale,
        data=data,
        label_fraction=label_fraction,
        settings=tuple(settings or ()),
        seeds=seeds or SEEDS,
        workers=workers,
        oversubscribe=oversubscribe,
    )
    said = [
        (option, text)
        for option, text in (("--values", values), ("--range", range_))
        if text is not None
    ]
    if (name is None) == (param is None):
        raise ValueError("say one of a NAME and --param; `sskd list` shows the names")
    if len(said) > 1:
        raise ValueError("--values and --range: say one of the two")
    if name is not None and said:
        raise ValueError(f"{said[0][0]} goes with --param; {name} is declared")
    if trials is not None and param is not None and range_ is None:
        raise ValueError("--trials goes with --range, or with the NAME of a search")

    from sskd.cli.resolve import base_and_changes, resolve_ablation
    from sskd.cli.search import search_space
    from sskd.config import build_config
    from sskd.studies.grid import as_ablation, known_key, parse_values, ranged_values, value_of
    from sskd.studies.sweep_files import Grid, Search, declared_grid, load_sweep

    raw, changes = base_and_changes(options)
    if name is not None:
        declared = load_sweep(name, Path.cwd())
        if isinstance(declared, Search):
            if seeds is not None:
                raise ValueError("--seeds: a search runs every trial under one seed of its own")
            if (workers or 1) > 1:
                raise ValueError("--workers: a search learns from each trial before the next one")
            search_space(declared, options, trials=trials, dry_run=dry_run, out=out)
            return
        if trials is not None:
            raise ValueError(f"--trials: {name} has declared values, not a space to search")
        grid: Grid | None = declared
        words = ["sweep", name]
    else:
        assert param is not None
        key = known_key(param, raw)
        grid = None if said else declared_grid(param, Path.cwd())
        words = ["sweep", "--param", param, *(word for option in said for word in option)]
    if grid is not None:
        param, chosen = grid.param, list(grid.at(scale))
    elif range_ is not None:
        words += ["--trials", str(trials or TRIALS)]
        chosen = ranged_values(range_, trials or TRIALS, value_of(build_config(raw, {}), key))
    else:
        chosen = parse_values(values or "")
    ablation = as_ablation(
        str(param),
        chosen,
        raw=raw,
        changes=changes,
        base=grid.base if grid else None,
        question=grid.question if grid else None,
        path=grid.path if grid else None,
    )
    planned = resolve_ablation(ablation, options)
    count = len(ablation.variants)
    say(f"{ablation.name}: {len(planned)} cells, {count} values x {options.seeds} seeds")

    from sskd.cli.conduct import conduct

    conduct([(ablation, planned)], options, [options.spell(*words)], out=out, dry_run=dry_run)
